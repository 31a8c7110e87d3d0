//! What clients did and what they were told.
//!
//! Each call is written down before it is sent. It ends as done, as refused (only where the refusal
//! promises that nothing was changed) or as unknown; a call that never ended is unknown too.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// What a client asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// One job. Its tag is in payload and metadata, and names it in this history.
    Enqueue {
        /// Names the job; the same in each repetition.
        tag: String,
        /// `Idempotency-Key`.
        key: Option<String>,
        /// `unique_key`.
        unique: Option<String>,
        /// `delay_ms`.
        delay_ms: u64,
    },
    /// Jobs to work on.
    Lease {
        /// `lease_ms`.
        lease_ms: u64,
    },
    /// The end of a lease, with success.
    Ack {
        /// The job.
        id: String,
        /// The lease.
        token: u64,
        /// What the worker gave back.
        result: String,
    },
    /// The end of a lease, with failure.
    Nack {
        /// The job.
        id: String,
        /// The lease.
        token: u64,
    },
    /// A longer lease.
    Extend {
        /// The job.
        id: String,
        /// The lease.
        token: u64,
        /// From now.
        lease_ms: u64,
    },
    /// No more work on the job.
    Cancel {
        /// The job.
        id: String,
    },
}

/// What a lease call brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leased {
    /// The job.
    pub id: String,
    /// Its tag.
    pub tag: String,
    /// The lease.
    pub token: u64,
    /// Which attempt it is.
    pub attempt: u64,
}

/// A good answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// The job is in.
    Enqueued {
        /// Its id.
        id: String,
        /// It was there before.
        duplicate: bool,
    },
    /// Jobs, or none.
    Leased(Vec<Leased>),
    /// Done.
    Done,
    /// Where the job stands after a cancel.
    State(String),
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Not yet.
    Open,
    /// With a good answer.
    Ok(Said),
    /// Refused with this code; nothing was changed.
    Failed(String),
    /// It may have been done or not.
    Unknown(String),
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// When it was sent, by the test's own clock.
    pub began: Duration,
    /// When it ended.
    pub ended: Duration,
    /// What was asked.
    pub call: Call,
    /// How it ended.
    pub end: End,
}

/// A job as it stood when all was over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Final {
    /// Its tag.
    pub tag: String,
    /// Its state.
    pub state: String,
    /// Leases that it had.
    pub attempt: u64,
    /// What the ack said that counted.
    pub result: Option<String>,
}

/// All jobs of the queue as they stood when all was over, by id.
pub type Finals = BTreeMap<String, Final>;

/// The calls of all clients, in the order in which they were sent.
#[derive(Debug)]
pub struct History {
    start: Instant,
    ops: Mutex<Vec<Op>>,
}

impl Default for History {
    fn default() -> Self {
        Self { start: Instant::now(), ops: Mutex::default() }
    }
}

impl History {
    /// Time by the test's own clock.
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Writes a call down; to be called before it is sent.
    pub fn begin(&self, call: Call) -> usize {
        let mut ops = self.ops.lock();
        // Under the lock, so that the order is that of time.
        let began = self.now();
        ops.push(Op { began, ended: Duration::MAX, call, end: End::Open });
        ops.len() - 1
    }

    /// Writes down how it ended.
    pub fn end(&self, op: usize, end: End) {
        let mut ops = self.ops.lock();
        ops[op].ended = self.now();
        ops[op].end = end;
    }

    /// The calls so far.
    pub fn ops(&self) -> Vec<Op> {
        self.ops.lock().clone()
    }

    /// How many calls ended so, by a test of their question and end.
    pub fn count(&self, is_counted: impl Fn(&Call, &End) -> bool) -> usize {
        self.ops.lock().iter().filter(|op| is_counted(&op.call, &op.end)).count()
    }

    /// Enqueues that were acknowledged.
    pub fn enqueued(&self) -> usize {
        self.count(|call, end| matches!((call, end), (Call::Enqueue { .. }, End::Ok(_))))
    }

    /// Acks that were accepted.
    pub fn acked(&self) -> usize {
        self.count(|call, end| matches!((call, end), (Call::Ack { .. }, End::Ok(_))))
    }

    /// Calls of which nobody knows whether they were done.
    pub fn unknown(&self) -> usize {
        self.count(|_, end| matches!(end, End::Unknown(_)))
    }
}
