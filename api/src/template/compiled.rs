//! From a template and an input to a workflow's input.

use jsonschema::Validator;
use serde_json::{Map, Value};

use super::{Template, defaults, schema};
use crate::problem::{FieldError, Rejection};

/// A template, its schema compiled.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The template.
    pub template: Template,
    schema: Option<Validator>,
}

impl Compiled {
    /// Compiles the schema, which takes a moment: call it where blocking is allowed.
    pub fn new(template: Template) -> Result<Self, Rejection> {
        let schema = template.parameters.as_ref().map(schema::compile).transpose();
        let schema = schema.map_err(|error| Rejection::invalid(vec![error]))?;
        Ok(Self { template, schema })
    }

    /// A workflow's input, and all that is wrong with it: the caller's keys go over the template's own `input`,
    /// and the schema's defaults fill what is still missing. `at` is where the input stands in the request, such
    /// as `input` or `requirements`.
    pub fn prepare(&self, at: &str, input: Option<Value>) -> (Value, Vec<FieldError>) {
        let mut input = match (self.template.input.clone(), input) {
            (Some(Value::Object(mut base)), Some(Value::Object(given))) => {
                base.extend(given);
                Value::Object(base)
            }
            (base, given) => given.or(base).unwrap_or_else(|| Value::Object(Map::new())),
        };
        let (Some(parameters), Some(schema)) = (&self.template.parameters, &self.schema) else {
            return (input, Vec::new());
        };
        let wrong = match defaults::fill(parameters, &mut input) {
            Ok(()) => schema::refuses(schema, &input, at),
            Err(defaults::TooMuch) => vec![FieldError::new(at, "with the defaults filled in it is too large")],
        };
        (input, wrong)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template() -> Compiled {
        let document = json!({
            "parameters": {"type": "object", "required": ["n"], "properties": {
                "n": {"type": "integer"}, "m": {"default": 2}}},
            "input": {"k": 1, "l": 1},
            "tasks": [{"id": "a", "queue": "q"}],
        });
        Compiled::new(Template::stored(document.to_string().as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn the_callers_input_goes_over_the_templates_over_the_schemas() {
        let prepared = template().prepare("input", Some(json!({"n": 3, "l": 4})));
        assert_eq!(prepared, (json!({"k": 1, "l": 4, "m": 2, "n": 3}), vec![]));
    }

    #[test]
    fn what_the_schema_refuses_is_named() {
        let place = |input| template().prepare("requirements", input).1.swap_remove(0).path;
        assert_eq!(place(None), "requirements", "n is missing");
        assert_eq!(place(Some(json!({"n": "x"}))), "requirements.n");
        assert_eq!(place(Some(json!(7))), "requirements");
    }
}
