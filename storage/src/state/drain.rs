//! Merging layers that no view holds any more, a bounded number of rows at a time.
//!
//! Views hold the lowest layers up to their moment, so the layers that nobody holds are the upper
//! ones. The newest of them becomes the active layer again, and what was active above it drains
//! down into it. Writes go to the layer below and take their key out of the draining one, so that
//! it only ever shrinks and reads are right at every step.

use std::sync::Arc;

use super::store::StateStore;

impl StateStore {
    /// Merges about `rows` rows; returns how many it did.
    pub(super) fn drain(&mut self, rows: usize) -> usize {
        let mut moved = 0;
        loop {
            if self.draining.is_none() && !self.reclaim_layer() {
                return moved;
            }
            while moved < rows {
                let Some((key, slot)) = self.draining.as_mut().and_then(|layer| layer.pop_first()) else { break };
                self.settle(key, slot);
                moved += 1;
            }
            match &self.draining {
                Some(layer) if !layer.is_empty() => return moved,
                _ => self.draining = None,
            }
        }
    }

    /// Makes the newest frozen layer active again if nobody holds it.
    fn reclaim_layer(&mut self) -> bool {
        let Some(newest) = self.frozen.pop() else { return false };
        match Arc::try_unwrap(newest) {
            Ok(layer) => {
                self.draining = Some(std::mem::replace(&mut self.active, layer));
                true
            }
            Err(held) => {
                self.frozen.push(held);
                false
            }
        }
    }

    /// Puts what a newer layer said about `key` into the active one.
    fn settle(&mut self, key: bravo_model::Key, slot: super::layer::Slot) {
        let lowest = self.frozen.is_empty();
        if slot.is_none() && (lowest || !self.is_below(&key)) {
            self.active.remove(&key);
        } else {
            self.active.put(key, slot);
        }
        if lowest {
            self.kill(&key);
        }
    }
}
