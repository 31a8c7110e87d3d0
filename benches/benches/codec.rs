//! Encoding and decoding of commands.

use std::hint::black_box;

use bravo_benches::{enqueue, job};
use bravo_model::{Command, Envelope};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec");
    group.throughput(Throughput::Elements(64));
    let envelope = Envelope::plain(Command::Enqueue(vec![job(256); 64]));
    group.bench_function("encode an enqueue of 64", |b| b.iter(|| black_box(envelope.encode())));
    let encoded = enqueue(64);
    group.bench_function("decode an enqueue of 64", |b| b.iter(|| black_box(Envelope::decode(&encoded))));
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
