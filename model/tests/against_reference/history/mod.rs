//! Random histories: few names, so that everything collides with everything.

mod generate;

use std::collections::BTreeMap;
use std::fmt;

use bravo_model::command::Envelope;
use bravo_model::{Name, Time};

pub(crate) use generate::Generator;

/// One Raft entry of a history: a stamp, and the commands that came together.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) at: Time,
    pub(crate) commands: Vec<Envelope>,
}

/// What was asked, from the first entry to the last.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) steps: Vec<Step>,
}

impl History {
    pub(crate) fn commands(&self) -> usize {
        self.steps.iter().map(|step| step.commands.len()).sum()
    }

    /// The history without the commands numbered `from..to`; entries that become empty vanish.
    pub(crate) fn without(&self, from: usize, to: usize) -> Self {
        let mut number = 0;
        let mut steps = Vec::new();
        for step in &self.steps {
            let mut commands = Vec::new();
            for command in &step.commands {
                if !(from..to).contains(&number) {
                    commands.push(command.clone());
                }
                number += 1;
            }
            if !commands.is_empty() {
                steps.push(Step { at: step.at, commands });
            }
        }
        Self { steps }
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "at {}:", step.at)?;
            for envelope in &step.commands {
                let key = envelope.idempotency.map_or(String::new(), |asked| {
                    format!(" [key {} body {} kept {}]", asked.key[0], asked.body[0], asked.kept_ms)
                });
                writeln!(f, "    {}{key}", brief(&format!("{:?}", envelope.command)))?;
            }
        }
        Ok(())
    }
}

/// Debug text without the fields that are absent.
fn brief(text: &str) -> String {
    let mut text = text.replace("\\x07", "");
    for field in [
        "run_at",
        "deadline",
        "max_attempts",
        "unique_key",
        "unique_for_ms",
        "order_key",
        "concurrency_key",
        "fairness_key",
        "sticky_key",
        "sticky",
        "project",
        "workflow",
        "rate_limit",
        "max_in_flight",
        "dead_letter",
        "agent_type",
        "lease_ms",
        "progress",
        "result",
        "error",
        "retry_in_ms",
    ] {
        text = text.replace(&format!(", {field}: None"), "");
    }
    text
}

/// A small, seeded, portable generator (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `n` - 1.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// True `percent` times of a hundred.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize].clone()
    }
}

/// Labels that meet all requirements of the histories.
pub(crate) fn all_labels() -> BTreeMap<String, String> {
    labels(&[("gpu", "yes"), ("zone", "a")])
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect()
}

pub(crate) fn name(text: &str) -> Name {
    Name::parse("name", text).expect("a valid name")
}
