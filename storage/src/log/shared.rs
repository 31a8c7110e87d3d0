//! What the handles, the readers and the writer thread have in common.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize},
    },
};

use parking_lot::Mutex;

use super::{GroupId, LogOptions, index::GroupIndex, queue::Queue, segment::Segments};

/// One group. Lock order: a group's index, then the queue.
pub(crate) struct Group {
    pub(crate) id: GroupId,
    pub(crate) index: Mutex<GroupIndex>,
}

pub(crate) struct Inner {
    pub(crate) options: LogOptions,
    pub(crate) queue: Queue,
    pub(crate) groups: Mutex<BTreeMap<GroupId, Arc<Group>>>,
    pub(crate) segments: Segments,
    /// Weight of all cached records.
    pub(crate) cached: AtomicUsize,
    pub(crate) tickets: AtomicU64,
    /// The group that needs the oldest segment.
    pub(crate) holder: Mutex<Option<GroupId>>,
}

impl Inner {
    pub(crate) fn group(&self, id: GroupId) -> Arc<Group> {
        let mut groups = self.groups.lock();
        groups.entry(id).or_insert_with(|| Arc::new(Group { id, index: Mutex::default() })).clone()
    }
}
