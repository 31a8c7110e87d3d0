//! Damage to the files of a node that stands still.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// The segments of a node's Raft log, oldest first.
pub fn log_segments(data: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(data.join("log"))?.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<_>>()?;
    found.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    found.sort();
    anyhow::ensure!(!found.is_empty(), "no segments in {}", data.display());
    Ok(found)
}

/// All files that sled made, the largest first.
pub fn sled_files(data: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![data.join("state")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => folders.push(entry.path()),
                false => found.push((entry.metadata()?.len(), entry.path())),
            }
        }
    }
    found.sort();
    Ok(found.into_iter().rev().map(|(_, path)| path).collect())
}

/// The newest segment.
pub fn last_written(data: &Path) -> anyhow::Result<PathBuf> {
    log_segments(data)?.pop().context("a segment")
}

/// Turns one bit around.
pub fn flip_bit(path: &Path, offset: u64) -> anyhow::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset)?;
    byte[0] ^= 0x10;
    Ok(file.write_all_at(&byte, offset)?)
}

/// Cuts the file off.
pub fn truncate(path: &Path, length: u64) -> anyhow::Result<()> {
    Ok(OpenOptions::new().write(true).open(path)?.set_len(length)?)
}

/// Puts an older copy back in place of a file or folder.
pub fn put_back(copy: &Path, place: &Path) -> anyhow::Result<()> {
    if place.is_dir() {
        fs::remove_dir_all(place)?;
    }
    let status = std::process::Command::new("cp").arg("-a").arg(copy).arg(place).status()?;
    anyhow::ensure!(status.success(), "cp -a {} {}", copy.display(), place.display());
    Ok(())
}

/// Offset and length of each write in a segment: the frames of `storage/src/log/frame.rs`.
pub fn frames(segment: &Path) -> anyhow::Result<Vec<(u64, u64)>> {
    const OVERHEAD: usize = 41;
    let bytes = fs::read(segment)?;
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(header) = bytes.get(at..at + OVERHEAD).filter(|header| header.starts_with(b"BRVf")) {
        let body = u32::from_le_bytes([header[20], header[21], header[22], header[23]]) as usize;
        found.push((at as u64, (OVERHEAD + body) as u64));
        at += OVERHEAD + body;
    }
    anyhow::ensure!(!found.is_empty(), "{} does not begin with a frame", segment.display());
    Ok(found)
}

/// Puts zeros from one offset to another.
pub fn zero(path: &Path, from: u64, to: u64) -> anyhow::Result<()> {
    write(path, from, &vec![0; usize::try_from(to - from)?])
}

/// Puts bytes at an offset.
pub fn write(path: &Path, offset: u64, bytes: &[u8]) -> anyhow::Result<()> {
    Ok(OpenOptions::new().write(true).open(path)?.write_all_at(bytes, offset)?)
}
