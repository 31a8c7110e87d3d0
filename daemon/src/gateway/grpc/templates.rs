//! `bravo.v1.Templates`.

use bravo_api::convert::reads;
use bravo_api::problem::status_of;
use bravo_api::proto::{self, templates_server::Templates};
use bravo_model::Name;
use tonic::{Request, Response, Status};

use super::{Api, call_of, unary, unary_or_all_wrong};
use crate::gateway::service::templates;

#[tonic::async_trait]
impl Templates for Api {
    async fn put(
        &self,
        request: Request<proto::PutTemplateRequest>,
    ) -> Result<Response<proto::PutTemplateResponse>, Status> {
        let call = call_of(&request)?;
        let message = request.into_inner();
        let name = name(&message.name)?;
        let expected = message.expected.unwrap_or_default().into();
        unary_or_all_wrong(&call, templates::put(&self.app, &call, name, message.document, expected)).await
    }

    async fn get(&self, request: Request<proto::GetTemplateRequest>) -> Result<Response<proto::Template>, Status> {
        let call = call_of(&request)?;
        let message = request.into_inner();
        let name = name(&message.name)?;
        unary(&call, templates::read(&self.app, &call, &name, message.version, message.read.into())).await
    }

    async fn list(
        &self,
        request: Request<proto::ListTemplatesRequest>,
    ) -> Result<Response<proto::ListTemplatesResponse>, Status> {
        let call = call_of(&request)?;
        let (words, page) = reads::list_templates(request.into_inner()).map_err(status_of)?;
        unary(&call, templates::list(&self.app, &call, &words, &page)).await
    }

    async fn delete(
        &self,
        request: Request<proto::DeleteTemplateRequest>,
    ) -> Result<Response<proto::DeleteTemplateResponse>, Status> {
        let call = call_of(&request)?;
        let message = request.into_inner();
        let name = name(&message.name)?;
        unary(&call, async {
            templates::delete(&self.app, &call, name, message.expected.unwrap_or_default().into()).await?;
            Ok(proto::DeleteTemplateResponse {})
        })
        .await
    }

    async fn preview(
        &self,
        request: Request<proto::PreviewTemplateRequest>,
    ) -> Result<Response<proto::PreviewTemplateResponse>, Status> {
        let call = call_of(&request)?;
        let message = request.into_inner();
        let (name, read) = (name(&message.name)?, message.read.into());
        unary_or_all_wrong(&call, templates::preview(&self.app, &call, &name, message.version, &message.input, read))
            .await
    }
}

fn name(text: &str) -> Result<Name, Status> {
    Name::parse("name", text).map_err(status_of)
}
