//! Schedules: jobs and workflows that are started by the clock of the state.
//!
//! A schedule lives in one partition, and so does all that it starts: a tick and its run are one
//! command, so that no tick starts two runs, whoever leads and whatever the nodes' clocks do.

pub mod cron;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::Time;
use crate::command::NewJob;
use crate::id::Name;
use crate::workflow::NewWorkflow;

/// A schedule as it is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewSchedule {
    /// Its name.
    pub name: Name,
    /// Five fields, or six with seconds first.
    pub cron: String,
    /// A name of the IANA time zone database.
    pub timezone: String,
    /// What becomes of a tick while the run before is not over.
    pub overlap: Overlap,
    /// A tick that is later than this starts nothing.
    pub catch_up_ms: u64,
    /// Ticks start nothing.
    pub paused: bool,
    /// What a tick starts.
    pub target: Target,
    /// What a tick starts as the caller wrote it, to be shown; may be empty.
    pub source: Bytes,
}

/// What becomes of a tick while the run before is not over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Overlap {
    /// It starts nothing.
    #[default]
    Skip,
    /// Its run starts when those before it are over.
    Queue,
    /// Its run starts beside them.
    Allow,
}

impl Overlap {
    /// The rule's name in the public contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Queue => "queue",
            Self::Allow => "allow",
        }
    }

    /// The rule with this name, if there is one.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Skip, Self::Queue, Self::Allow].into_iter().find(|overlap| overlap.as_str() == name)
    }
}

/// What a tick starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Target {
    /// A job.
    Job(Box<NewJob>),
    /// A workflow.
    Workflow(Box<NewWorkflow>),
}

impl Target {
    /// The project that it belongs to.
    pub fn project(&self) -> &Name {
        match self {
            Target::Job(job) => &job.project,
            Target::Workflow(workflow) => &workflow.project,
        }
    }
}

/// A run that a tick started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Run {
    /// A job.
    Job(u64),
    /// A workflow.
    Workflow(u64),
}

/// A schedule's record. What it starts is a row of its own and is not rewritten with each tick.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Its name.
    pub name: Name,
    /// Five fields, or six with seconds first.
    pub cron: String,
    /// A name of the IANA time zone database.
    pub timezone: String,
    /// What becomes of a tick while the run before is not over.
    pub overlap: Overlap,
    /// A tick that is later than this starts nothing.
    pub catch_up_ms: u64,
    /// Ticks start nothing.
    pub paused: bool,
    /// When it was made.
    pub created_at: Time,
    /// When it was last changed.
    pub updated_at: Time,
    /// The next tick.
    pub next: Option<Time>,
    /// The last tick that started a run.
    pub last: Option<Time>,
    /// The last run.
    pub last_run: Option<Run>,
    /// When a run that waits for the one before is looked at again.
    pub look_at: Option<Time>,
    /// Ticks whose runs wait for the ones before.
    pub queued: u32,
    /// Runs that were started.
    pub runs: u64,
    /// Ticks that started nothing as the run before was not over, or too many waited.
    pub skipped: u64,
    /// Ticks that came too late, or while it was paused.
    pub missed: u64,
}
