//! A process group: a command with all its children.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

/// The process group of a command. Dropping it kills what is left of it, so that a job that is
/// given up leaves nothing behind.
pub(super) struct Group {
    leader: Option<Pid>,
}

impl Group {
    /// The group that the process with this id leads.
    pub(super) fn new(leader: Option<u32>) -> Self {
        let pid = leader.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Self { leader: pid }
    }

    /// Asks all to end, and kills what does not in time. The leader is waited for by `ended`.
    pub(super) async fn end<T>(&self, ended: impl Future<Output = T>, kill_after: Duration) -> T {
        let mut ended = std::pin::pin!(ended);
        self.signal(Signal::TERM);
        if let Ok(end) = tokio::time::timeout(kill_after, ended.as_mut()).await {
            return end;
        }
        self.signal(Signal::KILL);
        ended.await
    }

    /// Kills what is left.
    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Nothing is left: the group's number may belong to others now.
    pub(super) fn release(mut self) {
        self.leader = None;
    }

    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.leader {
            // It may have ended by itself.
            let _ = kill_process_group(leader, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
