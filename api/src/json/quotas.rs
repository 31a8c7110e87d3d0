//! `/api/v1/quotas`.

use bravo_model::Name;
use bravo_model::quota::{Quota, Usage};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;

/// The body of `PUT /api/v1/quotas/{project_id}`. What is absent has no bound.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QuotaBody {
    /// Jobs that wait or are worked on.
    pub jobs_max: Option<u64>,
    /// Payload bytes of all jobs that are kept, also of those that are over.
    pub bytes_max: Option<u64>,
    /// Jobs that are taken in a second, by all nodes together.
    #[schema(minimum = 1)]
    pub jobs_per_second: Option<u32>,
}

impl QuotaBody {
    /// The quota of a project.
    pub fn into_model(self, project: Name) -> Quota {
        let Self { jobs_max, bytes_max, jobs_per_second } = self;
        Quota { project, version: 0, jobs_max, bytes_max, jobs_per_second }
    }
}

/// What a project may have, and what it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuotaAnswer {
    /// The project.
    pub project_id: String,
    /// Jobs that wait or are worked on; null: any number.
    pub jobs_max: Option<u64>,
    /// Payload bytes of all jobs that are kept; null: any number.
    pub bytes_max: Option<u64>,
    /// Jobs that are taken in a second; null: any number.
    pub jobs_per_second: Option<u32>,
    /// Jobs that wait or are worked on now.
    pub jobs: u64,
    /// Payload bytes that are kept now.
    pub bytes: u64,
}

impl QuotaAnswer {
    /// Of a quota and what is used of it.
    pub fn of(quota: Quota, used: Usage) -> Self {
        let Quota { project, jobs_max, bytes_max, jobs_per_second, .. } = quota;
        let Usage { jobs, bytes } = used;
        Self { project_id: project.into(), jobs_max, bytes_max, jobs_per_second, jobs, bytes }
    }
}

/// All quotas, by project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuotaListAnswer {
    /// The quotas.
    pub quotas: Vec<QuotaAnswer>,
    /// Always null: they fit one page.
    pub next_cursor: Option<String>,
    /// Of which moment the answer is.
    pub as_of: Timestamp,
}
