//! `bravo.v1.Schedules`.

use bravo_api::problem::status_of;
use bravo_api::proto::{self, schedules_server::Schedules};
use tonic::{Request, Response, Status};

use super::{Api, call_of, unary, unary_or_all_wrong};
use crate::gateway::service::schedules::{self, name_of};

#[tonic::async_trait]
impl Schedules for Api {
    async fn put(
        &self,
        request: Request<proto::PutScheduleRequest>,
    ) -> Result<Response<proto::PutScheduleResponse>, Status> {
        let call = call_of(&request)?;
        unary_or_all_wrong(&call, schedules::put(&self.app, &call, request.into_inner())).await
    }

    async fn get(&self, request: Request<proto::GetScheduleRequest>) -> Result<Response<proto::Schedule>, Status> {
        let call = call_of(&request)?;
        let message = request.into_inner();
        let name = name_of(&message.name).map_err(status_of)?;
        unary(&call, schedules::read(&self.app, &call, &name, message.read.into())).await
    }

    async fn list(
        &self,
        request: Request<proto::ListSchedulesRequest>,
    ) -> Result<Response<proto::ListSchedulesResponse>, Status> {
        let call = call_of(&request)?;
        unary(&call, schedules::list(&self.app, &call, request.into_inner().read.into())).await
    }

    async fn delete(
        &self,
        request: Request<proto::ScheduleRequest>,
    ) -> Result<Response<proto::DeleteScheduleResponse>, Status> {
        let call = call_of(&request)?;
        let name = name_of(&request.into_inner().name).map_err(status_of)?;
        unary(&call, async {
            schedules::delete(&self.app, &call, &name).await?;
            Ok(proto::DeleteScheduleResponse {})
        })
        .await
    }

    async fn pause(&self, request: Request<proto::ScheduleRequest>) -> Result<Response<proto::Schedule>, Status> {
        let call = call_of(&request)?;
        let name = name_of(&request.into_inner().name).map_err(status_of)?;
        unary(&call, schedules::pause(&self.app, &call, &name, true)).await
    }

    async fn resume(&self, request: Request<proto::ScheduleRequest>) -> Result<Response<proto::Schedule>, Status> {
        let call = call_of(&request)?;
        let name = name_of(&request.into_inner().name).map_err(status_of)?;
        unary(&call, schedules::pause(&self.app, &call, &name, false)).await
    }
}
