//! Templates of workflows: what a document may say, and a workflow's input under its schema.
//!
//! ```text
//!   JSON text ──► Template::parse ──► document (kept) ──► Template::stored ──► Compiled ──► prepare
//!                 all that is wrong                                            its schema   defaults filled,
//!                                                                                           input checked
//! ```
//!
//! What callers wrote is carried as text; only the schema and inputs are looked into.

mod bounds;
mod compiled;
mod defaults;
mod fields;
mod render;
mod schema;

pub use compiled::Compiled;
pub use render::render;

use bravo_model::Name;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use utoipa::ToSchema;

use crate::json::{self, RawJson};
use crate::problem::{FieldError, Rejection};
use crate::workflow::TaskBody;
use crate::{Code, Refusal, limits, workflow};
use fields::Fields;

/// What a template may say, in the order in which it is kept.
const FIELDS: [&str; 9] = [
    "description",
    "language",
    "framework",
    "parameters",
    "input",
    "deadline_ms",
    "retention_ms",
    "tasks",
    "on_failure",
];

/// A template's document. What a read answers may be sent back: a `name` must be the one in the path, and a `version`
/// is of no account.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[schema(as = TemplateDocument)]
pub struct Template {
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// The programming language of what its workflows make.
    pub language: Option<String>,
    /// The framework of what its workflows make.
    pub framework: Option<String>,
    /// The JSON Schema of a workflow's input; anything goes if absent.
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<Value>,
    /// The input that a workflow has unless it is given another.
    #[schema(value_type = Option<RawJson>)]
    pub input: Option<Value>,
    /// How long a workflow may take.
    pub deadline_ms: Option<u64>,
    /// How long a workflow is kept once it is over.
    pub retention_ms: Option<u64>,
    /// The list of tasks, as it was sent.
    #[schema(value_type = Vec<TaskBody>)]
    pub tasks: RawJson,
    /// The task that runs when a workflow failed, as it was sent.
    #[schema(value_type = Option<TaskBody>)]
    pub on_failure: Option<RawJson>,
}

fn no_tasks() -> RawJson {
    RawJson(Bytes::from_static(b"[]"))
}

/// A document that was checked, and the text to keep: the fields as they were sent, in a fixed order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// What it says.
    pub template: Template,
    /// JSON text.
    pub document: Bytes,
}

impl Template {
    /// Checks a document for the template `name`; tells all that is wrong. What a read answers can be sent
    /// back: `name` must be the same then, and `version` is of no account.
    pub fn parse(name: &Name, body: &[u8]) -> Result<Checked, Rejection> {
        let mut fields: Fields = json::parse(body)?;
        let mut wrong = Vec::new();
        fields.remove("version");
        if let Some(text) = fields.remove("name")
            && read::<String>(&text).ok().as_deref() != Some(name.as_str())
        {
            wrong.push(FieldError::new("name", format!("this is the template {name}")));
        }
        wrong.extend(fields.unknown(&FIELDS));
        let template = Self {
            description: fields.take("description", &mut wrong).unwrap_or_default(),
            language: fields.take("language", &mut wrong),
            framework: fields.take("framework", &mut wrong),
            parameters: fields.take("parameters", &mut wrong),
            input: fields.take("input", &mut wrong),
            deadline_ms: fields.take("deadline_ms", &mut wrong),
            retention_ms: fields.take("retention_ms", &mut wrong),
            on_failure: fields.take("on_failure", &mut wrong),
            tasks: fields.take("tasks", &mut wrong).unwrap_or_else(no_tasks),
        };
        template.check(&mut wrong);
        if !wrong.is_empty() {
            return Err(Rejection::invalid(wrong));
        }
        let document = fields.render(&FIELDS);
        if document.len() > limits::TEMPLATE_BYTES_MAX {
            let detail = format!("{} bytes, at most {} are taken", document.len(), limits::TEMPLATE_BYTES_MAX);
            return Err(Refusal::new(Code::PayloadTooLarge, detail).into());
        }
        Ok(Checked { template, document })
    }

    /// Reads a document that is kept.
    pub fn stored(document: &[u8]) -> Result<Self, Refusal> {
        serde_json::from_slice(document)
            .map_err(|error| Refusal::new(Code::Internal, format!("a template that is kept is broken: {error}")))
    }

    fn check(&self, wrong: &mut Vec<FieldError>) {
        let labels = [("language", &self.language), ("framework", &self.framework)];
        for (field, label) in labels.into_iter().filter_map(|(field, label)| Some((field, label.as_deref()?))) {
            wrong.extend(Name::parse(field, label).err().map(|refusal| FieldError::new(field, after_colon(refusal))));
        }
        if self.description.len() > limits::TEMPLATE_DESCRIPTION_BYTES_MAX {
            let detail = format!("at most {} bytes", limits::TEMPLATE_DESCRIPTION_BYTES_MAX);
            wrong.push(FieldError::new("description", detail));
        }
        for (field, ms) in [("deadline_ms", self.deadline_ms), ("retention_ms", self.retention_ms)] {
            if ms.is_some_and(|ms| !(1..=limits::HORIZON_MS_MAX).contains(&ms)) {
                wrong.push(FieldError::new(field, format!("1 to {}", limits::HORIZON_MS_MAX)));
            }
        }
        wrong.extend(self.parameters.as_ref().map(schema::check).unwrap_or_default());
        wrong.extend(workflow::wrongs(&self.tasks, self.on_failure.as_ref()));
    }
}

/// A refusal of a name without the field in front, which stands in the path.
fn after_colon(refusal: Refusal) -> String {
    refusal.detail.split_once(": ").map_or(refusal.detail.clone(), |(_, what)| what.to_owned())
}

fn read<T: DeserializeOwned>(text: &RawJson) -> Result<T, serde_json::Error> {
    serde_json::from_slice(&text.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<Checked, Rejection> {
        Template::parse(&Name::parse("name", "t").unwrap(), body.as_bytes())
    }

    fn wrong(body: &str) -> Vec<String> {
        parse(body).unwrap_err().errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_document_is_kept_field_by_field_as_it_was_sent() {
        let body = r#" {"tasks" : [ {"id":"a", "queue":"q", "input":{"n":1.50}} ], "name":"t", "version":7,
            "description":"d","on_failure":null} "#;
        let checked = parse(body).unwrap();
        let text = r#"{"description":"d","tasks":[ {"id":"a", "queue":"q", "input":{"n":1.50}} ]}"#;
        assert_eq!(checked.document, text);
        assert_eq!(Template::stored(&checked.document).unwrap(), checked.template);
        assert_eq!(parse(text).unwrap().document, text);
    }

    #[test]
    fn all_that_is_wrong_is_named_with_its_place() {
        let body = r#"{"colour":1,"description":2,"deadline_ms":0,"retention_ms":0,"language":"c d","name":"u",
            "parameters":{"type":"obj","properties":{"n":{"minimum":"x"}}},
            "tasks":[{"id":"a","queue":"q","colour":1},{"id":"b"},7]}"#;
        let wrong = wrong(body);
        for place in [
            "name: ",
            "colour: ",
            "description: ",
            "deadline_ms: ",
            "retention_ms: ",
            "language: ",
            "parameters.type: ",
            "parameters.properties.n.minimum: ",
            "tasks[0].colour: ",
            "tasks[1]: ",
            "tasks[2]: ",
        ] {
            assert!(wrong.iter().any(|wrong| wrong.starts_with(place)), "{place} is not in {wrong:#?}");
        }
        assert_eq!(wrong.len(), 11, "{wrong:#?}");
    }

    #[test]
    fn what_no_workflow_could_be_made_of_is_refused() {
        let tasks = |tasks: &str| wrong(&format!(r#"{{"tasks":{tasks},"on_failure":{{"id":"f","timer_ms":1}}}}"#));
        let circle = r#"[{"id":"a","queue":"q","depends_on":["b"]},{"id":"b","queue":"q","depends_on":["a"]}]"#;
        let several = r#"[{"id":"a","queue":"q"},{"id":"a","queue":"q","depends_on":["c"],"input":"{{ 1 + }}"}]"#;
        for (wrong, places) in [
            (tasks(circle), vec!["tasks[0].depends_on: ", "on_failure: "]),
            (tasks(several), vec!["tasks[1].id: ", "tasks[1].depends_on[0]: ", "tasks[1].input: ", "on_failure: "]),
        ] {
            assert_eq!(wrong.len(), places.len(), "{wrong:#?}");
            assert!(wrong.iter().zip(places).all(|(wrong, place)| wrong.starts_with(place)), "{wrong:#?}");
        }
    }

    #[test]
    fn what_is_no_document_is_refused() {
        assert_eq!(wrong("{}"), ["tasks: a workflow has at least one task"]);
        assert_eq!(wrong(r#"{"tasks":[]}"#), ["tasks: a workflow has at least one task"]);
        assert_eq!(parse("[]").unwrap_err().refusal.code, Code::InvalidArgument);
        assert!(parse(r#"{"tasks":[],"tasks":[]}"#).unwrap_err().refusal.detail.contains("tasks"));
        let large =
            format!(r#"{{"tasks":[{{"id":"a","queue":"q","input":"{}"}}]}}"#, "x".repeat(limits::TEMPLATE_BYTES_MAX));
        assert_eq!(parse(&large).unwrap_err().refusal.code, Code::PayloadTooLarge);
    }
}
