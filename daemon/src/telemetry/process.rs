//! What the kernel knows about this process, read from `/proc` when somebody asks.

use super::metric;
use std::fs;

/// Processes that are counted as started by one, at most.
const DESCENT_MAX: usize = 64;
/// Ticks of a second in `/proc/*/stat`: part of the kernel's interface to user space, always 100.
const TICKS_PER_SECOND: f64 = 100.0;

/// One reading. What cannot be read is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProcessSample {
    /// Seconds on a processor, user and system.
    pub cpu_seconds: Option<f64>,
    /// Bytes in RAM.
    pub resident_bytes: Option<f64>,
    /// Open file descriptors.
    pub open_fds: Option<f64>,
    /// Most file descriptors that may be open.
    pub max_fds: Option<f64>,
}

impl ProcessSample {
    /// Reads `/proc/self`.
    pub fn take() -> Self {
        let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        Self {
            cpu_seconds: cpu_seconds(&read("stat")),
            resident_bytes: resident_bytes(&read("status")),
            // The folder's own descriptor is open while it is read.
            open_fds: fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count().saturating_sub(1) as f64),
            max_fds: max_fds(&read("limits")),
        }
    }

    /// Reads the bytes in RAM alone.
    pub fn resident() -> Option<f64> {
        resident_bytes(&fs::read_to_string("/proc/self/status").ok()?)
    }

    /// Writes the gauges.
    pub fn emit(self) {
        let pairs = [
            (metric::PROCESS_CPU_SECONDS, self.cpu_seconds),
            (metric::PROCESS_RESIDENT_BYTES, self.resident_bytes),
            (metric::PROCESS_OPEN_FDS, self.open_fds),
            (metric::PROCESS_MAX_FDS, self.max_fds),
        ];
        for (name, value) in pairs {
            if let Some(value) = value {
                metrics::gauge!(name).set(value);
            }
        }
    }
}

/// The 14th and 15th field of `stat`, the second one being a name that may hold anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS_PER_SECOND)
}

/// What a process and all that it started use; of those of them that have ended, the processor time alone.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Descent {
    /// How many they are.
    pub(crate) processes: usize,
    /// Seconds on a processor.
    pub(crate) cpu_seconds: f64,
    /// Bytes in RAM.
    pub(crate) resident_bytes: f64,
}

impl Descent {
    /// Reads `/proc/PID` and those of its children; none if there is no such process.
    pub(crate) fn take(pid: u32) -> Option<Self> {
        let read = |pid: u32, name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
        let mut all = Self { processes: 0, cpu_seconds: ended_seconds(&read(pid, "stat")?)?, resident_bytes: 0.0 };
        for pid in Self::pids(pid) {
            let (stat, status) = (read(pid, "stat").unwrap_or_default(), read(pid, "status").unwrap_or_default());
            all.processes += 1;
            all.cpu_seconds += cpu_seconds(&stat).unwrap_or(0.0);
            all.resident_bytes += resident_bytes(&status).unwrap_or(0.0);
        }
        Some(all)
    }

    /// The process and all that it started and that are there, so many at most.
    pub(crate) fn pids(pid: u32) -> Vec<u32> {
        let (mut pids, mut next) = (vec![pid], 0);
        while let Some(pid) = pids.get(next).copied().filter(|_| pids.len() < DESCENT_MAX) {
            next += 1;
            // Each thread has its own children.
            for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
                let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
                pids.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
            }
        }
        pids.truncate(DESCENT_MAX);
        pids
    }
}

/// Seconds of children that have ended: the 16th and 17th field of `stat`.
fn ended_seconds(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(13);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS_PER_SECOND)
}

fn resident_bytes(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok().map(|kib| kib * 1_024.0)
}

fn max_fds(limits: &str) -> Option<f64> {
    limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_what_it_uses() {
        let sample = ProcessSample::take();
        assert!(sample.cpu_seconds.is_some_and(|seconds| seconds >= 0.0));
        assert!(sample.resident_bytes.is_some_and(|bytes| bytes > 100_000.0));
        assert!(sample.open_fds.is_some_and(|fds| fds >= 1.0));
        assert!(sample.max_fds > sample.open_fds);
        assert!(super::super::machine::machine_bytes() > sample.resident_bytes);
    }

    #[test]
    fn a_process_name_with_spaces_and_brackets_is_no_trouble() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 100 0 0";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(ended_seconds("7 (a) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 30 20 20 0 1 0 100 0 0"), Some(0.5));
    }
}
