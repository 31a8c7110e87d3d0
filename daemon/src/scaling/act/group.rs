//! Process groups: a program and all that it started for itself.

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::process::Child;

/// The number of a child that was not waited for yet.
pub(super) fn pid(child: &Child) -> Option<Pid> {
    Pid::from_raw(i32::try_from(child.id()?).ok()?)
}

/// Whether a child that leads a group has ended; then all who are in the group are ended too, and it is waited for.
pub(super) fn bury(child: &mut Child) -> bool {
    let Some(pid) = pid(child) else { return true };
    // Until it is waited for, its number is nobody else's.
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    match waitid(WaitId::Pid(pid), look) {
        Ok(Some(_)) => {
            kill(child);
            let _ = child.try_wait();
            true
        }
        Err(Errno::CHILD) => true,
        Ok(None) | Err(_) => false,
    }
}

/// Ends a child that leads a group, with all who are in it. Only before it was waited for: later the number may be another's.
pub(super) fn kill(child: &Child) {
    if let Some(pid) = pid(child) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;
    use std::time::Duration;

    /// Waits until the process is gone whose number stands in a file.
    pub(crate) async fn until_gone(file: &Path) {
        let pid = std::fs::read_to_string(file).unwrap();
        let lives = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
        };
        for _ in 0..500 {
            if !lives() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{pid} lives");
    }
}
