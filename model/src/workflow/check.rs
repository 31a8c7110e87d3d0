//! What is wrong with a definition: everything at once, each by its path.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::definition::{Action, NewTask, Plan};
use super::expression::{self, References};
use crate::id::Name;
use crate::limits;
use crate::webhook;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Where: `tasks[2].depends_on[0]`.
    pub path: String,
    /// What.
    pub detail: String,
}

/// Findings are for people: more than these help nobody.
const WRONGS_MAX: usize = 100;

/// Checks a plan; empty if nothing is wrong. `path` is what stands before `tasks`.
pub fn check(plan: &Plan, path: &str) -> Vec<Wrong> {
    let mut checker = Checker::default();
    checker.plan(plan, path, &BTreeSet::new(), 0);
    checker.wrongs
}

/// Checks tasks that are added to a workflow which has those named `known`.
pub fn check_added(tasks: &[NewTask], known: &BTreeSet<String>) -> Vec<Wrong> {
    let mut checker = Checker::default();
    checker.tasks(tasks, "", known, 0);
    checker.wrongs
}

#[derive(Default)]
struct Checker {
    wrongs: Vec<Wrong>,
}

impl Checker {
    fn say(&mut self, path: String, detail: impl Into<String>) {
        if self.wrongs.len() < WRONGS_MAX {
            self.wrongs.push(Wrong { path, detail: detail.into() });
        }
    }

    fn plan(&mut self, plan: &Plan, path: &str, known: &BTreeSet<String>, depth: u8) {
        if plan.tasks.is_empty() {
            self.say(format!("{path}tasks"), "a workflow has at least one task");
        }
        if depth > limits::WORKFLOW_DEPTH_MAX {
            let detail = format!("workflows lie at most {} deep in each other", limits::WORKFLOW_DEPTH_MAX);
            return self.say(format!("{path}tasks"), detail);
        }
        self.tasks(&plan.tasks, path, known, depth);
        if let Some(task) = &plan.on_failure {
            let at = format!("{path}on_failure");
            if !matches!(task.action, Action::Job { .. }) || !task.depends_on.is_empty() || task.foreach.is_some() {
                self.say(at.clone(), "names a queue, and neither depends_on nor foreach");
            }
            let places = plan.tasks.iter().enumerate().map(|(place, task)| (task.id.as_str(), place)).collect();
            let seen = Seen { known, places: &places, before: None, itself: None, extra: &["error"], depth };
            self.task(task, &at, &seen);
        }
    }

    fn tasks(&mut self, tasks: &[NewTask], path: &str, known: &BTreeSet<String>, depth: u8) {
        if tasks.len().saturating_add(known.len()) > limits::WORKFLOW_TASKS_MAX {
            let detail = format!("at most {} tasks a workflow", limits::WORKFLOW_TASKS_MAX);
            return self.say(format!("{path}tasks"), detail);
        }
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        for (place, task) in tasks.iter().enumerate() {
            if places.insert(task.id.as_str(), place).is_some() {
                self.say(format!("{path}tasks[{place}].id"), format!("there is another task {:?}", task.id.as_str()));
            }
        }
        for (place, task) in tasks.iter().enumerate() {
            let mut seen = BTreeSet::new();
            for (n, on) in task.depends_on.iter().enumerate() {
                let at = || format!("{path}tasks[{place}].depends_on[{n}]");
                if *on == task.id {
                    self.say(at(), "a task cannot wait for itself");
                } else if !places.contains_key(on.as_str()) && !known.contains(on.as_str()) {
                    self.say(at(), format!("there is no task {:?}", on.as_str()));
                } else if !seen.insert(on) {
                    self.say(at(), format!("{:?} is named twice", on.as_str()));
                }
            }
        }
        let earlier = match ancestors(tasks, &places) {
            Ok(earlier) => earlier,
            Err(cycle) => {
                let names: Vec<&str> = cycle.iter().map(|place| tasks[*place].id.as_str()).collect();
                let detail = format!("the tasks wait for each other in a circle: {}", names.join(" -> "));
                self.say(format!("{path}tasks[{}].depends_on", cycle.first().copied().unwrap_or(0)), detail);
                return;
            }
        };
        for (place, task) in tasks.iter().enumerate() {
            let before = earlier.get(place).map(Vec::as_slice);
            let seen = Seen { known, places: &places, before, itself: None, extra: &[], depth };
            self.task(task, &format!("{path}tasks[{place}]"), &seen);
        }
    }

    fn task(&mut self, task: &NewTask, path: &str, seen: &Seen<'_>) {
        if task.depends_on.len() > limits::DEPENDS_ON_MAX {
            self.say(format!("{path}.depends_on"), format!("at most {} tasks", limits::DEPENDS_ON_MAX));
        }
        self.bounds(task, path);
        let item: &[&str] = if task.foreach.is_some() { &["item", "index"] } else { &[] };
        let extra = [seen.extra, item].concat();
        self.input(&task.input, &format!("{path}.input"), seen, &extra);
        for (name, bare) in [("when", &task.when), ("foreach", &task.foreach)] {
            if let Some(bare) = bare {
                self.bare(bare, &format!("{path}.{name}"), seen);
            }
        }
        if let Some(compensate) = &task.compensate {
            self.queue(&compensate.queue, format!("{path}.compensate.queue"));
            let seen = Seen { itself: Some(task.id.as_str()), ..*seen };
            self.input(&compensate.input, &format!("{path}.compensate.input"), &seen, &["error"]);
        }
        if task.foreach.is_some() && matches!(task.action, Action::Signal(_) | Action::Approval) {
            self.say(format!("{path}.foreach"), "goes with a queue, a workflow or a timer");
        }
        if let Action::Workflow { plan, deadline_ms, .. } = &task.action {
            self.horizon(*deadline_ms, &format!("{path}.workflow.deadline_ms"));
            self.plan(plan, &format!("{path}.workflow."), &BTreeSet::new(), seen.depth.saturating_add(1));
        }
    }

    fn queue(&mut self, queue: &Name, path: String) {
        if webhook::is_queue(queue) {
            self.say(path, format!("the queue {queue} is reserved"));
        }
    }

    fn bounds(&mut self, task: &NewTask, path: &str) {
        if let Action::Job { max_attempts, priority, queue } = &task.action {
            self.queue(queue, format!("{path}.queue"));
            if max_attempts.is_some_and(|attempts| !(1..=limits::ATTEMPTS_MAX).contains(&attempts)) {
                self.say(format!("{path}.max_attempts"), format!("1 to {}", limits::ATTEMPTS_MAX));
            }
            if *priority > limits::PRIORITY_MAX {
                self.say(format!("{path}.priority"), format!("0 to {}", limits::PRIORITY_MAX));
            }
        }
        let parallel = 1..=limits::FOREACH_ITEMS_MAX as u32;
        if task.max_parallel.is_some_and(|max| !parallel.contains(&max)) {
            self.say(format!("{path}.max_parallel"), format!("1 to {}", limits::FOREACH_ITEMS_MAX));
        }
        if task.max_parallel.is_some() && task.foreach.is_none() {
            self.say(format!("{path}.max_parallel"), "goes with foreach");
        }
        self.horizon(task.timeout_ms, &format!("{path}.timeout_ms"));
        match &task.action {
            Action::Timer(ms) => self.horizon(Some(*ms), &format!("{path}.timer_ms")),
            Action::Signal(name) if name.is_empty() || name.len() > limits::NAME_BYTES_MAX => {
                self.say(format!("{path}.wait_signal"), format!("1 to {} bytes", limits::NAME_BYTES_MAX));
            }
            _ => {}
        }
    }

    fn horizon(&mut self, ms: Option<u64>, path: &str) {
        if ms.is_some_and(|ms| ms > limits::HORIZON_MS_MAX) {
            self.say(path.to_owned(), "at most ten years");
        }
    }

    fn bare(&mut self, text: &str, path: &str, seen: &Seen<'_>) {
        if text.len() > limits::EXPRESSION_BYTES_MAX {
            return self.say(path.to_owned(), format!("at most {} bytes", limits::EXPRESSION_BYTES_MAX));
        }
        match expression::references(text) {
            Ok(references) => self.references(&references, path, seen, seen.extra),
            Err(detail) => self.say(path.to_owned(), detail),
        }
    }

    fn input(&mut self, json: &[u8], path: &str, seen: &Seen<'_>, extra: &[&str]) {
        if json.len() > limits::PAYLOAD_BYTES_MAX {
            return self.say(path.to_owned(), format!("at most {} bytes", limits::PAYLOAD_BYTES_MAX));
        }
        if !expression::is_dynamic(json) {
            return;
        }
        let Ok(input) = serde_json::from_slice::<Json>(json) else {
            return self.say(path.to_owned(), "is not JSON");
        };
        let mut texts = Vec::new();
        strings(&input, path.to_owned(), &mut texts);
        if texts.len() > limits::EXPRESSIONS_MAX {
            let detail =
                format!("at most {} strings with expressions, these are {}", limits::EXPRESSIONS_MAX, texts.len());
            return self.say(path.to_owned(), detail);
        }
        for (at, text) in texts {
            match expression::references_of_text(text) {
                _ if text.len() > limits::EXPRESSION_BYTES_MAX => {
                    self.say(at, format!("at most {} bytes", limits::EXPRESSION_BYTES_MAX));
                }
                Ok(Some(references)) => self.references(&references, &at, seen, extra),
                Ok(None) => {}
                Err(detail) => self.say(at, detail),
            }
        }
    }

    fn references(&mut self, references: &References, path: &str, seen: &Seen<'_>, extra: &[&str]) {
        for id in &references.tasks {
            if !seen.has(id) {
                let detail = format!("tasks.{id}: the task does not wait for one of this name (depends_on)");
                self.say(path.to_owned(), detail);
            }
        }
        for name in &references.variables {
            if name != "input" && !extra.contains(&name.as_str()) {
                self.say(path.to_owned(), format!("there is no variable {name}"));
            }
        }
    }
}

/// What a task's expressions may look at.
struct Seen<'a> {
    /// Tasks that were there before.
    known: &'a BTreeSet<String>,
    /// The plan's tasks.
    places: &'a BTreeMap<&'a str, usize>,
    /// Which of them have ended when the task begins, one bit each; none: all.
    before: Option<&'a [u64]>,
    /// The task, where its own result is there.
    itself: Option<&'a str>,
    /// Variables beside `input` and `tasks`.
    extra: &'a [&'a str],
    depth: u8,
}

impl Seen<'_> {
    fn has(&self, id: &str) -> bool {
        let ended = |place: usize| match self.before {
            Some(bits) => bits.get(place / 64).is_some_and(|bits| bits & (1 << (place % 64)) != 0),
            None => true,
        };
        self.itself == Some(id) || self.known.contains(id) || self.places.get(id).is_some_and(|place| ended(*place))
    }
}

/// Strings that may hold expressions, with their paths.
fn strings<'a>(value: &'a Json, path: String, out: &mut Vec<(String, &'a str)>) {
    match value {
        Json::String(text) if expression::is_dynamic(text.as_bytes()) => out.push((path, text)),
        Json::Array(items) => items.iter().enumerate().for_each(|(n, item)| strings(item, format!("{path}[{n}]"), out)),
        Json::Object(members) => members.iter().for_each(|(key, item)| strings(item, format!("{path}.{key}"), out)),
        _ => {}
    }
}

/// For each task, those that end before it, one bit each; or a circle, by Kahn's algorithm.
fn ancestors(tasks: &[NewTask], places: &BTreeMap<&str, usize>) -> Result<Vec<Vec<u64>>, Vec<usize>> {
    let on = |task: &NewTask| -> BTreeSet<usize> {
        task.depends_on.iter().filter_map(|id| places.get(id.as_str()).copied()).collect()
    };
    let needs: Vec<BTreeSet<usize>> = tasks.iter().map(on).collect();
    let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); tasks.len()];
    for (place, needed) in needs.iter().enumerate() {
        needed.iter().for_each(|on| dependents[*on].push(place));
    }
    let mut missing: Vec<usize> = needs.iter().map(BTreeSet::len).collect();
    let mut free: Vec<usize> = (0..tasks.len()).filter(|place| missing[*place] == 0).collect();
    let mut earlier: Vec<Vec<u64>> = vec![vec![0; tasks.len().div_ceil(64)]; tasks.len()];
    let mut done = 0;
    while let Some(place) = free.pop() {
        done += 1;
        let mut passed = earlier[place].clone();
        passed[place / 64] |= 1 << (place % 64);
        for dependent in &dependents[place] {
            earlier[*dependent].iter_mut().zip(&passed).for_each(|(mine, theirs)| *mine |= theirs);
            missing[*dependent] -= 1;
            if missing[*dependent] == 0 {
                free.push(*dependent);
            }
        }
    }
    if done == tasks.len() { Ok(earlier) } else { Err(circle(&needs, &missing)) }
}

/// One circle among tasks that wait for ever.
fn circle(needs: &[BTreeSet<usize>], missing: &[usize]) -> Vec<usize> {
    let Some(mut place) = missing.iter().position(|&missing| missing > 0) else { return Vec::new() };
    let mut way: Vec<usize> = Vec::new();
    while !way.contains(&place) {
        way.push(place);
        match needs[place].iter().copied().find(|on| missing[*on] > 0) {
            Some(next) => place = next,
            None => return way,
        }
    }
    let start = way.iter().position(|&one| one == place).unwrap_or(0);
    way.drain(..start);
    way.push(place);
    way
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::testing::{name, task};

    fn plan(tasks: Vec<NewTask>) -> Plan {
        Plan { tasks, on_failure: None }
    }

    fn wrongs(tasks: Vec<NewTask>) -> Vec<(String, String)> {
        check(&plan(tasks), "").into_iter().map(|wrong| (wrong.path, wrong.detail)).collect()
    }

    #[test]
    fn a_good_plan_has_nothing_wrong() {
        let mut b = task("b", &["a"]);
        b.input = Bytes::from_static(br#"{"x":"{{ tasks.a.result.y }} of {{ input.z }}"}"#);
        b.when = Some("tasks.a.result".into());
        let mut c = task("c", &["b"]);
        c.foreach = Some("tasks.a.result.list".into());
        c.input = Bytes::from_static(br#"["{{ item }}", "{{ index }}"]"#);
        assert_eq!(wrongs(vec![task("a", &[]), b, c]), []);
    }

    #[test]
    fn everything_wrong_is_named_by_its_path() {
        let mut bad = task("b", &["a", "nowhere", "b"]);
        bad.input = Bytes::from_static(br#"{"deep":["{{ tasks.c.result }}","{{ 1 + }}","{{ item }}"]}"#);
        bad.when = Some("tasks.zzz.result".into());
        bad.max_parallel = Some(3);
        bad.action = Action::Job { queue: name("q"), max_attempts: Some(0), priority: 10 };
        let found = wrongs(vec![task("a", &[]), bad, task("c", &[]), task("a", &[])]);
        let paths: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
        let expected = ["tasks[3].id", "tasks[1].depends_on[1]", "tasks[1].depends_on[2]"];
        assert_eq!(paths[..3], expected);
        let mut bad = task("b", &["a"]);
        bad.input = Bytes::from_static(br#"{"deep":["{{ tasks.c.result }}","{{ 1 + }}","{{ item }}"]}"#);
        bad.when = Some("tasks.zzz.result".into());
        bad.max_parallel = Some(3);
        bad.action = Action::Job { queue: name("q"), max_attempts: Some(0), priority: 10 };
        let found = wrongs(vec![task("a", &[]), bad, task("c", &[])]);
        let paths: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
        let expected = [
            "tasks[1].max_attempts",
            "tasks[1].priority",
            "tasks[1].max_parallel",
            "tasks[1].input.deep[0]",
            "tasks[1].input.deep[1]",
            "tasks[1].input.deep[2]",
            "tasks[1].when",
        ];
        assert_eq!(paths, expected, "{found:?}");
    }

    #[test]
    fn a_circle_is_shown() {
        let found = wrongs(vec![task("x", &[]), task("a", &["c", "x"]), task("b", &["a"]), task("c", &["b"])]);
        assert_eq!(found.len(), 1);
        assert!(found[0].1.ends_with("a -> c -> b -> a"), "{found:?}");
    }

    #[test]
    fn bounds_and_sub_workflows_are_checked() {
        assert_eq!(wrongs(vec![])[0].0, "tasks");
        let many = (0..=limits::WORKFLOW_TASKS_MAX).map(|n| task(&format!("t{n}"), &[])).collect();
        assert_eq!(wrongs(many)[0].0, "tasks");
        let mut outer = task("o", &[]);
        let inner = plan(vec![task("i", &["nowhere"])]);
        outer.action = Action::Workflow { template: None, plan: inner, deadline_ms: None };
        assert_eq!(wrongs(vec![outer])[0].0, "tasks[0].workflow.tasks[0].depends_on[0]");
        let chain = (0..5_000).map(|n| match n {
            0 => task("t0", &[]),
            n => task(&format!("t{n}"), &[&format!("t{}", n - 1)]),
        });
        assert_eq!(wrongs(chain.collect()), []);
    }
}
