//! What keeping a chunk in shards costs: to cut it, and to put it together from the four that it was cut into,
//! or with two of them lost.

use std::hint::black_box;

use bravo_model::artifact::SHARDS;
use bravo_model::limits::CHUNK_BYTES;
use bravo_storage::blob::{cut, join};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn benches(c: &mut Criterion) {
    let form: Vec<u8> = (0..CHUNK_BYTES as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let shards = cut(&form).expect("a form of a full chunk can be cut");
    let without = |lost: &[usize]| -> [_; SHARDS] {
        std::array::from_fn(|index| (!lost.contains(&index)).then(|| shards[index].clone()))
    };
    let mut group = c.benchmark_group("shards");
    group.throughput(Throughput::Bytes(CHUNK_BYTES as u64));
    group.bench_function("cut a chunk", |b| b.iter(|| black_box(cut(&form))));
    for (name, lost) in [("join four", [4, 5]), ("join with two lost", [0, 1])] {
        let shards = without(&lost);
        group.bench_function(name, |b| b.iter(|| black_box(join(&shards, CHUNK_BYTES))));
    }
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
