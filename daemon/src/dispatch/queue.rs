//! One line of a queue at one gateway: waiting workers that may have the same jobs, and what is known of
//! each partition.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bravo_model::Name;
use bravo_model::command::{Lease, Sticky};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use super::Profile;
use super::choice::{Draws, choose};
use super::credit::Credit;
use super::quota::Quota;
use super::rendezvous::{Slots, stable};
use super::workers::Card;
use crate::cluster::Cluster;
use crate::raft::types::{GroupId, partition_group};
use crate::telemetry::events::WorkerPicked;
use crate::transport::wire::Delivery;

/// Hungry partitions are asked again after this long, in case a message was lost.
const SAFETY_ROUND: Duration = Duration::from_secs(1);
/// Asks under way to one partition.
const ASKS_MAX: usize = 8;
/// Jobs of one ask.
const ASK_JOBS_MAX: u32 = 512;
/// Payload bytes of one delivery.
const DELIVERY_BYTES_MAX: u32 = 4 << 20;
/// Waiters that are drawn, before each choice, to see whether they wait for nothing.
const PRUNED: usize = 4;
/// After a failed ask the partition is left alone for this long.
const FAILED_PAUSE: Duration = Duration::from_millis(25);

/// A worker that waits for jobs of one queue.
pub struct Waiter {
    /// Who will hold the jobs.
    pub card: Arc<Card>,
    /// Which jobs it may have.
    pub profile: Arc<Profile>,
    /// Whether jobs with a sticky key are kept for the workers that they look for.
    pub is_sticky: bool,
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
    /// A worker that takes any job that requires nothing.
    pub fn plain(card: Arc<Card>, credit: Arc<Credit>, sink: Sink) -> Self {
        Self { card, profile: Arc::default(), is_sticky: false, lease_ms: None, credit, sink }
    }

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
        let (card, profile, credit) = (self.card.clone(), self.profile.clone(), self.credit.clone());
        Some(Self { card, profile, is_sticky: self.is_sticky, lease_ms: self.lease_ms, credit, sink })
    }

    /// Whether it may be given jobs now, of a partition that keeps those of some slots.
    fn may_have(&self, queue: &Name, kept: Option<Slots>) -> bool {
        let looks_for_it = |kept: Slots| {
            let own = self.card.slots(queue);
            !self.is_sticky || own.any & kept.any != 0 || own.alike & kept.alike != 0
        };
        !self.is_gone() && self.credit.open() > 0 && !self.card.quota.is_used_up() && kept.is_none_or(looks_for_it)
    }
}

/// What this gateway knows of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stock {
    /// Nobody asked yet.
    Unknown,
    /// At least so many are ready there.
    Has(u64),
    /// Nothing: its leader will tell.
    Hungry,
    /// Nothing before then.
    Until(Instant),
    /// Nothing before then but for workers that jobs of these slots look for.
    Kept(Slots, Instant),
}

impl Stock {
    /// When time alone will change it.
    fn until(&self) -> Option<Instant> {
        match self {
            Self::Until(at) | Self::Kept(_, at) => Some(*at),
            _ => None,
        }
    }
}

struct Shelf {
    stock: Stock,
    asks: usize,
}

struct State {
    waiters: VecDeque<Waiter>,
    shelves: Vec<Shelf>,
    draws: Draws,
    finished: bool,
}

/// One line's dispatch at one gateway.
pub struct QueueDispatch {
    queue: Name,
    profile: Arc<Profile>,
    slow_start: Duration,
    sticky_wait_ms: u64,
    state: Mutex<State>,
    wake: Notify,
}

/// An ask that came back.
struct Asked {
    partition: u16,
    waiter: Option<Waiter>,
    /// Credit that was set aside for it.
    reserved: u32,
    /// Of what the type of agent has left it was taken too.
    gate: Option<Arc<Quota>>,
    answer: Option<Delivery>,
}

impl QueueDispatch {
    pub(super) fn start(cluster: Arc<Cluster>, queue: Name, profile: Arc<Profile>, seed: u64) -> Arc<Self> {
        let shelves = (0..cluster.partitions()).map(|_| Shelf { stock: Stock::Unknown, asks: 0 }).collect();
        let draws = Draws::new(stable(queue.as_str()) ^ seed);
        let config = &cluster.dispatcher.balance.config;
        let this = Arc::new(Self {
            queue,
            profile,
            slow_start: Duration::from_millis(config.slow_start_ms),
            sticky_wait_ms: config.sticky_wait_ms,
            state: Mutex::new(State { waiters: VecDeque::new(), shelves, draws, finished: false }),
            wake: Notify::new(),
        });
        cluster.tasks.clone().spawn(this.clone().run(cluster));
        this
    }

    /// Which jobs those in this line may have.
    pub(super) fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Somebody may be given jobs again.
    pub(super) fn look_again(&self) {
        self.wake.notify_one();
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
        state.shelves.iter().filter_map(|shelf| shelf.stock.until()).fold(far, Instant::min)
    }

    /// The next call to a partition's leader that is worth making now.
    fn next_ask(self: &Arc<Self>, cluster: &Arc<Cluster>) -> Option<BoxFuture<'static, Asked>> {
        let gate = cluster.dispatcher.balance.gate(cluster, &self.queue);
        let mut state = self.state.lock();
        while state.waiters.front().is_some_and(Waiter::is_gone) {
            state.waiters.pop_front();
        }
        if state.waiters.is_empty() {
            return None;
        }
        let now = Instant::now();
        for shelf in &mut state.shelves {
            if shelf.stock.until().is_some_and(|at| at <= now) {
                shelf.stock = Stock::Unknown;
            }
        }
        if let Some(partition) = state.shelves.iter().position(|shelf| shelf.stock == Stock::Unknown) {
            state.shelves[partition].stock = Stock::Hungry;
            return Some(self.peek(cluster, partition as u16));
        }
        let (partition, ready, waiter, max) = loop {
            if gate.as_ref().is_some_and(|gate| gate.is_used_up()) {
                return None;
            }
            if let Some((partition, ready, chosen)) = self.best(cluster, &mut state) {
                match self.reserve(&mut state.waiters, chosen, ready, gate.as_deref()) {
                    Some((waiter, max)) => break (partition, ready, waiter, max),
                    // Its credit was taken by another line at this very moment.
                    None => continue,
                }
            }
            let has_stock = |shelf: &Shelf| matches!(shelf.stock, Stock::Has(_) | Stock::Kept(..));
            if !state.shelves.iter().any(has_stock) || !Self::step_out(&mut state.waiters) {
                return None;
            }
        };
        let shelf = &mut state.shelves[partition];
        shelf.asks += 1;
        let left = ready.saturating_sub(u64::from(max));
        shelf.stock = if left == 0 { Stock::Hungry } else { Stock::Has(left) };
        drop(state);
        Some(self.ask(cluster, partition as u16, waiter, max, gate))
    }

    /// Takes all out who left or have no credit, so that whoever gives them some puts them back and is noticed;
    /// whether one of them got some at this very moment.
    fn step_out(waiters: &mut VecDeque<Waiter>) -> bool {
        let mut came = false;
        waiters.retain(|waiter| match &waiter.sink {
            _ if waiter.is_gone() => false,
            Sink::Stream(_, in_line) if waiter.credit.open() == 0 => {
                let stays = !in_line.step_out(&waiter.credit);
                came |= stays;
                stays
            }
            _ => true,
        });
        came
    }

    /// The partition to ask, what it has, and the worker to ask for.
    fn best(&self, cluster: &Arc<Cluster>, state: &mut State) -> Option<(usize, u64, usize)> {
        let State { waiters, shelves, draws, .. } = state;
        let stocked = shelves.iter().enumerate().filter_map(|(index, shelf)| match shelf.stock {
            Stock::Has(ready) if shelf.asks < ASKS_MAX => Some((index, ready)),
            _ => None,
        });
        let fullest = stocked.max_by_key(|&(index, ready)| (cluster.leads(partition_group(index as u16)), ready));
        if let Some((partition, ready)) = fullest
            && let Some(waiter) = self.choose(waiters, draws, None)
        {
            return Some((partition, ready, waiter));
        }
        shelves.iter().enumerate().find_map(|(index, shelf)| match shelf.stock {
            Stock::Kept(slots, _) if shelf.asks < ASKS_MAX => {
                Some((index, 1, self.choose(waiters, draws, Some(slots))?))
            }
            _ => None,
        })
    }

    /// Of two, the one with less to do. Those who are drawn and have no credit step out.
    fn choose(&self, waiters: &mut VecDeque<Waiter>, draws: &mut Draws, kept: Option<Slots>) -> Option<usize> {
        for _ in 0..PRUNED {
            let drawn = draws.below(waiters.len());
            let is_spent = |waiter: &Waiter| match &waiter.sink {
                Sink::Stream(_, in_line) => waiter.credit.open() == 0 && in_line.step_out(&waiter.credit),
                Sink::Once(_) => false,
            };
            if waiters.get(drawn).is_some_and(|waiter| waiter.is_gone() || is_spent(waiter)) {
                waiters.swap_remove_back(drawn);
            }
        }
        let load = |index: usize| {
            let waiter = waiters.get(index).filter(|waiter| waiter.may_have(&self.queue, kept))?;
            Some(waiter.card.load(waiter.credit.asked()))
        };
        let chosen = choose(waiters.len(), draws, self.slow_start, load)?;
        WorkerPicked { of: if waiters.len() > 1 { "two" } else { "only" } }.emit();
        Some(chosen)
    }

    /// Takes the credit of a worker for an ask, and what its standing and its type's let through. A stream goes on
    /// waiting.
    fn reserve(
        &self,
        waiters: &mut VecDeque<Waiter>,
        chosen: usize,
        ready: u64,
        gate: Option<&Quota>,
    ) -> Option<(Waiter, u32)> {
        let wanted = ASK_JOBS_MAX.min(u32::try_from(ready).unwrap_or(u32::MAX)).max(1);
        // What is there is for all who wait; where they are many, a few jobs at a time are still worth one ask.
        let among = u32::try_from(waiters.len()).unwrap_or(u32::MAX).max(1);
        let wanted = wanted.div_ceil(among).max((among / 8).clamp(1, 8)).min(wanted);
        let waiter = waiters.swap_remove_back(chosen)?;
        let taken = waiter.credit.take(wanted);
        let allowed = waiter.card.quota.take(taken);
        let through = gate.map_or(allowed, |gate| gate.take(allowed));
        waiter.card.quota.put_back(allowed - through);
        if through < taken {
            waiter.credit.put_back(taken - through);
        }
        if through == 0 {
            waiters.push_back(waiter);
            return None;
        }
        waiters.extend(waiter.again());
        Some((waiter, through))
    }

    fn peek(self: &Arc<Self>, cluster: &Arc<Cluster>, partition: u16) -> BoxFuture<'static, Asked> {
        let asked = move |answer| Asked { partition, waiter: None, reserved: 0, gate: None, answer };
        let Ok(worker) = Name::parse("worker_id", "peek") else {
            return Box::pin(async move { asked(None) });
        };
        let lease = Lease {
            project: self.profile.project.clone(),
            labels: self.profile.labels.clone(),
            ..Lease::new(self.queue.clone(), worker, 0)
        };
        let cluster = cluster.clone();
        Box::pin(async move { asked(cluster.lease(partition_group(partition), lease).await.ok()) })
    }

    fn ask(
        self: &Arc<Self>,
        cluster: &Arc<Cluster>,
        partition: u16,
        waiter: Waiter,
        max: u32,
        gate: Option<Arc<Quota>>,
    ) -> BoxFuture<'static, Asked> {
        let Slots { any: slots, alike } = waiter.card.slots(&self.queue);
        let lease = Lease {
            bytes_max: DELIVERY_BYTES_MAX,
            lease_ms: waiter.lease_ms,
            project: self.profile.project.clone(),
            labels: self.profile.labels.clone(),
            sticky: waiter.is_sticky.then_some(Sticky { slots, alike, wait_ms: self.sticky_wait_ms }),
            ..Lease::new(self.queue.clone(), waiter.card.worker.clone(), max)
        };
        let cluster = cluster.clone();
        Box::pin(async move {
            let answer = cluster.lease(partition_group(partition), lease).await.ok();
            Asked { partition, waiter: Some(waiter), reserved: max, gate, answer }
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
                    let kept = Slots { any: delivery.kept, alike: delivery.kept_alike };
                    if let Some(ms) = delivery.retry_in_ms {
                        let until = Instant::now() + Duration::from_millis(ms);
                        let is_kept = kept != Slots::default();
                        shelf.stock = if is_kept { Stock::Kept(kept, until) } else { Stock::Until(until) };
                    } else if delivery.ready_left > 0 {
                        shelf.stock = Stock::Has(delivery.ready_left);
                    }
                    // With nothing left the shelf is hungry already, or was told better meanwhile.
                }
            }
            if let Some(waiter) = asked.waiter {
                let delivery = asked.answer.filter(|delivery| !delivery.jobs.is_empty());
                let used = delivery.as_ref().map_or(0, |delivery| delivery.jobs.len() as u32);
                let (credit, unused) = (waiter.credit.clone(), asked.reserved.saturating_sub(used));
                waiter.card.quota.put_back(unused);
                if let Some(gate) = &asked.gate {
                    gate.put_back(unused);
                }
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

    fn line(waiters: Vec<Waiter>) -> (QueueDispatch, VecDeque<Waiter>) {
        let state = State { waiters: VecDeque::new(), shelves: Vec::new(), draws: Draws::new(1), finished: false };
        let dispatch = QueueDispatch {
            queue: Name::parse("queue", "q").unwrap(),
            profile: Arc::default(),
            slow_start: Duration::ZERO,
            sticky_wait_ms: 0,
            state: Mutex::new(state),
            wake: Notify::new(),
        };
        (dispatch, waiters.into())
    }

    fn streamed(name: &str, credit: u32) -> (Waiter, mpsc::UnboundedReceiver<Delivery>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let in_line: Arc<InLine> = Arc::default();
        in_line.step_in();
        let card = Card::new(Name::parse("worker", name).unwrap());
        let sticky = Waiter::plain(card, Credit::new(credit), Sink::Stream(sender, in_line));
        (Waiter { is_sticky: true, ..sticky }, receiver)
    }

    #[test]
    fn what_is_there_is_for_all_who_wait() {
        let open: Vec<_> = (0..4).map(|n| streamed(&format!("w-{n}"), 60)).collect();
        let (waiters, _receivers): (Vec<_>, Vec<_>) = open.into_iter().unzip();
        let (line, mut waiters) = line(waiters);
        let mut draws = Draws::new(4);
        let mut given = std::collections::BTreeMap::new();
        let mut left = 60;
        while left > 0 {
            let chosen = line.choose(&mut waiters, &mut draws, None).unwrap();
            let (waiter, jobs) = line.reserve(&mut waiters, chosen, left, None).unwrap();
            *given.entry(waiter.card.worker.to_string()).or_insert(0) += jobs;
            left -= u64::from(jobs);
        }
        assert_eq!(given.len(), 4, "{given:?}");
        assert!(given.values().all(|jobs| (10..=20).contains(jobs)), "{given:?}");
    }

    #[test]
    fn nobody_is_chosen_whose_standing_lets_nothing_through_and_the_rest_is_bounded_by_it() {
        let ((bad, _a), (good, _b)) = (streamed("bad", 10), streamed("good", 10));
        bad.card.quota.renew(|_| 0);
        good.card.quota.renew(|_| 3);
        let (line, mut waiters) = line(vec![bad, good]);
        let gate = Quota::default();
        gate.renew(|_| 2);
        let mut draws = Draws::new(3);
        let chosen = line.choose(&mut waiters, &mut draws, None).unwrap();
        assert_eq!(waiters[chosen].card.worker.as_str(), "good");
        let (waiter, jobs) = line.reserve(&mut waiters, chosen, 100, Some(&gate)).unwrap();
        assert_eq!((jobs, waiter.credit.open(), waiter.credit.asked()), (2, 8, 2));
        let chosen = line.choose(&mut waiters, &mut draws, None).unwrap();
        assert!(line.reserve(&mut waiters, chosen, 100, Some(&gate)).is_none(), "the type's is used up");
        assert_eq!((waiter.card.quota.take(9), waiters.len()), (1, 2));
    }

    #[test]
    fn kept_jobs_are_asked_for_by_the_worker_that_they_look_for() {
        let ((other, _a), (own, _b)) = (streamed("other", 1), streamed("own", 1));
        let queue = Name::parse("queue", "q").unwrap();
        other.card.set_slots(&queue, Slots { any: !0b100, alike: 0 });
        own.card.set_slots(&queue, Slots { any: 0b100, alike: 0 });
        let (line, mut waiters) = line(vec![other, own]);
        let kept = Some(Slots { any: 0b100, alike: 0b100 });
        for seed in 0..20 {
            let chosen = line.choose(&mut waiters, &mut Draws::new(seed), kept).unwrap();
            assert_eq!(waiters[chosen].card.worker.as_str(), "own");
        }
        waiters.retain(|waiter| waiter.card.worker.as_str() == "other");
        assert_eq!(line.choose(&mut waiters, &mut Draws::new(1), kept), None);
    }

    #[test]
    fn who_has_no_credit_steps_out_and_who_left_is_gone() {
        let ((spent, _a), (left, b), (waits, _c)) = (streamed("spent", 0), streamed("left", 9), streamed("waits", 9));
        drop(b);
        let mut waiters = VecDeque::from([spent, left, waits]);
        assert!(!QueueDispatch::step_out(&mut waiters));
        assert_eq!(waiters.iter().map(|waiter| waiter.card.worker.as_str()).collect::<Vec<_>>(), ["waits"]);
    }

    #[tokio::test]
    async fn a_pause_that_is_over_wakes_nobody_when_the_last_worker_has_left() {
        let past = Stock::Until(Instant::now() - Duration::from_millis(1));
        let shelves = vec![Shelf { stock: past, asks: 0 }];
        let state = State { waiters: VecDeque::new(), shelves, draws: Draws::new(1), finished: false };
        let dispatch = QueueDispatch {
            queue: Name::parse("queue", "q").unwrap(),
            profile: Arc::default(),
            slow_start: Duration::ZERO,
            sticky_wait_ms: 0,
            state: Mutex::new(state),
            wake: Notify::new(),
        };
        assert!(dispatch.wake_at() > Instant::now());
    }
}
