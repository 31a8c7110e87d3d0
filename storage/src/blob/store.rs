//! The chunk files of one node. All calls block.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{BlobError, form};

/// A chunk's name.
pub type Hash = [u8; 32];

const TEMP: &str = "tmp";
/// Damaged chunks that are remembered; the others are found again.
const DAMAGED_MAX: usize = 100_000;

/// One node's chunks.
#[derive(Debug)]
pub struct BlobStore {
    dir: PathBuf,
    next: AtomicU64,
    /// Held while a chunk is said to be in use again, and while one that is not is removed.
    uses: Mutex<()>,
    /// Chunks that were found to be not what their names say, or unreadable.
    damaged: Mutex<HashSet<Hash>>,
    /// An fsync failed: what is on disk is unknown, so that nothing more is said to be there.
    poisoned: AtomicBool,
}

impl BlobStore {
    /// Opens the folder; what a crash left half written goes.
    pub fn open(dir: &Path) -> Result<Self, BlobError> {
        let temp = dir.join(TEMP);
        fs::create_dir_all(&temp).map_err(BlobError::io("create", &temp))?;
        for entry in fs::read_dir(&temp).map_err(BlobError::io("read", &temp))?.flatten() {
            fs::remove_file(entry.path()).map_err(BlobError::io("remove", &entry.path()))?;
        }
        sync_folder(dir).map_err(BlobError::io("fsync", dir))?;
        Ok(Self {
            dir: dir.to_owned(),
            next: AtomicU64::new(0),
            uses: Mutex::new(()),
            damaged: Mutex::new(HashSet::new()),
            poisoned: AtomicBool::new(false),
        })
    }

    /// Writes a chunk in its form; durable when this returns. A good one that is there is in use again.
    pub fn put(&self, hash: &Hash, form: &Bytes) -> Result<(), BlobError> {
        if !self.is_poisoned() && matches!(self.get(hash), Ok(Some(_))) && self.renew(hash)? {
            // A crash may have come between its rename and this.
            return self.durable(&self.folder(hash), sync_folder(&self.folder(hash)));
        }
        self.replace(hash, form)
    }

    /// Whether the disk failed, so that the node must end.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// Writes a chunk in the place of what is there.
    pub fn replace(&self, hash: &Hash, form: &Bytes) -> Result<(), BlobError> {
        let path = self.path(hash);
        if self.is_poisoned() {
            return Err(BlobError::Poisoned);
        }
        if form::open(hash, form.clone()).is_none() {
            return Err(BlobError::Damaged { path });
        }
        let temp = self.dir.join(TEMP).join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        let written = File::create(&temp).and_then(|mut file| file.write_all(form).map(|()| file));
        let written = written.map_err(BlobError::io("write", &temp));
        let placed = written.and_then(|file| self.durable(&temp, file.sync_all())).and_then(|()| {
            let folder = self.folder(hash);
            if !folder.is_dir() {
                fs::create_dir_all(&folder).map_err(BlobError::io("create", &folder))?;
                self.durable(&self.dir, sync_folder(&self.dir))?;
            }
            {
                let _use = self.uses.lock();
                fs::rename(&temp, &path).map_err(BlobError::io("rename", &temp))?;
            }
            self.durable(&folder, sync_folder(&folder))
        });
        match &placed {
            Ok(()) => drop(self.damaged.lock().remove(hash)),
            Err(_) => drop(fs::remove_file(&temp)),
        }
        placed
    }

    /// A chunk's plain bytes, which are what its name says; none if it is not here.
    pub fn get(&self, hash: &Hash) -> Result<Option<Bytes>, BlobError> {
        Ok(self.get_both(hash)?.map(|(_, plain)| plain))
    }

    /// A chunk in the form in which it is kept, whose plain bytes were found to be what its name says.
    pub fn get_form(&self, hash: &Hash) -> Result<Option<Bytes>, BlobError> {
        Ok(self.get_both(hash)?.map(|(form, _)| form))
    }

    fn get_both(&self, hash: &Hash) -> Result<Option<(Bytes, Bytes)>, BlobError> {
        let read = self.read(hash);
        if read.is_err() {
            let mut damaged = self.damaged.lock();
            if damaged.len() < DAMAGED_MAX {
                damaged.insert(*hash);
            }
        }
        read
    }

    fn read(&self, hash: &Hash) -> Result<Option<(Bytes, Bytes)>, BlobError> {
        let path = self.path(hash);
        match fs::read(&path) {
            Ok(bytes) => {
                let form = Bytes::from(bytes);
                let plain = form::open(hash, form.clone()).ok_or(BlobError::Damaged { path })?;
                Ok(Some((form, plain)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(BlobError::io("read", &path)(error)),
        }
    }

    /// Whether there is a file for the chunk that was not found to be damaged; its bytes are not looked at.
    pub fn contains(&self, hash: &Hash) -> bool {
        !self.damaged.lock().contains(hash) && self.path(hash).exists()
    }

    /// Says that a chunk is in use, so that it is not removed before long; false if it is not here.
    pub fn renew(&self, hash: &Hash) -> Result<bool, BlobError> {
        let path = self.path(hash);
        let _use = self.uses.lock();
        match File::options().append(true).open(&path) {
            Ok(file) => {
                file.set_modified(SystemTime::now()).map_err(BlobError::io("touch", &path))?;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(BlobError::io("open", &path)(error)),
        }
    }

    /// The chunks whose names begin with a byte.
    pub fn names(&self, first: u8) -> Result<Vec<Hash>, BlobError> {
        let folder = self.folder(&[first; 32]);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(BlobError::io("read", &folder)(error)),
        };
        let name = |entry: fs::DirEntry| blake3::Hash::from_hex(entry.file_name().as_encoded_bytes()).ok();
        Ok(entries.flatten().filter_map(name).map(|hash| *hash.as_bytes()).collect())
    }

    /// Whether nobody has written the chunk or said that it is in use for that long.
    pub fn is_older(&self, hash: &Hash, than: Duration) -> bool {
        let modified = fs::metadata(self.path(hash)).and_then(|about| about.modified());
        modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > than))
    }

    /// Removes a chunk that is older; answers whether it did.
    pub fn remove_older(&self, hash: &Hash, than: Duration) -> Result<bool, BlobError> {
        let _use = self.uses.lock();
        if !self.is_older(hash, than) {
            return Ok(false);
        }
        let path = self.path(hash);
        fs::remove_file(&path).map_err(BlobError::io("remove", &path))?;
        self.damaged.lock().remove(hash);
        Ok(true)
    }

    /// An fsync that failed is never tried again.
    fn durable(&self, path: &Path, synced: io::Result<()>) -> Result<(), BlobError> {
        synced.map_err(|error| {
            self.poisoned.store(true, Ordering::Release);
            BlobError::io("fsync", path)(error)
        })
    }

    fn folder(&self, hash: &Hash) -> PathBuf {
        self.dir.join(blake3::Hash::from_bytes(*hash).to_hex().get(..2).unwrap_or_default())
    }

    fn path(&self, hash: &Hash) -> PathBuf {
        self.folder(hash).join(blake3::Hash::from_bytes(*hash).to_hex().as_str())
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path).and_then(|folder| folder.sync_all())
}
