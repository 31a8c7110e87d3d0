//! Where the programs are.

use std::path::PathBuf;

/// The `bravod` that `BRAVOD` names, else the one that cargo put beside this test.
pub(super) fn bravod() -> anyhow::Result<PathBuf> {
    program("bravod", "BRAVOD", "cargo build --workspace --bin bravod")
}

/// The same of the command line `bravo`, and `BRAVO`.
pub fn bravo() -> anyhow::Result<PathBuf> {
    program("bravo", "BRAVO", "cargo build --workspace --bin bravo")
}

fn program(name: &str, variable: &str, made_by: &str) -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Ok(path.into());
    }
    // target/<profile>/deps/process-<hash>
    let test = std::env::current_exe()?;
    let beside = test.ancestors().nth(2).map(|profile| profile.join(name));
    beside
        .filter(|path| path.exists())
        .ok_or_else(|| anyhow::anyhow!("there is no {name} beside {}: {made_by}", test.display()))
}
