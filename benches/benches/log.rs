//! The shared log on a real disk: entries of 256 bytes, so many per fsync.

use std::sync::mpsc;

use bravo_storage::log::{LogOptions, Record, SharedLog};
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn benches(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let log = SharedLog::open(folder.path(), LogOptions::default()).expect("a log");
    let group = log.group(1);
    let mut next = 1;
    let data = Bytes::from(vec![7; 256]);
    let mut bench = c.benchmark_group("log append, one fsync");
    for entries in [1_u64, 32, 256] {
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

criterion_group!(all, benches);
criterion_main!(all);
