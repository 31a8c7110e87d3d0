//! How much memory this process may have, and has.

use std::fs;

/// The share of the machine's memory, or of the control group's, that is used before jobs are refused.
const SHARE: f64 = 0.9;

/// The bound: what is configured, or a share of what there is; none: that cannot be found out.
pub(crate) fn bound(configured: u64) -> Option<f64> {
    if configured > 0 {
        return Some(configured as f64);
    }
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let group = read("/sys/fs/cgroup/memory.max").trim().parse::<f64>().ok();
    let machine = total(&read("/proc/meminfo"));
    [group, machine].into_iter().flatten().min_by(f64::total_cmp).map(|bytes| bytes * SHARE)
}

fn total(meminfo: &str) -> Option<f64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok().map(|kib| kib * 1_024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_configured_counts_and_otherwise_a_share_of_what_there_is() {
        assert_eq!(bound(5_000), Some(5_000.0));
        assert_eq!(total("MemFree: 1 kB\nMemTotal:       2048 kB\n"), Some(2_048.0 * 1_024.0));
        assert!(bound(0).is_some_and(|bytes| bytes > 1e6));
    }
}
