//! Random workflows under random histories, beside a plain reference: after every step both show the
//! same states and give out the same jobs, and every invariant holds. A failure names its seed.

mod reference;

use std::collections::{BTreeMap, BTreeSet};

use bravo_model::command::{Ack, Command, Entry, Lease, Nack};
use bravo_model::reply::LeasedJob;
use bravo_model::workflow::{Action, Compensate, NewTask, NewWorkflow, Plan as NewPlan};
use bravo_model::{Envelope, Key, Name, Payload, Reply, Value, apply, invariant, view};
use bytes::Bytes;
use reference::{Kind, Plan, Reference, Work};

/// Numbers from a seed (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound.max(1)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

fn name(text: &str) -> Name {
    Name::parse("name", text).expect("a good name")
}

fn draw(dice: &mut Dice) -> Vec<Plan> {
    let tasks = 1 + dice.below(7) as usize;
    let plan = |task: usize, dice: &mut Dice| Plan {
        needs: (0..task).filter(|_| dice.chance(35)).collect(),
        kind: match dice.below(10) {
            0 => Kind::Timer(100 * (1 + dice.below(5))),
            1 => Kind::Signal,
            2 | 3 => Kind::Each(dice.below(6) as u32, 1 + dice.below(3) as u32),
            _ => Kind::Job,
        },
        skip: dice.chance(15),
        undo: false,
    };
    let mut plans: Vec<Plan> = (0..tasks).map(|task| plan(task, dice)).collect();
    if dice.chance(50) {
        plans.iter_mut().for_each(|plan| plan.undo = dice.chance(50));
    }
    plans
}

fn asked(plans: &[Plan]) -> NewWorkflow {
    let task = |(place, plan): (usize, &Plan)| NewTask {
        id: name(&format!("t{place}")),
        depends_on: plan.needs.iter().map(|need| name(&format!("t{need}"))).collect(),
        action: match plan.kind {
            Kind::Timer(ms) => Action::Timer(ms),
            Kind::Signal => Action::Signal("s".into()),
            Kind::Job | Kind::Each(..) => Action::Job { queue: name("q"), max_attempts: Some(1), priority: 4 },
        },
        input: Bytes::from_static(b"null"),
        when: plan.skip.then(|| "false".to_owned()),
        foreach: match plan.kind {
            Kind::Each(total, _) => Some(format!("range({total})")),
            _ => None,
        },
        max_parallel: match plan.kind {
            Kind::Each(_, parallel) => Some(parallel),
            _ => None,
        },
        timeout_ms: None,
        compensate: plan.undo.then(|| Compensate { queue: name("q"), input: Bytes::from_static(b"null") }),
    };
    NewWorkflow {
        name: String::new(),
        project: name("p"),
        template: None,
        input: Bytes::from_static(b"{}"),
        deadline: None,
        retention_ms: 1_000_000,
        plan: NewPlan { tasks: plans.iter().enumerate().map(task).collect(), on_failure: None },
    }
}

struct Trial {
    seed: u64,
    rows: BTreeMap<Key, Value>,
    now: u64,
    reference: Reference,
    held: BTreeMap<Work, LeasedJob>,
    said: Vec<String>,
}

impl Trial {
    fn start(seed: u64, dice: &mut Dice) -> Self {
        let plans = draw(dice);
        let now = 1_000_000;
        let reference = Reference::new(plans.clone(), now);
        let (rows, said) = (BTreeMap::new(), vec![format!("{plans:?}")]);
        let mut trial = Self { seed, rows, now, reference, held: BTreeMap::new(), said };
        trial.ask(Command::StartWorkflow(Box::new(asked(&plans))));
        trial
    }

    fn ask(&mut self, command: Command) -> Reply {
        let entry = Entry { at: self.now, commands: vec![Envelope::plain(command).encode()] };
        let reply = apply(&mut self.rows, 1, &entry).remove(0).reply;
        let violations = invariant::check(&self.rows);
        assert!(violations.is_empty(), "seed {}: {violations:#?}\nafter {:#?}", self.seed, self.said);
        reply
    }

    fn step(&mut self, dice: &mut Dice) {
        let what = dice.below(100);
        self.said.push(format!("{what}"));
        match what {
            0..=34 => self.lease(1 + dice.below(3) as u32),
            35..=74 => self.end(dice),
            75..=84 => {
                self.now += 50 * (1 + dice.below(6));
                while matches!(self.ask(Command::Tick), Reply::Swept { more: true, .. }) {}
                self.reference.tick(self.now);
            }
            85..=88 => {
                let signal = Command::Signal { seq: 1, name: "s".into(), payload: Bytes::from_static(b"1") };
                if self.reference.is_over() {
                    assert!(matches!(self.ask(signal), Reply::Refused(_)));
                } else {
                    self.ask(signal);
                    self.reference.signal();
                }
            }
            89..=91 => {
                self.ask(Command::PauseWorkflow { seq: 1, paused: true });
                self.reference.pause(true);
            }
            92..=95 => {
                self.ask(Command::PauseWorkflow { seq: 1, paused: false });
                self.reference.pause(false);
            }
            96 => {
                self.ask(Command::CancelWorkflow(1));
                self.reference.cancel();
            }
            _ => {
                let can = self.reference.retry();
                let reply = self.ask(Command::RetryWorkflow(1));
                assert_eq!(!matches!(reply, Reply::Refused(_)), can, "seed {}: {reply:?}", self.seed);
            }
        }
        self.compare();
    }

    fn lease(&mut self, max: u32) {
        let lease = Lease { lease_ms: Some(86_400_000), ..Lease::new(name("q"), name("w"), max) };
        let Reply::Leased(leased) = self.ask(Command::Lease(lease)) else { panic!("a lease is answered by jobs") };
        let expected = (max as usize).min(self.reference.ready.len());
        assert_eq!(leased.jobs.len(), expected, "seed {}: {:#?}\n{:#?}", self.seed, self.said, self.reference);
        for job in leased.jobs {
            let told: serde_json::Value = serde_json::from_slice(&job.metadata).expect("metadata");
            let task = told["task_id"].as_str().and_then(|id| id.strip_prefix('t')).expect("a task");
            let task: usize = task.parse().expect("a number");
            let work = match told["compensates"].as_bool() {
                Some(true) => Work::Undo(task),
                _ => Work::Do(task, told["index"].as_u64().map_or(0, |index| index as u32 + 1)),
            };
            let context = || format!("seed {}: {work:?} of {:#?}\n{:#?}", self.seed, self.said, self.reference);
            assert!(self.reference.ready.contains(&work), "{}", context());
            self.reference.lease(work);
            self.held.insert(work, job);
        }
    }

    fn end(&mut self, dice: &mut Dice) {
        let works: Vec<Work> = self.held.keys().copied().collect();
        if works.is_empty() {
            return;
        }
        let work = works[dice.below(works.len() as u64) as usize];
        let job = self.held.remove(&work).expect("it is held");
        let well = dice.chance(85);
        self.said.push(format!("{work:?} {well}"));
        let reply = if well {
            let result = Some(Payload { json: true, bytes: Bytes::from_static(b"1") });
            self.ask(Command::Ack(vec![Ack { seq: job.seq, token: job.token, result }]))
        } else {
            let nack =
                Nack { seq: job.seq, token: job.token, error: None, retry_in_ms: None, dead: true, unseen: false };
            self.ask(Command::Nack(vec![nack]))
        };
        let Reply::Items(items) = reply else { panic!("{reply:?}") };
        assert_eq!(items[0].code, None, "seed {}", self.seed);
        self.reference.end(work, well);
    }

    fn compare(&self) {
        let workflow = view::workflow(&self.rows, 1).expect("the workflow is there");
        let context = || format!("seed {}: {:#?}\n{:#?}", self.seed, self.said, self.reference);
        assert_eq!(workflow.status.as_str(), self.reference.status(), "{}", context());
        let found: Vec<&str> = view::tasks(&view::opened(&self.rows, workflow.seq), &workflow, 0, 100)
            .iter()
            .map(|task| task.task.state.as_str())
            .collect();
        let expected: Vec<&str> = (0..self.reference.plans.len()).map(|task| self.reference.shown(task)).collect();
        assert_eq!(found, expected, "{}", context());
        let held: BTreeSet<Work> = self.held.keys().copied().collect();
        assert_eq!(held, self.reference.leased, "{}", context());
    }
}

#[test]
fn workflows_do_what_the_reference_says() {
    let seeds = std::env::var("BRAVO_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(10_000);
    let mut ends: BTreeMap<&str, u32> = BTreeMap::new();
    for seed in 1..=seeds {
        let mut dice = Dice(u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15) | 1);
        let mut trial = Trial::start(seed, &mut dice);
        for _ in 0..60 {
            trial.step(&mut dice);
        }
        *ends.entry(trial.reference.status()).or_default() += 1;
    }
    // A draw in which hardly any workflow gets anywhere would prove little.
    for status in ["succeeded", "failed", "running"] {
        assert!(u64::from(ends.get(status).copied().unwrap_or_default()) * 50 > seeds, "{ends:?}");
    }
}
