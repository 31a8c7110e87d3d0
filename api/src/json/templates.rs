//! `/api/v1/templates…`: what comes back. What is put is read by [`crate::template`].

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::jobs::ReadQuery;
use super::raw::RawJson;
use crate::problem::FieldError;
use crate::{Code, Refusal, Timestamp, proto};

/// One version of a template: name and version, and the document's fields as they were sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TemplateAnswer {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// This version.
    #[serde(default)]
    pub version: u32,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The programming language of what its workflows make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// The framework of what its workflows make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub framework: Option<String>,
    /// The JSON Schema of a workflow's input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<RawJson>,
    /// The input that a workflow has unless it is given another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<RawJson>,
    /// How long a workflow may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// How long a workflow is kept once it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_ms: Option<u64>,
    /// The tasks of a workflow.
    #[schema(value_type = Vec<Object>)]
    pub tasks: RawJson,
    /// The task that runs when a workflow failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub on_failure: Option<RawJson>,
}

impl TryFrom<proto::Template> for TemplateAnswer {
    type Error = Refusal;

    fn try_from(template: proto::Template) -> Result<Self, Refusal> {
        let broken = |error| Refusal::new(Code::Internal, format!("template {}: {error}", template.name));
        let fields: Self = serde_json::from_slice(&template.document).map_err(broken)?;
        Ok(Self { name: template.name, version: template.version, ..fields })
    }
}

/// The query of `GET /api/v1/templates/{name}` and of a preview.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct TemplateQuery {
    /// The newest if absent.
    pub version: Option<u32>,
    /// `linearizable` or `stale`.
    pub consistency: Option<String>,
    /// How old a stale answer may be.
    pub max_staleness_ms: Option<u64>,
}

impl TemplateQuery {
    /// The version that is asked for, and how fresh.
    pub fn into_parts(self) -> Result<(Option<u32>, Option<proto::Read>), Refusal> {
        let read = ReadQuery { consistency: self.consistency, max_staleness_ms: self.max_staleness_ms };
        Ok((self.version, read.into_message()?))
    }
}

/// The query of `GET /api/v1/templates`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct ListTemplatesQuery {
    /// Words to find in name and description.
    pub q: Option<String>,
    /// 1 to 1,000; 100 if absent.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// From the last page.
    pub cursor: Option<String>,
    /// `linearizable` or `stale`.
    pub consistency: Option<String>,
    /// How old a stale answer may be.
    pub max_staleness_ms: Option<u64>,
}

impl ListTemplatesQuery {
    /// The list that is asked for.
    pub fn into_message(self) -> Result<proto::ListTemplatesRequest, Refusal> {
        let read = ReadQuery { consistency: self.consistency, max_staleness_ms: self.max_staleness_ms };
        Ok(proto::ListTemplatesRequest {
            q: self.q.unwrap_or_default(),
            limit: self.limit,
            cursor: self.cursor.unwrap_or_default(),
            read: read.into_message()?,
        })
    }
}

/// A page of templates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TemplateListAnswer {
    /// The templates.
    pub templates: Vec<TemplateSummary>,
    /// Where the next page starts; null: this was the last.
    pub next_cursor: Option<String>,
    /// How old the answer may be.
    pub as_of: Timestamp,
}

/// A template in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TemplateSummary {
    /// Its name.
    pub name: String,
    /// The newest version.
    pub version: u32,
    /// What it is for.
    pub description: String,
    /// The newest version's entity tag, as the header `ETag` has it.
    pub etag: String,
    /// When the newest version was made.
    pub updated_at: Timestamp,
}

impl From<proto::ListTemplatesResponse> for TemplateListAnswer {
    fn from(page: proto::ListTemplatesResponse) -> Self {
        let summary = |template: proto::TemplateSummary| TemplateSummary {
            name: template.name,
            version: template.version,
            description: template.description,
            etag: format!("\"{}\"", template.etag),
            updated_at: Timestamp(template.updated_at_ms),
        };
        Self {
            templates: page.templates.into_iter().map(summary).collect(),
            next_cursor: Some(page.next_cursor).filter(|cursor| !cursor.is_empty()),
            as_of: Timestamp(page.as_of_ms),
        }
    }
}

/// The body of `POST /api/v1/templates/{name}/preview`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PreviewBody {
    /// The workflow's input.
    pub input: Option<RawJson>,
}

/// What a workflow from a template would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PreviewAnswer {
    /// The template.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// The input, defaults filled in.
    pub input: RawJson,
    /// What is wrong with it; empty: the workflow would start.
    pub errors: Vec<FieldError>,
    /// The tasks.
    #[schema(value_type = Vec<Object>)]
    pub tasks: RawJson,
}

impl From<proto::PreviewTemplateResponse> for PreviewAnswer {
    fn from(preview: proto::PreviewTemplateResponse) -> Self {
        Self {
            name: preview.name,
            version: preview.version,
            input: RawJson(preview.input),
            errors: preview.errors.into_iter().map(FieldError::from).collect(),
            tasks: RawJson(preview.tasks),
        }
    }
}
