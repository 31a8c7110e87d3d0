//! How the pool of one agent type is to be sized: what operators say, and what a controller must not forget.
//!
//! The model keeps both and computes neither: forecasts rest on floating-point numbers, which have no place in a
//! state that must be the same on every replica. What a controller learned is an opaque row here.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::code::{Code, Refusal};
use crate::id::Name;
use crate::limits;

/// What a recommendation leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Nothing is recommended.
    Off,
    /// It is told to whoever asks.
    #[default]
    Advise,
    /// Actuators follow it.
    Act,
}

impl Mode {
    /// The word of the interface.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Advise => "advise",
            Self::Act => "act",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let found = [Self::Off, Self::Advise, Self::Act].into_iter().find(|mode| mode.as_str() == text);
        found.ok_or_else(|| invalid(format!("mode: {text:?} is none; off, advise or act")))
    }
}

/// The rule that recommends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rule {
    /// By a forecast.
    #[default]
    Predictive,
    /// By what there is.
    Reactive,
    /// By two thresholds of use.
    Threshold,
}

impl Rule {
    /// The word of the interface.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Predictive => "predictive",
            Self::Reactive => "reactive",
            Self::Threshold => "threshold",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let found = [Self::Predictive, Self::Reactive, Self::Threshold].into_iter().find(|rule| rule.as_str() == text);
        found.ok_or_else(|| invalid(format!("policy: {text:?} is none; predictive, reactive or threshold")))
    }
}

/// How fast a pool may change in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// A wish counts only when all wishes of so long agree.
    pub stabilisation_ms: u32,
    /// The largest change in one period, in percent of the pool.
    pub percent: u32,
    /// The period; 0 sets no limit.
    pub period_ms: u32,
}

/// How fast a pool may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Behaviour {
    /// When it grows.
    pub up: Block,
    /// When it shrinks.
    pub down: Block,
}

impl Behaviour {
    /// What counts where a part of it is not said: 100 % in 15 s after 60 s, down 10 % in 60 s after 300 s.
    pub const DEFAULT: Self = Self {
        up: Block { stabilisation_ms: 60_000, percent: 100, period_ms: 15_000 },
        down: Block { stabilisation_ms: 300_000, percent: 10, period_ms: 60_000 },
    };

    fn validate(&self) -> Result<(), Refusal> {
        let within = |way: &str, block: &Block, percent_max: u32| {
            let times = [("stabilisation_ms", block.stabilisation_ms), ("period_ms", block.period_ms)];
            if let Some((field, _)) = times.into_iter().find(|(_, ms)| *ms > limits::SCALING_BLOCK_MS_MAX) {
                return Err(invalid(format!("behaviour.{way}.{field}: at most {}", limits::SCALING_BLOCK_MS_MAX)));
            }
            if !(1..=percent_max).contains(&block.percent) {
                return Err(invalid(format!("behaviour.{way}.percent: 1 to {percent_max}")));
            }
            Ok(())
        };
        within("up", &self.up, limits::SCALING_BLOCK_PERCENT_MAX)?;
        within("down", &self.down, 100)
    }
}

/// What an operator says of one agent type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScalingPolicy {
    /// The type.
    pub agent_type: Name,
    /// The smallest pool, in agents.
    pub min: u32,
    /// The largest one.
    pub max: u32,
    /// The wait that 95 % of the jobs shall stay below.
    pub start_delay_p95_ms: u32,
    /// What a recommendation leads to.
    pub mode: Mode,
    /// What recommends.
    pub rule: Rule,
    /// How fast the pool may change; none: as its rule has it.
    #[serde(default)]
    pub behaviour: Option<Behaviour>,
}

impl ScalingPolicy {
    /// What counts for a type of which nobody said anything.
    pub fn of(agent_type: Name) -> Self {
        Self {
            agent_type,
            min: limits::SCALING_MIN_DEFAULT,
            max: limits::SCALING_MAX_DEFAULT,
            start_delay_p95_ms: limits::START_DELAY_P95_MS_DEFAULT,
            mode: Mode::default(),
            rule: Rule::default(),
            behaviour: None,
        }
    }

    /// Whether it may be kept.
    pub fn validate(&self) -> Result<(), Refusal> {
        if !(1..=limits::SCALING_AGENTS_MAX).contains(&self.max) {
            return Err(invalid(format!("max: 1 to {}", limits::SCALING_AGENTS_MAX)));
        }
        if self.min > self.max {
            return Err(invalid(format!("min: at most max, which is {}", self.max)));
        }
        if !(1..=limits::START_DELAY_P95_MS_MAX).contains(&self.start_delay_p95_ms) {
            return Err(invalid(format!("objective.start_delay_p95_ms: 1 to {}", limits::START_DELAY_P95_MS_MAX)));
        }
        self.behaviour.as_ref().map_or(Ok(()), Behaviour::validate)
    }
}

/// What the controller of one agent type had learned at some moment, as it wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScalingMemory {
    /// The type.
    pub agent_type: Name,
    /// See [`crate::command::Command::SaveScaling`].
    pub bytes: Bytes,
}

fn invalid(detail: String) -> Refusal {
    Refusal::new(Code::InvalidArgument, detail)
}
