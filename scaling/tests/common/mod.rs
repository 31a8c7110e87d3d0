//! Series of arrivals that are made, not measured.

/// Draws that depend on a seed alone (xorshift).
pub(crate) struct Draws(pub(crate) u64);

impl Draws {
    pub(crate) fn even(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A Poisson count.
    pub(crate) fn count(&mut self, mean: f64) -> u32 {
        let (limit, mut product, mut n) = ((-mean).exp(), self.even(), 0);
        while product > limit {
            product *= self.even();
            n += 1;
        }
        n
    }
}
