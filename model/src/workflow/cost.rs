//! How many jobs come of tasks, as far as that can be told before they begin: what a quota is held against.

use super::expression::{self, Scope};
use super::{Action, NewTask};

/// Lists that are looked at; of further ones, one item is counted.
const LISTS_MAX: usize = 32;

/// Jobs that come of these tasks if all goes well, in a workflow with this input (JSON text). A list that follows from
/// the input alone is counted whole; one that waits for results, or is a sub-workflow's own, as one item.
pub fn jobs(tasks: &[NewTask], input: &[u8]) -> u64 {
    let mut scope = None;
    let mut lists = 0;
    let mut items = |foreach: &str| {
        if lists >= LISTS_MAX || !is_known(foreach) {
            return 1;
        }
        lists += 1;
        let scope = scope.get_or_insert_with(|| {
            let mut scope = Scope::default();
            scope.set("input", input);
            scope
        });
        // One that is no list fails its task, which is no job either; nobody is refused for it here.
        expression::items(foreach, scope).map_or(1, |items| items.len() as u64)
    };
    let of = |task: &NewTask| match &task.foreach {
        Some(foreach) if once(task) > 0 => once(task).saturating_mul(items(foreach)),
        _ => once(task),
    };
    tasks.iter().map(of).fold(0, u64::saturating_add)
}

fn once(task: &NewTask) -> u64 {
    match &task.action {
        Action::Job { .. } => 1,
        Action::Workflow { plan, .. } => plan.tasks.iter().map(once).fold(0, u64::saturating_add),
        Action::Signal(_) | Action::Timer(_) | Action::Approval => 0,
    }
}

fn is_known(foreach: &str) -> bool {
    expression::references(foreach)
        .is_ok_and(|references| !references.any_task() && references.variables.iter().all(|name| name == "input"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::name;
    use crate::workflow::Plan;

    fn task(action: Action, foreach: Option<&str>) -> NewTask {
        NewTask {
            id: name("t"),
            depends_on: Vec::new(),
            action,
            input: "null".into(),
            when: None,
            foreach: foreach.map(str::to_owned),
            max_parallel: None,
            timeout_ms: None,
            compensate: None,
        }
    }

    fn job() -> Action {
        Action::Job { queue: name("q"), max_attempts: None, priority: 4 }
    }

    fn sub(tasks: Vec<NewTask>) -> Action {
        let plan = Plan { tasks, on_failure: None };
        Action::Workflow { template: None, plan, deadline_ms: None }
    }

    #[test]
    fn what_makes_a_job_is_counted_and_a_list_of_the_input_with_its_items() {
        let input = br#"{"files": ["a", "b", "c"]}"#;
        let count = |tasks: &[NewTask]| jobs(tasks, input);
        assert_eq!(count(&[task(job(), None), task(Action::Timer(5), None), task(Action::Approval, None)]), 1);
        assert_eq!(count(&[task(job(), Some("input.files")), task(job(), Some("range(10)"))]), 13);
        assert_eq!(count(&[task(job(), Some("tasks.a.result")), task(job(), Some("input.absent"))]), 2);
        assert_eq!(count(&[task(Action::Timer(5), Some("range(10)"))]), 0);
        let two = sub(vec![task(job(), None), task(job(), Some("range(10)"))]);
        assert_eq!(count(&[task(two, Some("input.files"))]), 6);
    }

    #[test]
    fn no_more_lists_are_looked_at_than_a_bound() {
        let many: Vec<NewTask> = (0..2 * LISTS_MAX).map(|_| task(job(), Some("range(10)"))).collect();
        assert_eq!(jobs(&many, b"null"), (11 * LISTS_MAX) as u64);
    }
}
