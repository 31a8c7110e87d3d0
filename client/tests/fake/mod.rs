//! A node that a test plays: it answers the streams as the test's script says.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

mod events;
mod workflows;

use std::sync::Arc;
use std::time::Duration;

use bravo_api::proto::cluster_server::{Cluster, ClusterServer};
use bravo_api::proto::events_server::EventsServer;
use bravo_api::proto::jobs_server::{Jobs, JobsServer};
use bravo_api::proto::templates_server::{Templates, TemplatesServer};
use bravo_api::proto::work_request::Message as Request_;
use bravo_api::proto::work_response::Message as Response_;
use bravo_api::proto::workflows_server::WorkflowsServer;
use bravo_api::{MESSAGE_BYTES_MAX, proto};
use bravo_client::Client;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::{Request, Response, Status, Streaming};

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(10);

type Outgoing<T> = mpsc::UnboundedSender<Result<T, Status>>;
type Stream<T> = UnboundedReceiverStream<Result<T, Status>>;

/// An enqueue stream, from the node's side.
pub struct EnqueueEnd {
    pub batches: Streaming<proto::EnqueueBatch>,
    pub answers: Outgoing<proto::EnqueueResult>,
    key_prefix: String,
}

/// A worker's stream, from the node's side.
pub struct WorkEnd {
    pub requests: Streaming<proto::WorkRequest>,
    pub responses: Outgoing<proto::WorkResponse>,
}

/// A node that a test plays.
pub struct Node {
    pub url: String,
    pub enqueues: mpsc::UnboundedReceiver<EnqueueEnd>,
    pub works: mpsc::UnboundedReceiver<WorkEnd>,
    pub shared: Arc<Shared>,
    task: AbortHandle,
}

#[derive(Default)]
pub struct Shared {
    /// Public addresses that `Cluster.Get` tells.
    pub members: Mutex<Vec<String>>,
    /// What the next unary reads answer, in order; then ok.
    pub refusals: Mutex<Vec<Status>>,
    /// Idempotency keys of unary enqueues.
    pub keys: Mutex<Vec<String>>,
    /// Names of the templates that were put.
    pub templates: Mutex<Vec<String>>,
    /// Workflows that were started.
    pub started: Mutex<Vec<proto::StartWorkflowRequest>>,
    /// Tasks that were added.
    pub added: Mutex<Vec<proto::AddTasksRequest>>,
    /// The authorization header of the last unary call.
    pub authorization: Mutex<Option<String>>,
}

struct Service {
    enqueues: mpsc::UnboundedSender<EnqueueEnd>,
    works: mpsc::UnboundedSender<WorkEnd>,
    shared: Arc<Shared>,
}

impl Node {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (enqueues, enqueue_ends) = mpsc::unbounded_channel();
        let (works, work_ends) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::default());
        let service = Arc::new(Service { enqueues, works, shared: shared.clone() });
        // The handle aborts the server and with it every connection, as a crash does.
        let task = tokio::spawn(async move {
            let jobs = JobsServer::from_arc(service.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
            let server = tonic::transport::Server::builder();
            let mut server = server.initial_stream_window_size(1 << 20);
            let router = server.add_service(jobs).add_service(ClusterServer::from_arc(service.clone()));
            let router = router.add_service(TemplatesServer::from_arc(service.clone()));
            let router = router.add_service(EventsServer::from_arc(service.clone()));
            let router = router.add_service(WorkflowsServer::from_arc(service));
            router.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
        Self { url, enqueues: enqueue_ends, works: work_ends, shared, task: task.abort_handle() }
    }

    /// No new connection is taken any more. Streams that the test holds it must drop itself.
    pub fn stop(&self) {
        self.task.abort();
    }

    pub fn address(&self) -> String {
        self.url.trim_start_matches("http://").to_owned()
    }

    pub async fn enqueue_stream(&mut self) -> EnqueueEnd {
        within(self.enqueues.recv()).await.unwrap()
    }

    pub async fn work_stream(&mut self) -> WorkEnd {
        within(self.works.recv()).await.unwrap()
    }
}

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

pub fn client(nodes: &[&Node]) -> Client {
    let builder = nodes.iter().fold(Client::builder(), |builder, node| builder.server(&node.url));
    builder.deadline(PATIENCE).api_key("secret").build().unwrap()
}

impl EnqueueEnd {
    pub async fn batch(&mut self) -> proto::EnqueueBatch {
        within(self.batches.message()).await.unwrap().unwrap()
    }

    /// Takes every job in; its id is made from its payload.
    pub fn accept(&self, batch: &proto::EnqueueBatch) {
        let job = |job: &proto::NewJob| proto::EnqueuedJob {
            id: String::from_utf8(job.payload.clone().unwrap().data.to_vec()).unwrap(),
            state: proto::JobState::Ready.into(),
            ..Default::default()
        };
        let jobs = batch.jobs.iter().map(job).collect();
        self.answer(batch.id, proto::enqueue_result::Outcome::Enqueued(proto::EnqueueResponse { jobs }));
    }

    /// What the next keys had better begin with is said with every answer from now on.
    pub fn recommend(&mut self, key_prefix: &str) {
        self.key_prefix = key_prefix.into();
    }

    pub fn refuse(&self, batch: &proto::EnqueueBatch, code: &str) {
        let problem = proto::Problem { code: code.into(), detail: "no".into(), retry_after_ms: None };
        self.answer(batch.id, proto::enqueue_result::Outcome::Problem(problem));
    }

    fn answer(&self, id: u64, outcome: proto::enqueue_result::Outcome) {
        let key_prefix = self.key_prefix.clone();
        self.answers.send(Ok(proto::EnqueueResult { id, outcome: Some(outcome), key_prefix })).unwrap();
    }
}

impl WorkEnd {
    /// The next message; none when the worker half-closed.
    pub async fn next(&mut self) -> Option<Request_> {
        let message = within(self.requests.message()).await.unwrap();
        message.map(|request| request.message.unwrap())
    }

    /// The next message that is not a credit.
    pub async fn next_but_credit(&mut self) -> Option<Request_> {
        loop {
            match self.next().await {
                Some(Request_::Credit(_)) => (),
                other => return other,
            }
        }
    }

    pub async fn hello(&mut self) -> proto::Hello {
        match self.next().await {
            Some(Request_::Hello(hello)) => hello,
            other => panic!("hello comes first, not {other:?}"),
        }
    }

    pub async fn credit(&mut self) -> u32 {
        match self.next().await {
            Some(Request_::Credit(credit)) => credit.n,
            other => panic!("a credit, not {other:?}"),
        }
    }

    pub async fn acks(&mut self) -> proto::AckBatch {
        match self.next_but_credit().await {
            Some(Request_::Ack(batch)) => batch,
            other => panic!("acks, not {other:?}"),
        }
    }

    pub async fn nacks(&mut self) -> proto::NackBatch {
        match self.next_but_credit().await {
            Some(Request_::Nack(batch)) => batch,
            other => panic!("nacks, not {other:?}"),
        }
    }

    pub async fn extends(&mut self) -> proto::ExtendBatch {
        match self.next_but_credit().await {
            Some(Request_::Extend(batch)) => batch,
            other => panic!("extensions, not {other:?}"),
        }
    }

    pub fn send(&self, message: Response_) {
        self.responses.send(Ok(proto::WorkResponse { message: Some(message) })).unwrap();
    }

    pub fn push(&self, jobs: Vec<proto::LeasedJob>) {
        self.send(Response_::Jobs(proto::Delivery { jobs }));
    }

    /// Answers a batch: one code per item.
    pub fn results(&self, sequence: u64, codes: &[&str]) {
        let result = |code: &&str| proto::ItemResult { code: (*code).into(), ..Default::default() };
        let results = codes.iter().map(result).collect();
        self.send(Response_::Results(proto::Results { sequence, results }));
    }
}

pub fn job(number: u64, lease_ms: u64) -> proto::LeasedJob {
    proto::LeasedJob {
        id: format!("j0-{number}"),
        queue: "q".into(),
        project_id: "default".into(),
        payload: Some(proto::Payload { data: number.to_string().into(), json: true }),
        attempt: 1,
        lease_token: 10 + number,
        lease_ms,
        ..Default::default()
    }
}

#[tonic::async_trait]
impl Jobs for Service {
    type EnqueueStreamStream = Stream<proto::EnqueueResult>;
    type WorkStream = Stream<proto::WorkResponse>;

    async fn enqueue_stream(
        &self,
        request: Request<Streaming<proto::EnqueueBatch>>,
    ) -> Result<Response<Self::EnqueueStreamStream>, Status> {
        assert_eq!(request.metadata().get("authorization").unwrap(), "Bearer secret");
        let (answers, outgoing) = mpsc::unbounded_channel();
        drop(self.enqueues.send(EnqueueEnd { batches: request.into_inner(), answers, key_prefix: String::new() }));
        Ok(Response::new(outgoing.into()))
    }

    async fn work(
        &self,
        request: Request<Streaming<proto::WorkRequest>>,
    ) -> Result<Response<Self::WorkStream>, Status> {
        let (responses, outgoing) = mpsc::unbounded_channel();
        drop(self.works.send(WorkEnd { requests: request.into_inner(), responses }));
        Ok(Response::new(outgoing.into()))
    }

    async fn enqueue(
        &self,
        request: Request<proto::EnqueueRequest>,
    ) -> Result<Response<proto::EnqueueResponse>, Status> {
        self.shared.keys.lock().push(request.into_inner().idempotency_key);
        self.next_answer()?;
        Ok(Response::new(proto::EnqueueResponse::default()))
    }

    async fn get(&self, request: Request<proto::GetJobRequest>) -> Result<Response<proto::Job>, Status> {
        let header = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        *self.shared.authorization.lock() = header.map(ToOwned::to_owned);
        self.next_answer()?;
        Ok(Response::new(proto::Job { id: request.into_inner().id, ..Default::default() }))
    }

    async fn retry(&self, _: Request<proto::RetryJobRequest>) -> Result<Response<proto::JobStateResponse>, Status> {
        self.next_answer()?;
        Ok(Response::new(proto::JobStateResponse::default()))
    }

    async fn lease(&self, _: Request<proto::LeaseRequest>) -> Result<Response<proto::LeaseResponse>, Status> {
        Err(unused())
    }

    async fn ack(&self, _: Request<proto::AckRequest>) -> Result<Response<proto::ItemResults>, Status> {
        Err(unused())
    }

    async fn nack(&self, _: Request<proto::NackRequest>) -> Result<Response<proto::ItemResults>, Status> {
        Err(unused())
    }

    async fn extend(&self, _: Request<proto::ExtendRequest>) -> Result<Response<proto::ItemResults>, Status> {
        Err(unused())
    }

    async fn list(&self, _: Request<proto::ListJobsRequest>) -> Result<Response<proto::ListJobsResponse>, Status> {
        Err(unused())
    }

    async fn cancel(&self, _: Request<proto::CancelJobRequest>) -> Result<Response<proto::JobStateResponse>, Status> {
        Err(unused())
    }

    async fn why(&self, _: Request<proto::WhyRequest>) -> Result<Response<proto::WhyResponse>, Status> {
        Err(unused())
    }
}

impl Service {
    fn next_answer(&self) -> Result<(), Status> {
        let mut refusals = self.shared.refusals.lock();
        if refusals.is_empty() { Ok(()) } else { Err(refusals.remove(0)) }
    }
}

#[tonic::async_trait]
impl Cluster for Service {
    async fn get(&self, _: Request<proto::GetClusterRequest>) -> Result<Response<proto::ClusterView>, Status> {
        let node = |(index, public): (usize, &String)| proto::Node {
            id: index as u64 + 1,
            public: public.clone(),
            ..Default::default()
        };
        let nodes = self.shared.members.lock().iter().enumerate().map(node).collect();
        Ok(Response::new(proto::ClusterView { name: "test".into(), nodes, ..Default::default() }))
    }

    async fn digest(&self, _: Request<proto::DigestRequest>) -> Result<Response<proto::DigestResponse>, Status> {
        Err(unused())
    }

    async fn add_member(&self, _: Request<proto::AddMemberRequest>) -> Result<Response<proto::Node>, Status> {
        Err(unused())
    }

    async fn remove_member(
        &self,
        _: Request<proto::RemoveMemberRequest>,
    ) -> Result<Response<proto::RemoveMemberResponse>, Status> {
        Err(unused())
    }

    async fn transfer(&self, _: Request<proto::TransferRequest>) -> Result<Response<proto::TransferResponse>, Status> {
        Err(unused())
    }
}

#[tonic::async_trait]
impl Templates for Service {
    async fn put(
        &self,
        request: Request<proto::PutTemplateRequest>,
    ) -> Result<Response<proto::PutTemplateResponse>, Status> {
        self.next_answer()?;
        let proto::PutTemplateRequest { name, document, .. } = request.into_inner();
        self.shared.templates.lock().push(name.clone());
        let template = proto::Template { name, version: 3, document, ..Default::default() };
        Ok(Response::new(proto::PutTemplateResponse { template: Some(template), created: false, changed: true }))
    }

    async fn get(&self, request: Request<proto::GetTemplateRequest>) -> Result<Response<proto::Template>, Status> {
        let proto::GetTemplateRequest { name, version, .. } = request.into_inner();
        let document = r#"{"description":"d","tasks":[ {"id":"a"} ]}"#.into();
        let version = version.unwrap_or(3);
        Ok(Response::new(proto::Template { name, version, document, ..Default::default() }))
    }

    async fn list(
        &self,
        _: Request<proto::ListTemplatesRequest>,
    ) -> Result<Response<proto::ListTemplatesResponse>, Status> {
        Err(unused())
    }

    async fn delete(
        &self,
        _: Request<proto::DeleteTemplateRequest>,
    ) -> Result<Response<proto::DeleteTemplateResponse>, Status> {
        Err(unused())
    }

    async fn preview(
        &self,
        _: Request<proto::PreviewTemplateRequest>,
    ) -> Result<Response<proto::PreviewTemplateResponse>, Status> {
        Err(unused())
    }
}

fn unused() -> Status {
    Status::unimplemented("not played")
}
