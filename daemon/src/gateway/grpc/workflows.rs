//! `bravo.v1.Workflows`.

use std::pin::Pin;

use bravo_api::convert::workflows::list_workflows;
use bravo_api::problem::status_of;
use bravo_api::proto::{self, workflows_server::Workflows};
use bravo_model::workflow::WorkflowId;
use futures_util::Stream;
use prost::Message;
use tonic::{Request, Response, Status};

use super::{Api, call_of, unary, unary_or_all_wrong};
use crate::gateway::call::hash;
use crate::gateway::service::follow::Follow;
use crate::gateway::service::workflows;

type Answered = Result<Response<proto::WorkflowStatusResponse>, Status>;

#[tonic::async_trait]
impl Workflows for Api {
    async fn start(&self, request: Request<proto::StartWorkflowRequest>) -> Answered {
        let call = call_of(&request)?;
        let mut message = request.into_inner();
        call.caller.fill(&mut message.project_id);
        let call = call.keyed("/bravo.v1.Workflows/Start", &message.idempotency_key).map_err(status_of)?;
        let digest = hash(&[&message.encode_to_vec()]);
        unary_or_all_wrong(&call, workflows::start(&self.app, &call, message, || digest)).await
    }

    async fn get(&self, request: Request<proto::GetWorkflowRequest>) -> Result<Response<proto::Workflow>, Status> {
        let call = call_of(&request)?;
        let message = request.into_inner();
        unary(&call, workflows::read(&self.app, &call, id(&message.id)?, message.read.into())).await
    }

    async fn list(
        &self,
        request: Request<proto::ListWorkflowsRequest>,
    ) -> Result<Response<proto::ListWorkflowsResponse>, Status> {
        let call = call_of(&request)?;
        let (filter, page) = list_workflows(request.into_inner()).map_err(status_of)?;
        unary(&call, workflows::list(&self.app, &call, filter, &page)).await
    }

    async fn cancel(&self, request: Request<proto::WorkflowRequest>) -> Answered {
        let call = call_of(&request)?;
        unary(&call, workflows::cancel(&self.app, &call, id(&request.into_inner().id)?)).await
    }

    async fn pause(&self, request: Request<proto::WorkflowRequest>) -> Answered {
        let call = call_of(&request)?;
        unary(&call, workflows::pause(&self.app, &call, id(&request.into_inner().id)?, true)).await
    }

    async fn resume(&self, request: Request<proto::WorkflowRequest>) -> Answered {
        let call = call_of(&request)?;
        unary(&call, workflows::pause(&self.app, &call, id(&request.into_inner().id)?, false)).await
    }

    async fn retry(&self, request: Request<proto::WorkflowRequest>) -> Answered {
        let call = call_of(&request)?;
        unary(&call, workflows::retry(&self.app, &call, id(&request.into_inner().id)?)).await
    }

    async fn signal(&self, request: Request<proto::SignalWorkflowRequest>) -> Answered {
        let call = call_of(&request)?;
        let message = request.into_inner();
        let call = call.keyed("/bravo.v1.Workflows/Signal", &message.idempotency_key).map_err(status_of)?;
        let id = id(&message.id)?;
        unary(&call, workflows::signal(&self.app, &call, id, message.name, message.payload)).await
    }

    async fn add_tasks(&self, request: Request<proto::AddTasksRequest>) -> Answered {
        let call = call_of(&request)?;
        let message = request.into_inner();
        unary_or_all_wrong(&call, workflows::add_tasks(&self.app, &call, id(&message.id)?, message)).await
    }

    type EventsStream = Pin<Box<dyn Stream<Item = Result<proto::WorkflowEvent, Status>> + Send>>;

    async fn events(
        &self,
        request: Request<proto::WorkflowEventsRequest>,
    ) -> Result<Response<Self::EventsStream>, Status> {
        let call = call_of(&request)?;
        let message = request.into_inner();
        let id = id(&message.id)?;
        workflows::must_be_there(&self.app, &call, id).await.map_err(status_of)?;
        let follow = Follow::start(&self.app, &call.caller, id, message.after).map_err(status_of)?;
        let events = futures_util::stream::unfold(follow, |mut follow| async move {
            let event = follow.next().await?;
            Some((Ok(event), follow))
        });
        Ok(Response::new(Box::pin(events)))
    }
}

fn id(text: &str) -> Result<WorkflowId, Status> {
    text.parse().map_err(status_of)
}
