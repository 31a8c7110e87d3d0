//! What an operator may say about the scaling of one agent type.

/// The rule that recommends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Forecast the load and take the pool at which one more agent costs more than the late jobs that it spares.
    #[default]
    Predictive,
    /// The rule of Kubernetes: 70 % use, five waiting jobs for each agent.
    Reactive,
    /// Half as many again above 70 % use, a fifth less below 30 %.
    Threshold,
}

/// How fast a pool may change in one direction.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Block {
    /// A wish counts only when all wishes of so many seconds agree.
    pub stabilisation_s: f64,
    /// The largest change in one period, in percent of the pool.
    pub percent: f64,
    /// The period in seconds; 0 sets no limit.
    pub period_s: f64,
}

impl Default for Block {
    fn default() -> Self {
        Self { stabilisation_s: 0.0, percent: 100.0, period_s: 0.0 }
    }
}

/// The blocks of both directions. The default sets no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Behaviour {
    /// Growing.
    pub up: Block,
    /// Shrinking.
    pub down: Block,
}

impl Behaviour {
    /// 100 % in 15 s after 60 s, down 10 % in 60 s after 300 s: what a plain reactive rule needs to be calm.
    pub const KUBERNETES: Self = Self {
        up: Block { stabilisation_s: 60.0, percent: 100.0, period_s: 15.0 },
        down: Block { stabilisation_s: 300.0, percent: 10.0, period_s: 60.0 },
    };
}

/// The settings of one agent type; the default is what all figures of the documentation were measured with.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Settings {
    /// The smallest pool.
    pub min: u32,
    /// The largest pool.
    pub max: u32,
    /// The wait that 95 % of the jobs stay below, in milliseconds. A job that waits longer is late.
    pub start_delay_p95_ms: u32,
    /// The rule.
    pub policy: Policy,
    /// How fast the pool may change; none: that of Kubernetes where the plain reactive rule decides, else without a limit, since
    /// the plan itself knows what a change costs.
    pub behaviour: Option<Behaviour>,
    /// Seconds between two decisions.
    pub tick_s: f64,
    /// Seconds that an agent takes to start, until it has been seen.
    pub boot_s: f64,
    /// Seconds that a job takes, until it has been seen.
    pub service_s: f64,
    /// How many times its own service a late job is worth in agent-seconds.
    pub late_job_price: f64,
    /// The cost relative to the reactive rule from which the price of late jobs is lowered, lest one pool that
    /// cannot be forecast eats what the others save.
    pub dear: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            min: 2,
            max: 20,
            start_delay_p95_ms: 30_000,
            policy: Policy::Predictive,
            behaviour: None,
            tick_s: 15.0,
            boot_s: 60.0,
            service_s: 20.0,
            late_job_price: 22.0,
            dear: 0.98,
        }
    }
}

/// Agents of one type that can be planned for.
pub const AGENTS_MAX: u32 = 200;

impl Settings {
    /// The same settings, with each number brought to what can be computed with.
    pub fn within_limits(mut self) -> Self {
        let within = |n: f64, low: f64, high: f64| if n.is_finite() { n.clamp(low, high) } else { low };
        self.max = self.max.clamp(1, AGENTS_MAX);
        self.min = self.min.min(self.max);
        self.tick_s = within(self.tick_s, 1.0, 3600.0);
        self.boot_s = within(self.boot_s, 0.0, 3600.0);
        self.service_s = within(self.service_s, 0.001, 1e6);
        self.late_job_price = within(self.late_job_price, 0.0, 1e4);
        self.dear = within(self.dear, 0.1, 10.0);
        self.start_delay_p95_ms = self.start_delay_p95_ms.max(1);
        for block in self.behaviour.iter_mut().flat_map(|of| [&mut of.up, &mut of.down]) {
            block.stabilisation_s = within(block.stabilisation_s, 0.0, 3600.0);
            block.period_s = within(block.period_s, 0.0, 3600.0);
            block.percent = within(block.percent, 0.0, 1e4);
        }
        self
    }

    /// The wait from which a job is late, in seconds.
    pub fn late_s(&self) -> f64 {
        f64::from(self.start_delay_p95_ms) / 1000.0
    }
}
