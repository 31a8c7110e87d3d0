//! Where reality came to lie relative to a forecast: a histogram of the logarithm of their ratio that forgets.

/// Bins of a histogram.
pub(crate) const BINS: usize = 40;
const WIDTH: f64 = 0.15;
const LOW: f64 = -3.0;

/// A share for each bin.
pub(crate) type Shares = [f64; BINS];

/// The middle of a bin as a ratio.
pub(crate) fn ratio(bin: usize) -> f64 {
    (LOW + (bin as f64 + 0.5) * WIDTH).exp()
}

/// The bin into which `seen` falls beside `forecast`. The half job more on both sides keeps zeros in bounds.
pub(crate) fn bin(seen: f64, forecast: f64) -> usize {
    let log = ((seen.max(0.0) + 0.5) / (forecast.max(0.0) + 0.5)).ln();
    (((log - LOW) / WIDTH).floor().max(0.0) as usize).min(BINS - 1)
}

/// What to believe before anything was seen: most forecasts are right within a half.
pub(crate) fn prior() -> Shares {
    let raw: Shares = std::array::from_fn(|i| (-ratio(i).ln().abs() / 0.4).exp());
    let sum: f64 = raw.iter().sum();
    raw.map(|share| share / sum)
}

/// The histogram. Instead of letting all bins fade at each step, new weights grow: one addition a step.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    weights: [f32; BINS],
    total: f32,
    unit: f32,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { weights: [0.0; BINS], total: 0.0, unit: 1.0 }
    }
}

impl Histogram {
    /// Adds one after everything older has lost `1 - keep` of its weight.
    pub(crate) fn learn(&mut self, bin: usize, keep: f32) {
        self.unit /= keep;
        self.weights[bin] += self.unit;
        self.total += self.unit;
        if self.unit > 1e9 {
            for weight in &mut self.weights {
                *weight /= self.unit;
            }
            self.total /= self.unit;
            self.unit = 1.0;
        }
    }

    /// The shares of the bins, drawn towards `parent` as if that had been seen `strength` times.
    pub(crate) fn shares(&self, parent: &Shares, strength: f64) -> Shares {
        let unit = f64::from(self.unit);
        let all = 1.0 / (f64::from(self.total) + strength * unit);
        std::array::from_fn(|i| (f64::from(self.weights[i]) + strength * unit * parent[i]) * all)
    }
}
