//! Random histories with power losses against a plain model.
//!
//! The log has one order over all groups. So whatever survives a power loss must be the model's state
//! after *some* prefix of what was asked for, and that prefix must contain all that was acknowledged.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;

use super::*;
use crate::log::testing::Dice;

const GROUPS: u64 = 4;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ModelGroup {
    purged: Option<LogPoint>,
    records: BTreeMap<u64, Record>,
    vote: Option<Bytes>,
}

type Model = BTreeMap<u32, ModelGroup>;

impl ModelGroup {
    fn last(&self) -> Option<LogPoint> {
        let last = self.records.values().next_back().map(|record| point(record.term, record.index));
        last.or(self.purged)
    }
}

fn state_of(log: &SharedLog) -> Model {
    let mut model = Model::new();
    for id in 0..GROUPS as u32 {
        let group = log.group(id);
        let records = all(&group).into_iter().map(|record| (record.index, record)).collect();
        let state = ModelGroup { purged: group.purged(), records, vote: group.vote() };
        assert_eq!(group.last(), state.last());
        let bytes: u64 = state.records.values().map(|record| record.data.len() as u64 + 29).sum();
        assert_eq!(group.bytes(), bytes);
        for record in state.records.values() {
            assert_eq!(group.point(record.index), Some(point(record.term, record.index)));
        }
        model.insert(id, state);
    }
    model
}

/// The states after each step, and how many of the first steps are known to be durable.
struct History {
    states: Vec<Model>,
    durable: Arc<Mutex<usize>>,
}

impl History {
    fn now(&self) -> Model {
        self.states.last().unwrap().clone()
    }

    fn push(&mut self, id: u32, group: ModelGroup) {
        let mut next = self.now();
        next.insert(id, group);
        self.states.push(next);
    }

    /// Notes that all steps so far are durable when the outcome is good.
    fn on_done(&self) -> Box<dyn FnOnce(Result<(), LogError>) + Send> {
        let (durable, upto) = (self.durable.clone(), self.states.len() - 1);
        Box::new(move |outcome| {
            if outcome.is_ok() {
                let mut durable = durable.lock();
                *durable = (*durable).max(upto);
            }
        })
    }
}

fn data(dice: &mut Dice) -> Bytes {
    let len = match dice.below(10) {
        0 => dice.below(3000),
        1..4 => dice.below(600),
        _ => dice.below(60),
    };
    // Some payloads are full of zeros, which look like holes.
    let fill = if dice.below(8) == 0 { 0 } else { dice.roll() as u8 };
    vec![fill; len as usize].into()
}

/// One step of the history; `false` when the log refused it.
fn step(log: &SharedLog, history: &mut History, dice: &mut Dice, term: u64) -> bool {
    let id = dice.below(GROUPS) as u32;
    let group = log.group(id);
    let mut model = history.now().remove(&id).unwrap();
    let last = model.last();
    if dice.below(30) == 0 {
        // Nothing to append, for a group that may never have been heard of.
        let nobody = log.group(100 + dice.below(3) as u32);
        return append(&nobody, Vec::new()).is_ok() && append(&group, Vec::new()).is_ok();
    }
    let wait = dice.below(3) == 0;
    match dice.below(20) {
        0..12 => {
            let first = last.map_or(dice.below(3), |last| last.index + 1);
            let records: Vec<_> =
                (first..first + 1 + dice.below(5)).map(|index| record(term, index, data(dice))).collect();
            model.records.extend(records.iter().map(|record| (record.index, record.clone())));
            history.push(id, model);
            if wait {
                let ok = append(&group, records).is_ok();
                (history.on_done())(if ok { Ok(()) } else { Err(LogError::Closed) });
                ok
            } else {
                group.append(records, history.on_done()).is_ok()
            }
        }
        12..14 => {
            let vote = data(dice);
            model.vote = Some(vote.clone());
            history.push(id, model);
            let outcome = block(group.save_vote(vote));
            (history.on_done())(outcome.clone());
            outcome.is_ok()
        }
        14..16 => {
            let keep = match (dice.below(6), last) {
                (0, _) | (_, None) => None,
                (_, Some(last)) => Some(last.index.saturating_sub(dice.below(8))),
            };
            model.records.retain(|index, _| keep.is_some_and(|keep| *index <= keep));
            history.push(id, model);
            let outcome = block(group.truncate_after(keep));
            (history.on_done())(outcome.clone());
            outcome.is_ok()
        }
        16..18 => {
            let Some(last) = last else { return true };
            let upto = match dice.below(5) {
                0 => point(term, last.index + dice.below(20)),
                _ => group.point(last.index.saturating_sub(dice.below(10))).unwrap_or(last),
            };
            let known = model.purged.is_some_and(|purged| purged.index >= upto.index);
            if !known && model.records.keys().next().is_none_or(|first| *first <= upto.index + 1) {
                model.records.retain(|index, _| *index > upto.index);
                model.purged = Some(upto);
            }
            history.push(id, model);
            group.purge(upto);
            true
        }
        18 => {
            group.save_committed(vec![dice.roll() as u8; 9].into());
            true
        }
        _ => {
            // What is readable is the model's newest state, durable or not.
            let want: Vec<_> = model.records.into_values().collect();
            let got = all(&group);
            assert!(got == want || log.is_poisoned());
            true
        }
    }
}

/// Several lives of one log, each ended by a power loss at a random call (or by a clean stop).
fn live(seed: u64) {
    let mut dice = Dice::new(seed);
    let mut disk = MemDisk::new();
    let mut start: Model = (0..GROUPS as u32).map(|id| (id, ModelGroup::default())).collect();
    let opts = LogOptions {
        segment_bytes: [2048, 4096, 16384][dice.below(3) as usize],
        cache_bytes: [0, 2000, 1 << 20][dice.below(3) as usize],
        queue_bytes_max: 1 << 20,
    };
    for life in 1..=6 {
        let mut history = History { states: vec![start.clone()], durable: Arc::default() };
        if dice.below(8) != 0 {
            disk.lose_power_at(dice.below(60), Dice::new(dice.roll()));
        }
        if let Ok(log) = SharedLog::open_on(Arc::new(disk.clone()), opts.clone()) {
            assert_eq!(state_of(&log), start, "seed {seed} life {life}");
            let steps = dice.below(60);
            for _ in 0..steps {
                if !step(&log, &mut history, &mut dice, life) {
                    break;
                }
            }
            let clean = dice.below(4) == 0;
            if clean {
                log.close();
                if !log.is_poisoned() {
                    *history.durable.lock() = history.states.len() - 1;
                }
            }
            // What is acknowledged by now must be in the image that is taken afterwards.
            let durable = *history.durable.lock();
            disk = match disk.image() {
                Some(image) => image,
                // A kill without a power loss: what is in the page cache stays.
                None if dice.below(4) == 0 => disk.copy(),
                None => disk.power_loss(Some(&mut dice)),
            };
            drop(log);
            start = survived(&disk, &opts, &history, durable, seed, life);
        } else {
            // The power went while it was opened.
            disk = disk.image().unwrap();
            start = survived(&disk, &opts, &history, 0, seed, life);
        }
    }
}

fn survived(disk: &MemDisk, opts: &LogOptions, history: &History, durable: usize, seed: u64, life: u64) -> Model {
    let log = SharedLog::open_on(Arc::new(disk.clone()), opts.clone())
        .unwrap_or_else(|error| panic!("seed {seed} life {life}: {error}"));
    let state = state_of(&log);
    let prefix = history.states[durable..].iter().position(|model| *model == state);
    assert!(
        prefix.is_some(),
        "seed {seed} life {life}: {durable} of {} steps were durable, but what is left is none of the states since",
        history.states.len() - 1
    );
    log.close();
    state
}

#[test]
fn whatever_survives_a_power_loss_is_a_prefix_with_all_that_was_acknowledged() {
    let lives = std::env::var("BRAVO_LOG_HISTORIES").ok().and_then(|text| text.parse().ok()).unwrap_or(1500);
    let first = std::env::var("BRAVO_LOG_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            scope.spawn(move || (first..first + lives).filter(|seed| seed % 4 == worker).for_each(live));
        }
    });
}
