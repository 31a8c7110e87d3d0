//! How pools of agents follow recommendations on this node.

use std::collections::BTreeMap;

use bravo_model::Name;
use serde::{Deserialize, Serialize};

use super::key::{Kind, int, section};

section! {
    /// How many agents there should be, and which of them this node looks after.
    ["scaling"] Scaling {
        /// Milliseconds between two looks at the load, each of which ends in a recommendation. The same on all nodes.
        /// What is forecast is made for the default.
        tick_ms: u64 = 15_000, int(1_000, 60_000);
        /// Pools whose recommendations this node follows where their mode is `act`: `agent_type`; `actuator`,
        /// `process` (this node starts and stops the command's processes), `systemd` (it starts and stops instances
        /// of `bravo-agent@TYPE-N.service`), `kubernetes` (it writes the scale of `target`) or `command` (it runs the
        /// command with each recommendation as JSON on its standard input); `command`, a list of words, for `process` and `command`; `env`, a table of variables for it, if need be; and `target`, for `kubernetes`: `namespace`,
        /// `kind` (`deployment` or `statefulset`), `name`, and `grace_ms_min`, the time that its pods must have to finish
        /// their jobs, without which the pool does not shrink (600,000 unless given).
        pools: Vec<Pool> = Vec::new(), Kind::Pools;
        /// Address of the D-Bus on which `systemd` is found, such as `unix:path=/run/dbus/system_bus_socket`. Where it is
        /// not set: the system's bus, or what `DBUS_SYSTEM_BUS_ADDRESS` names.
        systemd_bus: Option<String> = None, Kind::Text;
    }
}

/// A pool of agents that a node looks after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// The type of its agents.
    pub agent_type: Name,
    /// How it is followed.
    pub actuator: ActuatorKind,
    /// The program and its arguments.
    #[serde(default)]
    pub command: Vec<String>,
    /// Variables of its environment beside this node's own.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// What Kubernetes knows its agents as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
}

impl Pool {
    /// The keys of one entry of `scaling.pools`.
    pub(super) const KEYS: [&'static str; 5] = ["agent_type", "actuator", "command", "env", "target"];
    /// Pools of one node.
    pub(super) const COUNT_MAX: usize = 200;

    /// A pool that says nothing but its type.
    #[cfg(test)]
    pub(crate) fn of(agent_type: Name) -> Self {
        Self { agent_type, actuator: ActuatorKind::Process, command: Vec::new(), env: BTreeMap::new(), target: None }
    }
}

/// What has a scale in Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Its namespace.
    pub namespace: String,
    /// What it is.
    pub kind: TargetKind,
    /// Its name.
    pub name: String,
    /// Time that its pods must have to finish their jobs; with less it is not made smaller.
    #[serde(default = "grace_ms_min")]
    pub grace_ms_min: u64,
}

fn grace_ms_min() -> u64 {
    Target::GRACE_MS_MIN
}

impl Target {
    /// The keys of `target`.
    pub(super) const KEYS: [&'static str; 4] = ["namespace", "kind", "name", "grace_ms_min"];
    /// `grace_ms_min` unless given: ten minutes. Kubernetes itself gives half a minute.
    pub const GRACE_MS_MIN: u64 = 600_000;
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.kind.as_str(), self.namespace, self.name)
    }
}

/// Kinds of targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetKind {
    /// Pods that are all alike.
    Deployment,
    /// Pods that have numbers; the highest goes first.
    StatefulSet,
}

impl TargetKind {
    /// Its words in the file.
    pub(super) const WORDS: &'static [&'static str] = &["deployment", "statefulset"];

    /// The word of the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::StatefulSet => "statefulset",
        }
    }
}

/// How a pool is made to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActuatorKind {
    /// Processes of this node.
    Process,
    /// Units of this machine's systemd.
    Systemd,
    /// The scale of a target in Kubernetes.
    Kubernetes,
    /// A program that is told.
    Command,
}

impl ActuatorKind {
    /// Its words in the file.
    pub(super) const WORDS: &'static [&'static str] = &["process", "systemd", "kubernetes", "command"];

    /// Whether each node that looks after a pool runs a part of it; else one of them tells whoever runs it.
    pub(crate) fn is_part(self) -> bool {
        matches!(self, Self::Process | Self::Systemd)
    }

    /// The word of the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Systemd => "systemd",
            Self::Kubernetes => "kubernetes",
            Self::Command => "command",
        }
    }
}
