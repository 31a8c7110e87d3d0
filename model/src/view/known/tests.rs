use bytes::Bytes;

use super::*;
use crate::Payload;
use crate::command::{Ack, Command, When};
use crate::reply::{LeasedJob, Reply};
use crate::schedule::{NewSchedule, Overlap};
use crate::testing::{World, name, new_job, task};
use crate::workflow::{NewTask, NewWorkflow};

const SLOT_MS: u64 = 15_000;
const SLOTS: (u64, u32) = (SLOT_MS, 60);

/// Service of jobs in queue `q` as it was measured.
const SERVICE_MS: u64 = 20_000;

impl World {
    fn known(&self) -> Known {
        known(&self.rows, self.at, SLOTS, (100, 100))
    }

    fn coming(&self, queue: &str) -> Vec<(u32, u32)> {
        let of_queue = |((name, slot), jobs): ((Name, u32), u32)| (name.as_str() == queue).then_some((slot, jobs));
        self.known().coming.into_iter().filter_map(of_queue).collect()
    }

    /// One job, so that it is known how long they take.
    fn measure(&mut self) {
        let seq = self.add(|_| {});
        self.lease(1);
        self.at += SERVICE_MS;
        self.ack(seq).expect("acked");
    }

    fn begin(&mut self, tasks: Vec<NewTask>) {
        let new = NewWorkflow {
            name: "w".into(),
            project: name("p"),
            template: None,
            input: Bytes::from_static(br#"{"list":[1,2,3,4,5]}"#),
            deadline: None,
            retention_ms: 1_000_000,
            plan: Plan { tasks, on_failure: None },
        };
        assert!(matches!(self.ask(Command::StartWorkflow(Box::new(new))), Reply::Workflow { .. }));
    }

    fn end(&mut self, job: &LeasedJob) {
        let result = Some(Payload { json: true, bytes: Bytes::from_static(b"1") });
        self.item(Command::Ack(vec![Ack { seq: job.seq, token: job.token, result }])).expect("acked");
    }
}

/// A step for agents of another queue.
fn next(id: &str, depends_on: &[&str]) -> NewTask {
    let action = Action::Job { queue: name("next"), max_attempts: None, priority: 4 };
    NewTask { action, ..task(id, depends_on) }
}

fn timer(id: &str, ms: u64) -> NewTask {
    NewTask { action: Action::Timer(ms), ..task(id, &[]) }
}

#[test]
fn delayed_jobs_are_counted_in_the_slots_in_which_they_will_be_ready() {
    let mut world = World::new();
    for delay_ms in [1_000, 14_999, 15_000, 40_000, 1_000_000] {
        world.add(|job| job.run_at = Some(When::In(delay_ms)));
    }
    world.add(|_| {});
    world.add(|job| (job.run_at, job.deadline) = (Some(When::In(9_000)), Some(When::In(5_000))));
    assert_eq!(world.coming("q"), [(0, 2), (1, 1), (2, 1)], "not what is too late, nor what will be dead by then");
    let two = known(&world.rows, world.at, SLOTS, (3, 0)).coming.values().sum::<u32>();
    assert_eq!(two, 2, "the nearest ones, and the deadline has a row too");
}

#[test]
fn what_waits_for_tasks_is_looked_at_within_one_bound_for_all_workflows() {
    let mut world = World::new();
    for _ in 0..5 {
        let waits = (0..20).map(|n| next(&format!("n{n}"), &["t"]));
        world.begin(std::iter::once(timer("t", 20_000)).chain(waits).collect());
    }
    assert_eq!(world.coming("next"), [(1, 100)]);
    let some = known(&world.rows, world.at, SLOTS, (100, 30)).coming.values().sum::<u32>();
    assert_eq!(some, 30, "as many as there are looks");
}

#[test]
fn all_ticks_of_a_schedule_count_and_what_a_workflow_begins_with() {
    let mut world = World::new();
    let put = |world: &mut World, id: &str, cron: &str, target| {
        let (timezone, overlap) = ("UTC".into(), Overlap::Allow);
        let new = NewSchedule {
            name: name(id),
            cron: cron.into(),
            timezone,
            overlap,
            catch_up_ms: 10_000,
            paused: false,
            target,
            source: Bytes::new(),
        };
        assert!(matches!(world.ask(Command::PutSchedule(Box::new(new))), Reply::SchedulePut { .. }));
    };
    world.at = 1_800_000_000_000;
    put(&mut world, "job", "*/5 * * * *", Target::Job(Box::new(new_job())));
    let first = world.coming("q");
    assert_eq!(first.iter().map(|(slot, _)| *slot).collect::<Vec<_>>(), [20, 40], "minutes 5 and 10, not 15");
    let inner = Plan { tasks: vec![next("in", &[]), next("later", &["in"])], on_failure: None };
    let sub = Action::Workflow { template: None, plan: inner, deadline_ms: None };
    let tasks = vec![next("a", &[]), next("b", &["a"]), NewTask { action: sub, ..task("sub", &[]) }];
    let plan = Plan { tasks, on_failure: None };
    let workflow = NewWorkflow {
        name: "w".into(),
        project: name("p"),
        template: None,
        input: Bytes::from_static(b"{}"),
        deadline: None,
        retention_ms: 1,
        plan,
    };
    put(&mut world, "workflow", "3,59 * * * *", Target::Workflow(Box::new(workflow)));
    assert_eq!(world.coming("next"), [(12, 2)], "a, and the first of the workflow within");
    put(&mut world, "often", "* * * * * *", Target::Job(Box::new(new_job())));
    let all: u32 = world.coming("q").iter().map(|(_, jobs)| jobs).sum();
    assert!((500..=505).contains(&all), "bounded: {all}");
}

#[test]
fn a_lease_that_nobody_extends_gives_its_job_again_and_one_that_is_extended_does_not() {
    let mut world = World::new();
    let seqs = [Some(2), Some(1), Some(2)].map(|attempts| world.add(|job| job.max_attempts = attempts));
    world.lease(3);
    assert_eq!(world.known(), Known::default(), "just leased");
    world.at += 21_000;
    let token = world.job(seqs[2]).lease_token;
    let extend = crate::command::Extend { seq: seqs[2], token, lease_ms: None, progress: None };
    world.item(Command::Extend(vec![extend])).expect("extended");
    assert_eq!(world.coming("q"), [(0, 1)], "the second has no attempt left");
    assert_eq!(world.known().lost, [(name("q"), 2)].into(), "but both are held by nobody");
}

#[test]
fn a_step_is_expected_when_all_that_it_waits_for_should_end() {
    let mut world = World::new();
    world.measure();
    world.begin(vec![task("a", &[]), timer("t", 50_000), next("c", &["a"]), next("d", &["a", "t"]), next("e", &["c"])]);
    assert_eq!(world.coming("next"), [], "nobody works on a");
    let a = world.leases(1).jobs.remove(0);
    assert_eq!(world.coming("next"), [(1, 1), (3, 1)], "c in 20 s, d in 50 s, and e waits for what has not begun");
    assert_eq!(world.known().workflows, [(name("q"), 1)].into());
    world.at += 29_000;
    assert_eq!(world.coming("next"), [(0, 1), (1, 1)], "a is 9 s late, and given 9 s more; d is due in 21 s");
    world.end(&a);
    assert_eq!(world.coming("next"), [(1, 1)], "c is ready, d waits for its timer alone");
    assert_eq!(world.known().workflows, [(name("next"), 1)].into());
}

#[test]
fn what_is_not_certain_is_not_expected() {
    let mut world = World::new();
    world.begin(vec![task("a", &[]), next("b", &["a"])]);
    world.leases(1);
    assert_eq!(world.coming("next"), [], "nobody knows how long a job takes");
    let mut world = World::new();
    world.measure();
    let maybe = NewTask { when: Some("input.list".into()), ..next("maybe", &["x"]) };
    let signal = NewTask { action: Action::Signal("go".into()), timeout_ms: Some(30_000), ..task("s", &[]) };
    world.begin(vec![task("x", &[]), signal, maybe, next("both", &["x", "s"])]);
    world.leases(1);
    assert_eq!(world.coming("next"), [], "a condition may not hold, and a signal may not come");
}

#[test]
fn items_of_a_list_follow_each_other_and_what_waits_for_all_of_them_waits_for_the_last() {
    let mut world = World::new();
    world.measure();
    let foreach = Some("input.list".to_owned());
    let each = NewTask { foreach, max_parallel: Some(2), ..task("each", &[]) };
    world.begin(vec![each, next("all", &["each"])]);
    let first = world.leases(2).jobs;
    assert_eq!((world.coming("q"), world.coming("next")), (vec![(1, 2)], vec![]), "two of three that are held");
    world.at += SERVICE_MS;
    first.iter().for_each(|job| world.end(job));
    let second = world.leases(2).jobs;
    assert_eq!(world.coming("q"), [(1, 1)], "the last one");
    world.at += SERVICE_MS;
    second.iter().for_each(|job| world.end(job));
    world.leases(2);
    assert_eq!((world.coming("q"), world.coming("next")), (vec![], vec![(1, 1)]));
}

#[test]
fn parts_of_one_workflow_are_one_and_looks_are_bounded() {
    let mut world = World::new();
    let inner = |id: &str| {
        let plan = Plan { tasks: vec![task("x", &[]), next("y", &[])], on_failure: None };
        NewTask { action: Action::Workflow { template: None, plan, deadline_ms: None }, ..task(id, &[]) }
    };
    for _ in 0..3 {
        world.begin(vec![inner("a"), inner("b")]);
    }
    let known_all = world.known();
    assert_eq!(known_all.workflows, [(name("q"), 3), (name("next"), 3)].into());
    assert_eq!(known_all.running, 3);
    assert_eq!(known(&world.rows, world.at, SLOTS, (0, 0)).workflows, BTreeMap::new());
}
