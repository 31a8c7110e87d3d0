//! What one job costs in the state machine: enqueue, lease and ack in batches of 64 over an ordered map.

use std::collections::BTreeMap;
use std::hint::black_box;

use bravo_benches::{enqueue, name};
use bravo_model::command::{Ack, Lease};
use bravo_model::{Command, Entry, Envelope, Key, Reply, Value, apply};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const JOBS: u32 = 64;

type Rows = BTreeMap<Key, Value>;

fn one(rows: &mut Rows, at: u64, command: Command) -> Reply {
    let entry = Entry { at, commands: vec![Envelope::plain(command).encode()] };
    apply(rows, 0, &entry).remove(0).reply
}

fn lease() -> Command {
    let (queue, worker) = (name("bench"), name("worker"));
    Command::Lease(Lease::new(queue, worker, JOBS))
}

fn filled() -> Rows {
    let mut rows = Rows::new();
    apply(&mut rows, 0, &Entry { at: 1_000, commands: vec![enqueue(JOBS as usize); 100] });
    rows
}

fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("apply");
    group.throughput(Throughput::Elements(u64::from(JOBS)));
    let entry = Entry { at: 1_000, commands: vec![enqueue(JOBS as usize)] };
    group.bench_function("enqueue 64", |b| {
        b.iter_batched_ref(Rows::new, |rows| black_box(apply(rows, 0, &entry)), BatchSize::SmallInput);
    });
    group.bench_function("lease 64 of 6,400", |b| {
        b.iter_batched_ref(filled, |rows| black_box(one(rows, 2_000, lease())), BatchSize::LargeInput);
    });
    group.bench_function("ack 64", |b| {
        let leased = || {
            let mut rows = filled();
            let Reply::Leased(leased) = one(&mut rows, 2_000, lease()) else { panic!("a lease is answered with jobs") };
            let ack = |job: &bravo_model::reply::LeasedJob| Ack { seq: job.seq, token: job.token, result: None };
            let acks = leased.jobs.iter().map(ack).collect();
            (rows, Command::Ack(acks))
        };
        b.iter_batched_ref(leased, |(rows, ack)| black_box(one(rows, 3_000, ack.clone())), BatchSize::LargeInput);
    });
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
