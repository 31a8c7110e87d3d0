//! The members as one node knows them, and who ceases to be one.

use std::collections::BTreeMap;

use tokio::sync::watch;

use crate::raft::types::{Member, NodeId};

/// The members that the meta group has; none yet at a node that joins.
pub(crate) struct Members(watch::Sender<BTreeMap<NodeId, Member>>);

impl Members {
    pub(crate) fn new(members: BTreeMap<NodeId, Member>) -> Self {
        Self(watch::Sender::new(members))
    }

    /// All of them.
    pub(crate) fn all(&self) -> BTreeMap<NodeId, Member> {
        self.0.borrow().clone()
    }

    /// How many they are.
    pub(crate) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Takes over those that there are now.
    pub(crate) fn set(&self, members: BTreeMap<NodeId, Member>) {
        self.0.send_replace(members);
    }

    /// Where peers reach a node.
    pub(crate) fn address(&self, node: NodeId) -> Option<String> {
        self.0.borrow().get(&node).map(|member| member.peer.clone())
    }

    /// Whether a node is a member. A node that joins knows nobody yet and believes the certificates.
    pub(crate) fn knows(&self, node: NodeId) -> bool {
        knows(&self.0.borrow(), node)
    }

    /// Ready when a node is known no more that was. One that never was is not: it may be about to join.
    pub(crate) async fn removed(&self, node: NodeId) {
        let mut seen = self.0.subscribe();
        // Neither fails: what is looked at is held here.
        let _ = seen.wait_for(|members| knows(members, node)).await;
        let _ = seen.wait_for(|members| !knows(members, node)).await;
    }
}

fn knows(members: &BTreeMap<NodeId, Member>, node: NodeId) -> bool {
    members.is_empty() || members.contains_key(&node)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn of(nodes: &[NodeId]) -> BTreeMap<NodeId, Member> {
        nodes.iter().map(|node| (*node, Member::default())).collect()
    }

    #[test]
    fn a_node_that_knows_nobody_believes_all_and_then_members_alone() {
        let members = Members::new(BTreeMap::new());
        assert!(members.knows(1) && members.knows(9));
        members.set(of(&[1, 2]));
        assert!(members.knows(1) && !members.knows(9));
        assert_eq!((members.all().len(), members.len()), (2, 2));
        assert!(members.address(2).is_some() && members.address(9).is_none());
    }

    #[test]
    fn a_member_is_removed_once_and_one_who_is_about_to_join_is_not() {
        let members = Members::new(of(&[1, 2]));
        let (mut second, mut third) = (Box::pin(members.removed(2)), Box::pin(members.removed(3)));
        members.set(of(&[1, 2, 3]));
        assert!(second.as_mut().now_or_never().is_none() && third.as_mut().now_or_never().is_none());
        members.set(of(&[1, 3]));
        assert!(second.as_mut().now_or_never().is_some(), "it was a member");
        assert!(third.as_mut().now_or_never().is_none(), "it has joined");
        members.set(of(&[1]));
        assert!(third.as_mut().now_or_never().is_some());
    }
}
