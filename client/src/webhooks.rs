//! Calls on webhooks.

use bravo_api::proto;

use crate::client::Repeat;
use crate::net::Link;
use crate::{Client, Error};

impl Client {
    /// Makes a webhook, or replaces it. The answer to the put that made it has its secret.
    pub async fn put_webhook(&self, request: proto::PutWebhookRequest) -> Result<proto::PutWebhookResponse, Error> {
        self.call(request, Repeat::Unsent, |link, request| async move { link.webhooks().put(request).await }).await
    }

    /// Reads a webhook; an empty project is the default one.
    pub async fn webhook(&self, project: &str, name: &str) -> Result<proto::Webhook, Error> {
        let request = proto::GetWebhookRequest { project_id: project.into(), name: name.into(), read: None };
        self.call(request, Repeat::Always, |link, request| async move { link.webhooks().get(request).await }).await
    }

    /// Reads a project's webhooks, by name.
    pub async fn webhooks(&self, project: &str) -> Result<proto::ListWebhooksResponse, Error> {
        let request = proto::ListWebhooksRequest { project_id: project.into(), read: None };
        self.call(request, Repeat::Always, |link, request| async move { link.webhooks().list(request).await }).await
    }

    /// Deletes a webhook; deliveries that wait are dropped.
    pub async fn delete_webhook(&self, project: &str, name: &str) -> Result<(), Error> {
        let request = proto::DeleteWebhookRequest { project_id: project.into(), name: name.into() };
        let send = |link: Link, request| async move { link.webhooks().delete(request).await };
        self.call(request, Repeat::Unsent, send).await.map(drop)
    }
}
