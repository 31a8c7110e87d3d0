use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::*;
use crate::log::testing::Call;

#[test]
fn what_was_acknowledged_is_there_after_a_restart_on_a_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    {
        let log = SharedLog::open(&path, LogOptions::default()).unwrap();
        let (a, b) = (log.group(1), log.group(2));
        append(&a, vec![record(1, 1, "one"), record(1, 2, "two")]).unwrap();
        append(&b, vec![record(3, 7, "seven")]).unwrap();
        append(&a, vec![record(2, 3, "three")]).unwrap();
        block(a.save_vote("vote".into())).unwrap();
        b.save_committed("mark".into());
        assert!(matches!(SharedLog::open(&path, LogOptions::default()), Err(LogError::InUse { .. })));
    }
    let log = SharedLog::open(&path, LogOptions::default()).unwrap();
    let (a, b) = (log.group(1), log.group(2));
    assert_eq!(all(&a), [record(1, 1, "one"), record(1, 2, "two"), record(2, 3, "three")]);
    assert_eq!(all(&b), [record(3, 7, "seven")]);
    assert_eq!(a.vote(), Some("vote".into()));
    assert_eq!(b.committed(), Some("mark".into()));
    assert_eq!((a.last(), a.first_index(), a.purged()), (Some(point(2, 3)), Some(1), None));
    assert_eq!(a.point(2), Some(point(1, 2)));
    assert_eq!(a.bytes(), 3 * 29 + 11);
}

#[test]
fn records_are_readable_before_they_are_durable() {
    let disk = MemDisk::new();
    let log = open(&disk, 1 << 16).unwrap();
    disk.delay_syncs(Duration::from_millis(50));
    let group = log.group(1);
    let (send, receive) = mpsc::channel();
    group.append(vec![record(1, 5, "x")], Box::new(move |outcome| drop(send.send(outcome)))).unwrap();
    assert_eq!(all(&group), [record(1, 5, "x")]);
    assert!(receive.try_recv().is_err());
    receive.recv().unwrap().unwrap();
}

#[test]
fn a_gap_is_refused_and_changes_nothing() {
    let log = open(&MemDisk::new(), 1 << 16).unwrap();
    let group = log.group(4);
    append(&group, vec![record(1, 1, "a")]).unwrap();
    let gap = LogError::Gap { group: 4, expected: 2, found: 3 };
    assert_eq!(append(&group, vec![record(1, 3, "c")]), Err(gap.clone()));
    assert!(append(&group, vec![record(1, 2, "b"), record(1, 4, "d")]).is_err());
    assert_eq!(all(&group).len(), 1);
    append(&group, vec![record(1, 2, "b")]).unwrap();
}

#[test]
fn records_beyond_the_cache_are_read_from_disk() {
    let disk = MemDisk::new();
    let small = LogOptions { cache_bytes: 1000, ..options(1 << 14) };
    let log = SharedLog::open_on(Arc::new(disk), small).unwrap();
    let (a, b) = (log.group(1), log.group(2));
    for index in 1..=500 {
        append(&a, vec![record(index / 100, index, vec![index as u8; 100])]).unwrap();
        append(&b, vec![record(1, index, vec![7; 50])]).unwrap();
    }
    // The writer answers first and lets go of records then.
    let until = Instant::now() + Duration::from_secs(10);
    while log.handle.inner.cached.load(Ordering::Relaxed) > 1000 {
        assert!(Instant::now() < until, "the cache stays too large");
        std::thread::yield_now();
    }
    let records = all(&a);
    assert_eq!(records.len(), 500);
    for (at, found) in records.iter().enumerate() {
        let index = at as u64 + 1;
        assert_eq!(*found, record(index / 100, index, vec![index as u8; 100]));
    }
    assert_eq!(a.read(10..500, 129 * 3).unwrap().len(), 3);
    assert_eq!(a.read(10..500, 0).unwrap(), [record(0, 10, vec![10; 100])]);
    assert_eq!(a.read(10..12, usize::MAX).unwrap().len(), 2);
    assert!(a.read(501..600, usize::MAX).unwrap().is_empty());
}

#[test]
fn groups_that_append_at_the_same_time_share_fsyncs() {
    let disk = MemDisk::new();
    let log = open(&disk, 1 << 20).unwrap();
    disk.delay_syncs(Duration::from_millis(2));
    let before = disk.calls(Call::Sync);
    let durable = Arc::new(AtomicU64::new(0));
    std::thread::scope(|scope| {
        for id in 0..9 {
            let (group, durable) = (log.group(id), durable.clone());
            scope.spawn(move || {
                for index in 1..=50 {
                    append(&group, vec![record(1, index, "data")]).unwrap();
                    durable.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let syncs = disk.calls(Call::Sync) - before;
    assert_eq!(durable.load(Ordering::Relaxed), 450);
    assert!(syncs <= 150, "{syncs} fsyncs for 450 appends");
}

#[test]
fn truncation_makes_room_for_another_leader() {
    let disk = MemDisk::new();
    let log = open(&disk, 1 << 16).unwrap();
    let group = log.group(1);
    append(&group, (1..=10).map(|index| record(1, index, "old")).collect()).unwrap();
    block(group.truncate_after(Some(4))).unwrap();
    assert_eq!(group.last(), Some(point(1, 4)));
    append(&group, vec![record(2, 5, "new")]).unwrap();
    block(group.save_vote("v".into())).unwrap();
    let other = log.group(2);
    append(&other, vec![record(1, 1, "x")]).unwrap();
    block(other.truncate_after(None)).unwrap();
    log.close();
    assert_eq!(append(&group, vec![record(2, 6, "late")]), Err(LogError::Closed));
    let log = open(&disk, 1 << 16).unwrap();
    let records = all(&log.group(1));
    assert_eq!(records.len(), 5);
    assert_eq!(records[4], record(2, 5, "new"));
    assert_eq!(log.group(2).last(), None);
}

#[test]
fn purging_behind_the_last_record_empties_the_log_and_it_goes_on_there() {
    let disk = MemDisk::new();
    let log = open(&disk, 1 << 16).unwrap();
    let group = log.group(1);
    append(&group, (1..=10).map(|index| record(1, index, "old")).collect()).unwrap();
    group.purge(point(1, 3));
    assert_eq!((group.first_index(), group.purged()), (Some(4), Some(point(1, 3))));
    group.purge(point(5, 100));
    group.purge(point(1, 7));
    assert_eq!((group.first_index(), group.last()), (None, Some(point(5, 100))));
    assert!(append(&group, vec![record(5, 11, "no")]).is_err());
    append(&group, vec![record(5, 101, "yes")]).unwrap();
    log.close();
    let log = open(&disk, 1 << 16).unwrap();
    assert_eq!(all(&log.group(1)), [record(5, 101, "yes")]);
    assert_eq!(log.group(1).purged(), Some(point(5, 100)));
}

#[test]
fn segments_that_nobody_needs_are_removed_oldest_first() {
    let disk = MemDisk::new();
    let log = open(&disk, 4096).unwrap();
    let (busy, quiet) = (log.group(1), log.group(2));
    block(busy.save_vote("vote".into())).unwrap();
    append(&quiet, vec![record(1, 1, "pins the first segment")]).unwrap();
    for index in 1..=100 {
        append(&busy, vec![record(1, index, vec![1; 300])]).unwrap();
    }
    busy.purge(point(1, 95));
    append(&busy, vec![record(1, 101, "x")]).unwrap();
    append(&busy, vec![record(1, 102, "x")]).unwrap(); // the writer has tidied up when it takes this
    assert_eq!(log.oldest_holder(), Some(2));
    let held = log.bytes_on_disk();
    assert!(held >= 8 * 4096);
    quiet.purge(point(1, 1));
    log.close();
    assert!(log.bytes_on_disk() <= 3 * 4096, "{} of {held}", log.bytes_on_disk());
    let log = open(&disk, 4096).unwrap();
    assert_eq!(log.group(1).first_index(), Some(96));
    assert_eq!(log.group(1).vote(), Some("vote".into()));
    assert_eq!(log.group(2).purged(), Some(point(1, 1)));
    assert_eq!(all(&log.group(1)).len(), 7);
}

#[test]
fn a_request_larger_than_a_segment_gets_a_segment_of_its_own() {
    let disk = MemDisk::new();
    let log = open(&disk, 4096).unwrap();
    append(&log.group(1), vec![record(1, 1, vec![9; 100_000])]).unwrap();
    append(&log.group(1), vec![record(1, 2, "small")]).unwrap();
    log.close();
    let log = open(&disk, 4096).unwrap();
    assert_eq!(all(&log.group(1)), [record(1, 1, vec![9; 100_000]), record(1, 2, "small")]);
}

#[test]
fn a_large_log_on_a_real_disk_rolls_over_with_a_reserved_segment() {
    let dir = tempfile::tempdir().unwrap();
    let rolling = LogOptions { segment_bytes: 1 << 20, cache_bytes: 1 << 16, ..LogOptions::default() };
    let log = SharedLog::open(dir.path(), rolling.clone()).unwrap();
    let group = log.group(1);
    for batch in 0..64u64 {
        let records = (1..=256).map(|at| record(1, batch * 256 + at, vec![batch as u8; 256])).collect();
        append(&group, records).unwrap();
    }
    assert!(log.bytes_on_disk() >= 4 << 20);
    assert_eq!(all(&group).len(), 64 * 256);
    // The writer ends in its own time unless it is waited for, and holds the folder until then.
    log.close();
    drop((log, group));
    let log = SharedLog::open(dir.path(), rolling).unwrap();
    assert_eq!(all(&log.group(1)).len(), 64 * 256);
    log.group(1).purge(point(1, 64 * 256));
    log.close();
    assert_eq!(log.bytes_on_disk(), 1 << 20);
}
