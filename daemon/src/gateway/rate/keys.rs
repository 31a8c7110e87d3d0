//! Where the rate limiters keep what they know of each caller: for so many callers, and for those beyond
//! them together.

use std::collections::HashMap;
use std::hash::Hash;

use governor::nanos::Nanos;
use governor::state::keyed::ShrinkableKeyedStateStore;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use parking_lot::RwLock;

/// The states of a limiter's callers.
pub(super) struct Keys<K> {
    known: RwLock<HashMap<K, InMemoryState>>,
    /// What callers share for whom there is no room: a flood of addresses costs one bucket, not all memory.
    others: InMemoryState,
    max: usize,
}

impl<K> Keys<K> {
    /// With room for `max` callers.
    pub(super) fn new(max: usize) -> Self {
        Self { known: RwLock::default(), others: InMemoryState::default(), max }
    }
}

impl<K: Hash + Eq + Clone> StateStore for Keys<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        {
            let known = self.known.read();
            if let Some(state) = known.get(key) {
                return state.measure_and_replace(&NotKeyed::NonKey, decide);
            }
            if known.len() >= self.max {
                return self.others.measure_and_replace(&NotKeyed::NonKey, decide);
            }
        }
        let mut known = self.known.write();
        if known.len() >= self.max && !known.contains_key(key) {
            return self.others.measure_and_replace(&NotKeyed::NonKey, decide);
        }
        known.entry(key.clone()).or_default().measure_and_replace(&NotKeyed::NonKey, decide)
    }
}

impl<K: Hash + Eq + Clone> ShrinkableKeyedStateStore<K> for Keys<K> {
    fn retain_recent(&self, drop_below: Nanos) {
        self.known.write().retain(|_, state| {
            // Asked and refused: the state is told and stays as it is.
            let at = state.measure_and_replace(&NotKeyed::NonKey, Err::<((), Nanos), _>);
            at.err().flatten().is_some_and(|at| at > drop_below)
        });
    }

    fn shrink_to_fit(&self) {
        self.known.write().shrink_to_fit();
    }

    fn len(&self) -> usize {
        self.known.read().len()
    }

    fn is_empty(&self) -> bool {
        self.known.read().is_empty()
    }
}
