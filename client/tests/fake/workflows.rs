//! Workflows as a played node has them: `w0-1` ends well, any other badly.

use bravo_api::proto;
use bravo_api::proto::workflows_server::Workflows;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status};

use super::{Service, Stream, unused};

type Answer = Result<Response<proto::WorkflowStatusResponse>, Status>;

fn ends_well(id: &str) -> bool {
    id == "w0-1"
}

#[tonic::async_trait]
impl Workflows for Service {
    async fn start(&self, request: Request<proto::StartWorkflowRequest>) -> Answer {
        self.next_answer()?;
        self.shared.started.lock().push(request.into_inner());
        let status = proto::WorkflowStatus::Running.into();
        Ok(Response::new(proto::WorkflowStatusResponse { id: "w0-1".into(), status }))
    }

    async fn get(&self, request: Request<proto::GetWorkflowRequest>) -> Result<Response<proto::Workflow>, Status> {
        let id = request.into_inner().id;
        let well = ends_well(&id);
        let status = if well { proto::WorkflowStatus::Succeeded } else { proto::WorkflowStatus::Failed };
        let error = (!well).then(|| "a: boom".to_owned());
        let task = proto::Task { id: "a".into(), state: "succeeded".into(), attempt: 2, ..Default::default() };
        let tasks = vec![task];
        Ok(Response::new(proto::Workflow { id, status: status.into(), error, tasks, ..Default::default() }))
    }

    async fn list(
        &self,
        _: Request<proto::ListWorkflowsRequest>,
    ) -> Result<Response<proto::ListWorkflowsResponse>, Status> {
        Err(unused())
    }

    async fn cancel(&self, _: Request<proto::WorkflowRequest>) -> Answer {
        Err(unused())
    }

    async fn pause(&self, _: Request<proto::WorkflowRequest>) -> Answer {
        Err(unused())
    }

    async fn resume(&self, _: Request<proto::WorkflowRequest>) -> Answer {
        Err(unused())
    }

    async fn retry(&self, _: Request<proto::WorkflowRequest>) -> Answer {
        Err(unused())
    }

    async fn signal(&self, _: Request<proto::SignalWorkflowRequest>) -> Answer {
        Err(unused())
    }

    async fn add_tasks(&self, request: Request<proto::AddTasksRequest>) -> Answer {
        self.next_answer()?;
        let request = request.into_inner();
        let answer =
            proto::WorkflowStatusResponse { id: request.id.clone(), status: proto::WorkflowStatus::Running.into() };
        self.shared.added.lock().push(request);
        Ok(Response::new(answer))
    }

    type EventsStream = Stream<proto::WorkflowEvent>;

    /// Three events.
    async fn events(
        &self,
        request: Request<proto::WorkflowEventsRequest>,
    ) -> Result<Response<Self::EventsStream>, Status> {
        let proto::WorkflowEventsRequest { id: workflow_id, after } = request.into_inner();
        let last = if ends_well(&workflow_id) { "workflow.succeeded" } else { "workflow.failed" };
        let (sender, events) = mpsc::unbounded_channel();
        for (id, event) in [(1, "workflow.started"), (2, "task.succeeded"), (3, last)] {
            let task_id = if id == 2 { "a".to_owned() } else { String::new() };
            if id > after {
                let event = event.into();
                let workflow_id = workflow_id.clone();
                drop(sender.send(Ok(proto::WorkflowEvent { id, event, workflow_id, task_id, ..Default::default() })));
            }
        }
        Ok(Response::new(UnboundedReceiverStream::new(events)))
    }
}
