//! The tasks of a preview, with what can be told of their inputs before anything has run.

use serde_json::Value;

use crate::json::RawJson;
use crate::problem::FieldError;

/// The tasks as a workflow with this input would have them, and what is wrong with their expressions.
///
/// Expressions stand as they were written until the workflow's own expressions are put in here: those over
/// `input` can be told now, those over the results of other tasks cannot.
pub fn render(tasks: &RawJson, _input: &Value) -> (RawJson, Vec<FieldError>) {
    (tasks.clone(), Vec::new())
}
