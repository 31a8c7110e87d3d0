//! Which node a shard belongs to. It follows from the chunk and the members alone, so that nobody keeps it and
//! everybody agrees who knows the same members.

use std::cmp::Reverse;

use bravo_model::artifact::SHARDS;
use bravo_storage::blob::Hash;

use crate::raft::types::NodeId;

/// The nodes of a chunk's shards; none without nodes. Each shard in turn takes the node that comes out highest for
/// it among those with the fewest of this chunk: six different ones where there are as many. As each shard has an
/// order of nodes to itself, a node that comes takes few shards from others, and those of one that goes find
/// new places while most of the others stay.
pub(crate) fn places(chunk: &Hash, nodes: &[NodeId]) -> Option<[NodeId; SHARDS]> {
    let mut held: Vec<(usize, NodeId)> = nodes.iter().map(|node| (0, *node)).collect();
    let mut found = [NodeId::default(); SHARDS];
    for (shard, place) in (0..).zip(&mut found) {
        let best = held.iter_mut().min_by_key(|(held, node)| (*held, Reverse(height(chunk, shard, *node))))?;
        best.0 += 1;
        *place = best.1;
    }
    Some(found)
}

fn height(chunk: &Hash, shard: u8, node: NodeId) -> [u8; 32] {
    *blake3::Hasher::new().update(chunk).update(&[shard]).update(&node.to_be_bytes()).finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const CHUNKS: usize = 2_000;

    fn all(nodes: &[NodeId]) -> Vec<[NodeId; SHARDS]> {
        (0..CHUNKS).map(|number| places(blake3::hash(&number.to_be_bytes()).as_bytes(), nodes).unwrap()).collect()
    }

    /// Shards of a chunk, on average, that are elsewhere afterwards.
    fn moved(before: &[NodeId], after: &[NodeId]) -> f64 {
        let pairs = all(before).into_iter().zip(all(after));
        let moved: usize = pairs.map(|(a, b)| a.iter().zip(b).filter(|(a, b)| *a != b).count()).sum();
        moved as f64 / CHUNKS as f64
    }

    #[test]
    fn shards_are_on_different_nodes_and_each_node_has_its_share() {
        for count in [6, 7, 12] {
            let nodes: Vec<NodeId> = (1..=count).collect();
            let found = all(&nodes);
            assert!(found.iter().all(|places| places.iter().collect::<BTreeSet<_>>().len() == SHARDS));
            let fair = (CHUNKS * SHARDS) as f64 / count as f64;
            for node in &nodes {
                let has = found.iter().flatten().filter(|place| *place == node).count() as f64;
                assert!((0.85..1.15).contains(&(has / fair)), "node {node} of {count} has {has} of {fair}");
            }
        }
    }

    #[test]
    fn the_order_in_which_nodes_are_named_does_not_matter() {
        assert_eq!(all(&[1, 2, 3, 4, 5, 6, 7]), all(&[7, 3, 1, 2, 6, 5, 4]));
    }

    #[test]
    fn little_moves_when_a_node_comes_or_goes() {
        let nodes: Vec<NodeId> = (1..=20).collect();
        // Where nothing more than its share moved, it would be 6/7, 6/10 and 6/20 of a shard.
        for (count, most) in [(7, 1.7), (10, 0.95), (20, 0.40)] {
            let more = moved(&nodes[..count - 1], &nodes[..count]);
            assert!((0.1..most).contains(&more), "to {count} nodes: {more}");
            let fewer = moved(&nodes[..count], &nodes[1..count]);
            assert!((0.1..most).contains(&fewer), "from {count} nodes: {fewer}");
        }
    }

    #[test]
    fn fewer_nodes_share_them_evenly() {
        for (count, most) in [(5, 2), (4, 2), (3, 2), (2, 3), (1, 6)] {
            for places in all(&(1..=count).collect::<Vec<_>>()) {
                let of = |node: NodeId| places.iter().filter(|place| **place == node).count();
                assert_eq!((1..=count).map(of).max(), Some(most), "{places:?}");
            }
        }
        assert_eq!(places(&[0; 32], &[]), None);
    }
}
