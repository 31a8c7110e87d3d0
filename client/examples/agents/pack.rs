//! Folders as `.tar.zst`: the same files make the same bytes, whoever packs them and when.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

const LEVEL: i32 = 6;
/// Of all files together, unpacked.
const BYTES_MAX: u64 = 64 << 20;

/// A file to pack.
pub(crate) struct Packed {
    pub(crate) bytes: Vec<u8>,
    /// Whether it is a program.
    pub(crate) program: bool,
}

impl From<&str> for Packed {
    fn from(text: &str) -> Self {
        Self { bytes: text.into(), program: false }
    }
}

/// Packs files by path.
pub(crate) fn pack(files: &BTreeMap<String, Packed>) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(zstd::Encoder::new(Vec::new(), LEVEL)?);
    for (path, file) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(file.bytes.len() as u64);
        header.set_mode(if file.program { 0o755 } else { 0o644 });
        archive.append_data(&mut header, path, &*file.bytes)?;
    }
    archive.into_inner()?.finish()
}

/// Unpacks into a folder. Paths that lead out of it are left out.
pub(crate) fn unpack(bytes: &[u8], folder: &Path) -> io::Result<()> {
    tar::Archive::new(zstd::Decoder::new(bytes)?.take(BYTES_MAX)).unpack(folder)
}

/// The files of a package, as text.
pub(crate) fn texts(bytes: &[u8]) -> io::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(zstd::Decoder::new(bytes)?.take(BYTES_MAX)).entries()? {
        let mut entry = entry?;
        let (path, mut text) = (entry.path()?.to_string_lossy().into_owned(), String::new());
        entry.read_to_string(&mut text)?;
        files.insert(path, text);
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_back_and_make_the_same_bytes() {
        let files = BTreeMap::from([
            ("a/b.rs".to_owned(), "text".into()),
            ("c".to_owned(), Packed { bytes: b"bin".into(), program: true }),
        ]);
        let packed = pack(&files).unwrap();
        assert_eq!(packed, pack(&files).unwrap());
        let dir = tempfile::tempdir().unwrap();
        unpack(&packed, dir.path()).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("a/b.rs")).unwrap(), "text");
        assert_eq!(texts(&packed).unwrap()["c"], "bin");
        assert!(unpack(&packed[..packed.len() / 2], dir.path()).is_err());
    }

    #[test]
    fn no_path_leads_out() {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.as_gnu_mut().unwrap().name[..7].copy_from_slice(b"../evil");
        header.set_cksum();
        archive.append(&header, &b"x"[..]).unwrap();
        let bytes = zstd::bulk::compress(&archive.into_inner().unwrap(), 1).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("inside");
        drop(unpack(&bytes, &inside));
        assert!(!dir.path().join("evil").exists());
    }
}
