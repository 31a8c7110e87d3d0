//! gRPC on the same port.

use std::collections::BTreeSet;
use std::time::Duration;

use bravo_api::problem::refusal_of;
use bravo_api::proto::jobs_client::JobsClient;
use bravo_api::proto::queues_client::QueuesClient;
use bravo_api::proto::work_request::Message as Ask;
use bravo_api::proto::work_response::Message as Said;
use bravo_api::proto::{self, enqueue_result::Outcome};
use bravo_model::Code;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

use crate::harness::nodes;

async fn channel(node: usize) -> Channel {
    Channel::from_shared(format!("http://{}", nodes()[node])).unwrap().connect().await.unwrap()
}

fn job(queue: &str) -> proto::NewJob {
    let payload = proto::Payload { data: "{\"n\":1}".into(), json: true };
    proto::NewJob { queue: queue.into(), payload: Some(payload), ..proto::NewJob::default() }
}

#[tokio::test]
async fn unary_calls_and_their_refusals() {
    let mut jobs = JobsClient::new(channel(0).await);
    let request = proto::EnqueueRequest { jobs: vec![job("unary"), job("unary")], idempotency_key: "g1".into() };
    let first = jobs.enqueue(request.clone()).await.unwrap().into_inner();
    assert_eq!(jobs.enqueue(request).await.unwrap().into_inner(), first);
    let lease = proto::LeaseRequest { queue: "unary".into(), max: Some(5), wait_ms: 2_000, ..Default::default() };
    let leased = jobs.lease(lease).await.unwrap().into_inner().jobs;
    assert_eq!(leased.len(), 2);
    let acks = leased.iter().map(|job| proto::Ack { id: job.id.clone(), lease_token: job.lease_token, result: None });
    let results = jobs.ack(proto::AckRequest { acks: acks.collect() }).await.unwrap().into_inner().results;
    assert!(results.iter().all(|result| result.code.is_empty()));
    let read = jobs.get(proto::GetJobRequest { id: leased[0].id.clone(), read: None }).await.unwrap().into_inner();
    assert_eq!(read.state(), proto::JobState::Succeeded);

    let status = jobs.get(proto::GetJobRequest { id: "j0-999999".into(), read: None }).await.unwrap_err();
    assert_eq!((status.code(), refusal_of(&status).unwrap().code), (tonic::Code::NotFound, Code::NotFound));
    let mut bad = job("unary");
    bad.priority = Some(12);
    let status = jobs.enqueue(proto::EnqueueRequest { jobs: vec![bad], ..Default::default() }).await.unwrap_err();
    assert!(refusal_of(&status).unwrap().detail.contains("jobs[0].priority"));
    let mut keyed = tonic::Request::new(proto::ListJobsRequest::default());
    keyed.metadata_mut().insert("authorization", "Bearer wrong".parse().unwrap());
    assert_eq!(jobs.list(keyed).await.unwrap_err().code(), tonic::Code::Unauthenticated);
}

#[tokio::test]
async fn batches_stream_in_and_each_is_answered() {
    let mut jobs = JobsClient::new(channel(1).await);
    let batches = (0..200).map(|id| proto::EnqueueBatch { id, jobs: vec![job("stream"); 5], ..Default::default() });
    let answers = jobs.enqueue_stream(tokio_stream::iter(batches)).await.unwrap().into_inner();
    let answers: Vec<_> = tokio_stream::StreamExt::collect::<Vec<_>>(answers).await;
    let mut ids = BTreeSet::new();
    for answer in answers {
        let answer = answer.unwrap();
        assert!(matches!(answer.outcome, Some(Outcome::Enqueued(response)) if response.jobs.len() == 5));
        ids.insert(answer.id);
    }
    assert_eq!(ids.len(), 200);
    let mut queues = QueuesClient::new(channel(0).await);
    let queue = queues.get(proto::GetQueueRequest { name: "stream".into(), read: None }).await.unwrap().into_inner();
    assert_eq!(queue.counts.unwrap().ready, 1_000);
}

struct Worker {
    asks: mpsc::Sender<proto::WorkRequest>,
    answers: Streaming<proto::WorkResponse>,
}

impl Worker {
    async fn open(node: usize, queues: &[&str]) -> Self {
        Self::open_as("streamer", node, queues).await
    }

    async fn open_as(worker_id: &str, node: usize, queues: &[&str]) -> Self {
        let (asks, receiver) = mpsc::channel(64);
        let hello = proto::Hello {
            worker_id: worker_id.into(),
            queues: queues.iter().map(ToString::to_string).collect(),
            capacity: 100,
            ..Default::default()
        };
        asks.send(proto::WorkRequest { message: Some(Ask::Hello(hello)) }).await.unwrap();
        let mut client = JobsClient::new(channel(node).await);
        let answers = client.work(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        Self { asks, answers }
    }

    async fn ask(&self, message: Ask) {
        self.asks.send(proto::WorkRequest { message: Some(message) }).await.unwrap();
    }

    async fn next(&mut self, patience: u64) -> Option<Said> {
        let next = tokio::time::timeout(Duration::from_millis(patience), self.answers.message()).await;
        next.ok()?.unwrap()?.message
    }

    async fn jobs(&mut self, wanted: usize) -> Vec<proto::LeasedJob> {
        let mut jobs = Vec::new();
        while jobs.len() < wanted {
            match self.next(10_000).await {
                Some(Said::Jobs(delivery)) => jobs.extend(delivery.jobs),
                other => panic!("{other:?} after {} jobs", jobs.len()),
            }
        }
        jobs
    }
}

#[tokio::test]
async fn a_worker_gets_as_many_jobs_as_it_granted_from_whatever_queue_has_them() {
    let mut jobs = JobsClient::new(channel(2).await);
    let mut worker = Worker::open(0, &["left", "right", "empty"]).await;
    worker.ask(Ask::Credit(proto::Credit { n: 30 })).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let many = vec![job("right"); 50];
    jobs.enqueue(proto::EnqueueRequest { jobs: many, ..Default::default() }).await.unwrap();
    let got = worker.jobs(30).await;
    assert_eq!(got.len(), 30);
    assert!(worker.next(300).await.is_none(), "more than was granted");

    let acks: Vec<_> =
        got.iter().map(|job| proto::Ack { id: job.id.clone(), lease_token: job.lease_token, result: None }).collect();
    worker.ask(Ask::Ack(proto::AckBatch { sequence: 7, acks })).await;
    match worker.next(5_000).await {
        Some(Said::Results(results)) => {
            assert_eq!((results.sequence, results.results.len()), (7, 30));
            assert!(results.results.iter().all(|result| result.code.is_empty()));
        }
        other => panic!("{other:?}"),
    }
    jobs.enqueue(proto::EnqueueRequest { jobs: vec![job("left"); 10], ..Default::default() }).await.unwrap();
    worker.ask(Ask::Credit(proto::Credit { n: 100 })).await;
    let queues: BTreeSet<String> = worker.jobs(30).await.into_iter().map(|job| job.queue).collect();
    assert_eq!(queues.len(), 2);

    worker.ask(Ask::Stop(proto::Stop {})).await;
    let said = worker.next(5_000).await;
    assert!(matches!(said, Some(Said::Stopped(_))), "{said:?}");
    jobs.enqueue(proto::EnqueueRequest { jobs: vec![job("left")], ..Default::default() }).await.unwrap();
    assert!(worker.next(300).await.is_none(), "a job after stop");
    drop(worker.asks);
    assert!(worker.answers.message().await.unwrap().is_none());
}

#[tokio::test]
async fn a_worker_is_told_of_a_cancel_at_once_whichever_nodes_it_goes_through() {
    let mut jobs = JobsClient::new(channel(2).await);
    let mut worker = Worker::open_as("canceller", 0, &["unwanted"]).await;
    worker.ask(Ask::Credit(proto::Credit { n: 100 })).await;
    // Spread over the partitions, so that each node leads some of them.
    let keyed = |n: usize| proto::NewJob { order_key: Some(format!("k{n}")), ..job("unwanted") };
    let many = (0..24).map(keyed).collect();
    jobs.enqueue(proto::EnqueueRequest { jobs: many, ..Default::default() }).await.unwrap();
    let mut leases: BTreeSet<(String, u64)> =
        worker.jobs(24).await.into_iter().map(|job| (job.id, job.lease_token)).collect();
    let mut clients = [jobs, JobsClient::new(channel(0).await), JobsClient::new(channel(1).await)];
    for (n, (id, _)) in leases.iter().enumerate() {
        for _ in 0..2 {
            let answer = clients[n % 3].cancel(proto::CancelJobRequest { id: id.clone() }).await.unwrap().into_inner();
            assert_eq!(answer.state(), proto::JobState::Leased);
        }
    }
    while !leases.is_empty() {
        // The leases last 30 s and nothing was extended.
        match worker.next(3_000).await {
            Some(Said::CancelRequested(cancel)) => {
                for lease in cancel.leases {
                    assert!(leases.remove(&(lease.id.clone(), lease.lease_token)), "told twice: {lease:?}");
                }
            }
            other => panic!("{other:?}, and nothing of {leases:?}"),
        }
    }
    assert!(worker.next(200).await.is_none(), "told twice");
}

#[tokio::test]
async fn a_stream_that_does_not_greet_is_refused() {
    let credit = proto::WorkRequest { message: Some(Ask::Credit(proto::Credit { n: 1 })) };
    let mut client = JobsClient::new(channel(0).await);
    let mut answers = client.work(tokio_stream::iter([credit])).await.unwrap().into_inner();
    let status = answers.message().await.unwrap_err();
    assert_eq!(refusal_of(&status).unwrap().code, Code::InvalidArgument);
}

#[tokio::test]
async fn health_and_reflection() {
    let mut health = HealthClient::new(channel(0).await);
    for service in ["", "bravo.v1.Jobs"] {
        let mut serving = false;
        for _ in 0..40 {
            let answer = health.check(HealthCheckRequest { service: service.into() }).await.unwrap().into_inner();
            serving = answer.status() == ServingStatus::Serving;
            if serving {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(serving, "{service:?}");
    }
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let mut reflection = ServerReflectionClient::new(channel(0).await);
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = reflection.server_reflection_info(tokio_stream::iter([ask])).await.unwrap().into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) = answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("no list")
    };
    let names: BTreeSet<String> = list.service.into_iter().map(|service| service.name).collect();
    for name in ["bravo.v1.Jobs", "bravo.v1.Queues", "bravo.v1.Cluster", "bravo.v1.Templates", "grpc.health.v1.Health"]
    {
        assert!(names.contains(name), "{name} is not in {names:?}");
    }
}
