//! What comes of tasks, as far as that can be told before they begin: what a quota is held against.

use bytes::Bytes;
use postcard::ser_flavors::Size;

use super::expression::{self, References, Scope};
use super::{Action, NewTask};
use crate::limits;

/// Lists and inputs that are looked at; of further lists, as many items are counted as one may have.
const LOOKS_MAX: usize = 32;

/// Jobs that come of these tasks if all goes well, in a workflow with this input (JSON text). A list that follows from
/// inputs alone is counted whole, in sub-workflows too; one that waits for results, or follows from the items of
/// another list, as one item.
pub fn jobs(tasks: &[NewTask], input: &Bytes) -> u64 {
    Count { looks: LOOKS_MAX }.jobs(tasks, Some(input))
}

/// Bytes that the definitions of these tasks take, sub-workflows included.
pub fn bytes<'a>(tasks: impl IntoIterator<Item = &'a NewTask>) -> u64 {
    // What has no size is never encoded either.
    let size =
        |task| postcard::serialize_with_flavor::<NewTask, _, _>(task, Size::default()).map_or(0, |size| size as u64);
    tasks.into_iter().map(size).fold(0, u64::saturating_add)
}

struct Count {
    looks: usize,
}

impl Count {
    /// Jobs of a workflow whose input is this, if it is known before the workflow begins.
    fn jobs(&mut self, tasks: &[NewTask], input: Option<&Bytes>) -> u64 {
        let mut known = Known { input, scope: None };
        let jobs = |task: &NewTask| {
            let once = self.once(task, &mut known);
            match &task.foreach {
                Some(foreach) if once > 0 => once.saturating_mul(self.items(foreach, &mut known)),
                _ => once,
            }
        };
        tasks.iter().map(jobs).fold(0, u64::saturating_add)
    }

    fn once(&mut self, task: &NewTask, known: &mut Known<'_>) -> u64 {
        match &task.action {
            Action::Job { .. } => 1,
            Action::Workflow { plan, .. } => {
                let asks = plan.tasks.iter().any(asks_for_input);
                let input = if asks { self.built(&task.input, known) } else { None };
                self.jobs(&plan.tasks, input.as_ref())
            }
            Action::Signal(_) | Action::Timer(_) | Action::Approval => 0,
        }
    }

    fn items(&mut self, foreach: &str, known: &mut Known<'_>) -> u64 {
        let references = expression::references(foreach);
        let Some(scope) = references.ok().and_then(|references| known.scope(&references)) else { return 1 };
        if !self.may_look() {
            return limits::FOREACH_ITEMS_MAX as u64;
        }
        // One that is no list fails its task, which is no job either; nobody is refused for it here.
        expression::items(foreach, scope).map_or(1, |items| items.len() as u64)
    }

    /// The input of a sub-workflow, if it is known. Beyond the looks it counts as null, in which a list is no list.
    fn built(&mut self, input: &Bytes, known: &mut Known<'_>) -> Option<Bytes> {
        if !expression::is_dynamic(input) {
            return Some(input.clone());
        }
        let references = expression::references_of_json(input).ok()?;
        let scope = known.scope(&references)?;
        if self.may_look() { expression::build(input, scope).ok() } else { Some(Bytes::from_static(b"null")) }
    }

    fn may_look(&mut self) -> bool {
        let may = self.looks > 0;
        self.looks = self.looks.saturating_sub(1);
        may
    }
}

/// What expressions of a workflow may look at before it begins.
struct Known<'a> {
    input: Option<&'a Bytes>,
    scope: Option<Scope>,
}

impl Known<'_> {
    /// The scope of an expression that looks at nothing else.
    fn scope(&mut self, references: &References) -> Option<&Scope> {
        let is_known = |name: &String| name == "input" && self.input.is_some();
        if references.any_task() || !references.variables.iter().all(is_known) {
            return None;
        }
        let input = self.input;
        Some(self.scope.get_or_insert_with(|| {
            let mut scope = Scope::default();
            input.into_iter().for_each(|input| scope.set("input", input));
            scope
        }))
    }
}

/// Whether what comes of a task may follow from its workflow's input.
fn asks_for_input(task: &NewTask) -> bool {
    let names_input =
        |references: Result<References, _>| references.is_ok_and(|references| references.variables.contains("input"));
    task.foreach.as_ref().is_some_and(|foreach| names_input(expression::references(foreach)))
        || match &task.action {
            Action::Workflow { plan, .. } => {
                names_input(expression::references_of_json(&task.input)) && plan.tasks.iter().any(asks_for_input)
            }
            _ => false,
        }
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
        let input = Bytes::from_static(br#"{"files": ["a", "b", "c"]}"#);
        let count = |tasks: &[NewTask]| jobs(tasks, &input);
        assert_eq!(count(&[task(job(), None), task(Action::Timer(5), None), task(Action::Approval, None)]), 1);
        assert_eq!(count(&[task(job(), Some("input.files")), task(job(), Some("range(10)"))]), 13);
        assert_eq!(count(&[task(job(), Some("tasks.a.result")), task(job(), Some("input.absent"))]), 2);
        assert_eq!(count(&[task(Action::Timer(5), Some("range(10)"))]), 0);
        let two = sub(vec![task(job(), None), task(job(), Some("range(10)"))]);
        assert_eq!(count(&[task(two, Some("input.files"))]), 33);
    }

    #[test]
    fn lists_of_a_sub_workflow_are_counted_whole_where_its_input_is_known() {
        let input = Bytes::from_static(br#"{"files": ["a", "b", "c"]}"#);
        let each = |input: &'static str, foreach: Option<&str>| NewTask {
            input: input.into(),
            ..task(sub(vec![task(job(), Some("input.list"))]), foreach)
        };
        let count = |tasks: &[NewTask]| jobs(tasks, &input);
        assert_eq!(count(&[each(r#"{"list": [1, 2]}"#, None)]), 2, "as it is written");
        assert_eq!(count(&[each(r#"{"list": [1, 2]}"#, Some("input.files"))]), 6);
        assert_eq!(count(&[each(r#"{"list": "{{ input.files }}"}"#, None)]), 3, "as it follows from what is given");
        assert_eq!(count(&[each(r#"{"list": "{{ tasks.a.result }}"}"#, None)]), 1, "as nobody knows");
        assert_eq!(count(&[each(r#"{"list": "{{ item }}"}"#, Some("input.files"))]), 3);
        let inner = NewTask { input: r#"{"list": "{{ input.of }}"}"#.into(), ..each("", None) };
        let outer = NewTask { input: r#"{"of": "{{ range(9) | list }}"}"#.into(), ..task(sub(vec![inner]), None) };
        assert_eq!(count(&[outer]), 9);
    }

    #[test]
    fn a_definition_counts_with_all_that_it_holds() {
        let small = task(job(), None);
        let large = NewTask { input: vec![b'1'; 1_000].into(), ..small.clone() };
        assert_eq!(bytes([&large]) - bytes([&small]), 1_000 - 4 + 1);
        assert!(bytes([&task(sub(vec![large.clone(), large.clone()]), None)]) > 2_000);
    }

    #[test]
    fn no_more_lists_are_looked_at_than_a_bound_and_others_count_as_the_longest_there_may_be() {
        let many: Vec<NewTask> = (0..=LOOKS_MAX).map(|_| task(job(), Some("range(10)"))).collect();
        assert_eq!(jobs(&many, &"null".into()), (10 * LOOKS_MAX + limits::FOREACH_ITEMS_MAX) as u64);
        let built = NewTask {
            input: r#"{"list": "{{ [input] }}"}"#.into(),
            ..task(sub(vec![task(job(), Some("input.list"))]), None)
        };
        let many = vec![built; LOOKS_MAX / 2 + 1];
        assert_eq!(jobs(&many, &"null".into()), (LOOKS_MAX / 2 + limits::FOREACH_ITEMS_MAX) as u64);
    }
}
