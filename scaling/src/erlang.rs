//! The queueing formulas: Erlang C for the chance to wait, Allen and Cunneen's correction for how long, and a
//! diffusion for the time before a queue has settled.
//!
//! Loads are in agents (Erlang): arrivals a second times seconds of service.

/// The chance that a job waits at all with `agents` agents under `load` (Erlang C), from the recursion of Erlang
/// B, which cannot overflow. 1 when the load is no less than the agents.
pub fn waiting_chance(load: f64, agents: u32) -> f64 {
    let servers = f64::from(agents);
    if load <= 0.0 {
        return 0.0;
    }
    if load >= servers {
        return 1.0;
    }
    let blocked = (1..=agents).fold(1.0, |b, n| load * b / (f64::from(n) + load * b));
    blocked / (1.0 - load / servers * (1.0 - blocked))
}

/// How irregular the arrivals and the service are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Variability {
    /// Squared coefficient of variation of the times between arrivals.
    pub arrivals: f64,
    /// Squared coefficient of variation of the service times.
    pub service: f64,
}

impl Variability {
    /// Poisson arrivals and exponential service: the case in which Erlang C is exact.
    pub const MARKOV: Self = Self { arrivals: 1.0, service: 1.0 };

    fn factor(self) -> f64 {
        (self.arrivals + self.service) / 2.0
    }
}

/// The mean wait in seconds by Allen and Cunneen: that of M/M/c times the mean of both variabilities.
pub fn mean_wait_s(load: f64, agents: u32, service_s: f64, of: Variability) -> f64 {
    if load >= f64::from(agents) {
        return f64::INFINITY;
    }
    waiting_chance(load, agents) * service_s / (f64::from(agents) - load) * of.factor()
}

/// The chance that a job waits longer than `wait_s` in a settled queue: the tail is exponential, with the mean of
/// Allen and Cunneen.
pub fn late_chance(load: f64, agents: u32, service_s: f64, of: Variability, wait_s: f64) -> f64 {
    let spare = f64::from(agents) - load;
    if spare <= 0.0 {
        return 1.0;
    }
    let rate = spare / (service_s.max(1e-9) * of.factor().max(1e-3));
    waiting_chance(load, agents) * (-rate * wait_s).exp()
}

/// The smallest pool of `min..=max` in which a share of at most `late` waits longer than `wait_s`; `max` if none does.
pub fn smallest_pool(load: f64, service_s: f64, of: Variability, wait_s: f64, late: f64, min: u32, max: u32) -> u32 {
    (min..max).find(|agents| late_chance(load, *agents, service_s, of, wait_s) <= late).unwrap_or(max)
}

/// The normal distribution function, to seven digits (Abramowitz and Stegun 7.1.26 for the error function).
pub(crate) fn normal(x: f64) -> f64 {
    let z = x.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let tail = t
        * (0.254_829_592 + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))))
        * (-z * z).exp();
    if x >= 0.0 { 1.0 - tail / 2.0 } else { tail / 2.0 }
}
