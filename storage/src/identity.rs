//! Who this node is, and whose folder this is.
//!
//! A node that comes back under its id with another folder would vote with a forgotten log, so the
//! identity is written once, checksummed, and compared at every start. The folder is locked, so
//! that two daemons cannot share it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

const FORMAT: u32 = 3;
const FILE: &str = "identity";
const LOCK_FILE: &str = "lock";
const FOLDERS: [&str; 5] = ["log", "snapshot", "state", "cache", "blobs"];

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The disk or the file system failed.
    #[error("data directory: cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// How the system answered.
        source: io::Error,
    },
    /// Another process uses the folder.
    #[error("data directory {path} is in use by another process{holder}: stop it first, or choose another data_dir")]
    Locked {
        /// The folder.
        path: PathBuf,
        /// Who holds it, as far as known.
        holder: String,
    },
    /// The file is not what was written.
    #[error("{path} is damaged ({reason}): restore it from a backup, or replace this node as documented")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The folder has an identity already.
    #[error("{path} exists already: this folder belongs to a node, it is not overwritten")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The folder belongs to somebody else.
    #[error("this data directory belongs to {found}, but the configuration says {expected}: check data_dir")]
    Mismatch {
        /// What the folder says.
        found: String,
        /// What the configuration says.
        expected: String,
    },
}

impl IdentityError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The cluster's name.
    pub cluster: String,
    /// The node's id in it.
    pub node: u64,
    /// Random, drawn when the folder was made: tells a node from one that came back with an empty disk.
    pub incarnation: u64,
    /// How many job groups the cluster has; fixed for its life.
    pub partitions: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    format: u32,
    identity: Identity,
    checksum: String,
}

impl Identity {
    /// Writes a new identity with a random incarnation; durable when this returns.
    pub fn create(dir: &Path, cluster: &str, node: u64, partitions: u32) -> Result<Self, IdentityError> {
        let path = dir.join(FILE);
        if path.exists() {
            return Err(IdentityError::Exists { path });
        }
        let identity = Self { cluster: cluster.to_owned(), node, incarnation: rand::random(), partitions };
        let envelope = Envelope { format: FORMAT, checksum: identity.checksum(), identity };
        let json = serde_json::to_vec_pretty(&envelope)
            .map_err(|error| IdentityError::io("write", &path)(io::Error::other(error)))?;
        let temp = dir.join("identity.tmp");
        let written = File::create(&temp).and_then(|mut file| {
            file.write_all(&json)?;
            file.sync_all()
        });
        written.and_then(|()| fs::rename(&temp, &path)).map_err(IdentityError::io("write", &path))?;
        sync_folder(dir)?;
        Ok(envelope.identity)
    }

    /// Reads the identity of a folder, if it has one.
    pub fn load(dir: &Path) -> Result<Option<Self>, IdentityError> {
        let path = dir.join(FILE);
        let json = match fs::read(&path) {
            Ok(json) => json,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(IdentityError::io("read", &path)(error)),
        };
        let damaged = |reason: String| IdentityError::Damaged { path: path.clone(), reason };
        let envelope: Envelope = serde_json::from_slice(&json).map_err(|error| damaged(error.to_string()))?;
        if envelope.format != FORMAT {
            return Err(damaged(format!("format {}, this bravod knows {FORMAT}", envelope.format)));
        }
        if envelope.checksum != envelope.identity.checksum() {
            return Err(damaged("checksum mismatch".to_owned()));
        }
        Ok(Some(envelope.identity))
    }

    /// Refuses a folder that belongs to another cluster or node.
    pub fn check(&self, cluster: &str, node: u64) -> Result<(), IdentityError> {
        if self.cluster == cluster && self.node == node {
            return Ok(());
        }
        Err(IdentityError::Mismatch {
            found: format!("node {} of cluster {:?}", self.node, self.cluster),
            expected: format!("node {node} of cluster {cluster:?}"),
        })
    }

    fn checksum(&self) -> String {
        let text = format!("{FORMAT}/{}/{}/{}/{}", self.cluster, self.node, self.incarnation, self.partitions);
        blake3::hash(text.as_bytes()).to_hex()[..32].to_owned()
    }
}

/// A node's folder, held exclusively until this is dropped or the process ends.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates the folder and its sub folders if need be, durably, and locks it.
    pub fn open(path: &Path) -> Result<Self, IdentityError> {
        create_folder(path)?;
        let lock = lock(path)?;
        for name in FOLDERS {
            create_folder(&path.join(name))?;
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The folder itself, where the identity is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the Raft log is.
    pub fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Where snapshots are.
    pub fn snapshot(&self) -> PathBuf {
        self.path.join("snapshot")
    }

    /// Where the state engine works.
    pub fn state(&self) -> PathBuf {
        self.path.join("state")
    }

    /// Where chunks of artifacts are.
    pub fn blobs(&self) -> PathBuf {
        self.path.join("blobs")
    }

    /// Where the cache's disk tier is.
    pub fn cache(&self) -> PathBuf {
        self.path.join("cache")
    }
}

fn lock(dir: &Path) -> Result<File, IdentityError> {
    let path = dir.join(LOCK_FILE);
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(&path).map_err(IdentityError::io("open", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            let known = file.read_to_string(&mut pid).is_ok() && !pid.trim().is_empty();
            let holder = if known { format!(" (process {})", pid.trim()) } else { String::new() };
            return Err(IdentityError::Locked { path: dir.to_owned(), holder });
        }
        Err(errno) => return Err(IdentityError::io("lock", &path)(errno.into())),
    }
    let noted = file.set_len(0).and_then(|()| file.write_all(std::process::id().to_string().as_bytes()));
    noted.map_err(IdentityError::io("write", &path))?;
    Ok(file)
}

/// A folder is durable once the one above it is.
fn create_folder(path: &Path) -> Result<(), IdentityError> {
    let missing: Vec<&Path> = path.ancestors().take_while(|folder| !folder.is_dir()).collect();
    fs::create_dir_all(path).map_err(IdentityError::io("create", path))?;
    for folder in missing {
        match folder.parent() {
            Some(above) if !above.as_os_str().is_empty() => sync_folder(above)?,
            _ => sync_folder(Path::new("."))?,
        }
    }
    Ok(())
}

fn sync_folder(path: &Path) -> Result<(), IdentityError> {
    let folder = File::open(path).map_err(IdentityError::io("open", path))?;
    folder.sync_all().map_err(IdentityError::io("fsync", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_another_node_or_cluster_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Identity::load(dir.path()).unwrap(), None);
        let made = Identity::create(dir.path(), "prod", 2, 8).unwrap();
        let identity = Identity::load(dir.path()).unwrap().unwrap();
        assert_eq!(identity, made);
        identity.check("prod", 2).unwrap();
        let error = identity.check("prod", 3).unwrap_err().to_string();
        assert!(error.contains("node 2 of cluster \"prod\"") && error.contains("node 3"), "{error}");
        assert!(identity.check("test", 2).is_err());
        assert!(matches!(Identity::create(dir.path(), "prod", 2, 8), Err(IdentityError::Exists { .. })));
    }

    #[test]
    fn a_damaged_identity_is_refused_at_every_byte() {
        let dir = tempfile::tempdir().unwrap();
        let made = Identity::create(dir.path(), "prod", 2, 8).unwrap();
        let path = dir.path().join(FILE);
        let good = fs::read(&path).unwrap();
        for byte in 0..good.len() {
            let mut bad = good.clone();
            bad[byte] ^= 1;
            fs::write(&path, &bad).unwrap();
            assert!(Identity::load(dir.path()).is_err() || Identity::load(dir.path()).unwrap() == Some(made.clone()));
            fs::write(&path, &good[..byte]).unwrap();
            assert!(Identity::load(dir.path()).is_err(), "cut at {byte}");
        }
    }

    #[test]
    fn two_daemons_cannot_share_a_folder() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        let first = DataDir::open(&path).unwrap();
        assert!(first.log().is_dir() && first.snapshot().is_dir() && first.state().is_dir() && first.cache().is_dir());
        let error = DataDir::open(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("in use by another process (process {})", std::process::id())), "{error}");
        drop(first);
        DataDir::open(&path).unwrap();
    }
}
