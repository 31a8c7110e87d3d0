//! Not a test but a measurement: `cargo test --release -p bravo-storage log::tests::speed -- --ignored --nocapture`.

use std::{sync::Arc, time::Instant};

use parking_lot::{Condvar, Mutex};

use super::*;
use crate::log::{DirDisk, Disk};

/// Appends `batches` requests of `size` entries to each of `groups`, at most `ahead` of them waiting.
fn entries_per_second(groups: u32, size: u64, batches: u64, ahead: u64) -> f64 {
    let dir = match std::env::var("BRAVO_LOG_BENCH_DIR") {
        Ok(dir) => tempfile::tempdir_in(dir).unwrap(),
        Err(_) => tempfile::tempdir().unwrap(),
    };
    let log = SharedLog::open(dir.path(), LogOptions::default()).unwrap();
    let handles: Vec<_> = (0..groups).map(|id| log.group(id)).collect();
    let data = Bytes::from(vec![0x5A; 256]);
    let waiting = Arc::new((Mutex::new(0u64), Condvar::new()));
    let begin = Instant::now();
    for batch in 0..batches {
        for group in &handles {
            let first = batch * size + 1;
            let records = (first..first + size).map(|index| record(1, index, data.clone())).collect();
            let (count, wake) = &*waiting;
            let mut now = count.lock();
            while *now >= ahead {
                wake.wait(&mut now);
            }
            *now += 1;
            drop(now);
            let waiting = waiting.clone();
            let done = move |outcome: Result<(), LogError>| {
                outcome.unwrap();
                *waiting.0.lock() -= 1;
                waiting.1.notify_one();
            };
            group.append(records, Box::new(done)).unwrap();
        }
    }
    log.close();
    (batches * size * u64::from(groups)) as f64 / begin.elapsed().as_secs_f64()
}

/// The yardstick: the same bytes, written and synced one batch after the other without any log.
fn bare_file(size: u64, batches: u64, zeros: bool) -> f64 {
    let dir = match std::env::var("BRAVO_LOG_BENCH_DIR") {
        Ok(dir) => tempfile::tempdir_in(dir).unwrap(),
        Err(_) => tempfile::tempdir().unwrap(),
    };
    let disk = DirDisk::open(dir.path()).unwrap();
    let batch = vec![0x5A; (size * 285 + 41) as usize];
    let total = batch.len() as u64 * batches;
    let file = disk.create_preallocated("bare", total).unwrap();
    if zeros {
        file.pwrite(&vec![0; total as usize], 0).unwrap();
    }
    file.sync_data().unwrap();
    let begin = Instant::now();
    for nth in 0..batches {
        file.pwrite(&batch, nth * batch.len() as u64).unwrap();
        file.sync_data().unwrap();
    }
    (batches * size) as f64 / begin.elapsed().as_secs_f64()
}

#[test]
#[ignore = "a measurement"]
fn speed() {
    for (size, batches) in [(1, 5_000), (32, 3_000), (256, 2_000)] {
        let (reserved, zeroed) = (bare_file(size, batches, false), bare_file(size, batches, true));
        println!("bare file, {size:>3} per fsync: fallocate {reserved:>9.0}, zeros written {zeroed:>9.0} entries/s");
    }
    for (what, groups, size, batches, ahead) in [
        ("1 entry per fsync", 1, 1, 5_000, 1),
        ("32 entries per fsync", 1, 32, 3_000, 1),
        ("256 entries per fsync", 1, 256, 2_000, 1),
        ("256 entries per request, 8 requests ahead", 1, 256, 4_000, 8),
        ("9 groups, 1 entry per request, 9 ahead", 9, 1, 3_000, 9),
        ("9 groups, 1 entry per request, 256 ahead", 9, 1, 20_000, 256),
        ("9 groups, 32 entries per request, 64 ahead", 9, 32, 3_000, 64),
    ] {
        let rate = entries_per_second(groups, size, batches, ahead);
        println!("{what:<45} {rate:>12.0} entries/s");
    }
}
