//! Queue definitions as this node's replica of meta has them, read again when that has changed.

use std::collections::HashMap;
use std::sync::Arc;

use bravo_model::Name;
use bravo_model::command::QueueDefinition;
use parking_lot::RwLock;

use crate::cluster::Cluster;
use crate::query;
use crate::raft::types::META_GROUP;

/// All definitions at one moment, by name.
pub(crate) type Snapshot = Arc<HashMap<Name, QueueDefinition>>;

/// The cache.
#[derive(Default)]
pub(crate) struct Definitions {
    /// With the applied index of meta that they were read at.
    known: RwLock<(u64, Snapshot)>,
}

impl Definitions {
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
