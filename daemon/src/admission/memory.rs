//! How much memory this process may have.

use crate::telemetry::machine::machine_bytes;

/// The share of the machine's memory, or of the control group's, that is used before jobs are refused.
const SHARE: f64 = 0.9;

/// The bound: what is configured, or a share of what there is; none: that cannot be found out.
pub(crate) fn bound(configured: u64) -> Option<f64> {
    if configured > 0 {
        return Some(configured as f64);
    }
    machine_bytes().map(|bytes| bytes * SHARE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_configured_counts_and_otherwise_a_share_of_what_there_is() {
        assert_eq!(bound(5_000), Some(5_000.0));
        assert!(bound(0).is_some_and(|bytes| bytes > 1e6));
    }
}
