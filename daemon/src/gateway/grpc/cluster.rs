//! `bravo.v1.Cluster`.

use bravo_api::proto::{self, cluster_server::Cluster, transfer_request::Group};
use bravo_model::{Code, Refusal};
use tonic::{Request, Response, Status};

use super::{Api, call_of, unary};
use crate::gateway::service::{cluster, digest};

#[tonic::async_trait]
impl Cluster for Api {
    async fn get(&self, request: Request<proto::GetClusterRequest>) -> Result<Response<proto::ClusterView>, Status> {
        let call = call_of(&request)?;
        unary(&call, async { Ok(cluster::overview(&self.app).await) }).await
    }

    async fn digest(&self, request: Request<proto::DigestRequest>) -> Result<Response<proto::DigestResponse>, Status> {
        let call = call_of(&request)?;
        unary(&call, digest::compare(&self.app, &call, request.into_inner().at)).await
    }

    async fn add_member(&self, request: Request<proto::AddMemberRequest>) -> Result<Response<proto::Node>, Status> {
        let call = call_of(&request)?;
        unary(&call, cluster::add_member(&self.app, &call, request.into_inner())).await
    }

    async fn remove_member(
        &self,
        request: Request<proto::RemoveMemberRequest>,
    ) -> Result<Response<proto::RemoveMemberResponse>, Status> {
        let call = call_of(&request)?;
        unary(&call, async {
            cluster::remove_member(&self.app, &call, request.into_inner().id).await?;
            Ok(proto::RemoveMemberResponse {})
        })
        .await
    }

    async fn transfer(
        &self,
        request: Request<proto::TransferRequest>,
    ) -> Result<Response<proto::TransferResponse>, Status> {
        let call = call_of(&request)?;
        let message = request.into_inner();
        unary(&call, async {
            let missing = || Refusal::new(Code::InvalidArgument, "partition: missing; a partition, or meta");
            let group = match message.group.ok_or_else(missing)? {
                Group::Meta(_) => None,
                Group::Partition(number) => Some(number),
            };
            cluster::transfer(&self.app, &call, group, message.to).await?;
            Ok(proto::TransferResponse {})
        })
        .await
    }
}
