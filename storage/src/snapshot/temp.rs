//! Files that are not whole yet.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock};

use super::error::SnapshotError;
use super::name::SnapshotName;

const SUFFIX: &str = ".tmp";
static NEXT: AtomicU64 = AtomicU64::new(0);
/// Held while a temporary file is created and locked, and while one is judged abandoned.
static CREATION: Mutex<()> = Mutex::new(());

/// A file under a temporary name. It is removed when dropped, unless it was published.
pub(super) struct Temp {
    pub(super) file: File,
    pub(super) path: PathBuf,
    folder: PathBuf,
    published: bool,
}

impl Temp {
    /// Creates the group's folder if need be, and an empty temporary file in it.
    pub(super) fn create(dir: &Path, group: u32, name: SnapshotName) -> Result<Self, SnapshotError> {
        let folder = folder(dir, group);
        if !folder.is_dir() {
            fs::create_dir_all(&folder).map_err(SnapshotError::io("create", &folder))?;
            sync_folder(dir)?;
        }
        let path = folder.join(format!("{name}.{}{SUFFIX}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let _creation = CREATION.lock();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        let file = options.open(&path).map_err(SnapshotError::io("create", &path))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|errno| SnapshotError::io("lock", &path)(errno.into()))?;
        Ok(Self { file, path, folder, published: false })
    }

    /// Makes the file durable under its true name, then removes older snapshots.
    pub(super) fn publish(mut self, name: SnapshotName) -> Result<PathBuf, SnapshotError> {
        self.file.sync_all().map_err(SnapshotError::io("fsync", &self.path))?;
        let path = name.path(&self.folder);
        fs::rename(&self.path, &path).map_err(SnapshotError::io("rename", &self.path))?;
        self.published = true;
        sync_folder(&self.folder)?;
        remove_older(&self.folder, name);
        Ok(path)
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if self.published {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "an unfinished snapshot stays until the next start");
        }
    }
}

/// Where a group's snapshots are.
pub(super) fn folder(dir: &Path, group: u32) -> PathBuf {
    dir.join(group.to_string())
}

/// The snapshots of a folder, newest last; temporary files that nobody writes any more are removed.
pub(super) fn list(folder: &Path) -> Result<Vec<SnapshotName>, SnapshotError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(SnapshotError::io("list", folder)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let path = entry.map_err(SnapshotError::io("list", folder))?.path();
        if path.extension().is_some_and(|extension| extension == &SUFFIX[1..]) {
            remove_if_abandoned(&path);
        }
        names.extend(SnapshotName::of_file(&path));
    }
    names.sort_unstable();
    Ok(names)
}

fn remove_if_abandoned(path: &Path) {
    let _creation = CREATION.lock();
    let Ok(file) = File::open(path) else { return };
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
        tracing::info!(path = %path.display(), "removing a snapshot that was never finished");
        if let Err(error) = fs::remove_file(path) {
            tracing::warn!(path = %path.display(), %error, "it could not be removed");
        }
    }
}

/// Failing to remove an old snapshot wastes space and harms nothing.
fn remove_older(folder: &Path, newest: SnapshotName) {
    let names = list(folder).unwrap_or_default();
    for name in names.into_iter().filter(|name| *name < newest) {
        let path = name.path(folder);
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!(path = %path.display(), %error, "an old snapshot could not be removed");
        }
    }
}

/// A file's name is durable only once its folder is.
fn sync_folder(folder: &Path) -> Result<(), SnapshotError> {
    let file = File::open(folder).map_err(SnapshotError::io("open", folder))?;
    file.sync_all().map_err(SnapshotError::io("fsync", folder))
}
