//! T16: leaders change just when timers are due.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bravo_tests::process::{End, Options, Procs, Recorder, Task, judge, short_or_long};

/// A timer fires at its time, or this much later when its leader was killed just then.
const LATE_MAX: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delayed_jobs_whose_leader_dies_when_they_are_due_come_once_and_soon() {
    let mut procs = Procs::start(Options::default()).await.unwrap();
    let recorder = Recorder::new(&procs.rest, "timers");
    recorder.configure(procs.nodes[0].public).await.unwrap();
    for round in 0..short_or_long(3, 20) {
        let leader = procs.leader(round % 2).await.unwrap();
        let enqueued = enqueue_due_soon(&procs, &recorder, round).await;
        // Killed in the middle of the jobs' times.
        tokio::time::sleep(Duration::from_millis(1_600)).await;
        procs.nodes[leader].kill().unwrap();
        let worker = procs.nodes[(leader + 1) % 3].public;
        let mut came: BTreeMap<String, usize> = BTreeMap::new();
        let mut latest = Duration::ZERO;
        let deadline = Instant::now() + LATE_MAX + Duration::from_secs(4);
        while came.len() < enqueued.len() && Instant::now() < deadline {
            // Leases far longer than the test: a second delivery would be the timer's fault.
            for job in recorder.lease(worker, "timers", 50, 500, 60_000).await {
                *came.entry(job.tag.clone()).or_default() += 1;
                if let Some(due) = enqueued.get(&job.tag) {
                    latest = latest.max(due.elapsed());
                }
                recorder.ack(worker, &job, &format!("{}#{}", job.id, job.token)).await;
            }
        }
        let missing: Vec<_> = enqueued.keys().filter(|tag| !came.contains_key(*tag)).collect();
        assert!(missing.is_empty(), "round {round}: never delivered: {missing:?}");
        assert!(came.values().all(|times| *times == 1), "round {round}: delivered twice: {came:?}");
        eprintln!("round {round}: {} jobs, the latest {latest:?} after its time", came.len());
        assert!(latest < LATE_MAX, "round {round}: a job came {latest:?} after its time");
        procs.nodes[leader].start().unwrap();
        procs.ready(Duration::from_secs(30)).await.unwrap();
    }
    judge(&mut procs, &recorder, 60).await.unwrap();
}

/// Jobs that are due in 1 to 2.2 s, and when that is.
async fn enqueue_due_soon(procs: &Procs, recorder: &Recorder, round: u64) -> BTreeMap<String, Instant> {
    let began = Instant::now();
    let calls: Vec<_> = (0..40u64)
        .map(|number| {
            let (recorder, node) = (recorder.clone(), procs.addresses()[number as usize % 3]);
            let delay_ms = 1_000 + number * 30;
            let tag = format!("d{round}-{number}");
            let task = Task { key: Some(tag.clone()), tag: tag.clone(), delay_ms, ..Task::default() };
            tokio::spawn(async move {
                let end = recorder.enqueue(node, &task).await;
                (tag, Instant::now() + Duration::from_millis(delay_ms), end)
            })
        })
        .collect();
    let mut due = BTreeMap::new();
    for call in calls {
        let (tag, at, end) = call.await.unwrap();
        assert!(matches!(end, End::Ok(_)), "{tag}: {end:?}");
        due.insert(tag, at);
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(1), "inconclusive: the enqueues took {took:?}");
    due
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_that_end_when_their_leader_dies_are_given_out_again() {
    let mut procs = Procs::start(Options::default()).await.unwrap();
    let recorder = Recorder::new(&procs.rest, "expiry");
    recorder.configure(procs.nodes[0].public).await.unwrap();
    for round in 0..short_or_long(3, 20) {
        let leader = procs.leader(round % 2).await.unwrap();
        let worker = procs.nodes[(leader + 1) % 3].public;
        for number in 0..20 {
            let tag = format!("e{round}-{number}");
            let end = recorder.enqueue(worker, &Task { key: Some(tag.clone()), tag, ..Task::default() }).await;
            assert!(matches!(end, End::Ok(_)), "{end:?}");
        }
        let mut held = 0;
        let deadline = Instant::now() + Duration::from_secs(5);
        while held < 20 && Instant::now() < deadline {
            held += recorder.lease(worker, "dies", 20, 200, 1_500).await.len();
        }
        assert!(held >= 20, "only {held} of 20 jobs were leased");
        tokio::time::sleep(Duration::from_millis(1_300)).await;
        procs.nodes[leader].kill().unwrap();
        let deadline = Instant::now() + LATE_MAX + Duration::from_secs(4);
        let mut again = 0;
        while again < 20 && Instant::now() < deadline {
            for job in recorder.lease(worker, "heir", 20, 500, 30_000).await {
                again += 1;
                recorder.ack(worker, &job, &format!("{}#{}", job.id, job.token)).await;
            }
        }
        assert!(again >= 20, "round {round}: only {again} of 20 leases ended");
        procs.nodes[leader].start().unwrap();
        procs.ready(Duration::from_secs(30)).await.unwrap();
    }
    judge(&mut procs, &recorder, 60).await.unwrap();
}
