//! T18: a cancel and an ack of one job at the same moment.

use std::time::Duration;

use bravo_tests::process::{End, Leased, Options, Procs, Recorder, Said, Task, code_of, judge, short_or_long};

/// What both callers were told.
#[derive(Default, Debug)]
struct Told {
    acked_first: usize,
    cancelled_first: usize,
    lost: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_races_with_an_ack_and_both_callers_are_told_one_story() {
    let mut procs = Procs::start(Options::default()).await.unwrap();
    let recorder = Recorder::new(&procs.rest, "races");
    recorder.configure(procs.nodes[0].public).await.unwrap();
    let mut told = Told::default();
    for round in 0..short_or_long(60, 1_000) {
        let nodes = procs.addresses();
        let tag = format!("c{round}");
        let task = Task { key: Some(tag.clone()), tag, ..Task::default() };
        let End::Ok(Said::Enqueued { id, .. }) = recorder.enqueue(nodes[0], &task).await else { panic!("the enqueue") };
        // A short lease in a third of the rounds: its end is the third in the race.
        let lease_ms = if round % 3 == 0 { 1_000 } else { 10_000 };
        let job = lease(&recorder, nodes[0], lease_ms).await;
        assert_eq!(job.id, id);
        if round % 3 == 0 {
            tokio::time::sleep(Duration::from_millis(985)).await;
        }
        let result = format!("{}#{}", job.id, job.token);
        let (ack, cancel) = tokio::join!(recorder.ack(nodes[1], &job, &result), recorder.cancel(nodes[2], &id));
        // A worker that was not acknowledged asks again: it is told the same.
        let again = recorder.ack(nodes[0], &job, &result).await;
        let state = procs.rest.get(nodes[round % 3], &format!("/api/v1/jobs/{id}")).await.unwrap();
        let state = state.body["state"].as_str().unwrap_or_default().to_owned();
        let story = format!("ack {ack:?}, cancel {cancel:?}, ack again {again:?}, the job is {state}");
        let accepted = matches!(ack, End::Ok(_));
        assert_eq!(accepted, matches!(again, End::Ok(_)), "{story}");
        assert_eq!(accepted, state == "succeeded", "{story}");
        match (&ack, &cancel) {
            // The cancel came too late: refused, or told what the job is.
            (End::Ok(_), End::Failed(code)) if code == "conflict" => told.acked_first += 1,
            (End::Ok(_), End::Ok(Said::State(state))) if state == "succeeded" => told.acked_first += 1,
            // The job was still leased, and the ack won.
            (End::Ok(_), End::Ok(Said::State(state))) if state == "leased" => told.cancelled_first += 1,
            (ack, End::Ok(Said::State(state))) if code_of(ack) == "lease_lost" && state != "succeeded" => {
                told.lost += 1
            }
            _ => panic!("{story}"),
        }
    }
    eprintln!("{told:?}");
    assert!(told.acked_first > 0 && told.cancelled_first > 0, "inconclusive: one always came first: {told:?}");
    judge(&mut procs, &recorder, 10).await.unwrap();
}

async fn lease(recorder: &Recorder, node: std::net::SocketAddr, lease_ms: u64) -> Leased {
    for _ in 0..20 {
        if let Some(job) = recorder.lease(node, "racer", 1, 500, lease_ms).await.pop() {
            return job;
        }
    }
    panic!("the job is not delivered");
}
