//! `bravo.v1.Scaling`.

use bravo_api::convert::scaling::agent_type;
use bravo_api::problem::status_of;
use bravo_api::proto::{self, scaling_server::Scaling};
use tonic::{Request, Response, Status};

use super::{Api, call_of, unary};
use crate::gateway::service::scaling;

#[tonic::async_trait]
impl Scaling for Api {
    async fn list(
        &self,
        request: Request<proto::ListScalingRequest>,
    ) -> Result<Response<proto::ListScalingResponse>, Status> {
        let call = call_of(&request)?;
        unary(&call, scaling::list(&self.app, &call)).await
    }

    async fn get(&self, request: Request<proto::GetScalingRequest>) -> Result<Response<proto::ScalingState>, Status> {
        let call = call_of(&request)?;
        let name = agent_type(&request.into_inner().agent_type).map_err(status_of)?;
        unary(&call, scaling::read(&self.app, &call, &name)).await
    }

    async fn put(&self, request: Request<proto::PutScalingRequest>) -> Result<Response<proto::ScalingState>, Status> {
        let call = call_of(&request)?;
        unary(&call, scaling::put(&self.app, &call, request.into_inner())).await
    }

    async fn delete(
        &self,
        request: Request<proto::DeleteScalingRequest>,
    ) -> Result<Response<proto::DeleteScalingResponse>, Status> {
        let call = call_of(&request)?;
        let name = agent_type(&request.into_inner().agent_type).map_err(status_of)?;
        unary(&call, async {
            scaling::delete(&self.app, &call, &name).await?;
            Ok(proto::DeleteScalingResponse {})
        })
        .await
    }

    async fn get_history(
        &self,
        request: Request<proto::GetScalingHistoryRequest>,
    ) -> Result<Response<proto::ScalingHistory>, Status> {
        let call = call_of(&request)?;
        let name = agent_type(&request.into_inner().agent_type).map_err(status_of)?;
        unary(&call, scaling::history(&self.app, &call, &name)).await
    }

    async fn put_history(
        &self,
        request: Request<proto::PutScalingHistoryRequest>,
    ) -> Result<Response<proto::PutScalingHistoryResponse>, Status> {
        let call = call_of(&request)?;
        unary(&call, async {
            scaling::put_history(&self.app, &call, request.into_inner()).await?;
            Ok(proto::PutScalingHistoryResponse {})
        })
        .await
    }
}
