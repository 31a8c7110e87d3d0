//! Where the daemon's program is.

use std::path::PathBuf;

/// The `bravod` that `BRAVOD` names, else the one that cargo put beside this test.
pub(super) fn bravod() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("BRAVOD") {
        return Ok(path.into());
    }
    // target/<profile>/deps/process-<hash>
    let test = std::env::current_exe()?;
    let beside = test.ancestors().nth(2).map(|profile| profile.join("bravod"));
    beside.filter(|path| path.exists()).ok_or_else(|| {
        anyhow::anyhow!("there is no bravod beside {}: cargo build -p bravo-daemon --bin bravod", test.display())
    })
}
