//! T10: the wall clock of a leader jumps.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bravo_api::Timestamp;
use bravo_tests::process::{End, Leased, Options, Procs, Recorder, Said, Task, judge, short_or_long};

const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
const LEASE_MS: u64 = 2_500;
/// A lease or timer may end this much after its time: a loaded machine, a poll.
const LATE_MAX: Duration = Duration::from_millis(2_500);

/// Clocks that each node's wall clock is read from.
struct Clocks {
    folder: tempfile::TempDir,
}

impl Clocks {
    fn file(&self, index: usize) -> PathBuf {
        self.folder.path().join(format!("clock-{index}"))
    }

    /// Sets how far a node's wall clock is off.
    fn set(&self, index: usize, offset: &str) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, format!("{offset}\n")).unwrap();
        std::fs::rename(new, self.file(index)).unwrap();
    }
}

async fn start() -> (Procs, Clocks) {
    assert!(Path::new(FAKETIME).exists(), "libfaketime is needed: tests/setup.sh installs it");
    let clocks = Clocks { folder: tempfile::Builder::new().prefix("bravo-clock-").tempdir().unwrap() };
    let env = (0..3)
        .map(|index| {
            clocks.set(index, "+0");
            let file = clocks.file(index).display().to_string();
            [
                ("LD_PRELOAD", FAKETIME),
                ("FAKETIME_TIMESTAMP_FILE", &file),
                ("FAKETIME_NO_CACHE", "1"),
                ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
        })
        .collect();
    let procs = Procs::start(Options { partitions: 1, env, ..Options::default() }).await.unwrap();
    (procs, clocks)
}

async fn enqueue(procs: &Procs, recorder: &Recorder, tag: String, delay_ms: u64) {
    let task = Task { key: Some(tag.clone()), tag, delay_ms, ..Task::default() };
    let end = recorder.enqueue(procs.nodes[0].public, &task).await;
    assert!(matches!(end, End::Ok(_)), "{end:?}");
}

async fn lease(procs: &Procs, recorder: &Recorder, patience: Duration) -> Leased {
    let deadline = Instant::now() + patience;
    loop {
        for node in procs.addresses() {
            // No long poll: when a lease begins is to be known well.
            if let Some(job) = recorder.lease(node, "w", 1, 0, LEASE_MS).await.pop() {
                return job;
            }
        }
        assert!(Instant::now() < deadline, "no job came within {patience:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Leases and delays keep their length while this happens to clocks.
async fn keeps_time(procs: &Procs, recorder: &Recorder, round: &str, happens: impl FnOnce()) {
    let lease_length = Duration::from_millis(LEASE_MS);
    enqueue(procs, recorder, format!("held-{round}"), 0).await;
    let held = lease(procs, recorder, LATE_MAX).await;
    enqueue(procs, recorder, format!("lost-{round}"), 0).await;
    let lost = lease(procs, recorder, LATE_MAX).await;
    let leased_at = Instant::now();
    enqueue(procs, recorder, format!("later-{round}"), LEASE_MS + 1_000).await;
    happens();
    tokio::time::sleep(lease_length.mul_f64(0.6)).await;
    let ack = recorder.ack(procs.nodes[1].public, &held, &format!("{}#{}", held.id, held.token)).await;
    assert_eq!(ack, End::Ok(Said::Done), "{round}: the clock's jump ended a lease");
    // What was forgotten comes back when its lease is over, and then what was to come later; the checker
    // sees to it that neither comes too early.
    let again = lease(procs, recorder, lease_length + LATE_MAX).await;
    let lasted = leased_at.elapsed();
    assert_eq!(again.id, lost.id, "{round}");
    assert!(lasted < lease_length + LATE_MAX, "{round}: a lease of {lease_length:?} lasted {lasted:?}");
    recorder.ack(procs.nodes[1].public, &again, &format!("{}#{}", again.id, again.token)).await;
    let later = lease(procs, recorder, Duration::from_secs(1) + LATE_MAX).await;
    assert_eq!(later.tag, format!("later-{round}"));
    recorder.ack(procs.nodes[1].public, &later, &format!("{}#{}", later.id, later.token)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_and_delays_keep_their_length_when_a_leaders_clock_jumps() {
    let (mut procs, clocks) = start().await;
    let recorder = Recorder::new(&procs.rest, "clocks");
    recorder.configure(procs.nodes[0].public).await.unwrap();
    for round in 0..short_or_long(1, 10) {
        let leader = procs.leader(0).await.unwrap();
        for offset in ["+600", "-600", "+0"] {
            keeps_time(&procs, &recorder, &format!("{round}{offset}"), || clocks.set(leader, offset)).await;
        }
        // A node whose clock is wrong comes to lead, while leases and timers run.
        let next = (leader + 1) % 3;
        clocks.set(next, "+600");
        clocks.set((leader + 2) % 3, "-600");
        let to = serde_json::json!({ "partition": 0, "to": procs.nodes[next].id });
        let (rest, node) = (procs.rest.clone(), procs.nodes[leader].public);
        keeps_time(&procs, &recorder, &format!("{round}-transfer"), || {
            tokio::spawn(async move {
                let path = "/api/v1/cluster/transfer";
                rest.call(node, http::Method::POST, path, Some(&to), None, Duration::from_secs(5)).await
            });
        })
        .await;
        assert!(
            said_in_the_future(&procs.nodes[next].said()),
            "inconclusive: the fault did not reach the node's clock"
        );
        for index in 0..3 {
            clocks.set(index, "+0");
        }
    }
    judge(&mut procs, &recorder, 12).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_tick_of_a_schedule_starts_one_run_while_clocks_jump_and_leaders_change() {
    let (mut procs, clocks) = start().await;
    let node = procs.nodes[0].public;
    let schedule = serde_json::json!({ "cron": "* * * * * *", "overlap": "allow", "job": { "queue": "ticks" } });
    let patience = Duration::from_secs(5);
    let path = "/api/v1/schedules/every-second";
    let put = procs.rest.call(node, http::Method::PUT, path, Some(&schedule), None, patience).await.unwrap();
    assert_eq!(put.status, 201, "{put:?}");
    let began = Instant::now();
    for offset in ["+600", "-600", "+0"] {
        let leader = procs.leader(0).await.unwrap();
        clocks.set(leader, offset);
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        procs.nodes[leader].kill().unwrap();
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        procs.start_all().unwrap();
        procs.ready(Duration::from_secs(30)).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let jobs = procs.rest.get(node, "/api/v1/jobs?queue=ticks&limit=1000&consistency=linearizable").await.unwrap();
    let lasted = began.elapsed().as_secs();
    let ticks: Vec<u64> = jobs.body["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| job["metadata"]["scheduled_at_ms"].as_u64().unwrap())
        .collect();
    assert!(ticks.windows(2).all(|pair| pair[1] == pair[0] + 1_000), "a tick is missing or came twice: {ticks:?}");
    let count = ticks.len() as u64;
    assert!((lasted.saturating_sub(2)..=lasted + 2).contains(&count), "{count} ticks in {lasted} s");
}

/// Whether a log line bears a time some minutes ahead.
fn said_in_the_future(said: &str) -> bool {
    let now = Timestamp::now();
    let mut times = said.lines().filter_map(|line| line.split_whitespace().next()?.parse::<Timestamp>().ok());
    times.any(|time| time.0 > now.0 + 300_000)
}
