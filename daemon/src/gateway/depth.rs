//! How deep JSON may nest. Payloads are carried as text and never looked into here, so that depth
//! costs this node nothing; but workers parse them with readers that give up (or break) somewhere,
//! and one such payload would spoil the whole answer that it comes in.

use bravo_model::{Code, Refusal};

/// Deepest payload, result, metadata or progress: with the answer around it, within what common
/// readers take.
const DEPTH_MAX: usize = 120;
/// What a request's body may add around one of those.
const AROUND: usize = 4;

/// Refuses a request's body that nests too deep.
pub(crate) fn check_body(body: &[u8]) -> Result<(), Refusal> {
    check("body", body, DEPTH_MAX + AROUND)
}

/// Refuses JSON text in a message that nests too deep; text that is no JSON is refused elsewhere.
pub(crate) fn check_text<'a>(field: &str, texts: impl IntoIterator<Item = &'a [u8]>) -> Result<(), Refusal> {
    texts.into_iter().try_for_each(|text| check(field, text, DEPTH_MAX))
}

fn check(field: &str, text: &[u8], max: usize) -> Result<(), Refusal> {
    if text.len() <= max || deepest(text) <= max {
        return Ok(());
    }
    Err(Refusal::new(Code::InvalidArgument, format!("{field}: JSON nested deeper than {max} levels")))
}

/// The deepest nesting of JSON text.
fn deepest(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
    }
    deepest
}

fn skip_string(bytes: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_in_strings_do_not_count() {
        assert_eq!(deepest(br#"{"a":[1,{"b":"[[[\"[[["}],"c":{}}"#), 3);
        assert_eq!(deepest(br#""\\""#), 0);
        assert_eq!(deepest(b"}}}[[\""), 2);
    }

    #[test]
    fn what_is_too_deep_is_refused() {
        let nested = |depth: usize| [b"[".repeat(depth), b"]".repeat(depth)].concat();
        assert!(check_body(&nested(DEPTH_MAX + AROUND)).is_ok());
        assert!(check_body(&nested(DEPTH_MAX + AROUND + 1)).is_err());
        assert!(check_text("payload", [nested(DEPTH_MAX).as_slice()]).is_ok());
        assert!(check_text("payload", [nested(DEPTH_MAX + 1).as_slice()]).is_err());
    }
}
