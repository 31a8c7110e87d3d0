//! How long jobs take: mean and variance, forgetting slowly, from what the ticks report.

/// Jobs after which half of what was known before is forgotten, about.
const MEMORY_JOBS: f64 = 200.0;
const MEMORY_TICKS: f64 = 100.0;

/// The estimate.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Service {
    sum_s: f64,
    jobs: f64,
    squares: f64,
    ticks: f64,
}

impl Service {
    /// Begins with a guess that weighs as much as three jobs.
    pub fn new(guess_s: f64) -> Self {
        let guess_s = guess_s.max(1e-3);
        Self { sum_s: 3.0 * guess_s, jobs: 3.0, squares: 3.0 * guess_s * guess_s, ticks: 3.0 }
    }

    /// Adds jobs that were completed and the seconds that they took together.
    pub fn learn(&mut self, completed: u32, sum_s: f64) {
        if completed == 0 || !sum_s.is_finite() || sum_s < 0.0 {
            return;
        }
        let jobs = f64::from(completed);
        let keep = (1.0 - 1.0 / MEMORY_JOBS).powf(jobs);
        self.sum_s = self.sum_s * keep + sum_s;
        self.jobs = self.jobs * keep + jobs;
        // The sum of n jobs strays n times as much as one: each tick is one estimate of the variance.
        let stray = sum_s - jobs * self.mean_s();
        let keep = 1.0 - 1.0 / MEMORY_TICKS;
        self.squares = self.squares * keep + stray * stray / jobs;
        self.ticks = self.ticks * keep + 1.0;
    }

    /// The mean in seconds.
    pub fn mean_s(&self) -> f64 {
        (self.sum_s / self.jobs).max(1e-3)
    }

    /// The variance in square seconds.
    pub fn variance(&self) -> f64 {
        self.squares / self.ticks
    }

    /// The squared coefficient of variation, within what the formulas are good for.
    pub fn scv(&self) -> f64 {
        (self.variance() / self.mean_s().powi(2)).clamp(0.2, 4.0)
    }
}
