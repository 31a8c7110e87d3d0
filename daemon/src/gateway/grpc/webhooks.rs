//! `bravo.v1.Webhooks`.

use bravo_api::convert::webhooks::place;
use bravo_api::convert::workflows::project;
use bravo_api::problem::status_of;
use bravo_api::proto::{self, webhooks_server::Webhooks};
use tonic::{Request, Response, Status};

use super::{Api, call_of, digest, unary};
use crate::gateway::service::webhooks;

#[tonic::async_trait]
impl Webhooks for Api {
    async fn put(
        &self,
        request: Request<proto::PutWebhookRequest>,
    ) -> Result<Response<proto::PutWebhookResponse>, Status> {
        let call = call_of(&request)?;
        let mut message = request.into_inner();
        call.caller.fill(&mut message.project_id);
        let digest = digest(&message);
        unary(&call, webhooks::put(&self.app, &call, message, digest)).await
    }

    async fn get(&self, request: Request<proto::GetWebhookRequest>) -> Result<Response<proto::Webhook>, Status> {
        let call = call_of(&request)?;
        let mut message = request.into_inner();
        call.caller.fill(&mut message.project_id);
        let (project, name) = place(&message.project_id, &message.name).map_err(status_of)?;
        unary(&call, webhooks::read(&self.app, &call, &project, &name, message.read.into())).await
    }

    async fn list(
        &self,
        request: Request<proto::ListWebhooksRequest>,
    ) -> Result<Response<proto::ListWebhooksResponse>, Status> {
        let call = call_of(&request)?;
        let mut message = request.into_inner();
        call.caller.fill(&mut message.project_id);
        let project = project(&message.project_id).map_err(status_of)?;
        unary(&call, webhooks::list(&self.app, &call, &project, message.read.into())).await
    }

    async fn delete(
        &self,
        request: Request<proto::DeleteWebhookRequest>,
    ) -> Result<Response<proto::DeleteWebhookResponse>, Status> {
        let call = call_of(&request)?;
        let mut message = request.into_inner();
        call.caller.fill(&mut message.project_id);
        let (project, name) = place(&message.project_id, &message.name).map_err(status_of)?;
        unary(&call, async {
            webhooks::delete(&self.app, &call, &project, &name).await?;
            Ok(proto::DeleteWebhookResponse {})
        })
        .await
    }
}
