//! From the JSON of tasks to a plan: all that is wrong is told at once, each thing with its place.
//!
//! ```text
//!   tasks (JSON) ──► templates_named ──► [the daemon looks them up] ──► plan ──► Plan, checked
//! ```

use std::collections::{BTreeMap, BTreeSet};

use bravo_model::workflow::check::{self, Wrong};
use bravo_model::workflow::{Action, Compensate, NewTask, Plan, TemplateRef};
use bravo_model::{Name, limits};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::json::RawJson;
use crate::problem::{FieldError, Rejection};

/// A template whose tasks a sub-workflow has.
#[derive(Clone, Debug)]
pub struct Part {
    /// Which one.
    pub template: TemplateRef,
    /// Its list of tasks.
    pub tasks: RawJson,
    /// Its task that runs after a failure.
    pub on_failure: Option<RawJson>,
    /// How long it may take.
    pub deadline_ms: Option<u64>,
}

/// Templates by name, for sub-workflows.
pub type Parts = BTreeMap<String, Part>;

/// A task as it is sent. Exactly one of `queue`, `workflow`, `wait_signal`, `timer_ms` and `approval` says what it is.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskBody {
    /// Its name within the workflow.
    id: String,
    /// Tasks that must have ended well, or been skipped, before it begins.
    #[serde(default)]
    depends_on: Vec<String>,
    /// It is a job of this queue, with the built input as payload.
    queue: Option<String>,
    /// It is a workflow of its own; the results of its tasks by id are the task's result.
    workflow: Option<SubWorkflowBody>,
    /// It waits for this signal, whose payload is its result.
    wait_signal: Option<String>,
    /// It waits so long.
    timer_ms: Option<u64>,
    /// It waits for the signal of its own name; false, or an object whose `approved` is false, rejects.
    approval: Option<bool>,
    /// Null if absent. Strings may hold `{{ … }}` over `input`, `tasks.ID.result` and, with `foreach`, `item` and
    /// `index`; a string that is one expression keeps the value's type.
    input: Option<RawJson>,
    /// An expression; the task is skipped where it is false.
    #[schema(value_type = Option<RawJson>)]
    when: Option<Value>,
    /// An expression that gives a list, or the list: the task is done once for each item.
    #[schema(value_type = Option<RawJson>)]
    foreach: Option<Value>,
    /// Items at once.
    #[schema(minimum = 1)]
    max_parallel: Option<u32>,
    /// Goes with `queue`, whose own it overrides.
    #[schema(minimum = 1, maximum = 10000)]
    max_attempts: Option<u32>,
    /// How long it may take, attempts included.
    timeout_ms: Option<u64>,
    /// Goes with `queue`.
    #[schema(minimum = 0, maximum = 9)]
    priority: Option<u8>,
    /// A job that undoes it when the workflow fails later.
    compensate: Option<CompensateBody>,
}

/// A workflow as a task.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SubWorkflowBody {
    /// Its newest version.
    template: Option<String>,
    /// Instead of a template.
    #[schema(value_type = Option<Vec<TaskBody>>, no_recursion)]
    tasks: Option<RawJson>,
    /// As the task's own input, one of which is enough.
    input: Option<RawJson>,
    /// Goes with `tasks`.
    #[schema(value_type = Option<TaskBody>, no_recursion)]
    on_failure: Option<RawJson>,
    /// How long it may take.
    deadline_ms: Option<u64>,
}

/// What undoes a task.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CompensateBody {
    /// The queue of its job.
    queue: String,
    /// May also use the task's own `result`, and `error`.
    input: Option<RawJson>,
}

/// The templates that sub-workflows of these tasks name, at any depth of what is written here.
pub fn templates_named(tasks: &[u8]) -> BTreeSet<String> {
    fn visit(tasks: &Value, names: &mut BTreeSet<String>, depth: u8) {
        if depth > limits::WORKFLOW_DEPTH_MAX {
            return;
        }
        for part in tasks.as_array().into_iter().flatten().filter_map(|task| task.get("workflow")) {
            names.extend(part.get("template").and_then(Value::as_str).map(str::to_owned));
            if let Some(tasks) = part.get("tasks") {
                visit(tasks, names, depth + 1);
            }
        }
    }
    let mut names = BTreeSet::new();
    if let Ok(tasks) = serde_json::from_slice(tasks) {
        visit(&tasks, &mut names, 0);
    }
    names
}

/// All that is wrong with tasks that are kept for later. Templates that their parts name need not be there
/// yet.
pub fn wrongs(tasks: &RawJson, on_failure: Option<&RawJson>) -> Vec<FieldError> {
    let mut reader = Reader { parts: None, wrong: Vec::new(), tasks: 0 };
    reader.checked(tasks, on_failure);
    reader.wrong
}

/// A plan from its JSON, checked.
pub fn plan(tasks: &RawJson, on_failure: Option<&RawJson>, parts: &Parts) -> Result<Plan, Rejection> {
    let mut reader = Reader { parts: Some(parts), wrong: Vec::new(), tasks: 0 };
    let plan = reader.checked(tasks, on_failure);
    if reader.wrong.is_empty() { Ok(plan) } else { Err(Rejection::invalid(reader.wrong)) }
}

/// Tasks that are added to a workflow. What they wait for is known where the workflow is.
pub fn added(tasks: &RawJson, parts: &Parts, known: &BTreeSet<String>) -> Result<Vec<NewTask>, Rejection> {
    let mut reader = Reader { parts: Some(parts), wrong: Vec::new(), tasks: 0 };
    let tasks = reader.tasks("", tasks, 0);
    reader.judge(check::check_added(&tasks, known));
    if reader.wrong.is_empty() { Ok(tasks) } else { Err(Rejection::invalid(reader.wrong)) }
}

/// The queues that tasks name, each with its place.
pub fn queues<'a>(tasks: &'a [NewTask], on_failure: Option<&'a NewTask>) -> Vec<(String, &'a Name)> {
    fn visit<'a>(task: &'a NewTask, path: &str, found: &mut Vec<(String, &'a Name)>) {
        match &task.action {
            Action::Job { queue, .. } => found.push((format!("{path}.queue"), queue)),
            Action::Workflow { template, plan, .. } => {
                let at = if template.is_some() { "workflow.template" } else { "workflow" };
                visit_all(&plan.tasks, plan.on_failure.as_deref(), &format!("{path}.{at}."), found);
            }
            _ => {}
        }
        found.extend(task.compensate.iter().map(|undo| (format!("{path}.compensate.queue"), &undo.queue)));
    }
    fn visit_all<'a>(
        tasks: &'a [NewTask],
        on_failure: Option<&'a NewTask>,
        path: &str,
        found: &mut Vec<(String, &'a Name)>,
    ) {
        for (place, task) in tasks.iter().enumerate() {
            visit(task, &format!("{path}tasks[{place}]"), found);
        }
        if let Some(task) = on_failure {
            visit(task, &format!("{path}on_failure"), found);
        }
    }
    let mut found = Vec::new();
    visit_all(tasks, on_failure, "", &mut found);
    found
}

struct Reader<'a> {
    /// Templates by name; none: they are looked up later.
    parts: Option<&'a Parts>,
    wrong: Vec<FieldError>,
    /// Tasks read so far, those of sub-workflows included.
    tasks: usize,
}

impl Reader<'_> {
    fn say(&mut self, path: impl Into<String>, detail: impl Into<String>) {
        if self.wrong.len() < 100 {
            self.wrong.push(FieldError::new(path, detail));
        }
    }

    fn checked(&mut self, tasks: &RawJson, on_failure: Option<&RawJson>) -> Plan {
        let plan = self.plan("", tasks, on_failure, 0);
        self.judge(check::check(&plan, ""));
        plan
    }

    /// Adds what is wrong with what was read. What could not be read was told already, and something stands in
    /// its place that nothing is wrong with.
    fn judge(&mut self, found: Vec<Wrong>) {
        for wrong in found {
            if !self.wrong.iter().any(|told| told.path == wrong.path) {
                self.say(wrong.path, wrong.detail);
            }
        }
    }

    fn plan(&mut self, at: &str, tasks: &RawJson, on_failure: Option<&RawJson>, depth: u8) -> Plan {
        let tasks = self.tasks(at, tasks, depth);
        let on_failure = on_failure.and_then(|task| {
            let path = format!("{at}on_failure");
            let told = self.wrong.len();
            let body = self.read::<TaskBody>(&path, &task.0)?;
            let task = self.task(&path, body, depth);
            (self.wrong.len() == told).then(|| Box::new(task))
        });
        Plan { tasks, on_failure }
    }

    fn tasks(&mut self, at: &str, tasks: &RawJson, depth: u8) -> Vec<NewTask> {
        let path = format!("{at}tasks");
        if depth > limits::WORKFLOW_DEPTH_MAX {
            self.say(path, format!("workflows lie at most {} deep in each other", limits::WORKFLOW_DEPTH_MAX));
            return unknown_yet().tasks;
        }
        let Some(texts) = self.read::<Vec<RawJson>>(&path, &tasks.0) else { return unknown_yet().tasks };
        self.tasks = self.tasks.saturating_add(texts.len());
        if self.tasks > limits::WORKFLOW_TASKS_MAX {
            self.say(path, format!("at most {} tasks, those of sub-workflows included", limits::WORKFLOW_TASKS_MAX));
            return unknown_yet().tasks;
        }
        let mut read = Vec::with_capacity(texts.len());
        for (place, text) in texts.iter().enumerate() {
            let path = format!("{at}tasks[{place}]");
            read.push(match self.read::<TaskBody>(&path, &text.0) {
                Some(body) => self.task(&path, body, depth),
                None => stand_in(&path, &text.0),
            });
        }
        read
    }

    fn read<T: serde::de::DeserializeOwned>(&mut self, path: &str, text: &[u8]) -> Option<T> {
        let mut reader = serde_json::Deserializer::from_slice(text);
        match serde_path_to_error::deserialize(&mut reader) {
            Ok(value) => Some(value),
            Err(error) => {
                let within = error.path().to_string();
                let dot = if within.starts_with('[') { "" } else { "." };
                let path = if within == "." { path.to_owned() } else { format!("{path}{dot}{within}") };
                let text = error.inner().to_string();
                let told = text.split(" at line ").next().unwrap_or_default().to_owned();
                self.say(path, told);
                None
            }
        }
    }

    fn name(&mut self, path: &str, text: &str) -> Option<Name> {
        let refused = |refusal: crate::Refusal| refusal.detail.trim_start_matches(": ").to_owned();
        match Name::parse("", text) {
            Ok(name) => Some(name),
            Err(refusal) => {
                self.say(path, refused(refusal));
                None
            }
        }
    }

    /// The task; what cannot be read of it is told, and harmless.
    fn task(&mut self, path: &str, body: TaskBody, depth: u8) -> NewTask {
        let id = self.name(&format!("{path}.id"), &body.id).unwrap_or_else(|| nameless(path));
        let mut depends_on = Vec::with_capacity(body.depends_on.len());
        for (n, on) in body.depends_on.iter().enumerate() {
            depends_on.extend(self.name(&format!("{path}.depends_on[{n}]"), on));
        }
        let when = body.when.as_ref().and_then(|when| self.bare(&format!("{path}.when"), when));
        let foreach = body.foreach.as_ref().and_then(|foreach| self.bare(&format!("{path}.foreach"), foreach));
        let has_list = foreach.is_some();
        let compensate = body.compensate.as_ref().and_then(|compensate| {
            let queue = self.name(&format!("{path}.compensate.queue"), &compensate.queue)?;
            Some(Compensate { queue, input: text_of(compensate.input.as_ref()) })
        });
        let mut input = text_of(body.input.as_ref());
        if let Some(part) = body.workflow.as_ref().and_then(|part| part.input.as_ref()) {
            if body.input.is_some() {
                self.say(format!("{path}.workflow.input"), "the task has an input already; one of them is enough");
            }
            input = part.0.clone();
        }
        let action = self.action(path, &body, depth);
        if !matches!(action, Some(Action::Job { .. }) | None) {
            for (field, given) in [("max_attempts", body.max_attempts.is_some()), ("priority", body.priority.is_some())]
            {
                if given {
                    self.say(format!("{path}.{field}"), "goes with queue");
                }
            }
        }
        NewTask {
            id,
            depends_on,
            action: action.unwrap_or(Action::Timer(0)),
            input,
            when,
            foreach,
            // Without the list that it goes with it would be wrong only for that.
            max_parallel: body.max_parallel.filter(|_| body.foreach.is_none() || has_list),
            timeout_ms: body.timeout_ms,
            compensate,
        }
    }

    fn action(&mut self, path: &str, body: &TaskBody, depth: u8) -> Option<Action> {
        let given = [
            body.queue.is_some(),
            body.workflow.is_some(),
            body.wait_signal.is_some(),
            body.timer_ms.is_some(),
            body.approval == Some(true),
        ];
        if given.into_iter().filter(|given| *given).count() != 1 {
            self.say(path, "exactly one of queue, workflow, wait_signal, timer_ms and approval says what it does");
            return None;
        }
        if let Some(queue) = &body.queue {
            let queue = self.name(&format!("{path}.queue"), queue)?;
            let priority = body.priority.unwrap_or(limits::PRIORITY_DEFAULT);
            return Some(Action::Job { queue, max_attempts: body.max_attempts, priority });
        }
        if let Some(part) = &body.workflow {
            return self.part(&format!("{path}.workflow"), part, depth.saturating_add(1));
        }
        match (&body.wait_signal, body.timer_ms) {
            (Some(signal), _) => Some(Action::Signal(signal.clone())),
            (None, Some(ms)) => Some(Action::Timer(ms)),
            (None, None) => Some(Action::Approval),
        }
    }

    fn part(&mut self, path: &str, body: &SubWorkflowBody, depth: u8) -> Option<Action> {
        match (&body.template, &body.tasks) {
            (Some(name), None) => {
                let Some(parts) = self.parts else {
                    let name = self.name(&format!("{path}.template"), name)?;
                    let template = Some(TemplateRef { name, version: 0, labels: None });
                    return Some(Action::Workflow { template, plan: unknown_yet(), deadline_ms: body.deadline_ms });
                };
                let Some(part) = parts.get(name) else {
                    self.say(format!("{path}.template"), format!("there is no template {name:?}"));
                    return None;
                };
                let at = format!("{path}.template.");
                let plan = self.plan(&at, &part.tasks, part.on_failure.as_ref(), depth);
                let deadline_ms = body.deadline_ms.or(part.deadline_ms);
                Some(Action::Workflow { template: Some(part.template.clone()), plan, deadline_ms })
            }
            (None, Some(tasks)) => {
                let plan = self.plan(&format!("{path}."), tasks, body.on_failure.as_ref(), depth);
                Some(Action::Workflow { template: None, plan, deadline_ms: body.deadline_ms })
            }
            _ => {
                self.say(path, "exactly one of template and tasks says what it does");
                None
            }
        }
    }

    /// A bare expression: text, with or without braces around it, or a value that stands for itself.
    fn bare(&mut self, path: &str, value: &Value) -> Option<String> {
        match value {
            Value::Null => None,
            Value::Bool(value) => Some(value.to_string()),
            Value::String(text) => {
                let inner = text.trim().strip_prefix("{{").and_then(|text| text.strip_suffix("}}"));
                Some(inner.unwrap_or(text).trim().to_owned())
            }
            Value::Array(_) if !value.to_string().contains("null") => Some(value.to_string()),
            _ => {
                self.say(path, "an expression, as text");
                None
            }
        }
    }
}

/// Stands for the tasks of a template that is looked up later.
fn unknown_yet() -> Plan {
    Plan { tasks: vec![blank(nameless("later"))], on_failure: None }
}

/// Stands for a task that cannot be read. It has the name of the task if that can be told, so that those which
/// wait for it are not told that it is not there.
fn stand_in(path: &str, text: &[u8]) -> NewTask {
    let value: Value = serde_json::from_slice(text).unwrap_or_default();
    let id = value.get("id").and_then(Value::as_str).and_then(|id| Name::parse("id", id).ok());
    blank(id.unwrap_or_else(|| nameless(path)))
}

/// A task that nothing is wrong with.
fn blank(id: Name) -> NewTask {
    NewTask {
        id,
        depends_on: Vec::new(),
        action: Action::Timer(0),
        input: text_of(None),
        when: None,
        foreach: None,
        max_parallel: None,
        timeout_ms: None,
        compensate: None,
    }
}

/// A name for a task that has none, by its place.
fn nameless(path: &str) -> Name {
    let text: String = path.chars().map(|c| if matches!(c, '[' | ']') { ':' } else { c }).collect();
    let short = text.get(text.len().saturating_sub(limits::NAME_BYTES_MAX - 1)..).unwrap_or_default();
    // Paths are made of names of fields and numbers.
    Name::parse("id", &format!("@{short}")).unwrap_or_else(|refusal| unreachable!("{refusal}"))
}

fn text_of(input: Option<&RawJson>) -> Bytes {
    input.map_or_else(|| Bytes::from_static(b"null"), |text| text.0.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(tasks: &str) -> Result<Plan, Vec<String>> {
        let tasks = RawJson(Bytes::copy_from_slice(tasks.as_bytes()));
        let told = |rejection: Rejection| rejection.errors.iter().map(ToString::to_string).collect();
        plan(&tasks, None, &Parts::new()).map_err(told)
    }

    #[test]
    fn every_kind_of_task_is_read() {
        let plan = read(
            r#"[{"id":"a","queue":"q","priority":7,"max_attempts":2,"input":{"x":1},"timeout_ms":5},
                {"id":"b","depends_on":["a"],"wait_signal":"go","when":"{{ tasks.a.result.ok }}"},
                {"id":"c","timer_ms":10},{"id":"d","approval":true},
                {"id":"e","workflow":{"tasks":[{"id":"x","queue":"q"}],"input":{"y":"{{ input }}"}}},
                {"id":"f","queue":"q","foreach":[1,2],"max_parallel":1,"compensate":{"queue":"u"}}]"#,
        )
        .unwrap();
        assert_eq!(plan.tasks.len(), 6);
        assert_eq!(plan.tasks[1].when.as_deref(), Some("tasks.a.result.ok"));
        assert_eq!(plan.tasks[4].input, r#"{"y":"{{ input }}"}"#);
        assert_eq!(plan.tasks[5].foreach.as_deref(), Some("[1,2]"));
    }

    #[test]
    fn all_that_is_wrong_is_told_with_its_place() {
        let wrong = read(
            r#"[{"id":"a","queue":"q q","colour":1},{"id":"b"},{"id":"c","queue":"q","timer_ms":1},
                {"id":"d","queue":"bad queue"},{"id":"e","workflow":{"template":"nowhere"}},
                {"id":"f","queue":"q","priority":"high"},
                {"id":"g","workflow":{"tasks":[{"id":"x"}]}}, 7]"#,
        )
        .unwrap_err();
        let places = [
            "tasks[0].colour",
            "tasks[1]: ",
            "tasks[2]: ",
            "tasks[3].queue",
            "tasks[4].workflow.template",
            "tasks[5].priority",
            "tasks[6].workflow.tasks[0]: ",
            "tasks[7]",
        ];
        for place in places {
            assert!(wrong.iter().any(|wrong| wrong.starts_with(place)), "{place} is not in {wrong:#?}");
        }
        assert_eq!(wrong.len(), places.len(), "{wrong:#?}");
        assert!(
            read(r#"[{"id":"a","queue":"q","depends_on":["b"]}]"#).unwrap_err()[0]
                .starts_with("tasks[0].depends_on[0]")
        );
        assert_eq!(read("{}").unwrap_err().len(), 1);
    }

    #[test]
    fn what_cannot_be_read_does_not_hide_what_is_wrong_with_the_rest() {
        let wrong = read(
            r#"[{"id":"a","queue":"q","colour":1},
                {"id":"b","queue":"q","depends_on":["a","nobody"],"input":"{{ tasks.a.result }}"},
                {"id":"c","queue":"bad queue","when":"1 +"},
                {"id":"d","depends_on":["c"],"workflow":{"tasks":{}}},
                {"id":"no good","queue":"q"}, {"id":"e","queue":"q","priority":11},
                {"id":"e","timer_ms":1}, {"queue":"q"}]"#,
        )
        .unwrap_err();
        let places = [
            "tasks[0].colour",
            "tasks[2].queue",
            "tasks[3].workflow.tasks",
            "tasks[4].id",
            "tasks[7]",
            "tasks[1].depends_on[1]",
            "tasks[2].when",
            "tasks[5].priority",
            "tasks[6].id",
        ];
        for place in places {
            assert!(wrong.iter().any(|wrong| wrong.starts_with(place)), "{place} in {wrong:#?}");
        }
        assert_eq!(wrong.len(), places.len(), "nothing is told that only follows: {wrong:#?}");
    }

    #[test]
    fn tasks_that_are_kept_may_name_templates_that_are_not_there_yet() {
        let wrong = |tasks: &str| {
            let tasks = RawJson(Bytes::copy_from_slice(tasks.as_bytes()));
            wrongs(&tasks, None).iter().map(|wrong| wrong.path.clone()).collect::<Vec<_>>()
        };
        let part = r#"{"id":"a","workflow":{"template":"later","input":{"x":"{{ input }}"}}}"#;
        assert!(wrong(&format!("[{part}]")).is_empty());
        assert!(read(&format!("[{part}]")).is_err());
        assert_eq!(wrong(&format!(r#"[{part},{{"id":"b","queue":"q","when":"1 +"}}]"#)), ["tasks[1].when"]);
        assert_eq!(wrong(r#"[{"id":"a","workflow":{"template":"no good"}}]"#), ["tasks[0].workflow.template"]);
    }

    #[test]
    fn templates_of_sub_workflows_are_named() {
        let tasks = br#"[{"id":"a","workflow":{"template":"x"}},
            {"id":"b","workflow":{"tasks":[{"id":"c","workflow":{"template":"y"}}]}}]"#;
        assert_eq!(templates_named(tasks), BTreeSet::from(["x".to_owned(), "y".to_owned()]));
    }
}
