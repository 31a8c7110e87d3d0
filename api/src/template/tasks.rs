//! The tasks of a template: what can be told without building a workflow of them.

use std::collections::{BTreeMap, BTreeSet};

use bravo_model::Name;
use serde_json::{Map, Value};

use super::fields::{clip, unknown_of};
use super::{after_colon, read};
use crate::json::RawJson;
use crate::limits;
use crate::problem::FieldError;

/// What is wrong that is told at most.
const ERRORS_MAX: usize = 100;

/// What a task may say.
const FIELDS: [&str; 15] = [
    "id",
    "depends_on",
    "queue",
    "workflow",
    "wait_signal",
    "timer_ms",
    "approval",
    "input",
    "when",
    "foreach",
    "max_parallel",
    "max_attempts",
    "timeout_ms",
    "priority",
    "compensate",
];

/// All that is wrong with the tasks: their form, their names, what they wait for. Whether a workflow can be
/// built of them is for the workflow's own check to say.
pub(super) fn check(tasks: &RawJson, on_failure: Option<&RawJson>) -> Vec<FieldError> {
    let mut wrong = Vec::new();
    match read::<Vec<Value>>(tasks) {
        Ok(tasks) if tasks.is_empty() => wrong.push(FieldError::new("tasks", "at least one")),
        Ok(tasks) if tasks.len() > limits::TEMPLATE_TASKS_MAX => {
            wrong.push(FieldError::new("tasks", format!("at most {}", limits::TEMPLATE_TASKS_MAX)));
        }
        Ok(tasks) => all(&tasks, &mut wrong),
        Err(_) => wrong.push(FieldError::new("tasks", "a list of tasks")),
    }
    match on_failure.map(read::<Map<String, Value>>) {
        Some(Ok(task)) => unknown("on_failure", &task, &mut wrong),
        Some(Err(_)) => wrong.push(FieldError::new("on_failure", "a task is an object")),
        None => {}
    }
    wrong.truncate(ERRORS_MAX);
    wrong
}

fn all(tasks: &[Value], wrong: &mut Vec<FieldError>) {
    let mut ids: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, task) in tasks.iter().enumerate() {
        let at = format!("tasks[{index}]");
        let Some(task) = task.as_object() else {
            wrong.push(FieldError::new(at, "a task is an object"));
            continue;
        };
        unknown(&at, task, wrong);
        match task.get("id").and_then(Value::as_str) {
            None => wrong.push(FieldError::new(format!("{at}.id"), "a task has an id")),
            Some(id) => {
                let bad = Name::parse("id", id).err();
                wrong.extend(bad.map(|refusal| FieldError::new(format!("{at}.id"), after_colon(refusal))));
                if let Some(first) = ids.insert(id, index) {
                    wrong.push(FieldError::new(format!("{at}.id"), format!("tasks[{first}] has it too")));
                }
            }
        }
    }
    let ids: BTreeSet<&str> = ids.into_keys().collect();
    for (index, task) in tasks.iter().enumerate() {
        let Some(on) = task.get("depends_on") else { continue };
        let at = format!("tasks[{index}].depends_on");
        let Some(on) = on.as_array() else {
            wrong.push(FieldError::new(at, "a list of ids"));
            continue;
        };
        for (place, id) in on.iter().enumerate() {
            if id.as_str().is_none_or(|id| !ids.contains(id)) {
                wrong.push(FieldError::new(format!("{at}[{place}]"), "there is no such task"));
            }
        }
    }
}

fn unknown(at: &str, task: &Map<String, Value>, wrong: &mut Vec<FieldError>) {
    let unknown = task.keys().filter(|field| !FIELDS.contains(&field.as_str()));
    wrong.extend(unknown.map(|field| FieldError::new(format!("{at}.{}", clip(field)), unknown_of(&FIELDS))));
}
