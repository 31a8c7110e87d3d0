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
    /// One worker has more than one for as long as a broken stream is not known to be.
    open: Arc<Mutex<HashMap<Name, Vec<mpsc::Sender<Unwanted>>>>>,
}

/// One stream's place among the open ones, until it is dropped.
pub struct OpenStream {
    streams: Arc<Mutex<HashMap<Name, Vec<mpsc::Sender<Unwanted>>>>>,
    worker: Name,
    cancels: mpsc::Receiver<Unwanted>,
}

impl Streams {
    /// A worker opened a stream.
    pub fn open(&self, worker: &Name) -> OpenStream {
        let (sender, cancels) = mpsc::channel(CANCELS_MAX);
        self.open.lock().entry(worker.clone()).or_default().push(sender);
        OpenStream { streams: self.open.clone(), worker: worker.clone(), cancels }
    }

    /// Tells the worker, if its stream is here, that nobody wants the job any more.
    pub fn cancel(&self, worker: &Name, unwanted: Unwanted) {
        for stream in self.open.lock().get(worker).into_iter().flatten() {
            // A stream that is full is one that does not read.
            let _ = stream.try_send(unwanted);
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
            of_worker.retain(|stream| !stream.is_closed());
            if of_worker.is_empty() {
                streams.remove(&self.worker);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_open_stream_of_the_worker_is_told_and_none_is_kept() {
        let name = |text| Name::parse("worker_id", text).unwrap();
        let unwanted = |seq| Unwanted { job: JobId { partition: 3, seq }, token: 1 };
        let streams = Streams::default();
        let (mut old, mut other) = (streams.open(&name("w")), streams.open(&name("other")));
        {
            let mut new = streams.open(&name("w"));
            streams.cancel(&name("w"), unwanted(1));
            streams.cancel(&name("w"), unwanted(2));
            assert_eq!(new.cancels().await, [unwanted(1), unwanted(2)]);
        }
        streams.cancel(&name("w"), unwanted(3));
        assert_eq!(old.cancels().await, [unwanted(1), unwanted(2), unwanted(3)]);
        for seq in 0..2 * CANCELS_MAX as u64 {
            streams.cancel(&name("other"), unwanted(seq));
        }
        assert_eq!(other.cancels().await.len(), CANCELS_MAX);
        drop((old, other));
        assert!(streams.open.lock().is_empty());
    }
}
