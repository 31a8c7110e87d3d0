//! Queue definitions as this node's replica of meta has them, read again when that has changed.

use std::collections::HashMap;
use std::sync::Arc;

use bravo_api::{FieldError, Rejection};
use bravo_model::Name;
use bravo_model::command::QueueDefinition;
use parking_lot::RwLock;

use crate::cluster::Cluster;
use crate::query;
use crate::raft::types::META_GROUP;

/// Unknown queues of one request that are told.
const UNKNOWN_MAX: usize = 100;

/// All definitions at one moment, by name.
pub(crate) type Snapshot = Arc<HashMap<Name, QueueDefinition>>;

/// The cache.
pub(crate) struct Definitions {
    must_exist: bool,
    /// With the applied index of meta that they were read at.
    known: RwLock<(u64, Snapshot)>,
}

impl Definitions {
    /// `must_exist`: whether only queues that were configured may be named.
    pub(crate) fn new(must_exist: bool) -> Self {
        Self { must_exist, known: RwLock::default() }
    }

    /// Refuses queues that nobody configured, each with its place, where the configuration says that all must be.
    pub(crate) fn refuse_unknown<'a>(
        &self,
        cluster: &Cluster,
        queues: impl Iterator<Item = (String, &'a Name)>,
    ) -> Result<(), Rejection> {
        if !self.must_exist {
            return Ok(());
        }
        let known = self.get(cluster);
        let unknown = queues.filter(|(_, queue)| !known.contains_key(*queue));
        let wrong = unknown.map(|(path, queue)| FieldError::new(path, format!("there is no queue {queue}")));
        let wrong: Vec<_> = wrong.take(UNKNOWN_MAX).collect();
        if wrong.is_empty() { Ok(()) } else { Err(Rejection::invalid(wrong)) }
    }

    /// The definitions as this node knows them now: cheap unless something in meta has changed.
    pub(crate) fn get(&self, cluster: &Cluster) -> Snapshot {
        let applied = cluster.group(META_GROUP).map_or(0, |meta| meta.shared.applied());
        {
            let known = self.known.read();
            if known.0 == applied {
                return known.1.clone();
            }
        }
        let mut known = self.known.write();
        if known.0 != applied
            && let Some(meta) = cluster.group(META_GROUP)
        {
            let all = query::definitions(&meta.shared);
            *known = (applied, Arc::new(all.into_iter().map(|one| (one.name.clone(), one)).collect()));
        }
        known.1.clone()
    }
}
