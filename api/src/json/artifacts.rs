//! `/api/v1/artifacts…`: what is asked beside the bytes, and what comes back.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::jobs::ReadQuery;
use crate::convert::reads::{self, Freshness, Page};
use crate::{Refusal, Timestamp};

/// The query of `GET /api/v1/artifacts/{project_id}/{path}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct ArtifactQuery {
    /// The newest if absent.
    pub version: Option<u32>,
    /// `linearizable` or `stale`.
    pub consistency: Option<String>,
    /// How old a stale answer may be.
    pub max_staleness_ms: Option<u64>,
}

impl ArtifactQuery {
    /// The version that is asked for, and how fresh.
    pub fn into_parts(self) -> Result<(Option<u32>, Freshness), Refusal> {
        let read = ReadQuery { consistency: self.consistency, max_staleness_ms: self.max_staleness_ms };
        Ok((self.version, read.into_message()?.into()))
    }
}

/// The query of `GET /api/v1/artifacts/{project_id}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct ListArtifactsQuery {
    /// What the paths begin with.
    pub prefix: Option<String>,
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

impl ListArtifactsQuery {
    /// The prefix and the page that are asked for.
    pub fn into_parts(self) -> Result<(String, Page), Refusal> {
        let read = ReadQuery { consistency: self.consistency, max_staleness_ms: self.max_staleness_ms };
        let page = reads::page(self.limit, self.cursor.unwrap_or_default(), read.into_message()?)?;
        Ok((self.prefix.unwrap_or_default(), page))
    }
}

/// An artifact that was put.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ArtifactAnswer {
    /// Where it belongs.
    pub project_id: String,
    /// Where it is there.
    pub path: String,
    /// This version.
    pub version: u32,
    /// Its bytes.
    pub size: u64,
    /// Its entity tag, as the header `ETag` has it.
    pub etag: String,
    /// What its bytes hash to, in hexadecimal digits.
    pub blake3: String,
}

/// A page of a project's artifacts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ArtifactListAnswer {
    /// The artifacts, in the order of their paths.
    pub artifacts: Vec<ArtifactSummary>,
    /// Where the next page starts; null: this was the last.
    pub next_cursor: Option<String>,
    /// How old the answer may be.
    pub as_of: Timestamp,
}

/// An artifact in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ArtifactSummary {
    /// Where it is in its project.
    pub path: String,
    /// The newest version.
    pub version: u32,
    /// Its bytes.
    pub size: u64,
    /// Its entity tag, as the header `ETag` has it.
    pub etag: String,
    /// Its type, as it was sent.
    pub content_type: Option<String>,
    /// When it was made.
    pub updated_at: Timestamp,
}
