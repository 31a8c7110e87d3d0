//! Calls on workflows.

use bravo_api::proto;
use bytes::Bytes;
use tonic::Streaming;

use crate::client::Repeat;
use crate::net::Link;
use crate::{Client, Error};

impl Client {
    /// Starts a workflow. Tries again under one idempotency key, so that no second one is started.
    pub async fn start_workflow(
        &self,
        mut request: proto::StartWorkflowRequest,
    ) -> Result<proto::WorkflowStatusResponse, Error> {
        if request.idempotency_key.is_empty() {
            request.idempotency_key = uuid::Uuid::new_v4().to_string();
        }
        self.call(request, Repeat::Always, |link, request| async move { link.workflows().start(request).await }).await
    }

    /// Reads a workflow with its tasks.
    pub async fn workflow(&self, id: &str) -> Result<proto::Workflow, Error> {
        let request = proto::GetWorkflowRequest { id: id.into(), read: None };
        self.call(request, Repeat::Always, |link, request| async move { link.workflows().get(request).await }).await
    }

    /// Reads a page of workflows, newest first.
    pub async fn workflows(&self, list: proto::ListWorkflowsRequest) -> Result<proto::ListWorkflowsResponse, Error> {
        self.call(list, Repeat::Always, |link, request| async move { link.workflows().list(request).await }).await
    }

    /// Ends a workflow now.
    pub async fn cancel_workflow(&self, id: &str) -> Result<proto::WorkflowStatusResponse, Error> {
        let send = |link: Link, request| async move { link.workflows().cancel(request).await };
        self.call(named(id), Repeat::Always, send).await
    }

    /// Lets nothing new begin.
    pub async fn pause_workflow(&self, id: &str) -> Result<proto::WorkflowStatusResponse, Error> {
        self.call(named(id), Repeat::Always, |link, request| async move { link.workflows().pause(request).await }).await
    }

    /// Ends a pause.
    pub async fn resume_workflow(&self, id: &str) -> Result<proto::WorkflowStatusResponse, Error> {
        let send = |link: Link, request| async move { link.workflows().resume(request).await };
        self.call(named(id), Repeat::Always, send).await
    }

    /// Goes on with a failed or cancelled workflow from what did not succeed.
    pub async fn retry_workflow(&self, id: &str) -> Result<proto::WorkflowStatusResponse, Error> {
        self.call(named(id), Repeat::Unsent, |link, request| async move { link.workflows().retry(request).await }).await
    }

    /// Tells a workflow something (JSON text; empty: null) that a task waits for, or will.
    pub async fn signal_workflow(
        &self,
        id: &str,
        name: &str,
        payload: impl Into<Bytes>,
    ) -> Result<proto::WorkflowStatusResponse, Error> {
        let idempotency_key = uuid::Uuid::new_v4().to_string();
        let request =
            proto::SignalWorkflowRequest { id: id.into(), name: name.into(), payload: payload.into(), idempotency_key };
        self.call(request, Repeat::Always, |link, request| async move { link.workflows().signal(request).await }).await
    }

    /// Adds tasks to a running workflow under the lease of one of its tasks' jobs. Tasks that are there already,
    /// exactly so, are left alone.
    pub async fn add_tasks(&self, request: proto::AddTasksRequest) -> Result<proto::WorkflowStatusResponse, Error> {
        let send = |link: Link, request| async move { link.workflows().add_tasks(request).await };
        self.call(request, Repeat::Always, send).await
    }

    /// Follows a workflow from the event behind `after` on. The stream ends with the workflow, or with the
    /// node that sends it: go on from the last event seen.
    pub async fn workflow_events(&self, id: &str, after: u32) -> Result<Streaming<proto::WorkflowEvent>, Error> {
        let request = proto::WorkflowEventsRequest { id: id.into(), after };
        self.call(request, Repeat::Always, |link, request| async move { link.workflows().events(request).await }).await
    }
}

fn named(id: &str) -> proto::WorkflowRequest {
    proto::WorkflowRequest { id: id.into() }
}
