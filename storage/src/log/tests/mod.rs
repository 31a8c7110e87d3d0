//! Stories of the log: histories with crashes against a plain model, and every kind of damage.

mod basics;
mod damage;
mod faults;
mod histories;
mod races;
mod speed;

use std::{
    pin::pin,
    sync::{Arc, mpsc},
    task::{Context, Poll, Wake, Waker},
    thread::Thread,
};

use bytes::Bytes;

use super::{GroupLog, LogError, LogOptions, LogPoint, Record, SharedLog, testing::MemDisk};

pub(super) fn options(segment_bytes: u64) -> LogOptions {
    LogOptions { segment_bytes, cache_bytes: 1 << 20, queue_bytes_max: 1 << 20 }
}

pub(super) fn open(disk: &MemDisk, segment_bytes: u64) -> Result<SharedLog, LogError> {
    SharedLog::open_on(Arc::new(disk.clone()), options(segment_bytes))
}

pub(super) fn record(term: u64, index: u64, data: impl Into<Bytes>) -> Record {
    Record { term, index, data: data.into() }
}

/// Appends and waits until it is durable.
pub(super) fn append(group: &GroupLog, records: Vec<Record>) -> Result<(), LogError> {
    let (send, receive) = mpsc::channel();
    group.append(records, Box::new(move |outcome| drop(send.send(outcome))))?;
    receive.recv().unwrap()
}

pub(super) fn point(term: u64, index: u64) -> LogPoint {
    LogPoint { term, index }
}

pub(super) fn all(group: &GroupLog) -> Vec<Record> {
    group.read(0..u64::MAX, usize::MAX).unwrap()
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future on this thread.
pub(super) fn block<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}
