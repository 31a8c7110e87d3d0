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
        Ok(())
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
