//! T3: `kill -9`.

use std::time::{Duration, Instant};

use bravo_tests::process::{Load, LoadOptions, Options, Procs, Recorder, judge, short_or_long};

/// A restart serves within this time.
const RESTART_MAX: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_are_killed_again_and_again_and_nothing_acknowledged_is_lost() {
    let mut procs = Procs::start(Options::default()).await.unwrap();
    let recorder = Recorder::new(&procs.rest, "kills");
    recorder.configure(procs.nodes[0].public).await.unwrap();
    let load = Load::start(&recorder, &procs.addresses(), &LoadOptions::default());

    let end = Instant::now() + short_or_long(Duration::ZERO, Duration::from_secs(120));
    let mut rounds = 0;
    let mut slowest = Duration::ZERO;
    while rounds < 3 || Instant::now() < end {
        tokio::time::sleep(Duration::from_secs(2)).await;
        procs.kill_all().unwrap();
        procs.start_all().unwrap();
        let took = procs.ready(Duration::from_secs(30)).await.unwrap();
        slowest = slowest.max(took);
        rounds += 1;
    }
    load.stop().await;

    judge(&mut procs, &recorder, 50).await.unwrap();
    assert!(recorder.history.unknown() > 0, "inconclusive: no call was in flight when the nodes were killed");
    eprintln!("{rounds} rounds, slowest restart {slowest:?}");
    assert!(slowest < RESTART_MAX, "a restart served after {slowest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minority_is_killed_in_turn_and_the_others_go_on() {
    let mut procs = Procs::start(Options::default()).await.unwrap();
    let recorder = Recorder::new(&procs.rest, "minority");
    recorder.configure(procs.nodes[0].public).await.unwrap();
    let load = Load::start(&recorder, &procs.addresses(), &LoadOptions::default());
    for round in 0..short_or_long(3, 30) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        procs.nodes[round % 3].kill().unwrap();
        // Failover takes some 1.2 s; after that the two must take jobs.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let before = recorder.history.enqueued();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let after = recorder.history.enqueued();
        assert!(after > before, "two nodes of three took no job in a second");
        procs.nodes[round % 3].start().unwrap();
        procs.ready(Duration::from_secs(30)).await.unwrap();
    }
    load.stop().await;
    judge(&mut procs, &recorder, 50).await.unwrap();
}
