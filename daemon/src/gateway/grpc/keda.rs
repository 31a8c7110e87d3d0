//! KEDA's `externalscaler.ExternalScaler`.

use std::pin::Pin;

use bravo_api::keda::external_scaler_server::ExternalScaler;
use bravo_api::keda::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, ScaledObjectRef,
};
use bravo_api::problem::status_of;
use futures_util::Stream;
use tonic::{Request, Response, Status};

use super::{Api, call_of, unary};
use crate::gateway::front::InFlight;
use crate::gateway::service::scaling::{Watched, for_keda, looked_at, metric, metric_spec};
use crate::transport::wire::PoolSeen;

type Told<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Api {
    /// Tells something of a pool, once it is known and whenever it changes.
    async fn watch<T: Clone + PartialEq + Send + 'static>(
        &self,
        request: Request<ScaledObjectRef>,
        of_pool: fn(&PoolSeen) -> Option<T>,
    ) -> Result<Response<Told<T>>, Status> {
        let call = call_of(&request)?;
        let in_flight = request.extensions().get::<InFlight>().cloned();
        let watched = Watched::start(&self.app, &call, request.into_inner(), of_pool).await.map_err(status_of)?;
        // It only waits from here on.
        if let Some(in_flight) = in_flight {
            in_flight.leave();
        }
        let told = futures_util::stream::unfold(watched, |mut watched| async move {
            let next = watched.next().await?;
            Some((Ok(next), watched))
        });
        Ok(Response::new(Box::pin(told)))
    }
}

/// Whether there should be any agents.
fn is_active(seen: &PoolSeen) -> IsActiveResponse {
    IsActiveResponse { result: seen.recommended > 0 }
}

#[tonic::async_trait]
impl ExternalScaler for Api {
    type StreamIsActiveStream = Told<IsActiveResponse>;
    type StreamMetricSpecStream = Told<GetMetricSpecResponse>;

    async fn is_active(&self, request: Request<ScaledObjectRef>) -> Result<Response<IsActiveResponse>, Status> {
        let call = call_of(&request)?;
        let of = request.into_inner();
        unary(&call, async { Ok(is_active(&looked_at(for_keda(&self.app, Some(&of), call.deadline).await?)?)) }).await
    }

    async fn stream_is_active(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamIsActiveStream>, Status> {
        self.watch(request, |seen| seen.is_seen.then(|| is_active(seen))).await
    }

    async fn get_metric_spec(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<GetMetricSpecResponse>, Status> {
        let call = call_of(&request)?;
        let of = request.into_inner();
        unary(&call, async { Ok(metric_spec(&for_keda(&self.app, Some(&of), call.deadline).await?)) }).await
    }

    async fn get_metrics(&self, request: Request<GetMetricsRequest>) -> Result<Response<GetMetricsResponse>, Status> {
        let call = call_of(&request)?;
        let GetMetricsRequest { scaled_object_ref: of, metric_name } = request.into_inner();
        unary(&call, async {
            metric(&looked_at(for_keda(&self.app, of.as_ref(), call.deadline).await?)?, &metric_name)
        })
        .await
    }

    async fn stream_metric_spec(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamMetricSpecStream>, Status> {
        self.watch(request, |seen| Some(metric_spec(seen))).await
    }
}
