//! A disk in memory that fails as real ones do: it forgets what was not synced, sector by sector and
//! name by name, flips bits, fills up, and returns errors at a chosen call.
//!
//! [`MemDisk::power_loss`] makes a *new* disk of what would have survived; the old one stays usable,
//! so a power loss needs no stopped writer. [`MemDisk::lose_power_at`] takes that image at the n-th
//! changing call and lets every later call fail, which is how a machine dies in the middle of a write.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;

use super::disk::{Disk, DiskFile};

const SECTOR: usize = 512;
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// A small generator of reproducible random numbers (splitmix64).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice that fall the same way for the same seed.
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound.max(1)
    }
}

/// A call that changes the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// `create_preallocated`.
    Create,
    /// `pwrite`.
    Write,
    /// `sync_data`.
    Sync,
    /// `rename`.
    Rename,
    /// `remove`.
    Remove,
    /// `sync_dir`.
    SyncDir,
}

/// The error that a planned fault returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The device failed.
    Eio,
    /// The device is full.
    Enospc,
}

impl Fault {
    fn error(self) -> io::Error {
        io::Error::from_raw_os_error(match self {
            Fault::Eio => EIO,
            Fault::Enospc => ENOSPC,
        })
    }
}

#[derive(Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors that differ from what is durable.
    dirty: BTreeSet<usize>,
}

type Inode = Arc<Mutex<Content>>;

#[derive(Clone)]
enum NameChange {
    Link(String, Inode),
    Unlink(String),
    Rename(String, String, Inode),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, Inode>) {
        match self {
            NameChange::Link(name, inode) => drop(names.insert(name.clone(), inode.clone())),
            NameChange::Unlink(name) => drop(names.remove(name)),
            NameChange::Rename(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), inode.clone());
            }
        }
    }
}

#[derive(Default)]
struct State {
    names: BTreeMap<String, Inode>,
    durable_names: BTreeMap<String, Inode>,
    unsynced_names: Vec<NameChange>,
    calls: BTreeMap<Call, u64>,
    calls_all: u64,
    /// Which call (`None`: any), how many more of them succeed, and the error.
    fault: Option<(Option<Call>, u64, Fault)>,
    power_loss: Option<(u64, Dice)>,
    image: Option<MemDisk>,
    sync_delay: Option<Duration>,
}

/// A disk in memory; a cheap handle.
#[derive(Clone, Default)]
pub struct MemDisk {
    state: Arc<Mutex<State>>,
}

struct MemFile {
    disk: MemDisk,
    inode: Inode,
}

impl MemDisk {
    /// An empty disk.
    pub fn new() -> MemDisk {
        MemDisk::default()
    }

    /// How many calls of a kind there were.
    pub fn calls(&self, call: Call) -> u64 {
        self.state.lock().calls.get(&call).copied().unwrap_or_default()
    }

    /// How many changing calls there were in all.
    pub fn calls_all(&self) -> u64 {
        self.state.lock().calls_all
    }

    /// Lets the call after `more` further ones (of one kind, or of any) fail once.
    pub fn fail_after(&self, call: Option<Call>, more: u64, fault: Fault) {
        self.state.lock().fault = Some((call, more, fault));
    }

    /// Forgets a planned fault that has not struck.
    pub fn heal(&self) {
        self.state.lock().fault = None;
    }

    /// Makes each sync take this long.
    pub fn delay_syncs(&self, delay: Duration) {
        self.state.lock().sync_delay = Some(delay);
    }

    /// What a power loss at this moment leaves: all that is durable, and of the rest a random part,
    /// sector by sector and name by name; without dice, none of it.
    pub fn power_loss(&self, dice: Option<&mut Dice>) -> MemDisk {
        self.state.lock().image(dice)
    }

    /// Loses power during the changing call after `more` further ones: [`MemDisk::image`] is what is
    /// left, and this and all later calls fail.
    pub fn lose_power_at(&self, more: u64, dice: Dice) {
        self.state.lock().power_loss = Some((more, dice));
    }

    /// What was left by [`MemDisk::lose_power_at`], if it came to that.
    pub fn image(&self) -> Option<MemDisk> {
        self.state.lock().image.clone()
    }

    /// An independent copy, everything synced.
    pub fn copy(&self) -> MemDisk {
        let state = self.state.lock();
        disk_of(state.names.iter().map(|(name, inode)| (name.clone(), inode.lock().now.clone())))
    }

    /// The bytes of a file.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let inode = self.state.lock().names.get(name).cloned()?;
        let bytes = inode.lock().now.clone();
        Some(bytes)
    }

    /// Replaces (or creates) a file behind everybody's back.
    pub fn set_bytes(&self, name: &str, bytes: Vec<u8>) {
        let inode = Inode::new(Mutex::new(Content { now: bytes.clone(), durable: bytes, dirty: BTreeSet::new() }));
        let mut state = self.state.lock();
        state.names.insert(name.to_owned(), inode.clone());
        state.durable_names.insert(name.to_owned(), inode);
    }

    /// Removes a file behind everybody's back.
    pub fn take_away(&self, name: &str) {
        let mut state = self.state.lock();
        state.names.remove(name);
        state.durable_names.remove(name);
    }

    /// Flips bits of one byte behind everybody's back.
    pub fn flip(&self, name: &str, offset: usize, mask: u8) {
        if let Some(mut bytes) = self.bytes(name) {
            bytes[offset] ^= mask;
            self.set_bytes(name, bytes);
        }
    }

    /// Runs one changing call with whatever was planned for it.
    fn call<T>(&self, call: Call, run: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state.lock();
        *state.calls.entry(call).or_default() += 1;
        state.calls_all += 1;
        if state.image.is_some() {
            return Err(Fault::Eio.error());
        }
        if let Some((_, more, fault)) = &mut state.fault
            && *more == 0
        {
            let fault = *fault;
            if state.fault.as_ref().is_some_and(|(only, ..)| only.is_none_or(|only| only == call)) {
                state.fault = None;
                return Err(fault.error());
            }
        } else if let Some((only, more, _)) = &mut state.fault
            && only.is_none_or(|only| only == call)
        {
            *more -= 1;
        }
        match state.power_loss.take() {
            Some((0, mut dice)) => {
                // A write may have got through in part; a sync or a rename may or may not have.
                if !matches!(call, Call::Sync | Call::SyncDir) || dice.below(2) == 0 {
                    let _ = run(&mut state);
                }
                let image = state.image(Some(&mut dice));
                state.image = Some(image);
                return Err(Fault::Eio.error());
            }
            Some((more, dice)) => state.power_loss = Some((more - 1, dice)),
            None => {}
        }
        run(&mut state)
    }
}

impl State {
    fn image(&self, mut dice: Option<&mut Dice>) -> MemDisk {
        let mut names = self.durable_names.clone();
        let mut keep = |chance: u64| dice.as_mut().is_some_and(|dice| dice.below(100) < chance);
        let names_chance = if keep(30) { 100 } else { 50 };
        for change in &self.unsynced_names {
            if keep(names_chance) {
                change.apply(&mut names);
            }
        }
        // Sometimes nearly all sectors survive, sometimes nearly none.
        let chance = [5, 50, 95][usize::from(keep(60)) + usize::from(keep(40))];
        let mut files = Vec::new();
        for (name, inode) in names {
            let content = inode.lock();
            let mut bytes = content.durable.clone();
            if bytes.len() < content.now.len() && keep(50) {
                bytes.resize(content.now.len(), 0);
            }
            for sector in &content.dirty {
                let (start, end) = (sector * SECTOR, ((sector + 1) * SECTOR).min(content.now.len()));
                if end <= bytes.len() && keep(chance) {
                    bytes[start..end].copy_from_slice(&content.now[start..end]);
                }
            }
            files.push((name, bytes));
        }
        disk_of(files.into_iter())
    }
}

fn disk_of(files: impl Iterator<Item = (String, Vec<u8>)>) -> MemDisk {
    let disk = MemDisk::new();
    for (name, bytes) in files {
        disk.set_bytes(&name, bytes);
    }
    disk
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk for MemDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state.lock().names.keys().cloned().collect())
    }

    fn create_preallocated(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        let inode = Inode::default();
        inode.lock().now = vec![0; bytes as usize];
        self.call(Call::Create, |state| {
            let change = NameChange::Link(name.to_owned(), inode.clone());
            change.apply(&mut state.names);
            state.unsynced_names.push(change);
            Ok(())
        })?;
        Ok(Arc::new(MemFile { disk: self.clone(), inode }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let inode = self.state.lock().names.get(name).cloned().ok_or_else(not_found)?;
        Ok(Arc::new(MemFile { disk: self.clone(), inode }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.call(Call::Rename, |state| {
            let inode = state.names.get(from).cloned().ok_or_else(not_found)?;
            let change = NameChange::Rename(from.to_owned(), to.to_owned(), inode);
            change.apply(&mut state.names);
            state.unsynced_names.push(change);
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.call(Call::Remove, |state| {
            let change = NameChange::Unlink(name.to_owned());
            change.apply(&mut state.names);
            state.unsynced_names.push(change);
            Ok(())
        })
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.call(Call::SyncDir, |state| {
            state.durable_names = state.names.clone();
            state.unsynced_names.clear();
            Ok(())
        })
    }
}

impl DiskFile for MemFile {
    fn pwrite(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.call(Call::Write, |_| {
            let mut content = self.inode.lock();
            let (start, end) = (offset as usize, offset as usize + bytes.len());
            if content.now.len() < end {
                content.now.resize(end, 0);
            }
            content.now[start..end].copy_from_slice(bytes);
            content.dirty.extend(start / SECTOR..end.div_ceil(SECTOR));
            Ok(())
        })
    }

    fn pread(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let content = self.inode.lock();
        let range = offset as usize..offset as usize + bytes.len();
        bytes.copy_from_slice(content.now.get(range).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let delay = self.disk.state.lock().sync_delay;
        if let Some(delay) = delay {
            std::thread::sleep(delay);
        }
        let outcome = self.disk.call(Call::Sync, |_| {
            let content = &mut *self.inode.lock();
            content.durable.resize(content.now.len(), 0);
            for sector in std::mem::take(&mut content.dirty) {
                let (start, end) = (sector * SECTOR, ((sector + 1) * SECTOR).min(content.now.len()));
                content.durable[start..end].copy_from_slice(&content.now[start..end]);
            }
            Ok(())
        });
        if outcome.is_err() && self.disk.image().is_none() {
            // As Linux does it: the pages count as clean from now on, though the device never got
            // them, and the next sync will report success.
            self.inode.lock().dirty.clear();
        }
        outcome
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.inode.lock().now.len() as u64)
    }
}
