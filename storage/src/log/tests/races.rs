//! Readers beside writers: whatever a read returns was written, in order and without a hole.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::*;
use crate::log::testing::Dice;

fn content(group: u32, term: u64, index: u64) -> Bytes {
    let mut dice = Dice::new(u64::from(group) << 32 | term << 16 | index);
    let byte = dice.roll() as u8;
    vec![byte; dice.below(200) as usize].into()
}

/// Appends, truncates and purges one group without waiting for much.
fn write(group: &GroupLog, seed: u64) {
    let mut dice = Dice::new(seed);
    let mut term = 1;
    for _ in 0..1000 {
        let next = group.last().map_or(1, |last| last.index + 1);
        match dice.below(20) {
            0 => {
                block(group.truncate_after(Some(next.saturating_sub(dice.below(6) + 1)))).unwrap();
                term += 1;
            }
            1 => {
                if let Some(upto) = group.point(next.saturating_sub(dice.below(40) + 1)) {
                    group.purge(upto);
                }
            }
            _ => {
                let end = next + dice.below(4) + 1;
                let records = (next..end).map(|index| record(term, index, content(group.id(), term, index)));
                let records: Vec<_> = records.collect();
                match dice.below(4) {
                    0 => append(group, records).unwrap(),
                    _ => group.append(records, Box::new(|outcome| outcome.unwrap())).unwrap(),
                }
            }
        }
    }
}

fn read(group: &GroupLog, seed: u64, stop: &AtomicBool) -> u64 {
    let mut dice = Dice::new(seed);
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        let last = group.last().map_or(0, |last| last.index);
        let start = last.saturating_sub(dice.below(60));
        let records = group.read(start..last + 1, dice.below(5000) as usize).unwrap();
        for pair in records.windows(2) {
            assert_eq!(pair[0].index + 1, pair[1].index);
        }
        for record in &records {
            assert_eq!(record.data, content(group.id(), record.term, record.index));
        }
        count += records.len() as u64;
        std::thread::sleep(Duration::from_micros(100)); // two cores have to do for readers and writers
    }
    count
}

#[test]
fn readers_see_only_what_was_written_while_groups_append_truncate_and_purge() {
    for cache_bytes in [0, 3000, 1 << 20] {
        let disk = MemDisk::new();
        disk.delay_syncs(Duration::from_micros(50));
        let opts = LogOptions { cache_bytes, ..options(8192) };
        let log = SharedLog::open_on(Arc::new(disk.clone()), opts).unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..3)
                .map(|id| (log.group(id), &stop))
                .map(|(group, stop)| scope.spawn(move || read(&group, 7, stop)))
                .collect();
            let writers: Vec<_> = (0..3)
                .map(|id| log.group(id))
                .map(|group| scope.spawn(move || write(&group, u64::from(group.id()))))
                .collect();
            let written: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
            stop.store(true, Ordering::Relaxed);
            assert!(written.iter().all(Result::is_ok));
            assert!(readers.into_iter().map(|reader| reader.join().unwrap()).sum::<u64>() > 0);
        });
        let before: Vec<_> = (0..3).map(|id| all(&log.group(id))).collect();
        log.close();
        let log = open(&disk, 8192).unwrap();
        let after: Vec<_> = (0..3).map(|id| all(&log.group(id))).collect();
        assert_eq!(before, after);
    }
}

#[test]
fn a_late_fsync_does_not_vouch_for_records_that_took_the_place_of_truncated_ones() {
    let disk = MemDisk::new();
    let opts = LogOptions { cache_bytes: 0, ..options(1 << 16) };
    let log = SharedLog::open_on(Arc::new(disk.clone()), opts).unwrap();
    disk.delay_syncs(Duration::from_millis(30));
    let group = log.group(1);
    let (old, new) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let set = |flag: &Arc<AtomicBool>| {
        let flag = flag.clone();
        Box::new(move |outcome: Result<(), LogError>| flag.store(outcome.is_ok(), Ordering::SeqCst))
    };
    group.append((1..=3).map(|index| record(1, index, "old")).collect(), set(&old)).unwrap();
    std::thread::sleep(Duration::from_millis(10)); // the old ones are being synced now
    let mut truncation = Box::pin(group.truncate_after(Some(1)));
    let waker = std::task::Waker::noop();
    assert!(truncation.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
    group.append((2..=3).map(|index| record(2, index, "new")).collect(), set(&new)).unwrap();
    let mut between = 0;
    while !new.load(Ordering::SeqCst) {
        let was_between = old.load(Ordering::SeqCst);
        let records = group.read(2..4, usize::MAX).unwrap();
        assert_eq!(records, [record(2, 2, "new"), record(2, 3, "new")]);
        between += u32::from(was_between);
    }
    assert!(between > 0, "the two fsyncs came as one, nothing was tried");
}
