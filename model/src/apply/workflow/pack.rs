//! Packing: what a workflow leaves when it is over becomes one row, and rows again when it goes on.

use crate::state::State;
use crate::table::{self, tag};
use crate::workflow::packed;

impl State<'_> {
    /// Packs those that are over and of which nothing runs any more.
    pub(super) fn pack_ended(&mut self) {
        for seq in std::mem::take(&mut self.over) {
            let over = self.workflow(seq).is_some_and(|workflow| workflow.status.is_final() && workflow.running == 0);
            let key = table::by_seq(tag::PACKED, seq);
            if !over || self.txn.contains(&key) {
                continue;
            }
            let Some((value, keys)) = packed::pack(self.rows(), seq) else { continue };
            keys.iter().for_each(|key| self.txn.delete(key));
            self.txn.put(key, value);
        }
    }

    /// Makes rows again of a workflow that was packed; what this command leaves over is packed again.
    pub(super) fn unpack(&mut self, seq: u64) {
        let key = table::by_seq(tag::PACKED, seq);
        let Some(value) = self.txn.get(&key) else { return };
        // What cannot be read is better left than lost.
        let Some(rows) = packed::unpack(seq, &value) else { return };
        for (key, value) in rows {
            self.txn.put(key, value);
        }
        self.txn.delete(&key);
        self.over.push(seq);
    }

    /// Likewise with all workflows that are parts of it.
    pub(super) fn unpack_tree(&mut self, seq: u64) {
        self.unpack(seq);
        let keys = self.keys_under(&table::by_seq(tag::TASK, seq), usize::MAX);
        for at in keys.iter().filter_map(table::task_of) {
            if let Some(child) = self.task(at).child {
                self.unpack_tree(child);
            }
        }
    }
}
