//! What agents use, as the nodes tell that run them. Of agents that run elsewhere nobody measures it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bravo_model::Name;
use futures_util::future::join_all;

use crate::cluster::Cluster;
use crate::raft::types::NodeId;
use crate::transport::wire::{AgentUse, Request, Response};

/// Longest wait for a node.
const PATIENCE: Duration = Duration::from_millis(500);

/// By type: how many agents were measured, and what they use together.
#[derive(Debug, Default)]
pub(super) struct Uses(BTreeMap<Name, (u32, f64, f64)>);

/// Asks all members; none of one that does not answer.
pub(super) async fn ask(cluster: &Arc<Cluster>) -> Vec<(NodeId, Option<Vec<AgentUse>>)> {
    let asks = cluster.members().into_keys().map(|node| async move {
        match tokio::time::timeout(PATIENCE, cluster.call(node, Request::AgentUses)).await {
            Ok(Ok(Response::AgentUses(uses))) => (node, Some(uses)),
            _ => (node, None),
        }
    });
    join_all(asks).await
}

/// Adds up what the nodes told.
pub(super) fn sum<'a>(uses: impl IntoIterator<Item = &'a AgentUse>) -> Uses {
    let mut all = Uses::default();
    for told in uses {
        let (agents, cpu, memory) = all.0.entry(told.agent_type.clone()).or_default();
        *agents = agents.saturating_add(told.agents);
        *cpu += told.cpu;
        *memory += told.memory;
    }
    all
}

impl Uses {
    /// Processor and memory of one agent of a type, on average; 0 where nobody measures.
    pub(super) fn each(&self, name: &Name) -> (f64, f64) {
        let Some((agents, cpu, memory)) = self.0.get(name).filter(|(agents, ..)| *agents > 0) else {
            return (0.0, 0.0);
        };
        (cpu / f64::from(*agents), memory / f64::from(*agents))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_uses_the_mean_of_those_that_are_measured_on_whatever_nodes() {
        let name = |text| Name::parse("name", text).unwrap();
        let told = |agents, cpu, memory| AgentUse { agent_type: name("coder"), agents, cpu, memory };
        let uses = sum(&[told(3, 1.5, 0.3), told(1, 0.5, 0.5)]);
        let (cpu, memory) = uses.each(&name("coder"));
        assert!((cpu - 0.5).abs() < 1e-9 && (memory - 0.2).abs() < 1e-9);
        assert_eq!(uses.each(&name("tester")), (0.0, 0.0));
    }
}
