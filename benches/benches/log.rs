//! The shared log on a real disk, beside the crate raft-log: entries of 256 bytes, so many per fsync.

use std::io;
use std::sync::{Arc, mpsc};

use bravo_storage::log::{LogOptions, Record, SharedLog};
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use raft_log::api::raft_log_writer::RaftLogWriter;
use raft_log::{Config, RaftLog, Types};

const ENTRY_BYTES: usize = 256;
const ENTRIES: [u64; 3] = [1, 32, 256];

fn benches(c: &mut Criterion) {
    ours(c);
    yardstick(c);
}

fn ours(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let log = SharedLog::open(folder.path(), LogOptions::default()).expect("a log");
    let group = log.group(1);
    let mut next = 1;
    let data = Bytes::from(vec![b'7'; ENTRY_BYTES]);
    let mut bench = c.benchmark_group("shared log, append and fsync");
    for entries in ENTRIES {
        bench.throughput(Throughput::Elements(entries));
        bench.bench_function(BenchmarkId::from_parameter(entries), |b| {
            b.iter(|| {
                let record = |index| Record { term: 1, index, data: data.clone() };
                let records = (next..next + entries).map(record).collect();
                next += entries;
                let (sender, done) = mpsc::channel();
                group.append(records, Box::new(move |result| sender.send(result).expect("waited for"))).expect("taken");
                done.recv().expect("answered").expect("durable");
                if let Some(last) = group.last() {
                    group.purge(last);
                }
            });
        });
    }
    bench.finish();
    log.close();
}

/// What raft-log is told about its entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Plain;

impl Types for Plain {
    type LogId = (u64, u64);
    type LogPayload = String;
    type Vote = (u64, u64);
    type Callback = mpsc::SyncSender<io::Result<()>>;
    type UserData = String;

    fn log_index(log_id: &Self::LogId) -> u64 {
        log_id.1
    }

    fn payload_size(payload: &Self::LogPayload) -> u64 {
        payload.len() as u64
    }
}

fn yardstick(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let config = Arc::new(Config::new(folder.path().display()));
    let mut log = RaftLog::<Plain>::open(config).expect("a log");
    let data = "7".repeat(ENTRY_BYTES);
    let mut next = 1;
    let mut bench = c.benchmark_group("raft-log, append and fsync");
    for entries in ENTRIES {
        bench.throughput(Throughput::Elements(entries));
        bench.bench_function(BenchmarkId::from_parameter(entries), |b| {
            b.iter(|| {
                let batch: Vec<_> = (next..next + entries).map(|index| ((1, index), data.clone())).collect();
                next += entries;
                log.append(batch).expect("taken");
                let (sender, done) = mpsc::sync_channel(1);
                log.flush(true, Some(sender)).expect("asked for");
                done.recv().expect("answered").expect("durable");
                log.purge((1, next - 1)).expect("purged");
            });
        });
    }
    bench.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
