//! One queue at one gateway: waiting workers, and what is known of each partition.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bravo_model::Name;
use bravo_model::command::Lease;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use super::credit::Credit;
use crate::cluster::Cluster;
use crate::raft::types::{GroupId, partition_group};
use crate::transport::wire::Delivery;

/// Hungry partitions are asked again after this long, in case a message was lost.
const SAFETY_ROUND: Duration = Duration::from_secs(1);
/// Asks under way to one partition.
const ASKS_MAX: usize = 8;
/// Jobs of one ask.
const ASK_JOBS_MAX: u32 = 512;
/// Payload bytes of one delivery.
const DELIVERY_BYTES_MAX: u32 = 4 << 20;
/// After a failed ask the partition is left alone for this long.
const FAILED_PAUSE: Duration = Duration::from_millis(25);

/// A worker that waits for jobs of one queue.
pub struct Waiter {
    /// Who will hold the jobs.
    pub worker: Name,
    /// Length of its leases, if not the queue's.
    pub lease_ms: Option<u64>,
    /// How many jobs it takes, here and in other lines where it stands.
    pub credit: Arc<Credit>,
    /// Where they go.
    pub sink: Sink,
}

/// Where leased jobs go.
pub enum Sink {
    /// A long poll: answered once, with the first jobs.
    Once(oneshot::Sender<Delivery>),
    /// A worker's stream, for as long as it has credit.
    Stream(mpsc::UnboundedSender<Delivery>, Arc<InLine>),
}

/// Whether a stream stands in a queue's line: it steps out when its credit is used up, and whoever
/// gives it credit puts it back.
#[derive(Debug, Default)]
pub struct InLine(AtomicBool);

impl InLine {
    /// Takes the place in line; true if it was free, so that a waiter is to be pushed.
    pub fn step_in(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// Leaves the line, unless credit came at that very moment.
    fn step_out(&self, credit: &Credit) -> bool {
        self.0.store(false, Ordering::Release);
        credit.open() == 0 || !self.step_in()
    }
}

impl Waiter {
    fn is_gone(&self) -> bool {
        let left = match &self.sink {
            Sink::Once(sender) => sender.is_closed(),
            Sink::Stream(sender, _) => sender.is_closed(),
        };
        left || self.credit.is_closed()
    }

    /// The same worker once more, to wait on while a partition is asked; a long poll only asks once at a time.
    fn again(&self) -> Option<Self> {
        let Sink::Stream(sender, in_line) = &self.sink else { return None };
        let sink = Sink::Stream(sender.clone(), in_line.clone());
        Some(Self { worker: self.worker.clone(), lease_ms: self.lease_ms, credit: self.credit.clone(), sink })
    }
}

/// What this gateway knows of one partition.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stock {
    /// Nobody asked yet.
    Unknown,
    /// At least so many are ready there.
    Has(u64),
    /// Nothing: its leader will tell.
    Hungry,
    /// Nothing before then.
    Until(Instant),
}

struct Shelf {
    stock: Stock,
    asks: usize,
}

struct State {
    waiters: VecDeque<Waiter>,
    shelves: Vec<Shelf>,
    finished: bool,
}

/// One queue's dispatch at one gateway.
pub struct QueueDispatch {
    queue: Name,
    state: Mutex<State>,
    wake: Notify,
}

/// An ask that came back.
struct Asked {
    partition: u16,
    waiter: Option<Waiter>,
    /// Credit that was set aside for it.
    reserved: u32,
    answer: Option<Delivery>,
}

impl QueueDispatch {
    pub(super) fn start(cluster: Arc<Cluster>, queue: Name) -> Arc<Self> {
        let shelves = (0..cluster.partitions()).map(|_| Shelf { stock: Stock::Unknown, asks: 0 }).collect();
        let state = State { waiters: VecDeque::new(), shelves, finished: false };
        let this = Arc::new(Self { queue, state: Mutex::new(state), wake: Notify::new() });
        cluster.tasks.clone().spawn(this.clone().run(cluster));
        this
    }

    pub(super) fn push(&self, waiter: Waiter) {
        self.state.lock().waiters.push_back(waiter);
        self.wake.notify_one();
    }

    pub(super) fn ready(&self, group: GroupId, ready: u64) -> bool {
        self.set(group, Stock::Has(ready.max(1)));
        self.state.lock().waiters.iter().any(|waiter| !waiter.is_gone() && waiter.credit.open() > 0)
    }

    pub(super) fn forget(&self, group: GroupId) {
        self.set(group, Stock::Unknown);
    }

    fn set(&self, group: GroupId, stock: Stock) {
        let Some(index) = (group as usize).checked_sub(1) else { return };
        if let Some(shelf) = self.state.lock().shelves.get_mut(index) {
            shelf.stock = stock;
        }
        self.wake.notify_one();
    }

    pub(super) fn is_finished(&self) -> bool {
        self.state.lock().finished
    }

    /// Ends the dispatch if nobody waits.
    pub(super) fn try_finish(&self) -> bool {
        let mut state = self.state.lock();
        state.finished = state.waiters.is_empty();
        state.finished
    }

    async fn run(self: Arc<Self>, cluster: Arc<Cluster>) {
        let mut asks: FuturesUnordered<BoxFuture<'static, Asked>> = FuturesUnordered::new();
        let mut safety = Instant::now() + SAFETY_ROUND;
        let mut idle_rounds = 0;
        loop {
            while let Some(ask) = self.next_ask(&cluster) {
                asks.push(ask);
            }
            let until = self.wake_at().min(safety);
            tokio::select! {
                biased;
                Some(asked) = asks.next(), if !asks.is_empty() => self.settle(&cluster, asked),
                () = self.wake.notified() => idle_rounds = 0,
                () = tokio::time::sleep_until(until) => {}
            }
            if Instant::now() >= safety {
                safety = Instant::now() + SAFETY_ROUND;
                if self.safety_round() || !asks.is_empty() {
                    idle_rounds = 0;
                } else {
                    idle_rounds += 1;
                    if idle_rounds > 3 && cluster.dispatcher.retire(&self.queue, &self) {
                        return;
                    }
                }
            }
        }
    }

    /// Drops workers that left; answers whether any is there. Hungry partitions are asked again.
    fn safety_round(&self) -> bool {
        let mut state = self.state.lock();
        state.waiters.retain(|waiter| !waiter.is_gone());
        for shelf in &mut state.shelves {
            if shelf.stock == Stock::Hungry {
                shelf.stock = Stock::Unknown;
            }
        }
        !state.waiters.is_empty()
    }

    fn wake_at(&self) -> Instant {
        let far = Instant::now() + SAFETY_ROUND;
        let state = self.state.lock();
        if state.waiters.is_empty() {
            // Nobody would end a pause that is over, and waking for it would go round and round.
            return far;
        }
        let times = state.shelves.iter().filter_map(|shelf| match shelf.stock {
            Stock::Until(at) => Some(at),
            _ => None,
        });
        times.fold(far, Instant::min)
    }

    /// The next call to a partition's leader that is worth making now.
    fn next_ask(self: &Arc<Self>, cluster: &Arc<Cluster>) -> Option<BoxFuture<'static, Asked>> {
        let mut state = self.state.lock();
        while state.waiters.front().is_some_and(Waiter::is_gone) {
            state.waiters.pop_front();
        }
        if state.waiters.is_empty() {
            return None;
        }
        let now = Instant::now();
        for shelf in &mut state.shelves {
            if matches!(shelf.stock, Stock::Until(at) if at <= now) {
                shelf.stock = Stock::Unknown;
            }
        }
        if let Some(partition) = state.shelves.iter().position(|shelf| shelf.stock == Stock::Unknown) {
            state.shelves[partition].stock = Stock::Hungry;
            return Some(self.peek(cluster, partition as u16));
        }
        let best = state
            .shelves
            .iter()
            .enumerate()
            .filter_map(|(index, shelf)| match shelf.stock {
                Stock::Has(ready) if shelf.asks < ASKS_MAX => Some((index, ready)),
                _ => None,
            })
            .max_by_key(|&(index, ready)| (cluster.leads(partition_group(index as u16)), ready))?;
        let (partition, ready) = best;
        let wanted = ASK_JOBS_MAX.min(u32::try_from(ready).unwrap_or(u32::MAX)).max(1);
        let (waiter, max) = Self::next_waiter(&mut state.waiters, wanted)?;
        let shelf = &mut state.shelves[partition];
        shelf.asks += 1;
        let left = ready.saturating_sub(u64::from(max));
        shelf.stock = if left == 0 { Stock::Hungry } else { Stock::Has(left) };
        drop(state);
        Some(self.ask(cluster, partition as u16, waiter, max))
    }

    /// The first waiter that has credit, and how much of it is taken. A stream goes on waiting.
    fn next_waiter(waiters: &mut VecDeque<Waiter>, wanted: u32) -> Option<(Waiter, u32)> {
        while let Some(waiter) = waiters.pop_front() {
            if waiter.is_gone() {
                continue;
            }
            match waiter.credit.take(wanted) {
                0 => {
                    if let Sink::Stream(_, in_line) = &waiter.sink
                        && !in_line.step_out(&waiter.credit)
                    {
                        waiters.push_back(waiter);
                    }
                }
                taken => {
                    waiters.extend(waiter.again());
                    return Some((waiter, taken));
                }
            }
        }
        None
    }

    fn peek(self: &Arc<Self>, cluster: &Arc<Cluster>, partition: u16) -> BoxFuture<'static, Asked> {
        let Ok(worker) = Name::parse("worker_id", "peek") else {
            return Box::pin(async move { Asked { partition, waiter: None, reserved: 0, answer: None } });
        };
        let lease = Lease { queue: self.queue.clone(), worker, max: 0, bytes_max: 0, lease_ms: None };
        let cluster = cluster.clone();
        Box::pin(async move {
            let answer = cluster.lease(partition_group(partition), lease).await.ok();
            Asked { partition, waiter: None, reserved: 0, answer }
        })
    }

    fn ask(
        self: &Arc<Self>,
        cluster: &Arc<Cluster>,
        partition: u16,
        waiter: Waiter,
        max: u32,
    ) -> BoxFuture<'static, Asked> {
        let lease = Lease {
            queue: self.queue.clone(),
            worker: waiter.worker.clone(),
            max,
            bytes_max: DELIVERY_BYTES_MAX,
            lease_ms: waiter.lease_ms,
        };
        let cluster = cluster.clone();
        Box::pin(async move {
            let answer = cluster.lease(partition_group(partition), lease).await.ok();
            Asked { partition, waiter: Some(waiter), reserved: max, answer }
        })
    }

    /// Takes in an answer: jobs to the worker, what is left to the shelf, unused credit to the queue.
    fn settle(&self, cluster: &Arc<Cluster>, asked: Asked) {
        let mut gone = None;
        {
            let mut state = self.state.lock();
            let shelf = &mut state.shelves[asked.partition as usize];
            if asked.waiter.is_some() {
                shelf.asks = shelf.asks.saturating_sub(1);
            }
            match &asked.answer {
                None => shelf.stock = Stock::Until(Instant::now() + FAILED_PAUSE),
                Some(delivery) => {
                    if let Some(ms) = delivery.retry_in_ms {
                        shelf.stock = Stock::Until(Instant::now() + Duration::from_millis(ms));
                    } else if delivery.ready_left > 0 {
                        shelf.stock = Stock::Has(delivery.ready_left);
                    }
                    // With nothing left the shelf is hungry already, or was told better meanwhile.
                }
            }
            if let Some(waiter) = asked.waiter {
                let delivery = asked.answer.filter(|delivery| !delivery.jobs.is_empty());
                let used = delivery.as_ref().map_or(0, |delivery| delivery.jobs.len() as u32);
                let credit = waiter.credit.clone();
                match (delivery, waiter.sink) {
                    (Some(delivery), Sink::Once(sender)) => gone = sender.send(delivery).err(),
                    (Some(delivery), Sink::Stream(sender, _)) => {
                        gone = sender.send(delivery).err().map(|error| error.0);
                    }
                    // It waits on, unless its time was over meanwhile.
                    (None, Sink::Once(sender)) => {
                        if !credit.is_closed() {
                            state.waiters.push_front(Waiter { sink: Sink::Once(sender), ..waiter });
                        }
                    }
                    // Its stream is told by the credit that comes back, and stands in line again.
                    (None, Sink::Stream(..)) => {}
                }
                credit.settle(asked.reserved, used);
            }
        }
        if let Some(delivery) = gone {
            // The worker left while its jobs were leased: somebody else should have them now.
            cluster.give_back(asked.partition, delivery);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pause_that_is_over_wakes_nobody_when_the_last_worker_has_left() {
        let past = Stock::Until(Instant::now() - Duration::from_millis(1));
        let state = State { waiters: VecDeque::new(), shelves: vec![Shelf { stock: past, asks: 0 }], finished: false };
        let queue = Name::parse("queue", "q").unwrap();
        let dispatch = QueueDispatch { queue, state: Mutex::new(state), wake: Notify::new() };
        assert!(dispatch.wake_at() > Instant::now());
    }
}
