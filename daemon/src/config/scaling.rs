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
        /// of `bravo-agent@TYPE-N.service`) or `command` (it runs the command with each recommendation as JSON on its
        /// standard input); `command`, a list of words; and, if need be, `env`, a table of variables.
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
}

impl Pool {
    /// The keys of one entry of `scaling.pools`.
    pub(super) const KEYS: [&'static str; 4] = ["agent_type", "actuator", "command", "env"];
    /// Pools of one node.
    pub(super) const COUNT_MAX: usize = 200;

    /// A pool that says nothing but its type.
    #[cfg(test)]
    pub(crate) fn of(agent_type: Name) -> Self {
        Self { agent_type, actuator: ActuatorKind::Process, command: Vec::new(), env: BTreeMap::new() }
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
    /// A program that is told.
    Command,
}

impl ActuatorKind {
    /// Its words in the file.
    pub(super) const WORDS: &'static [&'static str] = &["process", "systemd", "command"];

    /// The word of the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Systemd => "systemd",
            Self::Command => "command",
        }
    }
}
