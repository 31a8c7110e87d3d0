//! A trace of arrivals, and the jobs that are made of it.
//!
//! Counts are scaled so that every trace asks for the same pool, spread over their bin, and given service times.
//! Chance is only played: each draw is a function of the seed and its number, so that a report can be had again.

use std::fmt;

use super::pool::Jobs;

/// Bins that a trace may have.
pub(crate) const BINS_MAX: usize = 2_000_000;
/// Jobs that are made of a trace.
pub(crate) const JOBS_MAX: f64 = 20_000_000.0;

/// Why a trace cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TraceError {
    /// A column is missing from the first line.
    Column(&'static str),
    /// A line, counted from 1, has no number where one is needed.
    Line(usize),
    /// There are fewer than two bins, or the bins have no length.
    Short,
    /// There are more bins or jobs than are replayed.
    Long,
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Column(name) => write!(f, "the first line names no column {name}"),
            Self::Line(line) => write!(f, "line {line} has no number where one is needed"),
            Self::Short => f.write_str("a trace needs two bins at least, evenly spaced"),
            Self::Long => write!(f, "a trace has at most {BINS_MAX} bins and {JOBS_MAX:.0} jobs"),
        }
    }
}

impl std::error::Error for TraceError {}

/// Arrivals by bin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// Seconds of a bin.
    pub bin_s: f64,
    /// Arrivals of each bin.
    pub counts: Vec<f64>,
    /// Mean seconds of service of each bin, where the source has it.
    pub services: Vec<Option<f64>>,
}

/// How jobs are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Making {
    /// Agents' worth of load at the 99.5th percentile; 0 leaves counts as they are.
    pub peak: f64,
    /// Mean seconds of service.
    pub service_s: f64,
    /// The coefficient of variation of the service (log-normal).
    pub service_cv: f64,
    /// What the draws depend on.
    pub seed: u64,
}

impl Default for Making {
    fn default() -> Self {
        Self { peak: 14.0, service_s: 20.0, service_cv: 1.0, seed: 1 }
    }
}

/// The draw with number `n`, evenly between 0 and 1 (splitmix64).
fn draw(seed: u64, n: u64) -> f64 {
    let mut z = seed.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

impl Trace {
    /// Reads CSV with the columns `timestamp_s`, `arrivals` and, if there is one, `service_mean_s`.
    pub fn parse(csv: &str) -> Result<Self, TraceError> {
        let mut lines = csv.lines();
        let names: Vec<&str> = lines.next().unwrap_or_default().split(',').map(str::trim).collect();
        let column = |name: &'static str| names.iter().position(|own| *own == name);
        let time = column("timestamp_s").ok_or(TraceError::Column("timestamp_s"))?;
        let arrivals = column("arrivals").ok_or(TraceError::Column("arrivals"))?;
        let service = column("service_mean_s");
        let (mut trace, mut times) = (Self::default(), Vec::new());
        for (i, line) in lines.enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            let number =
                |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).filter(|n| n.is_finite());
            times.push(number(time).ok_or(TraceError::Line(i + 2))?);
            trace.counts.push(number(arrivals).filter(|n| *n >= 0.0).ok_or(TraceError::Line(i + 2))?);
            trace.services.push(service.and_then(number).filter(|mean| *mean > 0.0));
            if times.len() > BINS_MAX {
                return Err(TraceError::Long);
            }
        }
        let mut steps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        steps.sort_by(f64::total_cmp);
        trace.bin_s = steps.get(steps.len() / 2).copied().filter(|step| *step > 0.0).ok_or(TraceError::Short)?;
        Ok(trace)
    }

    /// Mean service by bin: the trace's own, brought to the mean that is asked for.
    fn means(&self, making: &Making) -> Vec<f64> {
        let known = || self.counts.iter().zip(&self.services).filter_map(|(n, service)| service.map(|s| (*n, s)));
        let (jobs, work) = known().fold((0.0, 0.0), |(jobs, work), (n, s)| (jobs + n, work + n * s));
        let own = if work > 0.0 { work / f64::max(jobs, 1.0) } else { 1.0 };
        self.services.iter().map(|service| service.map_or(making.service_s, |s| s * making.service_s / own)).collect()
    }

    /// What counts are multiplied with so that the pool that is asked for comes out.
    fn scale(&self, means: &[f64], peak: f64) -> f64 {
        let load: Vec<f64> = self.counts.iter().zip(means).map(|(n, mean)| n * mean / self.bin_s).collect();
        let width = ((300.0 / self.bin_s).round() as usize).clamp(1, load.len().max(1));
        let mut smooth: Vec<f64> = load.windows(width).map(|near| near.iter().sum::<f64>() / width as f64).collect();
        smooth.sort_by(f64::total_cmp);
        let at = 0.995 * (smooth.len().saturating_sub(1)) as f64;
        let (low, high) = (smooth.get(at.floor() as usize), smooth.get(at.ceil() as usize));
        let top = low.zip(high).map_or(0.0, |(low, high)| low + (high - low) * at.fract());
        if peak > 0.0 && top > 0.0 { peak / top } else { 1.0 }
    }

    /// The jobs.
    pub fn jobs(&self, making: &Making) -> Result<Jobs, TraceError> {
        let means = self.means(making);
        let scale = self.scale(&means, making.peak);
        if self.counts.iter().sum::<f64>() * scale > JOBS_MAX {
            return Err(TraceError::Long);
        }
        let spread = (1.0 + making.service_cv.powi(2)).ln();
        let (mut jobs, mut n) = (Vec::new(), 0u64);
        let mut next = || {
            n += 1;
            draw(making.seed, n)
        };
        for (bin, (count, mean)) in self.counts.iter().zip(&means).enumerate() {
            for _ in 0..(count * scale + next()).floor() as u64 {
                let arrival = (bin as f64 + next()) * self.bin_s;
                let normal = (-2.0 * (1.0 - next()).ln()).sqrt() * (std::f64::consts::TAU * next()).cos();
                jobs.push((arrival, ((normal * spread.sqrt() - spread / 2.0).exp() * mean).max(0.05)));
            }
        }
        jobs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (arrivals, services) = jobs.into_iter().unzip();
        Ok(Jobs { arrivals, services, end_s: self.counts.len() as f64 * self.bin_s })
    }
}
