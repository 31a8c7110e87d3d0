//! Unary calls on jobs.
//!
//! For volume use the [`Producer`](crate::Producer) and the [`Worker`](crate::Worker): a stream
//! costs a fraction of a call.

use std::time::Duration;

use bravo_api::proto;

use crate::client::Repeat;
use crate::job::millis;
use crate::{Client, Enqueued, Error, NewJob};

impl Client {
    /// Takes in up to 1,000 jobs; all or none per partition. Tries again under one idempotency key,
    /// which is made up if it is none.
    pub async fn enqueue(&self, jobs: Vec<NewJob>, idempotency_key: Option<String>) -> Result<Vec<Enqueued>, Error> {
        let request = proto::EnqueueRequest {
            jobs: jobs.into_iter().map(Into::into).collect(),
            idempotency_key: idempotency_key.unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
        };
        let send = |link: crate::net::Link, request| async move { link.jobs().enqueue(request).await };
        let response = self.call(request, Repeat::Always, send).await?;
        Ok(response.jobs.into_iter().map(Enqueued::from).collect())
    }

    /// Reads one job.
    pub async fn job(&self, id: &str) -> Result<proto::Job, Error> {
        let request = proto::GetJobRequest { id: id.into(), read: None };
        self.call(request, Repeat::Always, |link, request| async move { link.jobs().get(request).await }).await
    }

    /// Reads a page of jobs.
    pub async fn jobs(&self, list: proto::ListJobsRequest) -> Result<proto::ListJobsResponse, Error> {
        self.call(list, Repeat::Always, |link, request| async move { link.jobs().list(request).await }).await
    }

    /// Cancels a waiting job at once; the worker of a leased one is told.
    pub async fn cancel_job(&self, id: &str) -> Result<proto::JobStateResponse, Error> {
        let request = proto::CancelJobRequest { id: id.into() };
        self.call(request, Repeat::Always, |link, request| async move { link.jobs().cancel(request).await }).await
    }

    /// Puts a dead or cancelled job back, with as many attempts again.
    pub async fn retry_job(&self, id: &str) -> Result<proto::JobStateResponse, Error> {
        let request = proto::RetryJobRequest { id: id.into() };
        self.call(request, Repeat::Unsent, |link, request| async move { link.jobs().retry(request).await }).await
    }

    /// Says why a job waits.
    pub async fn why(&self, id: &str) -> Result<proto::WhyResponse, Error> {
        let request = proto::WhyRequest { id: id.into() };
        self.call(request, Repeat::Always, |link, request| async move { link.jobs().why(request).await }).await
    }

    /// Leases up to `max` ready jobs of a queue; waits up to `wait` for the first one.
    pub async fn lease(
        &self,
        queue: &str,
        worker_id: &str,
        max: u32,
        wait: Duration,
        lease: Option<Duration>,
    ) -> Result<Vec<proto::LeasedJob>, Error> {
        let request = proto::LeaseRequest {
            queue: queue.into(),
            worker_id: worker_id.into(),
            max: Some(max),
            wait_ms: millis(wait),
            lease_ms: lease.map(millis),
            ..Default::default()
        };
        let patient = self.with_deadline(self.deadline() + wait);
        let send = |link: crate::net::Link, request| async move { link.jobs().lease(request).await };
        Ok(patient.call(request, Repeat::Unsent, send).await?.jobs)
    }

    /// Ends leases with success; one result per item, in order.
    pub async fn ack(&self, acks: Vec<proto::Ack>) -> Result<Vec<proto::ItemResult>, Error> {
        let send = |link: crate::net::Link, request| async move { link.jobs().ack(request).await };
        Ok(self.call(proto::AckRequest { acks }, Repeat::Always, send).await?.results)
    }

    /// Ends leases with failure; one result per item, in order.
    pub async fn nack(&self, nacks: Vec<proto::Nack>) -> Result<Vec<proto::ItemResult>, Error> {
        let send = |link: crate::net::Link, request| async move { link.jobs().nack(request).await };
        Ok(self.call(proto::NackRequest { nacks }, Repeat::Unsent, send).await?.results)
    }

    /// Prolongs leases; one result per item, in order.
    pub async fn extend(&self, leases: Vec<proto::Extend>) -> Result<Vec<proto::ItemResult>, Error> {
        let send = |link: crate::net::Link, request| async move { link.jobs().extend(request).await };
        Ok(self.call(proto::ExtendRequest { leases }, Repeat::Always, send).await?.results)
    }
}
