//! Scaling policies and memories (meta group).

use crate::id::Name;
use crate::row;
use crate::scaling::{ScalingMemory, ScalingPolicy};
use crate::table::{self, tag};
use crate::txn::Read;

/// All policies, by agent type.
pub fn scalings(rows: &impl Read) -> Vec<ScalingPolicy> {
    let prefix = table::key(tag::SCALING, &[]);
    let mut found: Vec<ScalingPolicy> = Vec::new();
    row::walk(rows, &prefix, &prefix, &mut |_, value| {
        found.extend(row::decode::<ScalingPolicy>(value));
        true
    });
    found.sort_by(|a, b| a.agent_type.cmp(&b.agent_type));
    found
}

/// What the controller of an agent type had learned.
pub fn scaling_memory(rows: &impl Read, agent_type: &Name) -> Option<ScalingMemory> {
    row::read(rows, &table::scaling(tag::SCALING_MEMORY, agent_type))
}

/// The agent types of which something is remembered.
pub fn scaling_memories(rows: &impl Read) -> Vec<Name> {
    let prefix = table::key(tag::SCALING_MEMORY, &[]);
    let mut found = Vec::new();
    row::walk(rows, &prefix, &prefix, &mut |_, value| {
        found.extend(row::decode::<ScalingMemory>(value).map(|memory| memory.agent_type));
        true
    });
    found
}
