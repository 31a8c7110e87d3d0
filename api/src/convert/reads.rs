//! What a read asks for: filters, pages, freshness.

use bravo_model::Name;
use bravo_model::command::ListFilter;

use super::{At, jobs};
use crate::{Refusal, limits, proto};

/// Rows of a page unless the caller says otherwise.
const LIMIT_DEFAULT: u32 = 100;

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Freshness {
    /// The call's default.
    #[default]
    Default,
    /// Holds all that was acknowledged before the read began.
    Linearizable,
    /// Any replica's state, if it is not older than this.
    Stale {
        /// The bound, if the caller set one.
        max_ms: Option<u64>,
    },
}

impl From<Option<proto::Read>> for Freshness {
    fn from(read: Option<proto::Read>) -> Self {
        match read {
            None => Self::Default,
            Some(proto::Read { stale: false, .. }) => Self::Linearizable,
            Some(proto::Read { stale: true, max_staleness_ms }) => Self::Stale { max_ms: max_staleness_ms },
        }
    }
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// At most this many rows.
    pub limit: usize,
    /// Where it starts, as the last page told.
    pub cursor: Option<String>,
    /// How fresh.
    pub freshness: Freshness,
}

/// A list of jobs.
pub fn list_jobs(request: proto::ListJobsRequest) -> Result<(ListFilter, Page), Refusal> {
    let at = At::Root;
    let name = |field, text: &str| -> Result<Option<Name>, Refusal> {
        if text.is_empty() { Ok(None) } else { at.name(field, text).map(Some) }
    };
    let filter = ListFilter {
        queue: name("queue", &request.queue)?,
        state: match request.state {
            0 => None,
            number => Some(jobs::job_state(number).ok_or_else(|| at.invalid("state", "not a job state"))?),
        },
        project: name("project_id", &request.project_id)?,
    };
    Ok((filter, page(request.limit, request.cursor, request.read)?))
}

/// A list of queues.
pub fn list_queues(request: proto::ListQueuesRequest) -> Result<Page, Refusal> {
    page(request.limit, request.cursor, request.read)
}

/// A list of templates.
pub fn list_templates(request: proto::ListTemplatesRequest) -> Result<(String, Page), Refusal> {
    if request.q.len() > limits::TEMPLATE_QUERY_BYTES_MAX {
        return Err(At::Root.invalid("q", format_args!("at most {} bytes", limits::TEMPLATE_QUERY_BYTES_MAX)));
    }
    Ok((request.q, page(request.limit, request.cursor, request.read)?))
}

pub(crate) fn page(limit: Option<u32>, cursor: String, read: Option<proto::Read>) -> Result<Page, Refusal> {
    let limit = limit.unwrap_or(LIMIT_DEFAULT) as usize;
    At::Root.within("limit", limit as u64, 1, limits::LIST_PAGE_MAX as u64)?;
    Ok(Page { limit, cursor: Some(cursor).filter(|cursor| !cursor.is_empty()), freshness: read.into() })
}
