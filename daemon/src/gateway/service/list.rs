//! Lists of jobs over all partitions, a page at a time.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bravo_api::convert::{self, reads::Freshness, reads::Page};
use bravo_api::proto;
use bravo_model::command::ListFilter;
use bravo_model::{Code, Job, Refusal};
use futures_util::future::join_all;

use super::reads::{as_of, read, wrong_answer};
use crate::gateway::app::App;
use crate::gateway::call::Call;
use crate::raft::types::partition_group;
use crate::transport::wire::{Answer, Query};

/// Where each partition goes on: after which sequence number, or none at its end.
#[derive(Debug, PartialEq)]
struct Cursor(Vec<Option<u64>>);

impl Cursor {
    fn start(partitions: u16) -> Self {
        Self(vec![Some(0); partitions.into()])
    }

    fn decode(text: &str, partitions: u16) -> Result<Self, Refusal> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok();
        let places = bytes.and_then(|bytes| postcard::from_bytes::<Vec<Option<u64>>>(&bytes).ok());
        let places = places.filter(|places| places.len() == usize::from(partitions));
        places.map(Self).ok_or_else(|| Refusal::new(Code::InvalidArgument, "cursor: not one of this list"))
    }

    /// Empty at the end of the list.
    fn encode(&self) -> String {
        if self.0.iter().all(Option::is_none) {
            return String::new();
        }
        postcard::to_stdvec(&self.0).map(|bytes| URL_SAFE_NO_PAD.encode(bytes)).unwrap_or_default()
    }
}

/// A page of jobs, oldest first.
pub(crate) async fn jobs(
    app: &Arc<App>,
    call: &Call,
    filter: &ListFilter,
    page: &Page,
) -> Result<proto::ListJobsResponse, Refusal> {
    let partitions = app.cluster.partitions();
    let cursor = match &page.cursor {
        Some(text) => Cursor::decode(text, partitions)?,
        None => Cursor::start(partitions),
    };
    let freshness = match page.freshness {
        Freshness::Default => Freshness::Stale { max_ms: None },
        other => other,
    };
    let as_of = (0..partitions).map(|partition| as_of(app, partition_group(partition))).min().unwrap_or(0);
    let limit = u32::try_from(page.limit).unwrap_or(u32::MAX);
    let reads = (0..partitions).zip(&cursor.0).filter_map(|(partition, after)| {
        let query = Query::Jobs { filter: filter.clone(), after: Some((*after)?), limit };
        Some(async move {
            Ok::<_, Refusal>((partition, read(app, call, partition_group(partition), query, freshness).await?))
        })
    });
    let mut pages = Vec::new();
    for answer in join_all(reads).await {
        let (partition, Answer::Jobs { jobs, next }) = answer? else { return Err(wrong_answer()) };
        pages.push((partition, jobs, next));
    }
    let (jobs, cursor) = merge(pages, cursor, page.limit);
    Ok(proto::ListJobsResponse {
        jobs: jobs.into_iter().map(|(partition, job)| convert::jobs::job(partition, job, None, None)).collect(),
        next_cursor: cursor.encode(),
        as_of_ms: as_of,
    })
}

/// The oldest jobs of all pages, and where each partition goes on. Within a partition the order
/// stays as it is.
fn merge(pages: Vec<(u16, Vec<Job>, Option<u64>)>, mut cursor: Cursor, limit: usize) -> (Vec<(u16, Job)>, Cursor) {
    let mut merged = Vec::new();
    let mut ends = Vec::new();
    for (partition, jobs, next) in pages {
        // Clocks of leaders differ by little; never let that turn round what one partition says.
        let mut latest = 0;
        ends.push((partition, jobs.last().map(|job| job.seq), next));
        merged.extend(jobs.into_iter().map(|job| {
            latest = job.enqueued_at.max(latest);
            (latest, partition, job)
        }));
    }
    merged.sort_by(|(a_at, a, a_job), (b_at, b, b_job)| (a_at, a, a_job.seq).cmp(&(b_at, b, b_job.seq)));
    merged.truncate(limit);
    for (partition, last_read, next) in ends {
        let last_taken = merged.iter().rev().find(|(_, of, _)| *of == partition).map(|(.., job)| job.seq);
        if let Some(place) = cursor.0.get_mut(usize::from(partition)) {
            match last_taken {
                // All that was read is on the page (or there was nothing): go on behind it.
                taken if taken == last_read => *place = next,
                Some(taken) => *place = Some(taken),
                None => {}
            }
        }
    }
    (merged.into_iter().map(|(_, partition, job)| (partition, job)).collect(), cursor)
}
