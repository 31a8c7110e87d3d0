//! The files that the demo works on.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Larger files are left out.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Folders that hold what was made, not what was written.
const SKIPPED: [&str; 3] = ["target", ".git", "node_modules"];

/// A file as it was when the demo began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    /// Below the root that was walked.
    pub(super) path: PathBuf,
    /// Its size.
    pub(super) bytes: u64,
    modified: Option<SystemTime>,
}

impl File {
    /// Whether it was written to since.
    pub(super) fn changed(&self, root: &Path) -> bool {
        fs::metadata(root.join(&self.path)).map_or(true, |now| (now.len(), now.modified().ok()) != (self.bytes, self.modified))
    }

    /// Its name as text, also where it is none.
    pub(super) fn name(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }
}

/// Up to `most` regular files below a folder, sorted by path; symbolic links are not followed.
pub(super) fn walk(root: &Path, most: usize) -> std::io::Result<Vec<File>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    let mut first = true;
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if first => return Err(error),
            // Unreadable, or gone since.
            Err(_) => continue,
        };
        first = false;
        let mut entries: Vec<_> = entries.filter_map(Result::ok).collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let (Ok(kind), path) = (entry.file_type(), entry.path()) else { continue };
            if kind.is_dir() {
                if !SKIPPED.iter().any(|name| entry.file_name() == *name) {
                    folders.push(path);
                }
            } else if kind.is_file() {
                files.extend(look(root, &path));
                if files.len() == most {
                    return Ok(sorted(files));
                }
            }
        }
    }
    Ok(sorted(files))
}

/// Only what can be read and named in JSON is worked on.
fn look(root: &Path, path: &Path) -> Option<File> {
    let metadata = fs::metadata(path).ok()?;
    let relative = path.strip_prefix(root).ok()?;
    relative.to_str()?;
    if metadata.len() > FILE_BYTES_MAX || fs::File::open(path).is_err() {
        return None;
    }
    Some(File { path: relative.to_owned(), bytes: metadata.len(), modified: metadata.modified().ok() })
}

fn sorted(mut files: Vec<File>) -> Vec<File> {
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_and_large_files_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for folder in ["src/deep", "target/debug", ".git", "empty"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        for (name, bytes) in [("b", 3), ("src/deep/a", 0), ("target/debug/x", 1), (".git/y", 1), ("big", 1 << 20)] {
            fs::write(root.join(name), vec![b'.'; bytes]).unwrap();
        }
        fs::write(root.join("bigger"), vec![b'.'; (1 << 20) + 1]).unwrap();
        std::os::unix::fs::symlink(root, root.join("src/loop")).unwrap();
        let names: Vec<String> = walk(root, 100).unwrap().iter().map(File::name).collect();
        assert_eq!(names, ["b", "big", "src/deep/a"]);
        assert_eq!(walk(root, 2).unwrap().len(), 2);
        assert!(walk(&root.join("nothing"), 2).is_err());
    }

    #[test]
    fn a_file_that_was_written_to_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "1").unwrap();
        let files = walk(dir.path(), 10).unwrap();
        assert!(!files[0].changed(dir.path()));
        fs::write(dir.path().join("a"), "22").unwrap();
        assert!(files[0].changed(dir.path()));
        fs::remove_file(dir.path().join("a")).unwrap();
        assert!(files[0].changed(dir.path()));
    }
}
