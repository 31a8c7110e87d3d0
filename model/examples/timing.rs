//! Prints what one job costs per command, over a BTreeMap: `cargo run --release --example timing`.

use std::collections::BTreeMap;
use std::time::Duration;

use bravo_model::command::{Ack, Command, Entry, Lease, NewJob};
use bravo_model::{Envelope, Key, Name, Payload, Reply, Value, apply};
use bytes::Bytes;

const BATCH: u64 = 256;

fn main() {
    println!("{:>9} {:>22} {:>9} {:>9} {:>9}", "jobs", "keys", "enqueue", "lease", "ack");
    for jobs in [10_000, 1_000_000] {
        measure("none", jobs, |job, _| job);
    }
    measure("fairness of 100", 100_000, |job, n| NewJob { fairness_key: Some(format!("f{}", n % 100)), ..job });
    measure("concurrency of 10000", 100_000, |job, n| NewJob {
        concurrency_key: Some((n % 10_000).to_string()),
        ..job
    });
    measure("order of 10000", 100_000, |job, n| NewJob { order_key: Some((n % 10_000).to_string()), ..job });
    measure("unique", 100_000, |job, n| NewJob { unique_key: Some(n.to_string()), ..job });
}

fn measure(keys: &str, jobs: u64, with: impl Fn(NewJob, u64) -> NewJob) {
    let mut rows: BTreeMap<Key, Value> = BTreeMap::new();
    let name = |text: &str| Name::parse("name", text).expect("a good name");
    let (queue, worker) = (name("queue"), name("worker-1"));
    let payload = Payload { json: true, bytes: Bytes::from(vec![b'1'; 256]) };
    let plain =
        NewJob { metadata: Bytes::from_static(b"{\"a\":1}"), ..NewJob::new(queue.clone(), name("project"), payload) };
    let mut at = 1_000_000;
    let mut run = |commands: Vec<Command>| {
        at += 1;
        let commands = commands.into_iter().map(|command| Envelope::plain(command).encode()).collect();
        let entry = Entry { at, commands };
        let start = cpu_time();
        let outcomes = apply(&mut rows, 0, &entry);
        (cpu_time() - start, outcomes)
    };
    let mut spent = [Duration::ZERO; 3];
    for batch in 0..jobs.div_ceil(BATCH) {
        let ns = batch * BATCH..jobs.min((batch + 1) * BATCH);
        let commands = ns.map(|n| Command::Enqueue(vec![with(plain.clone(), n)])).collect();
        spent[0] += run(commands).0;
    }
    let mut done = 0;
    while done < jobs {
        let lease = Lease::new(queue.clone(), worker.clone(), 64);
        let (took, outcomes) = run((0..4).map(|_| Command::Lease(lease.clone())).collect());
        spent[1] += took;
        let mut acks = Vec::new();
        for outcome in outcomes {
            let Reply::Leased(leased) = outcome.reply else { panic!("a lease is answered with jobs") };
            acks.extend(leased.jobs.into_iter().map(|job| Ack { seq: job.seq, token: job.token, result: None }));
        }
        assert!(!acks.is_empty(), "{done} of {jobs} jobs came out");
        done += acks.len() as u64;
        spent[2] += run(acks.chunks(16).map(|acks| Command::Ack(acks.to_vec())).collect()).0;
    }
    let each = spent.map(|spent| format!("{:.2} µs", spent.as_secs_f64() * 1e6 / jobs as f64));
    println!("{jobs:>9} {keys:>22} {:>9} {:>9} {:>9}", each[0], each[1], each[2]);
}

/// CPU time of this thread (Linux), so that a busy machine does not count.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    Duration::from_nanos(stat.split(' ').next().and_then(|ns| ns.parse().ok()).expect("a number"))
}
