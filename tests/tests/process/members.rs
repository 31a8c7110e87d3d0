//! Nodes that leave in good order, are lost for good, and are replaced, while clients work.

use std::time::{Duration, Instant};

use bravo_tests::process::{Load, LoadOptions, Options, Procs, Recorder, judge};
use http::Method;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_node_is_replaced_by_one_with_a_new_number_while_clients_work() {
    let mut procs = Procs::start(Options::default()).await.unwrap();
    let recorder = Recorder::new(&procs.rest, "members");
    recorder.configure(procs.nodes[0].public).await.unwrap();
    let load = Load::start(&recorder, &procs.addresses(), &LoadOptions::default());
    tokio::time::sleep(Duration::from_secs(1)).await;

    let mut lost = procs.nodes.remove(2);
    lost.kill().unwrap();
    let (node, path) = (procs.nodes[0].public, "/api/v1/cluster/members/3");
    let removed = procs.rest.call(node, Method::DELETE, path, None, None, Duration::from_secs(30)).await.unwrap();
    assert!(removed.is_ok(), "{removed:?}");

    procs.add(4).unwrap();
    procs.start_all().unwrap();
    procs.ready(Duration::from_secs(60)).await.unwrap();
    let members = voters(&procs).await;
    assert!(members.iter().all(|voters| *voters == [1, 2, 4]), "{members:?}");

    // The removed one does not get back in under its old number.
    lost.start().unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    load.stop().await;
    judge(&mut procs, &recorder, 50).await.unwrap();
    assert!(voters(&procs).await.iter().all(|voters| *voters == [1, 2, 4]), "the removed node is back");
}

/// The voters of each partition, as the first node sees them once all agree.
async fn voters(procs: &Procs) -> Vec<Vec<u64>> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let answer = procs.rest.get(procs.nodes[0].public, "/api/v1/cluster").await.unwrap();
        let partitions = answer.body["partitions"].as_array().unwrap();
        let all: Vec<Vec<u64>> = partitions
            .iter()
            .map(|partition| {
                let members = partition["members"].as_array().unwrap().iter();
                let mut ids: Vec<u64> = members.filter_map(|member| member["node"].as_u64()).collect();
                ids.sort_unstable();
                ids
            })
            .collect();
        if all.iter().all(|ids| ids.len() == 3) || Instant::now() > deadline {
            return all;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_asked_to_stop_hands_over_and_ends_without_an_error() {
    let mut procs = Procs::start(Options::default()).await.unwrap();
    let recorder = Recorder::new(&procs.rest, "drain");
    recorder.configure(procs.nodes[0].public).await.unwrap();
    let load = Load::start(&recorder, &procs.addresses(), &LoadOptions::default());
    for round in 0..3 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let leader = procs.leader(round % 2).await.unwrap();
        procs.nodes[leader].terminate().unwrap();
        let status = procs.nodes[leader].ended(Duration::from_secs(15)).await.unwrap();
        assert!(status.is_some_and(|status| status.success()), "it ended with {status:?}");
        // Whoever leads now was handed the leadership, so that nobody waits for an election.
        let before = recorder.history.enqueued();
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(recorder.history.enqueued() > before, "no job was taken in after a leader left in good order");
        procs.start_all().unwrap();
        procs.ready(Duration::from_secs(30)).await.unwrap();
    }
    load.stop().await;
    judge(&mut procs, &recorder, 50).await.unwrap();
}
