//! Single values of spilled pages.
//!
//! ```text
//!   decoded pages ──► values in memory ──► values on disk ──► the engine: a page is read and decoded
//! ```
//!
//! Jobs that are leased in order are neighbours, and a decoded page serves all of them. Values that are
//! asked for again and again in no order would each hold a whole page in memory; here they are kept alone.
//! What a decoded page answers is not kept, so that a backlog that is worked off does not wander through
//! the disk tier. A row's name is where it was written: the page, which never changes and whose number is never
//! used again.

use bravo_model::Value;

use super::tiered::TieredCache;
use crate::state::{EngineError, RowId, SpilledRow};

/// Values of spilled rows.
pub type PayloadCache = TieredCache<RowId>;

impl PayloadCache {
    /// A spilled row's value. It is read apart from the threads of the async runtime.
    pub async fn value(&self, row: &SpilledRow) -> Result<Value, EngineError> {
        if let Some(value) = row.decoded() {
            return Ok(value);
        }
        let read = || {
            let row = row.clone();
            async move {
                let read = tokio::task::spawn_blocking(move || row.read()).await;
                read.unwrap_or_else(|error| Err(EngineError::Failed(error.to_string())))
            }
        };
        self.get_or_load(row.id(), read).await
    }
}
