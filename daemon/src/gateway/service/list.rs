//! Lists of jobs over all partitions, a page at a time.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bravo_api::convert::{self, reads::Page};
use bravo_api::proto;
use bravo_model::command::ListFilter;
use bravo_model::{Code, Refusal};
use futures_util::future::join_all;

use super::reads::{Kind, earlier, or_stale, read_shared, wrong_answer};
use crate::gateway::app::App;
use crate::gateway::call::Call;
use crate::raft::types::{META_GROUP, partition_group};
use crate::transport::wire::{Answer, Query};

/// Where each partition goes on: after which sequence number, or none at its end.
#[derive(Debug, PartialEq)]
pub(super) struct Cursor(pub(super) Vec<Option<u64>>);

impl Cursor {
    /// Every partition from one number on.
    pub(super) fn start(partitions: u16, first: u64) -> Self {
        Self(vec![Some(first); partitions.into()])
    }

    pub(super) fn decode(text: &str, partitions: u16) -> Result<Self, Refusal> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok();
        let places = bytes.and_then(|bytes| postcard::from_bytes::<Vec<Option<u64>>>(&bytes).ok());
        let places = places.filter(|places| places.len() == usize::from(partitions));
        places.map(Self).ok_or_else(|| Refusal::new(Code::InvalidArgument, "cursor: not one of this list"))
    }

    /// Empty at the end of the list.
    pub(super) fn encode(&self) -> String {
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
    mut filter: ListFilter,
    page: &Page,
) -> Result<proto::ListJobsResponse, Refusal> {
    if !call.caller.narrow(&mut filter.project) {
        let as_of_ms = app.cluster.now(META_GROUP);
        return Ok(proto::ListJobsResponse { as_of_ms, ..proto::ListJobsResponse::default() });
    }
    let partitions = app.cluster.partitions();
    let cursor = match &page.cursor {
        Some(text) => Cursor::decode(text, partitions)?,
        None => Cursor::start(partitions, 0),
    };
    let freshness = or_stale(page.freshness);
    let limit = u32::try_from(page.limit).unwrap_or(u32::MAX);
    let reads = (0..partitions).zip(&cursor.0).filter_map(|(partition, after)| {
        let query = Query::Jobs { filter: filter.clone(), after: Some((*after)?), limit };
        Some(async move {
            let group = partition_group(partition);
            Ok::<_, Refusal>((partition, read_shared(app, call, Kind::Analytics, group, query, freshness).await?))
        })
    });
    let (mut pages, mut oldest) = (Vec::new(), None);
    for answer in join_all(reads).await {
        let (partition, (Answer::Jobs { jobs, next }, as_of)) = answer? else { return Err(wrong_answer()) };
        oldest = earlier(oldest, as_of);
        pages.push((partition, jobs, next));
    }
    let (jobs, cursor) = merge(pages, cursor, page.limit, |job| (job.enqueued_at, job.seq));
    Ok(proto::ListJobsResponse {
        jobs: jobs.into_iter().map(|(partition, job)| convert::jobs::job(partition, job, None, None)).collect(),
        next_cursor: cursor.encode(),
        as_of_ms: oldest.unwrap_or_default(),
    })
}

/// The first rows of all pages, and where each partition goes on. `place` tells a row's place in the list
/// as a whole, and its sequence number; within a partition the order stays as it is.
pub(super) fn merge<T>(
    pages: Vec<(u16, Vec<T>, Option<u64>)>,
    mut cursor: Cursor,
    limit: usize,
    place: impl Fn(&T) -> (u64, u64),
) -> (Vec<(u16, T)>, Cursor) {
    let mut merged = Vec::new();
    let mut ends = Vec::new();
    for (partition, rows, next) in pages {
        // Clocks of leaders differ by little; never let that turn round what one partition says.
        let mut latest = 0;
        ends.push((partition, rows.last().map(|row| place(row).1), next));
        merged.extend(rows.into_iter().map(|row| {
            latest = place(&row).0.max(latest);
            (latest, partition, row)
        }));
    }
    // Stable: rows of one partition with one place keep their order.
    merged.sort_by_key(|(at, partition, _)| (*at, *partition));
    merged.truncate(limit);
    for (partition, last_read, next) in ends {
        let last_taken = merged.iter().rev().find(|(_, of, _)| *of == partition).map(|(.., row)| place(row).1);
        if let Some(goes_on) = cursor.0.get_mut(usize::from(partition)) {
            match last_taken {
                // All that was read is on the page (or there was nothing): go on behind it.
                taken if taken == last_read => *goes_on = next,
                Some(taken) => *goes_on = Some(taken),
                None => {}
            }
        }
    }
    (merged.into_iter().map(|(_, partition, row)| (partition, row)).collect(), cursor)
}
