//! What happened to jobs and workflows, for those who watch. Not part of the state: a replica that
//! nobody asks notes nothing.

use serde::{Deserialize, Serialize};

use crate::Time;
use crate::id::Name;
use crate::job::{Job, JobState};
use crate::workflow::{Event, EventKind};

/// Something that one entry did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Happened {
    /// To a job.
    Job(JobEvent),
    /// To a workflow.
    Workflow {
        /// Sequence within the partition.
        seq: u64,
        /// The event's number within the workflow.
        number: u32,
        /// The project it belongs to.
        project: Name,
        /// What.
        event: Event,
        /// The name of the task it is about.
        task: Option<Name>,
    },
}

impl Happened {
    /// The event's name in the public contract.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Job(event) => event.kind.as_str(),
            Self::Workflow { event, .. } => event.kind.as_str(),
        }
    }

    /// The project it belongs to.
    pub fn project(&self) -> &Name {
        match self {
            Self::Job(event) => &event.project,
            Self::Workflow { project, .. } => project,
        }
    }

    /// The queue of the job; workflows are in none.
    pub fn queue(&self) -> Option<&Name> {
        match self {
            Self::Job(event) => Some(&event.queue),
            Self::Workflow { .. } => None,
        }
    }

    /// When.
    pub fn at(&self) -> Time {
        match self {
            Self::Job(event) => event.at,
            Self::Workflow { event, .. } => event.at,
        }
    }
}

/// The name of every event that there is.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    JobEventKind::ALL.into_iter().map(JobEventKind::as_str).chain(EventKind::ALL.into_iter().map(EventKind::as_str))
}

/// What can happen to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum JobEventKind {
    Enqueued,
    Leased,
    Succeeded,
    Dead,
    Cancelled,
    Failed,
    Retried,
    Ready,
}

impl JobEventKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Enqueued,
        Self::Leased,
        Self::Succeeded,
        Self::Dead,
        Self::Cancelled,
        Self::Failed,
        Self::Retried,
        Self::Ready,
    ];

    /// The event's name in the public contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enqueued => "job.enqueued",
            Self::Leased => "job.leased",
            Self::Succeeded => "job.succeeded",
            Self::Dead => "job.dead",
            Self::Cancelled => "job.cancelled",
            Self::Failed => "job.failed",
            Self::Retried => "job.retried",
            Self::Ready => "job.ready",
        }
    }
}

/// Something that happened to a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobEvent {
    /// Sequence within the partition.
    pub seq: u64,
    /// What.
    pub kind: JobEventKind,
    /// When.
    pub at: Time,
    /// The queue it is in.
    pub queue: Name,
    /// The project it belongs to.
    pub project: Name,
    /// Where it stands now.
    pub state: JobState,
    /// Leases so far.
    pub attempt: u32,
    /// Who holds or last held it.
    pub worker: Option<Name>,
    /// The last failure.
    pub error: Option<String>,
    /// The workflow it is a step of.
    pub workflow: Option<Name>,
}

impl JobEvent {
    /// What a change of a record means to those outside, if anything.
    pub(crate) fn of(old: Option<&Job>, new: Option<&Job>, at: Time) -> Option<Self> {
        let new = new?;
        let kind = match (old.map(|old| old.state), new.state) {
            (None, _) => JobEventKind::Enqueued,
            (Some(old), new) if old == new => return None,
            (Some(_), JobState::Leased) => JobEventKind::Leased,
            (Some(_), JobState::Succeeded) => JobEventKind::Succeeded,
            (Some(_), JobState::Dead) => JobEventKind::Dead,
            (Some(_), JobState::Cancelled) => JobEventKind::Cancelled,
            (Some(JobState::Leased), _) => JobEventKind::Failed,
            (Some(old), _) if old.is_final() => JobEventKind::Retried,
            (Some(_), JobState::Ready) => JobEventKind::Ready,
            (Some(_), _) => return None,
        };
        Some(Self {
            seq: new.seq,
            kind,
            at,
            queue: new.queue.clone(),
            project: new.project.clone(),
            state: new.state,
            attempt: new.attempt,
            worker: new.worker.clone(),
            error: new.error.clone(),
            workflow: new.workflow.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::Happened;
    use crate::command::{Ack, Command, Entry, Lease};
    use crate::testing::{name, new_job};
    use crate::{Envelope, apply_watched};

    #[test]
    fn who_watches_sees_a_job_from_its_enqueue_to_its_end() {
        let mut rows = BTreeMap::new();
        let lease = Lease::new(name("q"), name("w"), 1);
        let commands = [
            Command::Enqueue(vec![new_job()]),
            Command::Lease(lease),
            Command::Ack(vec![Ack { seq: 1, token: 1, result: None }]),
        ];
        let entry = Entry { at: 1, commands: commands.map(|command| Envelope::plain(command).encode()).to_vec() };
        let (_, happened) = apply_watched(&mut rows, 1, &entry);
        let kinds = happened.iter().map(Happened::kind);
        assert_eq!(kinds.collect::<Vec<_>>(), ["job.enqueued", "job.leased", "job.succeeded"]);
    }
}
