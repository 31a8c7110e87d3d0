//! The audit log, a page at a time.

use std::sync::Arc;

use bravo_api::Timestamp;
use bravo_api::json::{AuditAnswer, AuditEntryAnswer, AuditQuery};
use bravo_model::Refusal;

use super::keys::page_size;
use super::reads::wrong_answer;
use crate::gateway::app::App;
use crate::gateway::call::Call;
use crate::raft::types::META_GROUP;
use crate::transport::wire::{Answer, Query};

/// Entries of a page unless the caller says otherwise.
const PAGE: usize = 100;

/// A page, the oldest entry first.
pub(crate) async fn list(app: &Arc<App>, call: &Call, query: AuditQuery) -> Result<AuditAnswer, Refusal> {
    let (after, since) = query.from()?;
    let limit = u32::try_from(query.limit.map_or(Ok(PAGE), page_size)?).unwrap_or(u32::MAX);
    let as_of = Timestamp(app.cluster.now(META_GROUP));
    let query = Query::Audit { after, since, actor: query.actor, limit };
    match app.cluster.read(META_GROUP, query, call.deadline).await? {
        Answer::Audit(entries, next) => Ok(AuditAnswer {
            entries: entries.into_iter().map(AuditEntryAnswer::from).collect(),
            next_cursor: next.map(|seq| seq.to_string()),
            as_of,
        }),
        _ => Err(wrong_answer()),
    }
}
