//! Disks that lose power and disks that are full.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

/// Whether this test may make disks. Without root it fails, unless `BRAVO_NO_ROOT=1` says that this is
/// known; then it says so and is left out.
pub fn has_root(test: &str) -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    assert!(
        std::env::var_os("BRAVO_NO_ROOT").is_some_and(|value| value == "1"),
        "{test} mounts file systems and needs root; BRAVO_NO_ROOT=1 leaves it out"
    );
    eprintln!("\n*** LEFT OUT: {test} needs root (BRAVO_NO_ROOT=1) ***\n");
    false
}

fn run(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program).args(arguments).output().with_context(|| program.to_owned())?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{program} {}: {said}", arguments.join(" "));
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

/// ext4 on a loop device: a copy of its image holds what a power loss would leave.
pub struct LoopDisk {
    /// Where it is mounted.
    pub path: PathBuf,
    image: PathBuf,
    mounted: bool,
}

impl LoopDisk {
    /// Makes and mounts a disk under a folder.
    pub fn new(folder: &Path, name: &str, mib: u64) -> anyhow::Result<Self> {
        let (path, image) = (folder.join(name), folder.join(format!("{name}.img")));
        std::fs::create_dir_all(&path)?;
        std::fs::File::create(&image)?.set_len(mib << 20)?;
        run("mkfs.ext4", &["-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", text(&image)])?;
        let mut this = Self { path, image, mounted: false };
        this.mount()?;
        Ok(this)
    }

    fn mount(&mut self) -> anyhow::Result<()> {
        // A commit only when it is asked for: nothing becomes durable by the by.
        let made = run("mount", &["-o", "loop,commit=300", text(&self.image), text(&self.path)]);
        made.context("loop devices are needed (root, and /dev/loop-control in a container)")?;
        self.mounted = true;
        Ok(())
    }

    fn unmount(&mut self) -> anyhow::Result<()> {
        if self.mounted {
            run("umount", &[text(&self.path)])?;
            self.mounted = false;
        }
        Ok(())
    }

    fn copy(&self) -> PathBuf {
        self.image.with_extension("lost")
    }

    /// What would be left if power went now. The process that writes stands still meanwhile.
    pub fn power_goes(&self) -> anyhow::Result<()> {
        run("cp", &["--sparse=always", text(&self.image), text(&self.copy())])?;
        Ok(())
    }

    /// The disk as it was when power went; its process is gone.
    pub fn power_returns(&mut self) -> anyhow::Result<()> {
        self.unmount()?;
        std::fs::rename(self.copy(), &self.image)?;
        self.mount()
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        let _ = self.unmount();
    }
}

/// A file system in memory that is as small as wanted.
pub struct SmallDisk {
    /// Where it is mounted.
    pub path: PathBuf,
}

impl SmallDisk {
    /// Makes and mounts one.
    pub fn new(path: PathBuf, mib: u64) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&path)?;
        run("mount", &["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs", text(&path)])?;
        Ok(Self { path })
    }

    /// Makes it larger.
    pub fn grow(&self, mib: u64) -> anyhow::Result<()> {
        run("mount", &["-o", &format!("remount,size={mib}m"), text(&self.path)])?;
        Ok(())
    }

    /// Fills what is free with a file of another, whatever is written beside it meanwhile.
    pub fn fill(&self) -> anyhow::Result<()> {
        let mut file = std::fs::File::create(self.path.join("filler"))?;
        let zeros = [0; 64 << 10];
        loop {
            match file.write(&zeros) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = run("umount", &[text(&self.path)]);
    }
}
