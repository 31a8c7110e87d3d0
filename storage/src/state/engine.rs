//! The five calls that the store asks of an engine on disk.

use bravo_model::{Key, Value};

/// Why an engine could not do what was asked. Cheap to clone, since a poisoned store repeats it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The engine or the disk below it failed.
    #[error("the state engine failed: {0}")]
    Failed(String),
    /// What was read is not what was written.
    #[error("the state engine is damaged: {0}")]
    Damaged(String),
}

/// An ordered map on disk, used as a working copy: nothing in it is ever the only copy.
pub trait Engine: Send + Sync {
    /// The value under `key`.
    fn get(&self, key: &Key) -> Result<Option<Value>, EngineError>;

    /// Visits `from <= key < to` in key order until `visit` answers false.
    fn range(&self, from: &Key, to: &Key, visit: &mut dyn FnMut(Key, Value) -> bool) -> Result<(), EngineError>;

    /// Applies all puts and deletes, or none of them, together with the applied index they belong to.
    fn batch(&self, puts_and_deletes: &[(Key, Option<Value>)], applied: u64) -> Result<(), EngineError>;

    /// Removes everything.
    fn clear(&self) -> Result<(), EngineError>;

    /// Bytes of keys and values held, as far as the engine knows.
    fn bytes(&self) -> u64;
}
