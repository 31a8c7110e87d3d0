//! T17: a client that hears nothing repeats its enqueue.

use std::collections::BTreeSet;
use std::time::Duration;

use bravo_tests::process::{End, Options, Procs, Recorder, Said, Task, judge, short_or_long};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_enqueue_whose_leader_dies_is_repeated_with_its_key_and_is_one_job() {
    let mut procs = Procs::start(Options::default()).await.unwrap();
    let recorder = Recorder::new(&procs.rest, "repeats");
    recorder.configure(procs.nodes[0].public).await.unwrap();
    let mut broken = 0;
    for round in 0..short_or_long(4, 30) {
        let leader = procs.leader(round % 2).await.unwrap();
        // Many calls at once through the node that is about to die, some of them just on their way.
        let calls: Vec<_> = (0..40)
            .map(|number| {
                let (recorder, node) = (recorder.clone(), procs.nodes[leader].public);
                let tag = format!("r{round}-{number}");
                let task = Task { key: Some(tag.clone()), tag, ..Task::default() };
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(number / 2)).await;
                    (recorder.enqueue(node, &task).await, task)
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(12)).await;
        procs.nodes[leader].kill().unwrap();
        for call in calls {
            let (first, task) = call.await.unwrap();
            broken += usize::from(matches!(first, End::Unknown(_)));
            let mut ids = BTreeSet::new();
            if let End::Ok(Said::Enqueued { id, .. }) = &first {
                ids.insert(id.clone());
            }
            // Repeated at both of the others, also where the first was answered.
            for step in 1..=2 {
                let node = procs.nodes[(leader + step) % 3].public;
                ids.insert(enqueued(&recorder, node, &task).await);
            }
            assert_eq!(ids.len(), 1, "one key, two jobs: {task:?}");
        }
        procs.nodes[leader].start().unwrap();
        procs.ready(Duration::from_secs(30)).await.unwrap();
    }
    assert!(broken > 0, "inconclusive: no call was in flight when the leader was killed");
    eprintln!("{broken} calls broke");
    judge(&mut procs, &recorder, 100).await.unwrap();
}

/// Repeats until there is an answer.
async fn enqueued(recorder: &Recorder, node: std::net::SocketAddr, task: &Task) -> String {
    for _ in 0..50 {
        match recorder.enqueue(node, task).await {
            End::Ok(Said::Enqueued { id, .. }) => return id,
            End::Unknown(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            other => panic!("a repetition was answered {other:?}"),
        }
    }
    panic!("two nodes of three take no job: {task:?}");
}
