//! Unary calls on the cluster.

use bravo_api::json::Group;
use bravo_api::proto;

use crate::client::Repeat;
use crate::{Client, Error};

impl Client {
    /// The cluster as the node that answers knows it.
    pub async fn cluster(&self) -> Result<proto::ClusterView, Error> {
        let request = proto::GetClusterRequest {};
        self.call(request, Repeat::Always, |link, request| async move { link.cluster().get(request).await }).await
    }

    /// Digests of the replicas' states, each group's at one applied index.
    pub async fn digest(&self, at: Option<u64>) -> Result<proto::DigestResponse, Error> {
        let request = proto::DigestRequest { at };
        self.call(request, Repeat::Always, |link, request| async move { link.cluster().digest(request).await }).await
    }

    /// Adds a node: learner, then voter.
    pub async fn add_member(&self, id: u64, peer: &str, public: &str) -> Result<proto::Node, Error> {
        let request = proto::AddMemberRequest { id, peer: peer.into(), public: public.into() };
        let send = |link: crate::net::Link, request| async move { link.cluster().add_member(request).await };
        self.call(request, Repeat::Unsent, send).await
    }

    /// Removes a node.
    pub async fn remove_member(&self, id: u64) -> Result<(), Error> {
        let request = proto::RemoveMemberRequest { id };
        let send = |link: crate::net::Link, request| async move { link.cluster().remove_member(request).await };
        self.call(request, Repeat::Unsent, send).await.map(drop)
    }

    /// Moves the leadership of a group to another node.
    pub async fn transfer(&self, group: Group, to: u64) -> Result<(), Error> {
        let request = proto::TransferRequest { group: Some(group.into()), to };
        let send = |link: crate::net::Link, request| async move { link.cluster().transfer(request).await };
        self.call(request, Repeat::Unsent, send).await.map(drop)
    }
}
