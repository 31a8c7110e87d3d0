//! What workflows do, story by story. Every command is followed by every invariant.

use bytes::Bytes;

use crate::command::{Ack, AddTasks, Command, Nack, When};
use crate::reply::{Effect, LeasedJob};
use crate::table::{self, tag};
use crate::testing::{World, name, refusal, task};
use crate::workflow::{Action, Compensate, EventKind, NewTask, NewWorkflow, Plan, Status, TaskState};
use crate::{Code, JobState, Payload, Reply, limits, view};

fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn new(tasks: Vec<NewTask>) -> NewWorkflow {
    NewWorkflow {
        name: "w".into(),
        project: name("p"),
        template: None,
        input: text(r#"{"n":2,"list":[10,20,30],"on":false}"#),
        deadline: None,
        retention_ms: 1_000_000,
        plan: Plan { tasks, on_failure: None },
    }
}

fn with(mut task: NewTask, change: impl FnOnce(&mut NewTask)) -> NewTask {
    change(&mut task);
    task
}

fn undo(task: NewTask) -> NewTask {
    let input = text(&format!(r#"{{"undo":"{{{{ tasks.{}.result }}}}","why":"{{{{ error.task }}}}"}}"#, task.id));
    with(task, |task| task.compensate = Some(Compensate { queue: name("q"), input }))
}

impl World {
    fn start(&mut self, new: NewWorkflow) -> u64 {
        match self.ask(Command::StartWorkflow(Box::new(new))) {
            Reply::Workflow { seq, .. } => seq,
            reply => panic!("{reply:?}"),
        }
    }

    fn status(&self, seq: u64) -> Status {
        view::workflow(&self.rows, seq).expect("the workflow is there").status
    }

    fn task_state(&self, seq: u64, id: &str) -> TaskState {
        self.task_view(seq, id).task.state
    }

    fn task_view(&self, seq: u64, id: &str) -> view::TaskView {
        let workflow = view::workflow(&self.rows, seq).expect("the workflow is there");
        let tasks = view::tasks(&view::opened(&self.rows, workflow.seq), &workflow, 0, 1_000);
        tasks.into_iter().find(|view| view.spec.id == name(id)).expect("the task is there")
    }

    fn result(&self, seq: u64, id: &str) -> Option<String> {
        self.task_view(seq, id).result.map(|result| String::from_utf8_lossy(&result).into_owned())
    }

    /// Leases what is there; each job with its task and payload.
    fn take(&mut self) -> Vec<(LeasedJob, String, String)> {
        let jobs = self.leases(1_000).jobs;
        let told = |job: LeasedJob| {
            let payload = view::payload(&self.rows, job.seq).expect("there is a payload");
            let metadata: serde_json::Value = serde_json::from_slice(&job.metadata).expect("metadata");
            let id = metadata["task_id"].as_str().expect("a task").to_owned();
            (job, id, String::from_utf8_lossy(&payload.bytes).into_owned())
        };
        jobs.into_iter().map(told).collect()
    }

    fn ids(&mut self) -> Vec<(LeasedJob, String)> {
        self.take().into_iter().map(|(job, id, _)| (job, id)).collect()
    }

    fn done(&mut self, job: &LeasedJob, result: &str) {
        let result = Some(Payload { json: true, bytes: text(result) });
        self.item(Command::Ack(vec![Ack { seq: job.seq, token: job.token, result }])).expect("acked");
    }

    fn dead(&mut self, job: &LeasedJob) {
        let nack = Nack {
            seq: job.seq,
            token: job.token,
            error: Some("no".into()),
            retry_in_ms: None,
            dead: true,
            unseen: false,
        };
        self.item(Command::Nack(vec![nack])).expect("nacked");
    }

    /// Does all work that there is, each task with its own name as result.
    fn work(&mut self) -> Vec<String> {
        let mut order = Vec::new();
        loop {
            let jobs = self.ids();
            if jobs.is_empty() {
                return order;
            }
            for (job, id) in jobs {
                self.done(&job, &format!("{id:?}"));
                order.push(id);
            }
        }
    }

    fn kinds(&self, seq: u64) -> Vec<EventKind> {
        view::events(&view::opened(&self.rows, seq), seq, 0, 1_000).into_iter().map(|(_, event)| event.kind).collect()
    }
}

#[test]
fn a_resumed_foreach_begins_no_more_items_than_may_run() {
    let mut world = World::new();
    let parallel = limits::STARTS_MAX + 300;
    let each = with(task("each", &[]), |task| {
        task.action = Action::Timer(1_000_000);
        task.foreach = Some(format!("range({})", parallel + 1_000));
        task.max_parallel = Some(parallel);
    });
    let seq = world.start(new(vec![each]));
    let running = |world: &World| view::workflow(&world.rows, seq).expect("it is there").running;
    assert!(running(&world) < parallel, "the rest is left to the next tick");
    // Before that tick, which finds items that count as under way and are not.
    world.ask(Command::PauseWorkflow { seq, paused: true });
    world.ask(Command::PauseWorkflow { seq, paused: false });
    world.tick(0);
    assert_eq!(running(&world), parallel);
    assert_eq!(world.task_view(seq, "each").task.items.expect("items").running, parallel);
}

#[test]
fn a_foreach_that_was_paused_while_its_items_began_goes_on_with_as_many() {
    let mut world = World::new();
    let parallel = limits::STARTS_MAX + 300;
    let each = with(task("each", &[]), |task| {
        task.action = Action::Timer(1_000_000);
        task.foreach = Some(format!("range({})", parallel + 1_000));
        task.max_parallel = Some(parallel);
    });
    let seq = world.start(new(vec![each]));
    world.ask(Command::PauseWorkflow { seq, paused: true });
    world.tick(0);
    world.ask(Command::PauseWorkflow { seq, paused: false });
    world.tick(0);
    assert_eq!(view::workflow(&world.rows, seq).expect("it is there").running, parallel);
}

#[test]
fn tasks_run_when_those_before_them_have_ended_and_see_their_results() {
    let mut world = World::new();
    let d = with(task("d", &["b", "c"]), |task| {
        task.input = text(
            r#"{"b":"{{ tasks.b.result }}","both":"{{ tasks.b.result }}+{{ tasks.c.result }}","n":"{{ input.n }}"}"#,
        );
    });
    let seq = world.start(new(vec![d, task("c", &["a"]), task("b", &["a"]), task("a", &[])]));
    assert_eq!(world.task_state(seq, "a"), TaskState::Ready);
    let a = world.ids();
    assert_eq!(a.iter().map(|(_, id)| id.as_str()).collect::<Vec<_>>(), ["a"]);
    assert_eq!(a[0].0.workflow.as_ref().map(|id| id.as_str()), Some("w1-1"));
    assert_eq!((world.task_state(seq, "a"), world.task_state(seq, "b")), (TaskState::Running, TaskState::Waiting));
    world.done(&a[0].0, "1");
    let middle = world.ids();
    assert_eq!(middle.len(), 2);
    world.done(&middle[0].0, "{\"x\":1}");
    assert!(world.ids().is_empty(), "d waits for both");
    world.done(&middle[1].0, "\"y\"");
    let last = world.take();
    let [b, c] = ["b", "c"].map(|id| world.result(seq, id).expect("a result"));
    let plain = |json: &str| json.trim_matches('"').to_owned();
    let both = format!("{}+{}", plain(&b), plain(&c)).replace('"', "\\\"");
    assert_eq!(last[0].2, format!(r#"{{"b":{b},"both":"{both}","n":2}}"#));
    world.done(&last[0].0, "true");
    assert_eq!((world.status(seq), world.result(seq, "d").as_deref()), (Status::Succeeded, Some("true")));
    let view = world.task_view(seq, "d").task;
    assert_eq!((view.attempt, view.started_at.is_some(), view.finished_at), (1, true, Some(world.at)));
    assert_eq!(world.kinds(seq).last(), Some(&EventKind::WorkflowSucceeded));
}

#[test]
fn the_end_of_the_last_task_ends_the_workflow_in_the_same_command() {
    let mut world = World::new();
    world.start(new(vec![task("a", &[])]));
    let jobs = world.ids();
    let ack = Ack { seq: jobs[0].0.seq, token: 1, result: None };
    let outcome = world.run(&crate::Envelope::plain(Command::Ack(vec![ack])));
    let ended = Effect::WorkflowEnded { status: Status::Succeeded, took_ms: 0, template: None };
    assert!(outcome.effects.contains(&ended), "{outcome:?}");
}

#[test]
fn a_skipped_task_lets_those_behind_it_run_and_has_no_result() {
    let mut world = World::new();
    let skipped = with(task("b", &["a"]), |task| task.when = Some("input.on".into()));
    let behind = with(task("c", &["b"]), |task| task.input = text(r#""{{ tasks.b.result }}""#));
    let seq = world.start(new(vec![task("a", &[]), skipped, behind]));
    assert_eq!(world.work(), ["a", "c"]);
    assert_eq!((world.task_state(seq, "b"), world.status(seq)), (TaskState::Skipped, Status::Succeeded));
    let all = with(task("x", &[]), |task| task.when = Some("false".into()));
    let seq = world.start(new(vec![all]));
    assert_eq!(world.status(seq), Status::Succeeded, "nothing was to be done");
}

#[test]
fn a_list_is_done_item_by_item_so_many_at_once_and_gives_a_list() {
    let mut world = World::new();
    let each = with(task("each", &[]), |task| {
        task.foreach = Some("input.list".into());
        task.input = text(r#"{"it":"{{ item }}","at":"{{ index }}"}"#);
        task.max_parallel = Some(2);
    });
    let sum = with(task("sum", &["each"]), |task| task.input = text(r#""{{ tasks.each.result }}""#));
    let seq = world.start(new(vec![each, sum]));
    let first = world.take();
    let payloads: Vec<&str> = first.iter().map(|(_, _, payload)| payload.as_str()).collect();
    assert_eq!(payloads, [r#"{"at":0,"it":10}"#, r#"{"at":1,"it":20}"#]);
    world.done(&first[1].0, "2");
    let third = world.take();
    assert_eq!(third.len(), 1);
    world.done(&third[0].0, "3");
    assert_eq!(world.task_state(seq, "sum"), TaskState::Waiting);
    world.done(&first[0].0, "1");
    assert_eq!(world.result(seq, "each").as_deref(), Some("[1,2,3]"));
    let sum = world.take();
    assert_eq!(sum[0].2, "[1,2,3]");
    world.done(&sum[0].0, "6");
    assert_eq!(world.status(seq), Status::Succeeded);
    let none = with(task("none", &[]), |task| task.foreach = Some("[]".into()));
    let seq = world.start(new(vec![none]));
    assert_eq!((world.status(seq), world.result(seq, "none").as_deref()), (Status::Succeeded, Some("[]")));
}

#[test]
fn ten_thousand_items_begin_a_bounded_number_at_a_time() {
    let mut world = World::new();
    world.check = false;
    let each = with(task("each", &[]), |task| {
        task.foreach = Some("range(10000)".into());
        task.max_parallel = Some(10_000);
    });
    let seq = world.start(new(vec![each]));
    assert_eq!(world.leases(1_000).jobs.len() as u32, 1_000);
    let running = |world: &World| view::workflow(&world.rows, seq).expect("there").running;
    assert_eq!(running(&world), limits::STARTS_MAX - 1);
    world.tick(0);
    assert_eq!(running(&world), 10_000);
    assert_eq!(crate::invariant::check(&world.rows), []);
}

#[test]
fn a_failed_item_fails_the_task_and_stops_its_brothers() {
    let mut world = World::new();
    let each = with(task("each", &[]), |task| task.foreach = Some("input.list".into()));
    let seq = world.start(new(vec![each]));
    let jobs = world.ids();
    world.dead(&jobs[1].0);
    let view = world.task_view(seq, "each").task;
    assert_eq!((view.state, view.error.as_deref()), (TaskState::Failed, Some("item 1: no")));
    assert_eq!(world.status(seq), Status::Failed);
    assert!(world.job(jobs[0].0.seq).cancel_requested);
    world.done(&jobs[0].0, "1");
    world.nack(jobs[2].0.seq, None, false).expect("nacked");
    assert_eq!(world.state(jobs[2].0.seq), Some(JobState::Cancelled));
    world.ask(Command::RetryWorkflow(seq));
    let again = world.ids();
    assert_eq!(again.len(), 2, "the item that succeeded is not done again");
    for (job, _) in again {
        world.done(&job, "2");
    }
    assert_eq!((world.status(seq), world.result(seq, "each").as_deref()), (Status::Succeeded, Some("[1,2,2]")));
}

#[test]
fn a_dead_job_fails_the_workflow_and_a_retry_goes_on_from_there() {
    let mut world = World::new();
    let seq = world.start(new(vec![task("a", &[]), task("b", &["a"]), task("c", &["b"])]));
    let a = world.ids();
    world.done(&a[0].0, "1");
    let b = world.ids();
    world.dead(&b[0].0);
    assert_eq!((world.status(seq), world.task_state(seq, "c")), (Status::Failed, TaskState::Cancelled));
    let workflow = view::workflow(&world.rows, seq).expect("there");
    assert_eq!((workflow.error.as_deref(), workflow.failed_task), (Some("no"), Some(1)));
    assert_eq!(refusal(&world.ask(Command::CancelWorkflow(seq))), Some(Code::Conflict));
    assert_eq!(world.ask(Command::RetryWorkflow(seq)), Reply::Workflow { seq, status: Status::Running });
    assert_eq!(refusal(&world.ask(Command::RetryWorkflow(seq))), Some(Code::Conflict));
    assert_eq!(world.work(), ["b", "c"]);
    assert_eq!(world.status(seq), Status::Succeeded);
}

#[test]
fn what_was_done_is_undone_the_last_first_and_then_comes_on_failure() {
    let mut world = World::new();
    let mut workflow = new(vec![undo(task("a", &[])), undo(task("b", &["a"])), task("c", &["b"]), task("d", &["b"])]);
    workflow.plan.on_failure = Some(Box::new(with(task("f", &[]), |task| task.input = text(r#"{"e":"{{ error }}"}"#))));
    let seq = world.start(workflow);
    for _ in 0..2 {
        let jobs = world.ids();
        world.done(&jobs[0].0, &format!("{:?}", jobs[0].1));
    }
    let last = world.ids();
    world.dead(&last[0].0);
    assert!(world.ids().is_empty(), "d still runs: nothing is undone beside it");
    assert_eq!(world.status(seq), Status::Running);
    world.done(&last[1].0, "1");
    let failed = last[0].1.clone();
    for id in ["b", "a"] {
        let undo = world.take();
        assert_eq!(undo.len(), 1);
        assert_eq!((undo[0].1.as_str(), undo[0].2.clone()), (id, format!(r#"{{"undo":"{id}","why":"{failed}"}}"#)));
        world.done(&undo[0].0, "null");
        assert_eq!(world.task_state(seq, id), TaskState::Compensated);
    }
    let last = world.take();
    assert_eq!(last[0].2, format!(r#"{{"e":{{"message":"no","task":"{failed}"}}}}"#));
    assert_eq!(world.status(seq), Status::Running);
    world.done(&last[0].0, "null");
    assert_eq!(world.status(seq), Status::Failed);
    assert!(world.kinds(seq).contains(&EventKind::WorkflowCompensating));
    world.ask(Command::RetryWorkflow(seq));
    assert_eq!(world.work().len(), 3, "what was undone is done again, what stood is not");
    assert_eq!(world.status(seq), Status::Succeeded);
}

#[test]
fn what_a_cancel_kept_from_being_undone_is_undone_when_a_retry_fails() {
    let mut world = World::new();
    let seq = world.start(new(vec![undo(task("a", &[])), task("b", &["a"])]));
    let a = world.ids();
    world.done(&a[0].0, "1");
    let b = world.ids();
    world.dead(&b[0].0);
    world.ask(Command::CancelWorkflow(seq));
    assert!(world.ids().is_empty(), "the job that was to undo a went with the cancel");
    world.ask(Command::RetryWorkflow(seq));
    let b = world.ids();
    assert_eq!(b[0].1, "b");
    world.dead(&b[0].0);
    let undo = world.ids();
    assert_eq!(undo[0].1, "a");
    world.done(&undo[0].0, "1");
    assert_eq!((world.status(seq), world.task_state(seq, "a")), (Status::Failed, TaskState::Compensated));
}

#[test]
fn what_cannot_be_undone_is_noted_and_the_rest_is_undone() {
    let mut world = World::new();
    let seq = world.start(new(vec![undo(task("a", &[])), undo(task("b", &["a"])), task("c", &["b"])]));
    for _ in 0..2 {
        let jobs = world.ids();
        world.done(&jobs[0].0, "1");
    }
    for _ in 0..2 {
        let jobs = world.ids();
        world.dead(&jobs[0].0);
    }
    let undo = world.ids();
    assert_eq!(undo[0].1, "a");
    world.done(&undo[0].0, "1");
    assert_eq!(world.status(seq), Status::Failed);
    assert_eq!(
        (world.task_state(seq, "b"), world.task_state(seq, "a")),
        (TaskState::Succeeded, TaskState::Compensated)
    );
    assert!(world.task_view(seq, "b").task.error.is_some());
}

#[test]
fn a_cancel_ends_it_at_once_and_asks_the_workers() {
    let mut world = World::new();
    let seq = world.start(new(vec![task("a", &[]), task("b", &[]), task("c", &["a"])]));
    let leased = world.lease(1);
    let outcome = world.run(&crate::Envelope::plain(Command::CancelWorkflow(seq)));
    assert_eq!(outcome.reply, Reply::Workflow { seq, status: Status::Cancelled });
    assert!(outcome.effects.iter().any(|effect| matches!(effect, Effect::CancelRequested { .. })));
    assert!(world.ids().is_empty(), "b's job went");
    assert_eq!(refusal(&world.ask(Command::RetryWorkflow(seq))), Some(Code::Conflict), "a worker still holds a");
    world.nack(leased[0], None, false).expect("nacked");
    assert_eq!(world.task_state(seq, "a"), TaskState::Cancelled);
    world.ask(Command::RetryWorkflow(seq));
    assert_eq!(world.work().len(), 3);
    assert_eq!(refusal(&world.ask(Command::CancelWorkflow(99))), Some(Code::NotFound));
}

#[test]
fn a_cancelled_workflow_whose_last_jobs_ended_well_succeeds_when_it_is_retried() {
    let mut world = World::new();
    let seq = world.start(new(vec![task("a", &[])]));
    let jobs = world.ids();
    world.ask(Command::CancelWorkflow(seq));
    world.done(&jobs[0].0, "1");
    assert_eq!(world.ask(Command::RetryWorkflow(seq)), Reply::Workflow { seq, status: Status::Succeeded });
}

#[test]
fn nothing_begins_while_it_is_paused() {
    let mut world = World::new();
    let seq = world.start(new(vec![task("a", &[]), task("b", &["a"])]));
    assert_eq!(
        world.ask(Command::PauseWorkflow { seq, paused: true }),
        Reply::Workflow { seq, status: Status::Paused }
    );
    assert_eq!(world.work(), ["a"], "what is in the queue goes on");
    assert_eq!((world.status(seq), world.task_state(seq, "b")), (Status::Paused, TaskState::Ready));
    world.ask(Command::PauseWorkflow { seq, paused: false });
    assert_eq!(world.work(), ["b"]);
    assert_eq!(world.status(seq), Status::Succeeded);
}

#[test]
fn a_timer_fires_at_its_time_and_a_task_that_takes_too_long_fails() {
    let mut world = World::new();
    let timer = with(task("t", &[]), |task| task.action = Action::Timer(500));
    let slow = with(task("s", &["t"]), |task| task.timeout_ms = Some(1_000));
    let seq = world.start(new(vec![timer, slow]));
    assert_eq!(world.task_state(seq, "t"), TaskState::Running);
    world.tick(499);
    assert!(world.ids().is_empty());
    world.tick(1);
    let slow = world.ids();
    assert_eq!(slow.len(), 1);
    world.tick(1_000);
    assert_eq!(world.task_view(seq, "s").task.error.as_deref(), Some("timeout"));
    assert_eq!(world.status(seq), Status::Failed);
    assert!(world.job(slow[0].0.seq).cancel_requested);
    world.done(&slow[0].0, "1");
    assert_eq!(world.task_state(seq, "s"), TaskState::Failed, "it came too late");
}

#[test]
fn a_late_end_of_an_earlier_try_does_not_end_the_present_one() {
    let mut world = World::new();
    let seq = world.start(new(vec![with(task("s", &[]), |task| task.timeout_ms = Some(1_000))]));
    let first = world.ids();
    world.at += 1_000;
    assert_eq!(world.ended(Command::Tick), [[0, 1, 0]], "its worker failed it, whatever comes of the lease");
    world.ask(Command::RetryWorkflow(seq));
    assert_eq!(world.task_state(seq, "s"), TaskState::Ready);
    world.done(&first[0].0, "\"old\"");
    assert_eq!(world.status(seq), Status::Running);
    let second = world.ids();
    world.done(&second[0].0, "\"new\"");
    assert_eq!(world.result(seq, "s").as_deref(), Some("\"new\""));
}

#[test]
fn a_signal_is_kept_until_a_task_waits_for_it() {
    let mut world = World::new();
    let wait = |id: &str, on: &[&str]| with(task(id, on), |task| task.action = Action::Signal("go".into()));
    let seq = world.start(new(vec![task("a", &[]), wait("one", &["a"]), wait("two", &["one"])]));
    let signal = |payload: &str| Command::Signal { seq, name: "go".into(), payload: text(payload) };
    world.ask(signal("1"));
    assert_eq!(world.work(), ["a"]);
    assert_eq!((world.result(seq, "one").as_deref(), world.task_state(seq, "two")), (Some("1"), TaskState::Running));
    world.ask(signal("{\"x\":2}"));
    assert_eq!((world.status(seq), world.result(seq, "two").as_deref()), (Status::Succeeded, Some("{\"x\":2}")));
    assert_eq!(refusal(&world.ask(signal("3"))), Some(Code::Conflict));
}

#[test]
fn kept_signals_are_bounded() {
    let mut world = World::new();
    world.check = false;
    let seq = world.start(new(vec![task("a", &[])]));
    let signal = || Command::Signal { seq, name: "x".into(), payload: text("1") };
    for _ in 0..limits::WORKFLOW_SIGNALS_MAX {
        assert!(matches!(world.ask(signal()), Reply::Workflow { .. }));
    }
    assert_eq!(refusal(&world.ask(signal())), Some(Code::Conflict));
    assert_eq!(crate::invariant::check(&world.rows), []);
}

#[test]
fn an_approval_is_given_or_refused_by_a_signal_of_the_tasks_name() {
    let mut world = World::new();
    let approve = with(task("ok", &[]), |task| task.action = Action::Approval);
    for (payload, status) in [("{\"approved\":true}", Status::Succeeded), ("{\"approved\":false}", Status::Failed)] {
        let seq = world.start(new(vec![approve.clone()]));
        world.ask(Command::Signal { seq, name: "ok".into(), payload: text(payload) });
        assert_eq!(world.status(seq), status);
    }
}

#[test]
fn a_sub_workflow_gives_its_results_by_task_and_fails_what_it_is_part_of() {
    let mut world = World::new();
    let inner = with(task("x", &[]), |task| task.input = text(r#""{{ input.v }}""#));
    let outer = with(task("sub", &["a"]), |task| {
        let plan = Plan { tasks: vec![inner, crate::testing::task("y", &["x"])], on_failure: None };
        task.action = Action::Workflow { template: None, plan, deadline_ms: None };
        task.input = text(r#"{"v":"{{ tasks.a.result }}"}"#);
    });
    let seq = world.start(new(vec![task("a", &[]), outer, task("z", &["sub"])]));
    assert_eq!(world.work(), ["a", "x", "y", "z"]);
    assert_eq!(world.result(seq, "sub").as_deref(), Some(r#"{"x":"x","y":"y"}"#));
    assert_eq!(world.status(seq), Status::Succeeded);
    let child = world.task_view(seq, "sub").task.child.expect("a sub-workflow");
    assert_eq!(world.status(child), Status::Succeeded);
    let (listed, _) = view::workflows(&world.rows, &view::WorkflowFilter::default(), None, 10);
    assert_eq!(listed.iter().map(|workflow| workflow.seq).collect::<Vec<_>>(), [seq]);
}

#[test]
fn a_failed_sub_workflow_goes_on_when_the_whole_is_retried() {
    let mut world = World::new();
    let outer = with(task("sub", &[]), |task| {
        let tasks = vec![crate::testing::task("x", &[]), crate::testing::task("y", &["x"])];
        let plan = Plan { tasks, on_failure: None };
        task.action = Action::Workflow { template: None, plan, deadline_ms: None };
    });
    let seq = world.start(new(vec![outer, task("z", &["sub"])]));
    let x = world.ids();
    world.done(&x[0].0, "1");
    let y = world.ids();
    world.dead(&y[0].0);
    assert_eq!(world.status(seq), Status::Failed);
    world.ask(Command::RetryWorkflow(seq));
    assert_eq!(world.work(), ["y", "z"]);
    assert_eq!(world.status(seq), Status::Succeeded);
    let seq = world.start(new(vec![with(task("sub", &[]), |task| {
        let plan = Plan { tasks: vec![crate::testing::task("x", &[])], on_failure: None };
        task.action = Action::Workflow { template: None, plan, deadline_ms: None };
    })]));
    let child = world.task_view(seq, "sub").task.child.expect("a sub-workflow");
    world.ask(Command::CancelWorkflow(seq));
    assert_eq!(world.status(child), Status::Cancelled);
    assert!(world.ids().is_empty());
}

#[test]
fn a_running_task_adds_tasks_under_its_token_and_again_changes_nothing() {
    let mut world = World::new();
    let seq = world.start(new(vec![task("a", &[]), task("b", &["a"])]));
    let a = world.ids();
    let more = vec![task("n1", &[]), task("n2", &["n1", "a"])];
    let add = |token, tasks| Command::AddTasks(Box::new(AddTasks { seq, job: None, task: None, token, tasks }));
    assert_eq!(refusal(&world.ask(add(7, more.clone()))), Some(Code::LeaseLost));
    assert!(matches!(world.ask(add(1, more.clone())), Reply::Workflow { .. }));
    assert!(matches!(world.ask(add(1, more.clone())), Reply::Workflow { .. }));
    assert_eq!(refusal(&world.ask(add(1, vec![task("n1", &["a"])]))), Some(Code::Conflict));
    assert_eq!(refusal(&world.ask(add(1, vec![task("n3", &["nowhere"])]))), Some(Code::InvalidArgument));
    world.done(&a[0].0, "1");
    let mut order = world.work();
    order.sort();
    assert_eq!(order, ["b", "n1", "n2"]);
    assert_eq!(world.status(seq), Status::Succeeded);
    assert_eq!(refusal(&world.ask(add(1, more))), Some(Code::Conflict));
}

#[test]
fn a_workflow_that_is_too_late_fails() {
    let mut world = World::new();
    let mut workflow = new(vec![task("a", &[])]);
    workflow.deadline = Some(When::In(1_000));
    let seq = world.start(workflow);
    world.tick(1_000);
    let workflow = view::workflow(&world.rows, seq).expect("there");
    assert_eq!((workflow.status, workflow.error.as_deref()), (Status::Failed, Some("deadline_exceeded")));
    assert!(world.ids().is_empty());
}

#[test]
fn a_bad_expression_fails_its_task_and_nothing_else() {
    let mut world = World::new();
    let bad = with(task("b", &[]), |task| task.input = text(r#""{{ input.n.x.y }}""#));
    let seq = world.start(new(vec![bad]));
    assert_eq!(world.status(seq), Status::Failed);
    assert!(world.task_view(seq, "b").task.error.is_some());
}

#[test]
fn the_error_of_an_expression_is_cut_however_long_what_it_quotes() {
    let mut world = World::new();
    let bad = with(task("b", &[]), |task| task.input = text(r#""{{ ('x' * 100000) - 1 }}""#));
    let seq = world.start(new(vec![bad]));
    let error = world.task_view(seq, "b").task.error.expect("an error");
    assert!(error.len() <= limits::ERROR_BYTES_MAX, "{} bytes", error.len());
    let events = view::events(&view::opened(&world.rows, seq), seq, 0, 100);
    assert!(events.iter().all(|(_, event)| event.detail.as_ref().is_none_or(|it| it.len() <= limits::ERROR_BYTES_MAX)));
}

#[test]
fn purged_and_cancelled_jobs_fail_their_tasks() {
    let mut world = World::new();
    let seq = world.start(new(vec![task("a", &[])]));
    world.ask(Command::Purge(name("q")));
    assert_eq!(world.status(seq), Status::Failed);
    let seq = world.start(new(vec![task("a", &[])]));
    let job = world.task_view(seq, "a").task.job.expect("a job");
    world.ask(Command::Cancel(job));
    assert_eq!(world.status(seq), Status::Failed);
}

#[test]
fn what_is_over_is_removed_when_it_was_kept_long_enough() {
    let mut world = World::new();
    let seq = world.start(new(vec![task("a", &[]), task("b", &["a"])]));
    world.work();
    world.tick(999_999);
    assert_eq!(world.status(seq), Status::Succeeded);
    world.tick(1);
    assert_eq!(view::workflow(&world.rows, seq), None);
    world.tick(7 * 86_400_000);
    assert_eq!(view::next_due(&world.rows), None);
}

#[test]
fn lists_are_newest_first_by_status_project_template_and_time() {
    let mut world = World::new();
    let mut seqs = Vec::new();
    for n in 0..10u64 {
        let mut workflow = new(vec![task("a", &[])]);
        workflow.project = name(if n % 2 == 0 { "even" } else { "odd" });
        let template = crate::workflow::TemplateRef { name: name("t"), version: 1, labels: None };
        workflow.template = (n % 3 == 0).then_some(template);
        seqs.push(world.start(workflow));
        world.at += 10;
    }
    let jobs = world.ids();
    world.done(&jobs[0].0, "1");
    let all = |world: &World, filter: view::WorkflowFilter| {
        let (mut found, mut before) = (Vec::new(), None);
        loop {
            let (page, next) = view::workflows(&world.rows, &filter, before, 2);
            assert!(page.len() <= 2);
            found.extend(page.iter().map(|workflow| workflow.seq));
            before = next;
            if before.is_none() {
                return found;
            }
        }
    };
    let filter = view::WorkflowFilter::default;
    assert_eq!(all(&world, filter()), [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(all(&world, view::WorkflowFilter { status: Some(Status::Succeeded), ..filter() }), [1]);
    assert_eq!(all(&world, view::WorkflowFilter { project: Some(name("odd")), ..filter() }), [10, 8, 6, 4, 2]);
    assert_eq!(all(&world, view::WorkflowFilter { template: Some(name("t")), ..filter() }), [10, 7, 4, 1]);
    let both = view::WorkflowFilter { template: Some(name("t")), project: Some(name("even")), ..filter() };
    assert_eq!(all(&world, both), [7, 1]);
    let late = view::WorkflowFilter { started_after: Some(1_000_000 + 70), ..filter() };
    assert_eq!(all(&world, late), [10, 9, 8]);
}

#[test]
fn what_is_over_is_one_row_reads_as_before_and_goes_on_after_a_retry() {
    let mut world = World::new();
    let part = with(task("part", &["a"]), |task| {
        let plan = Plan { tasks: vec![self::task("x", &[]), self::task("y", &["x"])], on_failure: None };
        task.action = Action::Workflow { template: None, plan, deadline_ms: None };
    });
    let seq = world.start(new(vec![task("a", &[]), part, task("b", &["part"])]));
    let of = |world: &World, seq: u64| {
        let prefixes = super::PARTS.map(|tag| table::by_seq(tag, seq));
        let is_part = |key: &&crate::Key| prefixes.iter().any(|one| key.as_slice().starts_with(one.as_slice()));
        world.rows.keys().filter(is_part).count()
    };
    let jobs = world.ids();
    world.done(&jobs[0].0, "1");
    let child = world.task_view(seq, "part").task.child.expect("a part");
    let jobs = world.ids();
    world.done(&jobs[0].0, r#"{"x":1}"#);
    let before = (world.task_view(seq, "a"), world.kinds(seq).len());
    let jobs = world.ids();
    world.dead(&jobs[0].0);
    assert_eq!((world.status(seq), world.status(child)), (Status::Failed, Status::Failed));
    assert_eq!((of(&world, seq), of(&world, child)), (0, 0));
    assert_eq!(world.task_view(seq, "a"), before.0);
    assert!(world.kinds(seq).len() > before.1 && world.kinds(seq).ends_with(&[EventKind::WorkflowFailed]));
    assert_eq!(world.result(child, "x").as_deref(), Some(r#"{"x":1}"#));
    assert_eq!(refusal(&world.ask(Command::CancelWorkflow(seq))), Some(Code::Conflict));
    world.ask(Command::RetryWorkflow(seq));
    assert!(of(&world, seq) > 10 && of(&world, child) > 5);
    assert_eq!(world.work(), ["y", "b"]);
    assert_eq!((world.status(seq), of(&world, seq), of(&world, child)), (Status::Succeeded, 0, 0));
    assert_eq!(world.result(seq, "part").as_deref(), Some(r#"{"x":{"x":1},"y":"y"}"#));
}

#[test]
fn a_retry_that_is_refused_since_a_worker_holds_a_job_leaves_everything_as_it_was() {
    let mut world = World::new();
    let seq = world.start(new(vec![task("a", &[]), task("b", &[])]));
    let jobs = world.ids();
    world.dead(&jobs[0].0);
    assert_eq!(world.status(seq), Status::Failed);
    assert_eq!(refusal(&world.ask(Command::RetryWorkflow(seq))), Some(Code::Conflict));
    world.done(&jobs[1].0, "2");
    assert_eq!(world.result(seq, "b").as_deref(), Some("2"), "the ack came first");
    assert!(world.rows.contains_key(&table::by_seq(tag::PACKED, seq)), "packed when the last job is let go of");
    world.ask(Command::RetryWorkflow(seq));
    assert_eq!(world.ids().len(), 1);
}
