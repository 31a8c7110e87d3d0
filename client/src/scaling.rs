//! Calls on the scaling of agents.

use bravo_api::proto;

use crate::client::Repeat;
use crate::net::Link;
use crate::{Client, Error};

impl Client {
    /// Reads how all pools stand, by agent type.
    pub async fn scalings(&self) -> Result<proto::ListScalingResponse, Error> {
        let send = |link: Link, request| async move { link.scaling().list(request).await };
        self.call(proto::ListScalingRequest {}, Repeat::Always, send).await
    }

    /// Reads how one pool stands.
    pub async fn scaling(&self, agent_type: &str) -> Result<proto::ScalingState, Error> {
        let request = proto::GetScalingRequest { agent_type: agent_type.into() };
        self.call(request, Repeat::Always, |link, request| async move { link.scaling().get(request).await }).await
    }

    /// Makes a scaling policy, or replaces it.
    pub async fn put_scaling(&self, policy: proto::ScalingPolicy) -> Result<proto::ScalingState, Error> {
        let request = proto::PutScalingRequest { policy: Some(policy) };
        self.call(request, Repeat::Always, |link, request| async move { link.scaling().put(request).await }).await
    }

    /// Deletes a scaling policy.
    pub async fn delete_scaling(&self, agent_type: &str) -> Result<(), Error> {
        let request = proto::DeleteScalingRequest { agent_type: agent_type.into() };
        let send = |link: Link, request| async move { link.scaling().delete(request).await };
        self.call(request, Repeat::Unsent, send).await.map(drop)
    }

    /// Reads the arrivals that are remembered of a type of agents.
    pub async fn scaling_history(&self, agent_type: &str) -> Result<proto::ScalingHistory, Error> {
        let request = proto::GetScalingHistoryRequest { agent_type: agent_type.into() };
        let send = |link: Link, request| async move { link.scaling().get_history(request).await };
        self.call(request, Repeat::Always, send).await
    }

    /// Replaces them by those of elsewhere, which end now.
    pub async fn put_scaling_history(&self, history: proto::ScalingHistory) -> Result<(), Error> {
        let request = proto::PutScalingHistoryRequest { history: Some(history) };
        let send = |link: Link, request| async move { link.scaling().put_history(request).await };
        self.call(request, Repeat::Always, send).await.map(drop)
    }
}
