//! Numbers for tests, the same in each run.

use super::ladder::splitmix;

/// A sequence of draws.
pub(crate) struct Draws(u64);

impl Draws {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// At least 0, below 1.
    pub(crate) fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(1);
        (splitmix(splitmix(self.0)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// With this mean.
    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.uniform()).ln()
    }
}
