//! `/api/v1/webhooks…`, and what a delivery carries.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::RawJson;
use super::jobs::ReadQuery;
use crate::proto;
use crate::{Code, Refusal, Timestamp};

/// The query of calls on webhooks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct WebhookQuery {
    /// The project; `default` if absent.
    pub project_id: Option<String>,
    /// `linearizable` or `stale`.
    pub consistency: Option<String>,
    /// How old a stale answer may be.
    pub max_staleness_ms: Option<u64>,
}

impl WebhookQuery {
    /// The project, and how fresh a read must be.
    pub fn into_parts(self) -> Result<(String, Option<proto::Read>), Refusal> {
        let read = ReadQuery { consistency: self.consistency, max_staleness_ms: self.max_staleness_ms };
        Ok((self.project_id.unwrap_or_default(), read.into_message()?))
    }
}

/// The body of `PUT /api/v1/webhooks/{name}`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WebhookBody {
    /// The project whose events it tells, unless the query names it.
    pub project_id: Option<String>,
    /// Where deliveries go.
    pub url: Option<String>,
    /// Names of events.
    pub events: Vec<String>,
    /// Events of jobs in this queue only.
    pub queue: Option<String>,
    /// Nothing new is delivered.
    pub disabled: bool,
    /// What signs the deliveries.
    pub secret: Option<String>,
}

impl WebhookBody {
    /// The webhook that is asked for; `project` is the query's.
    pub fn into_message(self, name: String, project: Option<String>) -> Result<proto::PutWebhookRequest, Refusal> {
        if let (Some(query), Some(body)) = (&project, &self.project_id)
            && query != body
        {
            return Err(Refusal::new(Code::InvalidArgument, "project_id: another one than the query's"));
        }
        Ok(proto::PutWebhookRequest {
            project_id: project.or(self.project_id).unwrap_or_default(),
            name,
            url: self.url.unwrap_or_default(),
            events: self.events,
            queue: self.queue.unwrap_or_default(),
            disabled: self.disabled,
            secret: self.secret.unwrap_or_default(),
        })
    }
}

/// A webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookAnswer {
    /// Its name in the project.
    pub name: String,
    /// The project whose events it tells.
    pub project_id: String,
    /// Where deliveries go.
    pub url: String,
    /// Names of events.
    pub events: Vec<String>,
    /// Events of jobs in this queue only.
    pub queue: Option<String>,
    /// Nothing new is delivered.
    pub disabled: bool,
    /// Grows with every change.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// What signs the deliveries; only when the webhook was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

impl From<proto::Webhook> for WebhookAnswer {
    fn from(webhook: proto::Webhook) -> Self {
        Self {
            name: webhook.name,
            project_id: webhook.project_id,
            url: webhook.url,
            events: webhook.events,
            queue: Some(webhook.queue).filter(|queue| !queue.is_empty()),
            disabled: webhook.disabled,
            version: webhook.version,
            created_at: Timestamp(webhook.created_at_ms),
            updated_at: Timestamp(webhook.updated_at_ms),
            secret: Some(webhook.secret).filter(|secret| !secret.is_empty()),
        }
    }
}

/// A project's webhooks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookListAnswer {
    /// By name.
    pub webhooks: Vec<WebhookAnswer>,
    /// Always null: the list is whole.
    pub next_cursor: Option<String>,
    /// How old the answer may be.
    pub as_of: Timestamp,
}

impl From<proto::ListWebhooksResponse> for WebhookListAnswer {
    fn from(list: proto::ListWebhooksResponse) -> Self {
        Self {
            webhooks: list.webhooks.into_iter().map(WebhookAnswer::from).collect(),
            next_cursor: None,
            as_of: Timestamp(list.as_of_ms),
        }
    }
}

/// The body of a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeliveryBody {
    /// Such as `job.succeeded`.
    pub r#type: String,
    /// When it happened.
    pub timestamp: Timestamp,
    /// What happened, as the stream of events has it.
    pub data: RawJson,
}
