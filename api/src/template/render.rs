//! The tasks of a preview, with what can be told of their inputs before anything has run.

use std::collections::BTreeSet;

use bravo_model::workflow::expression::{self, References, Scope};
use bytes::Bytes;
use serde_json::Value;

use super::read;
use crate::json::RawJson;
use crate::problem::FieldError;

/// Strings that are filled in, and bytes that they come to; what is beyond stands as it was written.
const STRINGS_MAX: usize = 1_000;
const BYTES_MAX: usize = 4 << 20;

/// The tasks as a workflow with this input would have them, and the expressions that cannot take it.
///
/// A string that looks at the results of tasks, or at the item of a list, stands as it was written.
pub fn render(tasks: &RawJson, input: &Value) -> (RawJson, Vec<FieldError>) {
    let Ok(list) = read::<Vec<RawJson>>(tasks) else { return (tasks.clone(), Vec::new()) };
    let mut scope = Scope::default();
    scope.set("input", input.to_string().as_bytes());
    let mut filler = Filler { scope, wrong: Vec::new(), strings: STRINGS_MAX, bytes: BYTES_MAX };
    let list: Vec<RawJson> = list.into_iter().enumerate().map(|(place, task)| filler.task(place, task)).collect();
    let text = serde_json::to_vec(&list).map_or_else(|_| tasks.clone(), |text| RawJson(text.into()));
    (text, filler.wrong)
}

struct Filler {
    scope: Scope,
    wrong: Vec<FieldError>,
    /// Strings that may still be filled in.
    strings: usize,
    /// Bytes that they may still come to.
    bytes: usize,
}

impl Filler {
    /// A task without expressions keeps its text.
    fn task(&mut self, place: usize, text: RawJson) -> RawJson {
        if !expression::is_dynamic(&text.0) {
            return text;
        }
        let Ok(mut task) = read::<Value>(&text) else { return text };
        for part in ["/input", "/workflow/input", "/compensate/input"] {
            if let Some(input) = task.pointer_mut(part) {
                self.fill(input, &format!("tasks[{place}]{}", part.replace('/', ".")));
            }
        }
        RawJson(task.to_string().into())
    }

    fn fill(&mut self, value: &mut Value, path: &str) {
        match value {
            Value::String(text) => {
                if let Some(filled) = self.string(text, path) {
                    *value = filled;
                }
            }
            Value::Array(items) => {
                items.iter_mut().enumerate().for_each(|(place, item)| self.fill(item, &format!("{path}[{place}]")));
            }
            Value::Object(members) => {
                members.iter_mut().for_each(|(key, member)| self.fill(member, &format!("{path}.{key}")));
            }
            _ => {}
        }
    }

    fn string(&mut self, text: &str, path: &str) -> Option<Value> {
        let references = expression::references_of_text(text).ok()??;
        if !only_input(&references) || self.strings == 0 {
            return None;
        }
        self.strings -= 1;
        match expression::build(&Bytes::from(Value::from(text).to_string()), &self.scope) {
            Ok(built) => {
                self.bytes = self.bytes.checked_sub(built.len())?;
                serde_json::from_slice(&built).ok()
            }
            Err(detail) => {
                self.wrong.push(FieldError::new(path, detail));
                None
            }
        }
    }
}

fn only_input(references: &References) -> bool {
    !references.any_task() && references.variables.is_subset(&BTreeSet::from(["input".to_owned()]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn raw(value: &Value) -> RawJson {
        RawJson(value.to_string().into())
    }

    #[test]
    fn what_looks_at_the_input_is_filled_in_and_the_rest_stands() {
        let tasks = json!([
            {"id": "a", "queue": "q", "input": {"who": "{{ input.name }}!", "all": ["{{ input }}"], "n": 1},
             "compensate": {"queue": "u", "input": "{{ input.name }}"}, "when": "input.name"},
            {"id": "b", "queue": "q", "depends_on": ["a"], "foreach": "input.list",
             "input": ["{{ tasks.a.result }}", "{{ item }} of {{ input.name }}", "{{ input.list[0] + 1 }}"]},
            {"id": "c", "workflow": {"tasks": [{"id": "x", "queue": "q", "input": "{{ input }}"}],
             "input": "{{ input.list }}"}},
        ]);
        let input = json!({"name": "ada", "list": [1, 2]});
        let (rendered, wrong) = render(&raw(&tasks), &input);
        let rendered: Value = serde_json::from_slice(&rendered.0).unwrap();
        assert_eq!(rendered[0]["input"], json!({"who": "ada!", "all": [input], "n": 1}));
        assert_eq!((&rendered[0]["compensate"]["input"], &rendered[0]["when"]), (&json!("ada"), &json!("input.name")));
        assert_eq!(rendered[1]["input"], json!(["{{ tasks.a.result }}", "{{ item }} of {{ input.name }}", 2]));
        assert_eq!(rendered[2]["workflow"]["input"], json!([1, 2]));
        assert_eq!(rendered[2]["workflow"]["tasks"], tasks[2]["workflow"]["tasks"], "its input is not this one");
        assert_eq!(wrong, []);
    }

    #[test]
    fn an_expression_that_cannot_take_the_input_is_named_with_its_place() {
        let tasks = json!([{"id": "a", "queue": "q", "input": {"x": ["{{ input.n + 1 }}"]}}]);
        let (rendered, wrong) = render(&raw(&tasks), &json!({"n": "text"}));
        assert_eq!((rendered, wrong[0].path.as_str()), (raw(&tasks), "tasks[0].input.x[0]"));
    }

    #[test]
    fn a_preview_is_bounded() {
        let tasks: Vec<Value> =
            (0..2_000).map(|n| json!({"id": format!("t{n}"), "queue": "q", "input": "{{ input }}"})).collect();
        let (rendered, wrong) = render(&raw(&json!(tasks)), &json!("x".repeat(1 << 20)));
        assert!(rendered.0.len() < BYTES_MAX + (1 << 20) && wrong.len() <= STRINGS_MAX, "{}", rendered.0.len());
        let (rendered, _) = render(&raw(&json!(tasks)), &json!(1));
        let rendered: Value = serde_json::from_slice(&rendered.0).unwrap();
        assert_eq!((&rendered[999]["input"], &rendered[1_000]["input"]), (&json!(1), &json!("{{ input }}")));
    }
}
