//! The state while one entry is applied: rows that many commands of an entry touch (the clock,
//! queues' definitions and counts, lanes) are decoded once and written back once, at the end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Time;
use crate::apply::Hooks;
use crate::apply::workflow::Step;
use crate::command::QueueDefinition;
use crate::happened::Happened;
use crate::id::Name;
use crate::job::{Job, JobState};
use crate::reply::{Effect, LeasesEnded};
use crate::row::{self, Flow, Lane, Meta, Stats};
use crate::table::{self, tag};
use crate::txn::{Key, Txn, Value};
use crate::webhook;

/// A queue's rows, and whether they changed.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    pub(crate) def: QueueDefinition,
    pub(crate) stats: Stats,
    /// The stats as they were read: a poll that changes nothing writes nothing.
    stored: Option<Stats>,
    pub(crate) flow: Flow,
    flow_stored: Flow,
    def_changed: bool,
}

pub(crate) struct State<'a> {
    pub(crate) txn: &'a mut dyn Txn,
    pub(crate) partition: u16,
    pub(crate) meta: Meta,
    queues: BTreeMap<u32, Queue>,
    numbers: BTreeMap<Name, u32>,
    /// None: dropped in this entry.
    pub(crate) lanes: BTreeMap<(u32, u64), Option<Lane>>,
    /// Queues in which something became deliverable by the present command.
    woken: BTreeSet<u32>,
    /// Queues that an earlier command of this entry told the leader of.
    told: BTreeSet<u32>,
    /// The project that whoever sent the present command is bound to.
    pub(crate) scope: Option<Name>,
    /// What the present command has set off in workflows and is still to be done.
    pub(crate) steps: VecDeque<Step>,
    /// Workflows that may be over for good, to be packed when the command is done.
    pub(crate) over: Vec<u64>,
    /// What the entry did, if anybody watches.
    pub(crate) happened: Option<Vec<Happened>>,
    /// Webhooks, as far as the entry has met them.
    pub(crate) hooks: Hooks,
    /// Leases that the present command ended, by worker and queue: with success, with failure, otherwise.
    ended: BTreeMap<(Name, u32), [u32; 3]>,
    /// The present item ends a lease that its worker never saw.
    pub(crate) unseen: bool,
    /// Effects of the present command other than woken queues.
    pub(crate) noted: Vec<Effect>,
    /// Chunks that sweeps of the present entry gave up.
    pub(crate) chunks_swept: usize,
    scratch: Vec<u8>,
}

impl<'a> State<'a> {
    /// Opens the state for one entry; the clock never goes back.
    pub(crate) fn open(txn: &'a mut dyn Txn, partition: u16, at: Time) -> Self {
        let mut meta: Meta = row::read(&*txn, &table::meta()).unwrap_or_default();
        meta.now = meta.now.max(at);
        meta.partition = partition;
        Self {
            txn,
            partition,
            meta,
            queues: BTreeMap::new(),
            numbers: BTreeMap::new(),
            lanes: BTreeMap::new(),
            woken: BTreeSet::new(),
            told: BTreeSet::new(),
            scope: None,
            steps: VecDeque::new(),
            over: Vec::new(),
            happened: None,
            hooks: Hooks::default(),
            ended: BTreeMap::new(),
            unseen: false,
            noted: Vec::new(),
            chunks_swept: 0,
            scratch: Vec::with_capacity(1024),
        }
    }

    /// Writes back what was held decoded.
    pub(crate) fn close(mut self) {
        let meta = self.meta.clone();
        self.put(table::meta(), &meta);
        for (number, queue) in std::mem::take(&mut self.queues) {
            if queue.def_changed {
                self.put(table::by_queue(tag::QUEUE, number), &queue.def);
            }
            if queue.stored.as_ref() != Some(&queue.stats) {
                self.put(table::by_queue(tag::STATS, number), &queue.stats);
            }
            if queue.flow_stored != queue.flow {
                self.put(table::by_queue(tag::FLOW, number), &queue.flow);
            }
        }
        for ((number, id), lane) in std::mem::take(&mut self.lanes) {
            match lane {
                Some(lane) => self.put(table::lane(number, id), &lane),
                None => self.txn.delete(&table::lane(number, id)),
            }
        }
    }

    pub(crate) fn now(&self) -> Time {
        self.meta.now
    }

    pub(crate) fn rows(&self) -> &dyn Txn {
        &*self.txn
    }

    pub(crate) fn read<T: DeserializeOwned>(&self, key: &Key) -> Option<T> {
        row::decode(&self.txn.get(key)?)
    }

    pub(crate) fn put<T: Serialize>(&mut self, key: Key, value: &T) {
        self.scratch.clear();
        let mut buffer = std::mem::take(&mut self.scratch);
        // Postcard fails on types without a length alone; no row is one.
        if let Ok(bytes) = postcard::to_extend(value, std::mem::take(&mut buffer)) {
            self.txn.put(key, Value::copy_from_slice(&bytes));
            self.scratch = bytes;
        }
    }

    pub(crate) fn mark(&mut self, key: Key) {
        self.txn.put(key, Value::new());
    }

    pub(crate) fn job(&self, seq: u64) -> Option<Job> {
        row::job(self.rows(), seq)
    }

    /// The number of a queue that is known here.
    pub(crate) fn known(&mut self, name: &Name) -> Option<u32> {
        if let Some(&number) = self.numbers.get(name) {
            return Some(number);
        }
        let number = row::queue_number(self.rows(), name)?;
        self.numbers.insert(name.clone(), number);
        Some(number)
    }

    /// The number of a queue; it becomes known here, with defaults, if it was not.
    pub(crate) fn intern(&mut self, name: &Name) -> u32 {
        if let Some(number) = self.known(name) {
            return number;
        }
        self.meta.last_queue = self.meta.last_queue.wrapping_add(1);
        self.meta.queues = self.meta.queues.saturating_add(1);
        let number = self.meta.last_queue;
        self.put(table::by_hash(tag::NUMBER, &table::h16(&[name.as_str()])), &number);
        self.numbers.insert(name.clone(), number);
        let queue = Queue {
            def: row::undefined(name.clone()),
            stats: Stats::default(),
            stored: None,
            flow: Flow::default(),
            flow_stored: Flow::default(),
            def_changed: true,
        };
        self.queues.insert(number, queue);
        number
    }

    /// Forgets a queue that has no jobs left.
    pub(crate) fn forget(&mut self, number: u32) {
        let name = self.queue(number).def.name.clone();
        self.lanes.retain(|(queue, _), _| *queue != number);
        self.delete_all(&table::by_queue(tag::LANE, number));
        self.delete_all(&table::by_queue(tag::IDLE, number));
        self.txn.delete(&table::by_hash(tag::NUMBER, &table::h16(&[name.as_str()])));
        self.txn.delete(&table::by_queue(tag::QUEUE, number));
        self.txn.delete(&table::by_queue(tag::STATS, number));
        self.txn.delete(&table::by_queue(tag::FLOW, number));
        self.numbers.remove(&name);
        self.queues.remove(&number);
        self.woken.remove(&number);
        self.meta.queues = self.meta.queues.saturating_sub(1);
    }

    pub(crate) fn delete_all(&mut self, prefix: &Key) {
        let mut keys = Vec::new();
        row::walk(self.rows(), prefix, prefix, &mut |key, _| {
            keys.push(*key);
            true
        });
        keys.iter().for_each(|key| self.txn.delete(key));
    }

    /// A queue's rows. Damaged ones are replaced by defaults, so that its jobs can still be worked.
    pub(crate) fn queue(&mut self, number: u32) -> &mut Queue {
        let txn = &*self.txn;
        self.queues.entry(number).or_insert_with(|| {
            let def = row::read(txn, &table::by_queue(tag::QUEUE, number));
            let stored: Option<Stats> = row::read(txn, &table::by_queue(tag::STATS, number));
            let flow: Flow = row::read(txn, &table::by_queue(tag::FLOW, number)).unwrap_or_default();
            Queue {
                def: def.unwrap_or_else(|| row::undefined(Name::lost())),
                stats: stored.clone().unwrap_or_default(),
                stored,
                flow,
                flow_stored: flow,
                def_changed: false,
            }
        })
    }

    pub(crate) fn stats(&mut self, number: u32) -> &mut Stats {
        &mut self.queue(number).stats
    }

    /// The stats of a queue that was met before.
    pub(crate) fn stats_of(&self, number: u32) -> Option<&Stats> {
        self.queues.get(&number).map(|queue| &queue.stats)
    }

    pub(crate) fn define(&mut self, number: u32, def: QueueDefinition) {
        let queue = self.queue(number);
        queue.def = def;
        queue.def_changed = true;
    }

    /// Notes that something in the queue may have become deliverable.
    pub(crate) fn wake(&mut self, number: u32) {
        self.woken.insert(number);
    }

    /// Notes how a lease ended; one that ends for good or for another try has failed.
    pub(crate) fn lease_ended(&mut self, old: &Job, state: JobState) {
        let Some(worker) = &old.worker else { return };
        if webhook::is_queue(&old.queue) {
            return;
        }
        let kind = match state {
            JobState::Succeeded => 0,
            JobState::Cancelled => 2,
            _ if self.unseen => 2,
            _ => 1,
        };
        let counts = self.ended.entry((worker.clone(), old.keeping.queue_number)).or_default();
        counts.iter_mut().skip(kind).take(1).for_each(|count| *count = count.saturating_add(1));
    }

    /// A task's time was over while its job was leased.
    pub(crate) fn lease_timed_out(&mut self, job: &Job) {
        if let Some(worker) = &job.worker {
            let counts = self.ended.entry((worker.clone(), job.keeping.queue_number)).or_default();
            counts[1] = counts[1].saturating_add(1);
        }
    }

    /// What the leader is to do after the present command: queues that were woken and do deliver,
    /// each once per entry, since the leader looks when the whole entry is applied.
    pub(crate) fn effects(&mut self) -> Vec<Effect> {
        let mut effects = std::mem::take(&mut self.noted);
        for ((worker, number), [done, failed, other]) in std::mem::take(&mut self.ended) {
            let queue = self.queue(number).def.name.clone();
            effects.push(Effect::LeasesEnded(LeasesEnded { worker, queue, done, failed, other }));
        }
        for number in std::mem::take(&mut self.woken) {
            let queue = self.queue(number);
            if queue.stats.open_all() > 0 && !queue.def.paused && queue.free_in_flight() > 0 {
                let name = queue.def.name.clone();
                if self.told.insert(number) {
                    effects.push(Effect::QueueReady(name));
                }
            }
        }
        effects
    }
}

impl Queue {
    pub(crate) fn free_in_flight(&self) -> u64 {
        free_in_flight(&self.def, &self.stats)
    }
}

/// Leases that `max_in_flight` leaves.
pub(crate) fn free_in_flight(def: &QueueDefinition, stats: &Stats) -> u64 {
    let held = stats.count(JobState::Leased);
    def.config.max_in_flight.map_or(u64::MAX, |max| u64::from(max).saturating_sub(held))
}
