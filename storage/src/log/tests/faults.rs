//! Disks that fail under a running log.

use std::time::Duration;

use super::*;
use crate::log::testing::{Call, Dice, Fault};

/// Appends until the planned fault strikes; returns how many appends were acknowledged.
fn append_until_it_fails(log: &SharedLog) -> (u64, LogError) {
    for index in 1.. {
        if let Err(error) = append(&log.group(1), vec![record(1, index, vec![3; 200])]) {
            return (index - 1, error);
        }
    }
    unreachable!()
}

#[test]
fn an_error_of_any_call_poisons_the_log_and_acknowledges_nothing_after() {
    for call in [Call::Create, Call::Write, Call::Sync, Call::Rename, Call::SyncDir] {
        for more in 0..4 {
            for fault in [Fault::Eio, Fault::Enospc] {
                let disk = MemDisk::new();
                let log = open(&disk, 4096).unwrap();
                disk.fail_after(Some(call), more, fault);
                let (acknowledged, error) = append_until_it_fails(&log);
                assert!(matches!(error, LogError::Io { .. }), "{call:?} {more}: {error}");
                assert!(log.is_poisoned());
                let syncs = disk.calls(Call::Sync);
                let late = append(&log.group(2), vec![record(1, 1, "late")]);
                assert!(matches!(late, Err(LogError::Poisoned { .. })), "{late:?}");
                assert!(matches!(block(log.group(1).save_vote("v".into())), Err(LogError::Poisoned { .. })));
                assert!(matches!(block(log.group(1).truncate_after(None)), Err(LogError::Poisoned { .. })));
                assert_eq!(log.group(1).vote(), None);
                log.close();
                assert_eq!(disk.calls(Call::Sync), syncs, "fsync is never tried again");
                let mut dice = Dice::new(more);
                let log = open(&disk.power_loss(Some(&mut dice)), 4096).unwrap();
                let last = log.group(1).last().map_or(0, |last| last.index);
                assert!(last == acknowledged || last == acknowledged + 1, "{last} of {acknowledged}");
            }
        }
    }
}

#[test]
fn after_a_failed_sync_a_restart_trusts_nothing_that_the_page_cache_pretends() {
    let disk = MemDisk::new();
    let log = open(&disk, 1 << 16).unwrap();
    append(&log.group(1), vec![record(1, 1, "one")]).unwrap();
    disk.fail_after(Some(Call::Sync), 0, Fault::Eio);
    assert!(append(&log.group(1), vec![record(1, 2, vec![2; 2000])]).is_err());
    log.close();
    // The process starts anew on the same kernel, reads the second record, and vouches for it.
    let log = open(&disk, 1 << 16).unwrap();
    let vouched = all(&log.group(1));
    let log = open(&disk.power_loss(None), 1 << 16).unwrap();
    assert_eq!(all(&log.group(1)), vouched);
}

#[test]
fn a_full_disk_says_so() {
    let disk = MemDisk::new();
    let log = open(&disk, 4096).unwrap();
    disk.fail_after(Some(Call::Create), 1, Fault::Enospc);
    let (_, error) = append_until_it_fails(&log);
    assert!(matches!(error, LogError::Io { kind: std::io::ErrorKind::StorageFull, .. }), "{error}");
}

#[test]
fn all_that_wait_for_the_failed_sync_hear_of_it() {
    let disk = MemDisk::new();
    let log = open(&disk, 1 << 16).unwrap();
    disk.delay_syncs(Duration::from_millis(20));
    disk.fail_after(Some(Call::Sync), 0, Fault::Eio);
    let (send, receive) = mpsc::channel();
    for id in 0..50 {
        let send = send.clone();
        let done = Box::new(move |outcome: Result<(), LogError>| drop(send.send(outcome)));
        log.group(id).append(vec![record(1, 1, "x")], done).unwrap();
    }
    drop(send);
    let outcomes: Vec<_> = receive.iter().collect();
    assert_eq!(outcomes.len(), 50);
    assert!(outcomes.iter().all(Result::is_err));
}

#[test]
fn an_error_while_opening_is_an_error_and_opening_again_works() {
    for more in 0..9 {
        let disk = MemDisk::new();
        disk.fail_after(None, more, Fault::Eio);
        let first = open(&disk, 4096);
        assert_eq!(first.is_err(), more < 6, "call {more}");
        drop(first);
        disk.heal();
        let log = open(&disk, 4096).unwrap_or_else(|error| panic!("call {more}: {error}"));
        append(&log.group(1), vec![record(1, 1, "x")]).unwrap();
    }
}

#[test]
fn a_callback_that_panics_poisons_the_log_instead_of_hanging_it() {
    let log = open(&MemDisk::new(), 4096).unwrap();
    log.group(1).append(vec![record(1, 1, "x")], Box::new(|_| panic!("a bug of the caller"))).unwrap();
    let late = (2..100).find_map(|index| append(&log.group(1), vec![record(1, index, "x")]).err());
    assert!(matches!(late, Some(LogError::Poisoned { .. })), "{late:?}");
    assert!(log.is_poisoned());
    log.close();
}

#[test]
fn pressure_shows_when_more_waits_than_it_should() {
    let disk = MemDisk::new();
    let small = LogOptions { queue_bytes_max: 10_000, ..options(1 << 20) };
    let log = SharedLog::open_on(Arc::new(disk.clone()), small).unwrap();
    disk.delay_syncs(Duration::from_millis(50));
    assert!(!log.pressure());
    for index in 1..=20 {
        log.group(1).append(vec![record(1, index, vec![0; 1000])], Box::new(|_| {})).unwrap();
    }
    assert!(log.pressure() && log.group(1).pressure());
    log.close();
    assert!(!log.pressure());
}

#[test]
fn the_last_handle_may_be_dropped_by_a_callback() {
    let disk = MemDisk::new();
    let log = open(&disk, 4096).unwrap();
    let group = log.group(1);
    drop(log);
    let last = group.clone();
    let (send, receive) = mpsc::channel();
    let done = Box::new(move |outcome| {
        drop(last);
        send.send(outcome).unwrap();
    });
    group.append(vec![record(1, 1, "x")], done).unwrap();
    drop(group);
    receive.recv().unwrap().unwrap();
}
