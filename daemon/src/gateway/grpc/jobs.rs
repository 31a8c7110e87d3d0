//! `bravo.v1.Jobs`.

use bravo_api::convert::{jobs as checked, leases, reads};
use bravo_api::problem::status_of;
use bravo_api::proto::{self, jobs_server::Jobs};
use bravo_model::Command;
use futures_util::stream::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Api, call_of, digest, enqueue_stream, unary, work};
use crate::gateway::front::InFlight;
use crate::gateway::service;

/// What keys of enqueues are scoped to, whether they come one by one or in a stream.
pub(super) const ENQUEUE: &str = "/bravo.v1.Jobs/Enqueue";

#[tonic::async_trait]
impl Jobs for Api {
    async fn enqueue(
        &self,
        request: Request<proto::EnqueueRequest>,
    ) -> Result<Response<proto::EnqueueResponse>, Status> {
        let call = call_of(&request)?;
        let mut message = request.into_inner();
        message.jobs.iter_mut().for_each(|job| call.caller.fill(&mut job.project_id));
        let call = call.keyed(ENQUEUE, &message.idempotency_key).map_err(status_of)?;
        let body = call.key.as_ref().map_or([0; 16], |_| enqueue_stream::digest_of(&message.jobs));
        unary(&call, async {
            let jobs = checked::new_jobs(message.jobs)?;
            service::enqueue::enqueue(&self.app, &call, jobs, || body).await
        })
        .await
    }

    type EnqueueStreamStream = BoxStream<'static, Result<proto::EnqueueResult, Status>>;

    async fn enqueue_stream(
        &self,
        request: Request<Streaming<proto::EnqueueBatch>>,
    ) -> Result<Response<Self::EnqueueStreamStream>, Status> {
        let call = call_of(&request)?;
        Ok(Response::new(enqueue_stream::run(self.app.clone(), call, request.into_inner())))
    }

    async fn lease(&self, request: Request<proto::LeaseRequest>) -> Result<Response<proto::LeaseResponse>, Status> {
        let call = call_of(&request)?;
        if let Some(in_flight) = request.extensions().get::<InFlight>() {
            in_flight.leave();
        }
        let wanted = leases::lease(request.into_inner()).map_err(status_of)?;
        let jobs = service::lease::lease(&self.app, &call, wanted).await.map_err(status_of)?;
        Ok(Response::new(proto::LeaseResponse { jobs }))
    }

    type WorkStream = work::Answers;

    async fn work(
        &self,
        request: Request<Streaming<proto::WorkRequest>>,
    ) -> Result<Response<Self::WorkStream>, Status> {
        let call = call_of(&request)?;
        Ok(Response::new(work::open(self.app.clone(), call, request.into_inner()).await?))
    }

    async fn ack(&self, request: Request<proto::AckRequest>) -> Result<Response<proto::ItemResults>, Status> {
        let call = call_of(&request)?;
        let message = request.into_inner();
        let body = call.key.as_ref().map_or([0; 16], |_| digest(&message));
        unary(&call, async {
            let items = leases::acks(message.acks)?;
            let results = service::items::each(&self.app, &call, items, Command::Ack, || body).await?;
            Ok(proto::ItemResults { results })
        })
        .await
    }

    async fn nack(&self, request: Request<proto::NackRequest>) -> Result<Response<proto::ItemResults>, Status> {
        let call = call_of(&request)?;
        let message = request.into_inner();
        let body = call.key.as_ref().map_or([0; 16], |_| digest(&message));
        unary(&call, async {
            let items = leases::nacks(message.nacks)?;
            let results = service::items::each(&self.app, &call, items, Command::Nack, || body).await?;
            Ok(proto::ItemResults { results })
        })
        .await
    }

    async fn extend(&self, request: Request<proto::ExtendRequest>) -> Result<Response<proto::ItemResults>, Status> {
        let call = call_of(&request)?;
        let message = request.into_inner();
        let body = call.key.as_ref().map_or([0; 16], |_| digest(&message));
        unary(&call, async {
            let items = leases::extends(message.leases)?;
            let results = service::items::each(&self.app, &call, items, Command::Extend, || body).await?;
            Ok(proto::ItemResults { results })
        })
        .await
    }

    async fn get(&self, request: Request<proto::GetJobRequest>) -> Result<Response<proto::Job>, Status> {
        let call = call_of(&request)?;
        let message = request.into_inner();
        unary(&call, async {
            service::jobs::read(&self.app, &call, checked::job_id(&message.id)?, message.read.into()).await
        })
        .await
    }

    async fn list(
        &self,
        request: Request<proto::ListJobsRequest>,
    ) -> Result<Response<proto::ListJobsResponse>, Status> {
        let call = call_of(&request)?;
        unary(&call, async {
            let (filter, page) = reads::list_jobs(request.into_inner())?;
            service::list::jobs(&self.app, &call, filter, &page).await
        })
        .await
    }

    async fn cancel(
        &self,
        request: Request<proto::CancelJobRequest>,
    ) -> Result<Response<proto::JobStateResponse>, Status> {
        let call = call_of(&request)?;
        let id = checked::job_id(&request.into_inner().id).map_err(status_of)?;
        unary(&call, service::jobs::cancel(&self.app, &call, id)).await
    }

    async fn retry(
        &self,
        request: Request<proto::RetryJobRequest>,
    ) -> Result<Response<proto::JobStateResponse>, Status> {
        let call = call_of(&request)?;
        let id = checked::job_id(&request.into_inner().id).map_err(status_of)?;
        unary(&call, service::jobs::retry(&self.app, &call, id)).await
    }

    async fn why(&self, request: Request<proto::WhyRequest>) -> Result<Response<proto::WhyResponse>, Status> {
        let call = call_of(&request)?;
        let id = checked::job_id(&request.into_inner().id).map_err(status_of)?;
        unary(&call, service::jobs::why(&self.app, &call, id)).await
    }
}
