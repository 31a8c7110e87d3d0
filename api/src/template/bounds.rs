//! How much work a schema may make: known before it is used, since a validator cannot be stopped.
//!
//! References are what makes a small schema dear: forty that branch in two are a million million checks, and
//! one that leads back to itself has no end. So they stay within the schema, lead to no circle, and what is
//! reached through them counts once for each way there.

use std::collections::HashMap;

use serde_json::Value;

use crate::limits;

/// Keywords whose values are schemas by name.
const MAPS: [&str; 6] = ["properties", "patternProperties", "dependentSchemas", "dependencies", "$defs", "definitions"];
/// Keywords whose value is a schema, or a list of them.
const SCHEMAS: [&str; 16] = [
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "items",
    "prefixItems",
    "additionalItems",
    "contains",
    "additionalProperties",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
    "contentSchema",
];
/// Keywords that would lead anywhere, or change where others lead.
const REFUSED: [&str; 4] = ["$dynamicRef", "$recursiveRef", "$dynamicAnchor", "$recursiveAnchor"];
/// Schemas within schemas, also through references: validators go down with them.
const DEPTH_MAX: usize = 64;

/// What a schema comes to, with all that it leads to.
#[derive(Clone, Copy, Default)]
struct Size {
    parts: usize,
    patterns: usize,
    depth: usize,
}

struct Walk<'a> {
    root: &'a Value,
    /// By address; none while it is being looked at.
    known: HashMap<*const Value, Option<Size>>,
}

/// Says what bound a schema breaks, if any.
pub(super) fn check(schema: &Value) -> Result<(), String> {
    Walk { root: schema, known: HashMap::new() }.size(schema, 0).map(drop)
}

impl<'a> Walk<'a> {
    fn size(&mut self, schema: &'a Value, above: usize) -> Result<Size, String> {
        let known = self.known.get(&std::ptr::from_ref(schema)).copied();
        let size = match known {
            Some(Some(size)) => size,
            Some(None) => return Err("a schema that refers to itself is not taken".into()),
            None => {
                if above >= DEPTH_MAX {
                    return Err(too_deep());
                }
                self.known.insert(schema, None);
                let size = self.sum(schema, above)?;
                self.known.insert(schema, Some(size));
                size
            }
        };
        if above + size.depth > DEPTH_MAX {
            return Err(too_deep());
        }
        Ok(size)
    }

    fn sum(&mut self, schema: &'a Value, above: usize) -> Result<Size, String> {
        let Some(keywords) = schema.as_object() else { return Ok(Size { parts: 1, patterns: 0, depth: 1 }) };
        if let Some(refused) = REFUSED.into_iter().find(|refused| keywords.contains_key(*refused)) {
            return Err(format!("{refused} is not taken"));
        }
        if above > 0 && (keywords.contains_key("$id") || keywords.contains_key("id")) {
            return Err("only the schema as a whole may have an $id".into());
        }
        let mut parts: Vec<&Value> = keywords.get("$ref").map(|to| self.target(to)).transpose()?.into_iter().collect();
        for (keyword, value) in keywords {
            match value {
                Value::Object(of) if MAPS.contains(&keyword.as_str()) => parts.extend(of.values()),
                Value::Array(of) if SCHEMAS.contains(&keyword.as_str()) => parts.extend(of),
                of if SCHEMAS.contains(&keyword.as_str()) => parts.push(of),
                _ => {}
            }
        }
        let named = keywords.get("patternProperties").and_then(Value::as_object).map_or(0, serde_json::Map::len);
        let own = usize::from(keywords.contains_key("pattern")) + named;
        let mut sum = Size { parts: 1, patterns: own, depth: 0 };
        for part in parts {
            let part = self.size(part, above + 1)?;
            sum.parts = sum.parts.saturating_add(part.parts);
            sum.patterns = sum.patterns.saturating_add(part.patterns);
            sum.depth = sum.depth.max(part.depth);
        }
        sum.depth += 1;
        let bounds = [
            (sum.parts, limits::TEMPLATE_SCHEMA_PARTS_MAX, "schemas within it"),
            (sum.patterns, limits::TEMPLATE_PATTERNS_MAX, "regular expressions"),
        ];
        match bounds.into_iter().find(|(count, max, _)| count > max) {
            Some((_, max, what)) => Err(format!("at most {max} {what}, counted once for each way to them")),
            None => Ok(sum),
        }
    }

    fn target(&self, to: &Value) -> Result<&'a Value, String> {
        let to = to.as_str().ok_or("$ref: a text")?;
        let pointer = to.strip_prefix('#').filter(|pointer| pointer.is_empty() || pointer.starts_with('/'));
        let pointer = pointer.ok_or_else(|| format!("$ref: only places in this schema (#/…), not {to:?}"))?;
        self.root.pointer(pointer).ok_or_else(|| format!("$ref: there is no {to:?}"))
    }
}

fn too_deep() -> String {
    format!("at most {DEPTH_MAX} schemas within each other")
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    fn chain(len: usize, step: impl Fn(&str) -> Value) -> Value {
        let name = |n: usize| format!("#/$defs/d{n}");
        let mut defs: Map<String, Value> = (0..len).map(|n| (format!("d{n}"), step(&name(n + 1)))).collect();
        defs.insert(format!("d{len}"), json!({"type": "string"}));
        json!({"$ref": "#/$defs/d0", "$defs": defs})
    }

    #[test]
    fn what_would_take_for_ever_is_refused() {
        let branching = chain(25, |next| json!({"anyOf": [{"$ref": next}, {"$ref": next}]}));
        assert!(check(&branching).unwrap_err().contains("5000 schemas"));
        assert!(check(&chain(20, |next| json!({"$ref": next}))).is_ok());
        assert!(check(&chain(8_000, |next| json!({"$ref": next}))).unwrap_err().contains("within each other"));
        let circle = json!({"properties": {"child": {"items": {"$ref": "#"}}}});
        assert!(check(&circle).unwrap_err().contains("refers to itself"));
        let many: Vec<Value> = (0..65).map(|n| json!({"pattern": format!("a{n}")})).collect();
        assert!(check(&json!({"anyOf": many})).unwrap_err().contains("64 regular expressions"));
    }

    #[test]
    fn references_stay_within_the_schema() {
        for to in ["http://127.0.0.1:1/s.json", "file:///etc/passwd", "other.json", "#anchor", "#/$defs/none"] {
            assert!(check(&json!({"items": {"$ref": to}})).is_err(), "{to}");
        }
        assert!(check(&json!({"$dynamicRef": "#a"})).is_err());
        assert!(check(&json!({"items": {"$id": "http://a/"}})).is_err());
        assert!(
            check(&json!({"$id": "http://a/", "properties": {"$ref": {}, "$id": {}}, "enum": [{"$ref": 1}]})).is_ok()
        );
    }
}
