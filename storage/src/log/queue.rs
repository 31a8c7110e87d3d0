//! What waits for the writer. One lock, held for a push or a take and never during IO.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use super::{GroupId, LogPoint, Record, error::LogError, shared::Group};

/// Called once with the outcome, on the writer's thread.
pub(crate) type Done = Box<dyn FnOnce(Result<(), LogError>) + Send>;

pub(crate) enum Work {
    Append { records: Vec<Record>, ticket: u32 },
    Vote(Bytes),
    Truncate(Option<LogPoint>),
    Purge(LogPoint),
}

pub(crate) struct Request {
    pub(crate) group: Arc<Group>,
    pub(crate) work: Work,
    pub(crate) done: Option<Done>,
    /// Encoded size.
    pub(crate) bytes: usize,
}

#[derive(Default)]
struct State {
    requests: VecDeque<Request>,
    bytes: usize,
    /// Bytes that the writer has taken and not yet completed.
    in_flight: usize,
    /// Commit marks that ride along with the next write.
    lazy: BTreeMap<GroupId, Bytes>,
    closing: bool,
    refused: Option<LogError>,
}

/// What the writer gets.
pub(crate) enum Taken {
    /// Write and sync these; the marks ride along.
    Batch(Vec<Request>, BTreeMap<GroupId, Bytes>),
    /// Nothing came for a while.
    Idle(BTreeMap<GroupId, Bytes>),
    /// Nothing waits any more and nothing will come.
    Closed(BTreeMap<GroupId, Bytes>),
}

#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
}

impl Queue {
    /// Adds a request unless the log is closed or poisoned. The caller holds its group's lock, so a
    /// group's requests are queued in the order in which they changed its index.
    pub(crate) fn push(&self, request: Request) -> Result<(), LogError> {
        let mut state = self.state.lock();
        if let Some(error) = &state.refused {
            return Err(error.clone());
        }
        if state.closing {
            return Err(LogError::Closed);
        }
        state.bytes += request.bytes;
        state.requests.push_back(request);
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    pub(crate) fn push_lazy(&self, group: GroupId, committed: Bytes) {
        self.state.lock().lazy.insert(group, committed);
    }

    pub(crate) fn bytes(&self) -> usize {
        let state = self.state.lock();
        state.bytes + state.in_flight
    }

    /// Waits for requests and takes up to `bytes_max` of them, at least one.
    pub(crate) fn take(&self, bytes_max: usize, idle_after: Option<Duration>) -> Taken {
        let mut state = self.state.lock();
        state.in_flight = 0;
        while state.requests.is_empty() {
            if state.closing {
                return Taken::Closed(std::mem::take(&mut state.lazy));
            }
            match idle_after {
                None => self.wake.wait(&mut state),
                Some(time) => {
                    if self.wake.wait_for(&mut state, time).timed_out() && state.requests.is_empty() {
                        return Taken::Idle(std::mem::take(&mut state.lazy));
                    }
                }
            }
        }
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(next) = state.requests.front() {
            if !batch.is_empty() && bytes + next.bytes > bytes_max {
                break;
            }
            bytes += next.bytes;
            batch.extend(state.requests.pop_front());
        }
        state.bytes -= bytes;
        state.in_flight = bytes;
        let lazy = if state.requests.is_empty() { std::mem::take(&mut state.lazy) } else { BTreeMap::new() };
        Taken::Batch(batch, lazy)
    }

    pub(crate) fn close(&self) {
        self.state.lock().closing = true;
        self.wake.notify_all();
    }

    /// Refuses all new requests from now on.
    pub(crate) fn refuse(&self, error: &LogError) {
        self.state.lock().refused.get_or_insert_with(|| LogError::Poisoned { cause: error.to_string() });
    }

    /// Refuses everything from now on; hands back what waited.
    pub(crate) fn poison(&self, error: LogError) -> VecDeque<Request> {
        let mut state = self.state.lock();
        state.refused.get_or_insert(error);
        state.bytes = 0;
        state.in_flight = 0;
        std::mem::take(&mut state.requests)
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.state.lock().refused.is_some()
    }
}
