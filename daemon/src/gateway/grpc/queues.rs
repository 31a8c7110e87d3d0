//! `bravo.v1.Queues`.

use bravo_api::convert::{queues as checked, reads};
use bravo_api::problem::status_of;
use bravo_api::proto::{self, queues_server::Queues};
use bravo_model::{Command, Name};
use tonic::{Request, Response, Status};

use super::{Api, call_of, digest, unary};
use crate::gateway::service::queues::{self, Switch};

#[tonic::async_trait]
impl Queues for Api {
    async fn put(&self, request: Request<proto::PutQueueRequest>) -> Result<Response<proto::Queue>, Status> {
        let call = call_of(&request)?;
        let message = request.into_inner();
        let body = call.key.as_ref().map_or([0; 16], |_| digest(&message));
        unary(&call, async {
            let name = Name::parse("name", &message.name)?;
            let config = checked::config(message.config.unwrap_or_default())?;
            queues::put(&self.app, &call, name, config, || body).await
        })
        .await
    }

    async fn get(&self, request: Request<proto::GetQueueRequest>) -> Result<Response<proto::Queue>, Status> {
        let call = call_of(&request)?;
        let message = request.into_inner();
        let name = name(&message.name)?;
        unary(&call, queues::read(&self.app, &call, &name, message.read.into())).await
    }

    async fn list(
        &self,
        request: Request<proto::ListQueuesRequest>,
    ) -> Result<Response<proto::ListQueuesResponse>, Status> {
        let call = call_of(&request)?;
        let page = reads::list_queues(request.into_inner()).map_err(status_of)?;
        unary(&call, queues::list(&self.app, &call, &page)).await
    }

    async fn pause(&self, request: Request<proto::QueueRequest>) -> Result<Response<proto::QueueSwitches>, Status> {
        self.switch(request, Switch::Pause).await
    }

    async fn resume(&self, request: Request<proto::QueueRequest>) -> Result<Response<proto::QueueSwitches>, Status> {
        self.switch(request, Switch::Resume).await
    }

    async fn drain(&self, request: Request<proto::QueueRequest>) -> Result<Response<proto::QueueSwitches>, Status> {
        self.switch(request, Switch::Drain).await
    }

    async fn purge(&self, request: Request<proto::QueueRequest>) -> Result<Response<proto::SweepResponse>, Status> {
        self.sweep(request, Command::Purge).await
    }

    async fn redrive(&self, request: Request<proto::QueueRequest>) -> Result<Response<proto::SweepResponse>, Status> {
        self.sweep(request, Command::Redrive).await
    }

    async fn delete(
        &self,
        request: Request<proto::QueueRequest>,
    ) -> Result<Response<proto::DeleteQueueResponse>, Status> {
        let call = call_of(&request)?;
        let name = name(&request.into_inner().name)?;
        unary(&call, async {
            queues::delete(&self.app, &call, &name).await?;
            Ok(proto::DeleteQueueResponse {})
        })
        .await
    }
}

impl Api {
    async fn switch(
        &self,
        request: Request<proto::QueueRequest>,
        switch: Switch,
    ) -> Result<Response<proto::QueueSwitches>, Status> {
        let call = call_of(&request)?;
        let name = name(&request.into_inner().name)?;
        unary(&call, queues::switch(&self.app, &call, name, switch)).await
    }

    async fn sweep(
        &self,
        request: Request<proto::QueueRequest>,
        command: fn(Name) -> Command,
    ) -> Result<Response<proto::SweepResponse>, Status> {
        let call = call_of(&request)?;
        let name = name(&request.into_inner().name)?;
        unary(&call, async {
            let count = queues::sweep(&self.app, &call, &name, command).await?;
            Ok(proto::SweepResponse { count })
        })
        .await
    }
}

fn name(text: &str) -> Result<Name, Status> {
    Name::parse("name", text).map_err(status_of)
}
