//! JSON Schema: is one sound, and what of a value does it refuse.
//!
//! A schema comes from a caller, and so must be harmless: nothing is fetched for it, and its regular
//! expressions are of the kind that takes linear time, few and small; how many checks it leads to is bounded
//! (see [`bounds`]).

use jsonschema::paths::{Location, LocationSegment};
use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::Value;

use super::bounds;
use super::fields::clip;
use crate::problem::FieldError;

/// Where a template has its schema.
pub(super) const PLACE: &str = "parameters";
/// What is wrong that is told at most.
const ERRORS_MAX: usize = 100;
/// Bytes of one compiled regular expression.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// Characters of one sentence; it may quote what it is about.
const DETAIL_MAX: usize = 300;

/// All that is wrong with a schema.
pub(super) fn check(schema: &Value) -> Vec<FieldError> {
    if !schema.is_object() {
        return vec![FieldError::new(PLACE, "a JSON Schema is an object")];
    }
    if let Err(detail) = bounds::check(schema) {
        return vec![FieldError::new(PLACE, detail)];
    }
    let unsound = match jsonschema::meta::validator_for(schema) {
        Ok(meta) => errors(meta.iter_errors(schema), PLACE),
        Err(error) => vec![told(&error, PLACE)],
    };
    if unsound.is_empty() { compile(schema).err().into_iter().collect() } else { unsound }
}

/// All that a schema refuses of a value; `at` is where the value stands in the request.
pub(super) fn refuses(schema: &Validator, value: &Value, at: &str) -> Vec<FieldError> {
    errors(schema.iter_errors(value), at)
}

/// Makes a schema ready for use.
pub(super) fn compile(schema: &Value) -> Result<Validator, FieldError> {
    let patterns = PatternOptions::regex().size_limit(PATTERN_BYTES_MAX);
    let options = jsonschema::options().with_pattern_options(patterns).offline();
    options.build(schema).map_err(|error| told(&error, PLACE))
}

fn errors<'a>(errors: impl Iterator<Item = ValidationError<'a>>, at: &str) -> Vec<FieldError> {
    errors.take(ERRORS_MAX).map(|error| told(&error, at)).collect()
}

fn told(error: &ValidationError<'_>, at: &str) -> FieldError {
    let mut detail = error.to_string();
    if let Some((end, _)) = detail.char_indices().nth(DETAIL_MAX) {
        detail.truncate(end);
        detail.push('…');
    }
    FieldError::new(path(at, error.instance_path()), detail)
}

/// A place in a value, written as in all other refusals.
fn path(at: &str, location: &Location) -> String {
    let mut path = at.to_owned();
    for segment in location.segments() {
        match segment {
            LocationSegment::Property(name) => {
                path.push('.');
                path.push_str(clip(&name));
            }
            LocationSegment::Index(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_expression_is_dear() {
        assert_eq!(check(&json!({"pattern": "(a+)+\\1"})).len(), 1, "a back reference");
        assert_eq!(check(&json!({"pattern": "(\\w{1000}){1000}"})).len(), 1);
        assert_eq!(check(&json!({"$ref": "#/$defs/a", "$defs": {"a": {"pattern": "^[a-z]+$"}}})), []);
    }

    #[test]
    fn each_refusal_has_its_place() {
        let schema = json!({"type": "object", "required": ["a"], "properties": {
            "list": {"items": {"enum": ["x", "y"]}}, "n": {"type": "integer", "minimum": 3}}});
        let value = json!({"list": ["x", "z"], "n": 2});
        let mut wrong: Vec<String> =
            refuses(&compile(&schema).unwrap(), &value, "input").into_iter().map(|error| error.path).collect();
        wrong.sort();
        assert_eq!(wrong, ["input", "input.list[1]", "input.n"]);
    }
}
