//! Where the programs are.

use std::path::PathBuf;

/// The `bravod` that `BRAVOD` names, else the one that cargo put beside this test.
pub(super) fn bravod() -> anyhow::Result<PathBuf> {
    match std::env::var_os("BRAVOD") {
        Some(path) => Ok(path.into()),
        None => beside("bravod"),
    }
}

/// A program that cargo put beside this test.
pub fn beside(name: &str) -> anyhow::Result<PathBuf> {
    // target/<profile>/deps/process-<hash>
    let test = std::env::current_exe()?;
    let beside = test.ancestors().nth(2).map(|profile| profile.join(name));
    beside
        .filter(|path| path.exists())
        .ok_or_else(|| anyhow::anyhow!("there is no {name} beside {}: cargo build --workspace --bins", test.display()))
}
