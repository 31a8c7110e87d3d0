//! The engine on sled. The only file that names it, so that it can be replaced.
//!
//! sled 0.34's flush does not make data durable, and damage after hard stops is known. So what it
//! holds is never trusted across a restart: opening empties the folder, and stores are rebuilt from
//! snapshot and log. While running, each page that comes back is checked by its own checksum.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use bravo_model::{Key, Value};
use parking_lot::Mutex;

use super::engine::{Engine, EngineError};

/// sled's page cache. Small, since decoded pages have a cache of their own in front of it.
const CACHE_BYTES: u64 = 32 << 20;
/// The row of each tree that carries the applied index; no page has an empty key.
const APPLIED_KEY: &[u8] = b"";

/// sled, opened once per node, with one tree per Raft group.
pub struct Engines {
    db: sled::Db,
}

impl Engines {
    /// Opens an empty sled in `dir`; whatever an earlier run left there is removed.
    pub fn open(dir: &Path) -> Result<Self, EngineError> {
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            EngineError::Failed(format!("{what} {}: {error}", dir.display()))
        };
        fs::create_dir_all(dir).map_err(|error| failed("create", &error))?;
        empty(dir).map_err(|error| failed("empty", &error))?;
        let config = sled::Config::default().path(dir).cache_capacity(CACHE_BYTES).flush_every_ms(None);
        let db = config.open().map_err(|error| failed("open sled in", &error))?;
        Ok(Self { db })
    }

    /// The tree of one Raft group.
    pub fn engine(&self, group: u32) -> Result<Arc<dyn Engine>, EngineError> {
        let tree = self.db.open_tree(format!("group-{group}")).map_err(convert)?;
        Ok(Arc::new(SledEngine { tree, sizes: Mutex::default() }))
    }

    /// Bytes that sled's files take on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.db.size_on_disk().unwrap_or_default()
    }
}

/// Removes what is in `dir` but not `dir` itself, which may be a mount point.
fn empty(dir: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

struct SledEngine {
    tree: sled::Tree,
    /// Bytes of each value: there are few, large ones, and sled does not tell.
    sizes: Mutex<BTreeMap<Key, u64>>,
}

impl Engine for SledEngine {
    fn get(&self, key: &Key) -> Result<Option<Value>, EngineError> {
        let found = self.tree.get(key.as_slice()).map_err(convert)?;
        Ok(found.map(|value| Value::copy_from_slice(&value)))
    }

    fn range(&self, from: &Key, to: &Key, visit: &mut dyn FnMut(Key, Value) -> bool) -> Result<(), EngineError> {
        if from >= to {
            return Ok(());
        }
        for row in self.tree.range(from.as_slice()..to.as_slice()) {
            let (key, value) = row.map_err(convert)?;
            if key.as_ref() == APPLIED_KEY {
                continue;
            }
            if key.len() > Key::BYTES_MAX {
                return Err(EngineError::Damaged(format!("a key of {} bytes", key.len())));
            }
            if !visit(Key::new(&key), Value::copy_from_slice(&value)) {
                break;
            }
        }
        Ok(())
    }

    fn batch(&self, puts_and_deletes: &[(Key, Option<Value>)], applied: u64) -> Result<(), EngineError> {
        let mut batch = sled::Batch::default();
        batch.insert(APPLIED_KEY, &applied.to_le_bytes());
        for (key, value) in puts_and_deletes {
            match value {
                Some(value) => batch.insert(key.as_slice(), value.as_ref()),
                None => batch.remove(key.as_slice()),
            }
        }
        self.tree.apply_batch(batch).map_err(convert)?;
        let mut sizes = self.sizes.lock();
        for (key, value) in puts_and_deletes {
            match value {
                Some(value) => sizes.insert(*key, (key.as_slice().len() + value.len()) as u64),
                None => sizes.remove(key),
            };
        }
        Ok(())
    }

    fn clear(&self) -> Result<(), EngineError> {
        self.tree.clear().map_err(convert)?;
        self.sizes.lock().clear();
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.sizes.lock().values().sum()
    }
}

fn convert(error: sled::Error) -> EngineError {
    match error {
        sled::Error::Corruption { .. } => EngineError::Damaged(error.to_string()),
        error => EngineError::Failed(error.to_string()),
    }
}
