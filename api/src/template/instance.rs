//! From a template and an input to what a workflow is made of.

use serde_json::{Map, Value};

use super::{Template, defaults, schema};
use crate::json::RawJson;
use crate::problem::FieldError;

/// What a workflow is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The input, defaults filled in.
    pub input: Value,
    /// The list of tasks, as the template has it.
    pub tasks: RawJson,
    /// The task that runs when the workflow failed.
    pub on_failure: Option<RawJson>,
    /// How long the workflow may take.
    pub deadline_ms: Option<u64>,
    /// How long it is kept once it is over.
    pub retention_ms: Option<u64>,
}

/// Makes an instance of a template. `at` is where the input stands in the request, such as `input` or
/// `requirements`; all that the template's schema refuses is named by its place there.
///
/// Compiles the schema, which takes a moment: call it where blocking is allowed.
pub fn instantiate(template: &Template, at: &str, input: Option<Value>) -> Result<Instance, Vec<FieldError>> {
    let (input, wrong) = prepare(template, at, input);
    if !wrong.is_empty() {
        return Err(wrong);
    }
    Ok(Instance {
        input,
        tasks: template.tasks.clone(),
        on_failure: template.on_failure.clone(),
        deadline_ms: template.deadline_ms,
        retention_ms: template.retention_ms,
    })
}

/// A workflow's input, and all that is wrong with it: the caller's keys go over the template's own `input`,
/// and the schema's defaults fill what is still missing.
pub fn prepare(template: &Template, at: &str, input: Option<Value>) -> (Value, Vec<FieldError>) {
    let mut input = match (template.input.clone(), input) {
        (Some(Value::Object(mut base)), Some(Value::Object(given))) => {
            base.extend(given);
            Value::Object(base)
        }
        (base, given) => given.or(base).unwrap_or_else(|| Value::Object(Map::new())),
    };
    let Some(schema) = &template.parameters else { return (input, Vec::new()) };
    let wrong = match defaults::fill(schema, &mut input) {
        Ok(()) => schema::refuses(schema, &input, at),
        Err(defaults::TooMuch) => vec![FieldError::new(at, "with the defaults filled in it is too large")],
    };
    (input, wrong)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template() -> Template {
        let document = json!({
            "parameters": {"type": "object", "required": ["n"], "properties": {
                "n": {"type": "integer"}, "m": {"default": 2}}},
            "input": {"k": 1, "l": 1},
            "deadline_ms": 5,
            "retention_ms": 6,
            "tasks": [{"id": "a", "queue": "q"}],
        });
        Template::stored(document.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn an_instance_has_the_callers_input_over_the_templates_over_the_schemas() {
        let instance = instantiate(&template(), "input", Some(json!({"n": 3, "l": 4}))).unwrap();
        assert_eq!(instance.input, json!({"k": 1, "l": 4, "m": 2, "n": 3}));
        assert_eq!((instance.deadline_ms, instance.retention_ms), (Some(5), Some(6)));
        assert_eq!(&instance.tasks.0[..], &br#"[{"id":"a","queue":"q"}]"#[..]);
    }

    #[test]
    fn what_the_schema_refuses_is_named() {
        let places = |input| instantiate(&template(), "requirements", input).map_err(|wrong| wrong[0].path.clone());
        assert_eq!(places(None), Err("requirements".into()), "n is missing");
        assert_eq!(places(Some(json!({"n": "x"}))), Err("requirements.n".into()));
        assert_eq!(places(Some(json!(7))), Err("requirements".into()));
    }
}
