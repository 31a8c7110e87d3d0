//! gRPC: services that translate; what a call does is in `service`.

mod cluster;
mod enqueue_stream;
mod events;
mod jobs;
mod keda;
mod queues;
mod scaling;
mod schedules;
mod templates;
mod webhooks;
mod work;
mod workflows;

use std::sync::Arc;

use axum::Router;
use bravo_api::keda::external_scaler_server::ExternalScalerServer;
use bravo_api::problem::{Rejection, status_of};
use bravo_api::proto::cluster_server::ClusterServer;
use bravo_api::proto::events_server::EventsServer;
use bravo_api::proto::jobs_server::JobsServer;
use bravo_api::proto::queues_server::QueuesServer;
use bravo_api::proto::scaling_server::ScalingServer;
use bravo_api::proto::schedules_server::SchedulesServer;
use bravo_api::proto::templates_server::TemplatesServer;
use bravo_api::proto::webhooks_server::WebhooksServer;
use bravo_api::proto::workflows_server::WorkflowsServer;
use bravo_api::{FILE_DESCRIPTOR_SET, MESSAGE_BYTES_MAX};
use bravo_model::{Code, Refusal};
use prost::Message;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::server::HealthReporter;

use super::app::App;
use super::call::{Call, hash};

/// What is watched by `grpc.health.v1`: the node as a whole and each service.
const SERVICES: [&str; 11] = [
    "",
    "bravo.v1.Jobs",
    "bravo.v1.Queues",
    "bravo.v1.Cluster",
    "bravo.v1.Templates",
    "bravo.v1.Workflows",
    "bravo.v1.Schedules",
    "bravo.v1.Webhooks",
    "bravo.v1.Events",
    "bravo.v1.Scaling",
    "externalscaler.ExternalScaler",
];

/// A service that takes and gives messages packed. The bound of a message counts when it is unpacked.
macro_rules! packs {
    ($service:expr) => {
        $service
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd)
            .send_compressed(CompressionEncoding::Zstd)
            .send_compressed(CompressionEncoding::Gzip)
    };
}

/// The services of one gateway.
#[derive(Clone)]
struct Api {
    app: Arc<App>,
}

/// All services, and the reporter of their health.
pub(crate) fn router(app: Arc<App>) -> anyhow::Result<(Router, HealthReporter)> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let api = Api { app };
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let routes = Routes::new(
        packs!(JobsServer::new(api.clone()))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX),
    )
    .add_service(packs!(QueuesServer::new(api.clone())))
    .add_service(packs!(ClusterServer::new(api.clone())))
    .add_service(packs!(TemplatesServer::new(api.clone())))
    .add_service(packs!(WebhooksServer::new(api.clone())))
    .add_service(packs!(ScalingServer::new(api.clone())))
    .add_service(packs!(ExternalScalerServer::new(api.clone())))
    .add_service(packs!(EventsServer::new(api.clone())))
    .add_service(packs!(SchedulesServer::new(api.clone())).max_decoding_message_size(MESSAGE_BYTES_MAX))
    .add_service(
        packs!(WorkflowsServer::new(api))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(usize::MAX),
    )
    .add_service(bounded(health))
    .add_service(reflection);
    Ok((routes.prepare().into_axum_router(), reporter))
}

/// Health checks are small.
fn bounded<H: Health>(health: HealthServer<H>) -> HealthServer<H> {
    health.max_decoding_message_size(64 << 10)
}

/// Tells who watches whether this node serves.
pub(crate) async fn report(reporter: &HealthReporter, serves: bool) {
    let status = if serves { tonic_health::ServingStatus::Serving } else { tonic_health::ServingStatus::NotServing };
    for service in SERVICES {
        reporter.set_service_status(service, status).await;
    }
}

/// What the front noted of a request.
fn call_of<T>(request: &Request<T>) -> Result<Call, Status> {
    let missing = || status_of(Refusal::new(Code::Internal, "the request did not come through the front"));
    request.extensions().get::<Call>().cloned().ok_or_else(missing)
}

/// Answers one message, in time.
async fn unary<T>(call: &Call, work: impl Future<Output = Result<T, Refusal>>) -> Result<Response<T>, Status> {
    unary_or_all_wrong(call, async { work.await.map_err(Rejection::from) }).await
}

/// Answers one message, in time; a refusal tells all that is wrong.
async fn unary_or_all_wrong<T>(
    call: &Call,
    work: impl Future<Output = Result<T, Rejection>>,
) -> Result<Response<T>, Status> {
    match tokio::time::timeout_at(call.deadline.into(), work).await {
        Ok(Ok(answer)) => Ok(Response::new(answer)),
        Ok(Err(refusal)) => Err(status_of(refusal)),
        Err(_) => Err(status_of(Refusal::retry_after(
            Code::DeadlineExceeded,
            "the time that the call may take is over; the outcome is unknown: repeat with the same key",
            100,
        ))),
    }
}

/// The hash of what is asked: messages encode the same way every time.
fn digest(message: &impl Message) -> [u8; 16] {
    hash(&[&message.encode_to_vec()])
}
