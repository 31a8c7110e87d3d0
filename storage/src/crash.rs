//! A node that loses power at each entry of a workflow's life: what is left in the log is a whole number of entries,
//! each of which is done in full or not at all, and from there the workflow comes to the same end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, mpsc};

use bravo_model::command::{Ack, Command, Entry, Lease, Nack};
use bravo_model::table::tag;
use bravo_model::workflow::{Action, Compensate, NewTask, NewWorkflow, Plan, Status};
use bravo_model::{Envelope, Key, Name, Payload, Read, Reply, Value, apply, invariant, view};
use bytes::Bytes;

use crate::log::testing::{Dice, MemDisk};
use crate::log::{LogOptions, Record, SharedLog};
use crate::snapshot::{SnapshotFile, SnapshotName, SnapshotWriter};
use crate::state::{MemoryEngine, SpillTable, StateOptions, StateStore};

const GROUP: u32 = 1;

fn name(text: &str) -> Name {
    Name::parse("name", text).unwrap()
}

fn task(id: &str, after: &[&str], action: Action) -> NewTask {
    NewTask {
        id: name(id),
        depends_on: after.iter().map(|id| name(id)).collect(),
        action,
        input: Bytes::from_static(b"null"),
        when: None,
        foreach: None,
        max_parallel: None,
        timeout_ms: None,
        compensate: None,
    }
}

fn job(queue: &str) -> Action {
    Action::Job { queue: name(queue), max_attempts: Some(1), priority: 4 }
}

/// Results that are handed on, items of a list, a part, a timer, a signal that came before its wait, a skipped task;
/// then a failure with what it undoes, and what follows it.
fn workflow() -> NewWorkflow {
    let undone = |task| NewTask { compensate: Some(Compensate { queue: name("undo"), input: "null".into() }), ..task };
    let part = Plan { tasks: vec![task("inner", &[], job("work"))], on_failure: None };
    let tasks = vec![
        undone(NewTask { input: r#"{"n":"{{ input.n }}"}"#.into(), ..task("a", &[], job("work")) }),
        undone(NewTask {
            foreach: Some("range(input.n)".into()),
            max_parallel: Some(2),
            input: r#"{"of":"{{ tasks.a.result }}","item":"{{ item }}"}"#.into(),
            ..task("each", &["a"], job("work"))
        }),
        NewTask { when: Some("false".into()), ..task("skipped", &["a"], job("work")) },
        task("part", &["a"], Action::Workflow { template: None, plan: part, deadline_ms: None }),
        task("timer", &["part"], Action::Timer(50)),
        task("signal", &["timer", "skipped"], Action::Signal("go".into())),
        task("fails", &["each", "signal"], job("fail")),
        task("never", &["fails"], job("work")),
    ];
    NewWorkflow {
        name: "crash".into(),
        project: name("p"),
        template: None,
        input: r#"{"n":5}"#.into(),
        deadline: None,
        retention_ms: 86_400_000,
        plan: Plan { tasks, on_failure: Some(Box::new(task("after", &[], job("work")))) },
    }
}

/// The entries of one workflow's life, and the rows before the first and after each.
struct Life {
    entries: Vec<Entry>,
    rows: Vec<BTreeMap<Key, Value>>,
}

impl Life {
    fn lived() -> Self {
        let mut life = Self { entries: Vec::new(), rows: vec![BTreeMap::new()] };
        life.ask(vec![Command::StartWorkflow(Box::new(workflow()))]);
        life.ask(vec![Command::Signal { seq: 1, name: "go".into(), payload: "7".into() }]);
        for _ in 0..40 {
            for queue in ["work", "undo", "fail"] {
                let lease = Lease { lease_ms: Some(1_000_000), ..Lease::new(name(queue), name("w"), 2) };
                let Some(Reply::Leased(leased)) = life.ask(vec![Command::Lease(lease)]).pop() else { panic!("leased") };
                // What is done at a time is acknowledged in one entry, as a busy node does.
                let acks = leased.jobs.iter().map(|job| {
                    let result = Some(Payload { json: true, bytes: format!("{}", job.seq).into() });
                    match queue {
                        "fail" => Command::Nack(vec![Nack {
                            seq: job.seq,
                            token: job.token,
                            error: Some("it broke".into()),
                            retry_in_ms: None,
                            dead: true,
                            unseen: false,
                        }]),
                        _ => Command::Ack(vec![Ack { seq: job.seq, token: job.token, result }]),
                    }
                });
                let acks: Vec<_> = acks.collect();
                if !acks.is_empty() {
                    life.ask(acks);
                }
            }
            life.ask(vec![Command::Tick]);
        }
        let end = life.rows.last().unwrap();
        assert_eq!(view::workflow(end, 1).unwrap().status, Status::Failed);
        let tasks = view::tasks(&view::opened(end, 1), &view::workflow(end, 1).unwrap(), 0, 100);
        let states: Vec<_> = tasks.iter().map(|task| task.task.state.as_str()).collect();
        let expected = [
            "compensated",
            "compensated",
            "skipped",
            "succeeded",
            "succeeded",
            "succeeded",
            "failed",
            "cancelled",
            "succeeded",
        ];
        assert_eq!(states, expected);
        life
    }

    fn ask(&mut self, commands: Vec<Command>) -> Vec<Reply> {
        let commands = commands.into_iter().map(|command| Envelope::plain(command).encode()).collect();
        let entry = Entry { at: 1_000_000 + 10 * self.entries.len() as u64, commands };
        let mut rows = self.rows.last().unwrap().clone();
        let outcomes = apply(&mut rows, 1, &entry);
        assert_eq!(invariant::check(&rows), [], "after entry {}", self.entries.len());
        self.entries.push(entry);
        self.rows.push(rows);
        outcomes.into_iter().map(|outcome| outcome.reply).collect()
    }

    /// The record of entry `n`, counted from 0.
    fn record(&self, n: usize) -> Record {
        let data = postcard::to_stdvec(&self.entries[n]).unwrap().into();
        Record { term: 1, index: n as u64 + 1, data }
    }
}

fn open(disk: &MemDisk) -> SharedLog {
    let options = LogOptions { segment_bytes: 16 << 10, cache_bytes: 1 << 20, queue_bytes_max: 1 << 20 };
    SharedLog::open_on(Arc::new(disk.clone()), options).unwrap()
}

/// Appends and waits; whether it became durable.
fn append(log: &SharedLog, record: Record) -> bool {
    let (send, receive) = mpsc::channel();
    let told = Box::new(move |outcome| drop(send.send(outcome)));
    log.group(GROUP).append(vec![record], told).is_ok() && receive.recv().is_ok_and(|outcome| outcome.is_ok())
}

/// A store that keeps next to nothing in memory.
fn store() -> StateStore {
    let options = StateOptions {
        memory_bytes_max: 2_000,
        spill_order: vec![SpillTable::oldest(tag::EVENT), SpillTable::oldest(tag::PAYLOAD), SpillTable::last(tag::DUE)],
        ..StateOptions::default()
    };
    StateStore::new(Arc::new(MemoryEngine::new()), options)
}

fn rows_of(store: &StateStore) -> BTreeMap<Key, Value> {
    let mut rows = BTreeMap::new();
    store.scan(&Key::new(&[]), &Key::new(&[0xff; Key::BYTES_MAX]), &mut |key, value| {
        rows.insert(*key, value.clone());
        true
    });
    rows
}

/// Starts as a node does: the snapshot, if there is one, and the log behind it. How many entries that were.
fn restart(store: &mut StateStore, log: &SharedLog, snapshots: &std::path::Path) -> usize {
    let mut from = 0;
    if let Some(file) = SnapshotFile::open(snapshots, GROUP).unwrap() {
        from = file.name().index;
        store.load(file.rows().unwrap()).unwrap();
    }
    let records = log.group(GROUP).read(from + 1..u64::MAX, usize::MAX).unwrap();
    for record in &records {
        apply(store, 1, &postcard::from_bytes(&record.data).unwrap());
        while store.maintain().more {}
    }
    from as usize + records.len()
}

#[test]
fn power_that_is_lost_at_any_entry_leaves_each_one_done_in_full_or_not_at_all() {
    let life = Life::lived();
    assert!(life.entries.len() > 100, "{}", life.entries.len());
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice::new(7);
    let mut seen = BTreeSet::new();
    for acknowledged in 0..life.entries.len() {
        let disk = MemDisk::new();
        let log = open(&disk);
        for n in 0..acknowledged {
            assert!(append(&log, life.record(n)));
        }
        // The power goes somewhere within the next write: nobody was told that it is durable.
        disk.lose_power_at(dice.below(3), Dice::new(dice.roll()));
        let told = append(&log, life.record(acknowledged));
        let image = disk.image().unwrap_or_else(|| disk.power_loss(Some(&mut dice)));
        drop(log);

        // A third of the time there is a snapshot of some moment before.
        let snapshots = folder.path().join(acknowledged.to_string());
        if acknowledged > 0 && dice.below(3) == 0 {
            let at = 1 + dice.below(acknowledged as u64) as usize;
            let mut then = store();
            life.rows[at].iter().for_each(|(key, value)| bravo_model::Txn::put(&mut then, *key, value.clone()));
            let name = SnapshotName::new(at as u64, 1);
            SnapshotWriter::write(&snapshots, GROUP, name, b"", &then.freeze()).unwrap();
        }

        let (log, mut store) = (open(&image), store());
        let left = restart(&mut store, &log, &snapshots);
        assert!(left >= acknowledged + usize::from(told), "{left} of {acknowledged} acknowledged ones are left");
        assert!(left <= acknowledged + 1);
        seen.insert((told, left - acknowledged));
        assert!(rows_of(&store) == life.rows[left], "entry {left} is done in part");

        // It goes on with what is left and comes to the same end.
        for n in left..life.entries.len() {
            assert!(append(&log, life.record(n)));
            apply(&mut store, 1, &life.entries[n]);
            while store.maintain().more {}
        }
        assert!(rows_of(&store) == *life.rows.last().unwrap(), "after {left} it came to another end");
        store.health().unwrap();
    }
    assert_eq!(seen, BTreeSet::from([(false, 0), (false, 1), (true, 1)]), "power was lost before, within and after");
}
