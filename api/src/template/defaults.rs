//! Fills in what a schema has defaults for.

use serde_json::Value;

use crate::limits;

/// References that are followed from one place.
const HOPS_MAX: usize = 16;

/// What is left of the work that one filling may take: looking at a property costs 1, a default its bytes. A
/// small input under a small schema could become enormous without a bound.
struct Filler<'a> {
    root: &'a Value,
    left: usize,
}

/// The bound was met.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMuch;

/// Puts the `default` of each property that is missing into the value: in objects, in lists of objects, and
/// behind references within the schema. A default is taken as it is.
pub(super) fn fill(schema: &Value, value: &mut Value) -> Result<(), TooMuch> {
    Filler { root: schema, left: limits::PAYLOAD_BYTES_MAX }.fill(schema, value)
}

impl<'a> Filler<'a> {
    /// First goes into what was given, then fills in what was not: a default is never filled itself, so that
    /// a schema that contains itself comes to an end.
    fn fill(&mut self, schema: &'a Value, value: &mut Value) -> Result<(), TooMuch> {
        let schemas = self.behind(schema);
        for schema in &schemas {
            if let (Some(items), Some(list)) = (schema.get("items"), value.as_array_mut()) {
                list.iter_mut().try_for_each(|item| self.fill(items, item))?;
            }
            for (name, property) in properties(schema) {
                self.spend(1)?;
                if let Some(given) = value.get_mut(name) {
                    self.fill(property, given)?;
                }
            }
        }
        let Some(object) = value.as_object_mut() else { return Ok(()) };
        for (name, property) in schemas.into_iter().flat_map(properties) {
            if let Some(default) = property.get("default").filter(|_| !object.contains_key(name)) {
                self.spend(name.len() + default.to_string().len())?;
                object.insert(name.clone(), default.clone());
            }
        }
        Ok(())
    }

    /// A schema and those that it refers to, one after the other, each once.
    fn behind(&self, schema: &'a Value) -> Vec<&'a Value> {
        let mut schemas = vec![schema];
        let mut next = Some(schema);
        while let Some(here) = next.filter(|_| schemas.len() < HOPS_MAX) {
            let reference = here.get("$ref").and_then(Value::as_str);
            next = reference.and_then(|to| self.root.pointer(to.strip_prefix('#')?));
            next = next.filter(|next| !schemas.iter().any(|known| std::ptr::eq(*known, *next)));
            schemas.extend(next);
        }
        schemas
    }

    fn spend(&mut self, work: usize) -> Result<(), TooMuch> {
        self.left = self.left.checked_sub(work).ok_or(TooMuch)?;
        Ok(())
    }
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn filled(schema: &Value, mut value: Value) -> Value {
        fill(schema, &mut value).unwrap();
        value
    }

    #[test]
    fn missing_properties_get_their_defaults_and_given_ones_stay() {
        let schema = json!({"properties": {
            "a": {"default": 1},
            "b": {"properties": {"c": {"default": [2]}}},
            "list": {"items": {"$ref": "#/$defs/item"}},
            "none": {"type": "string"}},
            "$defs": {"item": {"properties": {"d": {"default": null}}}}});
        assert_eq!(filled(&schema, json!({})), json!({"a": 1}));
        let given = json!({"a": null, "b": {}, "list": [{}, {"d": 4}, 5]});
        assert_eq!(filled(&schema, given), json!({"a": null, "b": {"c": [2]}, "list": [{"d": null}, {"d": 4}, 5]}));
        assert_eq!(filled(&schema, json!([1])), json!([1]));
    }

    #[test]
    fn schemas_in_a_circle_and_defaults_in_bulk_come_to_an_end() {
        let circle = json!({"properties": {"a": {"$ref": "#", "default": {}}}, "$ref": "#"});
        assert_eq!(filled(&circle, json!({})), json!({"a": {}}));
        let bulk = json!({"items": {"properties": {"a": {"default": "x".repeat(1000)}}}});
        assert_eq!(fill(&bulk, &mut json!(vec![json!({}); 5000])), Err(TooMuch));
    }
}
