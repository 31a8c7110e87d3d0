//! How much memory there is for this process: that of the machine, or what its control group leaves it of it.

use std::fs;
use std::path::{Component, Path};

/// Where control groups are mounted.
const GROUPS: &str = "/sys/fs/cgroup";

/// Bytes of memory that the machine, or what bounds this process in it, has.
pub(crate) fn machine_bytes() -> Option<f64> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let bound = group_bytes(Path::new(GROUPS), &read("/proc/self/cgroup"));
    // A unit may hide what is in `/proc` beside processes (`ProcSubset=pid`); the kernel tells it all the same.
    let whole = total_bytes(&read("/proc/meminfo")).or_else(kernel_bytes);
    match (bound, whole) {
        (Some(bound), Some(whole)) => Some(bound.min(whole)),
        (one, other) => one.or(other),
    }
}

/// The least that the group of this process and those above it may have; none: none of them has a bound.
fn group_bytes(groups: &Path, cgroup: &str) -> Option<f64> {
    // Version 2, the one hierarchy without a number of its own.
    let own = cgroup.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let is_inside = |own: &&Path| own.components().all(|part| matches!(part, Component::Normal(_)));
    // A group above what is mounted here is nowhere to be read.
    let own = Some(Path::new(own.trim())).filter(is_inside).unwrap_or(Path::new(""));
    let bound = |group: &Path| {
        let text = fs::read_to_string(groups.join(group).join("memory.max")).ok()?;
        text.trim().parse::<u64>().ok().map(|bytes| bytes as f64)
    };
    own.ancestors().filter_map(bound).min_by(f64::total_cmp)
}

fn total_bytes(meminfo: &str) -> Option<f64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok().map(|kib| kib * 1_024.0)
}

fn kernel_bytes() -> Option<f64> {
    let info = rustix::system::sysinfo();
    Some(info.totalram as f64 * f64::from(info.mem_unit)).filter(|bytes| *bytes > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_the_same_where_the_file_is_hidden() {
        assert_eq!(total_bytes("MemFree: 1 kB\nMemTotal:       2048 kB\n"), Some(2_048.0 * 1_024.0));
        assert_eq!(total_bytes(""), None);
        let told = kernel_bytes().unwrap();
        assert!(told > 1e8 && machine_bytes().is_some_and(|bytes| bytes > 1e6 && bytes <= 1.01 * told), "{told}");
    }

    #[test]
    fn the_bound_is_that_of_the_group_that_the_process_is_in_and_of_those_above_it() {
        let root = tempfile::tempdir().unwrap();
        let put = |group: &str, bytes: &str| {
            let folder = root.path().join(group);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("memory.max"), format!("{bytes}\n")).unwrap();
        };
        put("system.slice", "5000");
        put("system.slice/bravod.service", "max");
        put("system.slice/other.service", "7");
        let bytes = |cgroup: &str| group_bytes(root.path(), cgroup);
        assert_eq!(bytes("0::/system.slice/bravod.service\n"), Some(5_000.0));
        put("system.slice/bravod.service", "4000");
        assert_eq!(bytes("12:pids:/x\n0::/system.slice/bravod.service\n"), Some(4_000.0));
        assert_eq!((bytes("0::/user.slice"), bytes("")), (None, None));
        put("", "300");
        assert_eq!([bytes("0::/"), bytes("0::/../.."), bytes("")], [Some(300.0); 3], "in a container it is the root");
    }
}
