//! Workers whose streams are open at this node, so that they can be told at once what cannot wait for
//! their next heartbeat.

use std::collections::HashMap;
use std::sync::Arc;

use bravo_model::{JobId, Name};
use parking_lot::Mutex;
use tokio::sync::mpsc;

/// Cancels that wait for one stream. Its worker learns of further ones with its next extend.
const CANCELS_MAX: usize = 1_024;

/// A lease that a caller wants ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unwanted {
    /// The job.
    pub job: JobId,
    /// The lease.
    pub token: u64,
}

/// The open streams: as many as there are connections for.
#[derive(Default)]
pub struct Streams {
    /// One worker has more than one for as long as a broken stream is not known to be, and workers of different
    /// projects may have one name.
    open: Arc<Mutex<HashMap<Name, Vec<Open>>>>,
}

/// Where a stream is told, and the project whose jobs alone it may hear of.
struct Open {
    project: Option<Name>,
    sender: mpsc::Sender<Unwanted>,
}

/// One stream's place among the open ones, until it is dropped.
pub struct OpenStream {
    streams: Arc<Mutex<HashMap<Name, Vec<Open>>>>,
    worker: Name,
    cancels: mpsc::Receiver<Unwanted>,
}

impl Streams {
    /// A worker opened a stream; one that is bound to a project hears of its jobs alone.
    pub fn open(&self, worker: &Name, project: Option<&Name>) -> OpenStream {
        let (sender, cancels) = mpsc::channel(CANCELS_MAX);
        let open = Open { project: project.cloned(), sender };
        self.open.lock().entry(worker.clone()).or_default().push(open);
        OpenStream { streams: self.open.clone(), worker: worker.clone(), cancels }
    }

    /// Tells the worker, if its stream is here, that nobody wants the job any more. `project` finds out whose the job
    /// is, where that matters; where it is not known, bound streams are not told: their next extends are.
    pub fn cancel(&self, worker: &Name, unwanted: Unwanted, project: impl FnOnce() -> Option<Name>) {
        let is_bound = |stream: &Open| stream.project.is_some();
        // Whose the job is may have to be read: nobody waits for that.
        let any_bound = self.open.lock().get(worker).is_some_and(|streams| streams.iter().any(is_bound));
        let of_project = if any_bound { project() } else { None };
        for Open { project, sender } in self.open.lock().get(worker).into_iter().flatten() {
            if project.is_none() || *project == of_project {
                // A stream that is full is one that does not read.
                let _ = sender.try_send(unwanted);
            }
        }
    }
}

impl OpenStream {
    /// The next cancels, as many as there are at the time.
    pub async fn cancels(&mut self) -> Vec<Unwanted> {
        let mut batch = Vec::new();
        self.cancels.recv_many(&mut batch, CANCELS_MAX).await;
        batch
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.cancels.close();
        let mut streams = self.streams.lock();
        if let Some(of_worker) = streams.get_mut(&self.worker) {
            of_worker.retain(|stream| !stream.sender.is_closed());
            if of_worker.is_empty() {
                streams.remove(&self.worker);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse("worker_id", text).unwrap()
    }

    fn unwanted(seq: u64) -> Unwanted {
        Unwanted { job: JobId { partition: 3, seq }, token: 1 }
    }

    #[tokio::test]
    async fn every_open_stream_of_the_worker_is_told_and_none_is_kept() {
        let streams = Streams::default();
        let cancel = |worker, seq| streams.cancel(&name(worker), unwanted(seq), || None);
        let (mut old, mut other) = (streams.open(&name("w"), None), streams.open(&name("other"), None));
        {
            let mut new = streams.open(&name("w"), None);
            cancel("w", 1);
            cancel("w", 2);
            assert_eq!(new.cancels().await, [unwanted(1), unwanted(2)]);
        }
        cancel("w", 3);
        assert_eq!(old.cancels().await, [unwanted(1), unwanted(2), unwanted(3)]);
        for seq in 0..2 * CANCELS_MAX as u64 {
            cancel("other", seq);
        }
        assert_eq!(other.cancels().await.len(), CANCELS_MAX);
        drop((old, other));
        assert!(streams.open.lock().is_empty());
    }

    #[tokio::test]
    async fn a_worker_of_another_project_with_the_same_name_hears_of_no_job_but_its_own() {
        let streams = Streams::default();
        let open = |project: Option<&str>| streams.open(&name("w1"), project.map(name).as_ref());
        let (mut a, mut b, mut any) = (open(Some("a")), open(Some("b")), open(None));
        streams.cancel(&name("w1"), unwanted(1), || Some(name("a")));
        streams.cancel(&name("w1"), unwanted(2), || Some(name("b")));
        streams.cancel(&name("w1"), unwanted(3), || None);
        assert_eq!(a.cancels().await, [unwanted(1)]);
        assert_eq!(b.cancels().await, [unwanted(2)]);
        assert_eq!(any.cancels().await, [unwanted(1), unwanted(2), unwanted(3)]);
    }
}
