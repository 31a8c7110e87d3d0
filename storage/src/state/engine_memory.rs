//! An engine without a disk: for tests, and for the simulator, where sled's own threads cannot run.

use std::collections::BTreeMap;
use std::ops::Bound;

use bravo_model::{Key, Value};
use parking_lot::Mutex;

use super::engine::{Engine, EngineError};

/// A [`BTreeMap`] behind the engine's five calls. It can be told to fail, to test what follows.
#[derive(Default)]
pub struct MemoryEngine {
    rows: Mutex<BTreeMap<Key, Value>>,
    failure: Mutex<Option<EngineError>>,
}

impl MemoryEngine {
    /// An empty engine.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on every call fails with `error`; `None` heals it.
    pub fn fail_with(&self, error: Option<EngineError>) {
        *self.failure.lock() = error;
    }

    /// How many values are held.
    pub fn len(&self) -> usize {
        self.rows.lock().len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Changes every value in place, as a bad disk would.
    pub fn damage(&self, change: impl Fn(&mut Vec<u8>)) {
        for value in self.rows.lock().values_mut() {
            let mut bytes = value.to_vec();
            change(&mut bytes);
            *value = bytes.into();
        }
    }

    fn check(&self) -> Result<(), EngineError> {
        self.failure.lock().clone().map_or(Ok(()), Err)
    }
}

impl Engine for MemoryEngine {
    fn get(&self, key: &Key) -> Result<Option<Value>, EngineError> {
        self.check()?;
        Ok(self.rows.lock().get(key).cloned())
    }

    fn range(&self, from: &Key, to: &Key, visit: &mut dyn FnMut(Key, Value) -> bool) -> Result<(), EngineError> {
        self.check()?;
        if from >= to {
            return Ok(());
        }
        for (key, value) in self.rows.lock().range((Bound::Included(from), Bound::Excluded(to))) {
            if !visit(*key, value.clone()) {
                break;
            }
        }
        Ok(())
    }

    fn batch(&self, puts_and_deletes: &[(Key, Option<Value>)], _applied: u64) -> Result<(), EngineError> {
        self.check()?;
        let mut rows = self.rows.lock();
        for (key, value) in puts_and_deletes {
            match value {
                Some(value) => rows.insert(*key, value.clone()),
                None => rows.remove(key),
            };
        }
        Ok(())
    }

    fn clear(&self) -> Result<(), EngineError> {
        self.check()?;
        self.rows.lock().clear();
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.rows.lock().iter().map(|(key, value)| (key.as_slice().len() + value.len()) as u64).sum()
    }
}
