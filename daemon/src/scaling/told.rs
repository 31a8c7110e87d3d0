//! What the nodes told at the last look. One that is silent for a moment is taken to be as it was, since its agents work on.

use std::collections::BTreeMap;

use crate::raft::types::NodeId;

/// Looks in a row that a node may miss before what it told counts no more.
const SILENT_MAX: u8 = 3;

/// By node: looks that it missed since it told it, and what it told. As many as there are members.
#[derive(Debug)]
pub(super) struct Told<T>(BTreeMap<NodeId, (u8, T)>);

impl<T> Default for Told<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Told<T> {
    /// Takes in the answers of all members; nodes that are none any more are forgotten at once.
    pub(super) fn take(&mut self, answers: impl IntoIterator<Item = (NodeId, Option<T>)>) {
        let mut before = std::mem::take(&mut self.0);
        for (node, answer) in answers {
            let kept = || before.remove(&node).map(|(silent, told)| (silent + 1, told));
            let told = answer.map(|told| (0, told)).or_else(kept).filter(|(silent, _)| *silent <= SILENT_MAX);
            self.0.extend(told.map(|told| (node, told)));
        }
    }

    /// What counts, by node.
    pub(super) fn all(&self) -> impl Iterator<Item = (NodeId, &T)> {
        self.0.iter().map(|(node, (_, told))| (*node, told))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_silent_is_as_it_was_for_a_few_looks_and_one_that_is_removed_is_gone_at_once() {
        let mut told = Told::default();
        let mut take = |answers: &[(NodeId, Option<u32>)]| {
            told.take(answers.iter().copied());
            told.all().map(|(node, told)| (node, *told)).collect::<Vec<_>>()
        };
        assert_eq!(take(&[(1, Some(10)), (2, Some(20)), (3, None)]), [(1, 10), (2, 20)]);
        for _ in 0..SILENT_MAX {
            assert_eq!(take(&[(1, Some(11)), (2, None)]), [(1, 11), (2, 20)]);
        }
        assert_eq!(take(&[(1, Some(12)), (2, None)]), [(1, 12)]);
        assert_eq!(take(&[(1, Some(12)), (2, Some(21))]), [(1, 12), (2, 21)]);
        assert_eq!(take(&[(1, Some(12))]), [(1, 12)]);
        assert_eq!(take(&[(1, None), (2, None)]), [(1, 12)], "who comes back has told nothing yet");
    }
}
