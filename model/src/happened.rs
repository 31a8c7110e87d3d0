//! What happened to jobs and workflows, for those who watch. Not part of the state: a replica that
//! nobody asks notes nothing.

use crate::Time;
use crate::id::Name;
use crate::job::{Job, JobState};
use crate::workflow::Event;

/// Something that one entry did.
#[derive(Clone, Debug, PartialEq)]
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

/// Something that happened to a job.
#[derive(Clone, Debug, PartialEq)]
pub struct JobEvent {
    /// Sequence within the partition.
    pub seq: u64,
    /// The event's name in the public contract.
    pub kind: &'static str,
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
            (None, _) => "job.enqueued",
            (Some(old), new) if old == new => return None,
            (Some(_), JobState::Leased) => "job.leased",
            (Some(_), JobState::Succeeded) => "job.succeeded",
            (Some(_), JobState::Dead) => "job.dead",
            (Some(_), JobState::Cancelled) => "job.cancelled",
            (Some(JobState::Leased), _) => "job.failed",
            (Some(old), _) if old.is_final() => "job.retried",
            (Some(_), JobState::Ready) => "job.ready",
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
        let lease = Lease { queue: name("q"), worker: name("w"), max: 1, bytes_max: 1, lease_ms: None };
        let commands = [
            Command::Enqueue(vec![new_job()]),
            Command::Lease(lease),
            Command::Ack(vec![Ack { seq: 1, token: 1, result: None }]),
        ];
        let entry = Entry { at: 1, commands: commands.map(|command| Envelope::plain(command).encode()).to_vec() };
        let (_, happened) = apply_watched(&mut rows, 1, &entry);
        let kinds = happened.iter().map(|one| match one {
            Happened::Job(event) => event.kind,
            Happened::Workflow { .. } => "workflow",
        });
        assert_eq!(kinds.collect::<Vec<_>>(), ["job.enqueued", "job.leased", "job.succeeded"]);
    }
}
