//! The templates' index as this node made it last, made again when they have changed.

use std::sync::Arc;

use bravo_api::convert::reads::Freshness;
use bravo_model::{Refusal, Time};
use parking_lot::RwLock;

use super::blocking;
use super::index::Index;
use crate::gateway::app::App;
use crate::gateway::call::Call;
use crate::gateway::service::reads::{Kind, read_shared, wrong_answer};
use crate::raft::types::META_GROUP;
use crate::transport::wire::{Answer, Query};

/// The cache.
#[derive(Default)]
pub(crate) struct Catalog {
    known: RwLock<Arc<Index>>,
}

impl Catalog {
    /// The index, as fresh as asked, and of when it is.
    pub(super) async fn get(
        &self,
        app: &Arc<App>,
        call: &Call,
        freshness: Freshness,
    ) -> Result<(Arc<Index>, Time), Refusal> {
        let known = self.known.read().clone();
        let query = Query::Templates(known.changes);
        let (answer, as_of) = read_shared(app, call, Kind::TemplateSearch, META_GROUP, query, freshness).await?;
        let Answer::Templates { changes, templates } = answer else { return Err(wrong_answer()) };
        let Some(templates) = templates else { return Ok((known, as_of)) };
        let index = Arc::new(blocking(move || Index::new(changes, templates)).await?);
        let mut known = self.known.write();
        if known.changes < index.changes {
            *known = index.clone();
        }
        Ok((index, as_of))
    }
}
