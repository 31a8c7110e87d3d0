//! Where reality came to lie relative to a forecast, as a histogram of the logarithm of their ratio that forgets.

/// Bins of a histogram.
pub const BINS: usize = 40;
const WIDTH: f64 = 0.15;
const LOW: f64 = -3.0;

/// The middle of a bin as a ratio.
pub fn ratio(bin: usize) -> f64 {
    (LOW + (bin as f64 + 0.5) * WIDTH).exp()
}

/// The bin of a ratio.
pub fn bin(ratio: f64) -> usize {
    (((ratio.max(1e-9).ln() - LOW) / WIDTH).floor().max(0.0) as usize).min(BINS - 1)
}

/// Weights of the bins; their sum is how much has been seen.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Histogram {
    weights: Vec<f32>,
    total: f32,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { weights: vec![0.0; BINS], total: 0.0 }
    }
}

impl Histogram {
    /// Adds one ratio after everything older has lost `1 - keep` of its weight.
    pub fn learn(&mut self, at: usize, keep: f32) {
        for weight in &mut self.weights {
            *weight *= keep;
        }
        self.total = self.total * keep + 1.0;
        self.weights[at] += 1.0;
    }

    /// How much has been seen.
    pub fn total(&self) -> f64 {
        f64::from(self.total)
    }

    /// The shares of the bins, drawn towards `prior` as if it had been seen `strength` times.
    pub fn shares(&self, prior: &[f64; BINS], strength: f64) -> [f64; BINS] {
        let all = self.total() + strength;
        std::array::from_fn(|i| (f64::from(self.weights[i]) + strength * prior[i]) / all)
    }
}
