//! Agents as pods: the scale of a Deployment or a StatefulSet is written. One node of those that have the pool does it,
//! when the recommendation changes and every minute.
//!
//! Which pods go when a pool shrinks is Kubernetes' choice, so that those that work cannot be spared. What spares their
//! jobs is their own end: SIGTERM, then `terminationGracePeriodSeconds` to finish what they hold. Where that is
//! less than the pool demands, the pool grows and does not shrink.

#[cfg(test)]
mod fake;
mod server;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

pub(super) use server::Server;

use super::{ActError, Actuator};
use crate::config::Target;
use crate::transport::wire::Share;

/// The scale is compared again after this long, in case that somebody else changed it.
const AGAIN_EVERY: Duration = Duration::from_secs(60);

/// The scale of one pool.
pub(super) struct Scale {
    server: Arc<Server>,
    target: Target,
    told: Option<(u32, Instant)>,
}

impl Scale {
    pub(super) fn new(target: Target, server: Arc<Server>) -> Self {
        Self { server, target, told: None }
    }

    async fn follow(&mut self, agents: u32) -> Result<(), ActError> {
        if self.told.is_some_and(|(told, at)| told == agents && at.elapsed() < AGAIN_EVERY) {
            return Ok(());
        }
        let seen = self.server.scale(&self.target).await?;
        if agents < seen.replicas {
            let grace = self.server.grace(&self.target).await?;
            let demanded = Duration::from_millis(self.target.grace_ms_min);
            if grace < demanded {
                // No use to ask for it before somebody had time to change it.
                self.told = Some((agents, Instant::now()));
                return Err(ActError::Kubernetes(format!(
                    "{} is not shrunk to {agents}: its pods have {grace:?} to finish their jobs, and {demanded:?} is demanded (terminationGracePeriodSeconds, grace_ms_min)",
                    self.target
                )));
            }
        }
        if agents != seen.replicas {
            self.server.set_scale(&self.target, agents, seen.version).await?;
        }
        self.told = Some((agents, Instant::now()));
        Ok(())
    }
}

impl Actuator for Scale {
    fn apply<'a>(&'a mut self, share: Option<&'a Share>) -> BoxFuture<'a, Result<(), ActError>> {
        Box::pin(async move {
            match share {
                Some(share) => self.follow(share.agents).await,
                None => Ok(()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::fake::Cluster;
    use super::*;
    use crate::config::TargetKind;
    use crate::scaling::pool::smallest;
    use bravo_model::Name;
    use bravo_model::scaling::ScalingPolicy;

    const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/agents/deployments/coders";

    async fn scale(cluster: &Cluster, kind: TargetKind) -> Scale {
        let target =
            Target { kind, namespace: "agents".into(), name: "coders".into(), grace_ms_min: Target::GRACE_MS_MIN };
        Scale::new(target, Arc::new(Server::at(cluster.url())))
    }

    async fn follow(scale: &mut Scale, agents: u32) -> Result<(), ActError> {
        let policy = ScalingPolicy::of(Name::parse("name", "coder").unwrap());
        let share = Share { agents, of: smallest(policy, 0) };
        scale.apply(Some(&share)).await
    }

    #[tokio::test]
    async fn the_scale_is_read_and_written_only_where_it_differs() {
        let cluster = Cluster::start(2, 3_600).await;
        let mut scale = scale(&cluster, TargetKind::Deployment).await;
        follow(&mut scale, 2).await.unwrap();
        assert_eq!(cluster.asked(), [format!("GET {DEPLOYMENT}/scale")]);
        follow(&mut scale, 2).await.unwrap();
        assert_eq!(cluster.asked().len(), 1, "it was told a moment ago");
        follow(&mut scale, 5).await.unwrap();
        assert_eq!(cluster.replicas(), 5);
        let patch = r#"{"metadata":{"resourceVersion":"1"},"spec":{"replicas":5}}"#;
        assert_eq!(cluster.asked()[2], format!("PATCH {DEPLOYMENT}/scale application/merge-patch+json {patch}"));
    }

    #[tokio::test]
    async fn what_somebody_else_changed_is_set_right() {
        let cluster = Cluster::start(2, 3_600).await;
        let mut scale = scale(&cluster, TargetKind::StatefulSet).await;
        follow(&mut scale, 4).await.unwrap();
        cluster.set_replicas(1);
        scale.told = scale.told.map(|(agents, at)| (agents, at.checked_sub(AGAIN_EVERY).unwrap()));
        follow(&mut scale, 4).await.unwrap();
        assert_eq!(cluster.replicas(), 4);
        assert!(cluster.asked()[0].ends_with("/statefulsets/coders/scale"), "{:?}", cluster.asked());
    }

    #[tokio::test]
    async fn a_pool_shrinks_only_where_its_pods_have_time_to_finish_their_jobs() {
        let cluster = Cluster::start(5, 30).await;
        let mut scale = scale(&cluster, TargetKind::Deployment).await;
        let error = follow(&mut scale, 3).await.unwrap_err().to_string();
        assert!(error.contains("30s") && error.contains("600s"), "{error}");
        assert_eq!(cluster.replicas(), 5, "work is in flight");
        follow(&mut scale, 3).await.unwrap();
        assert_eq!(cluster.asked().len(), 2, "it is not asked again at once");
        follow(&mut scale, 6).await.unwrap();
        assert_eq!(cluster.replicas(), 6, "it grows all the same");
        cluster.set_grace_s(3_600);
        follow(&mut scale, 3).await.unwrap();
        assert_eq!(cluster.replicas(), 3);
    }

    #[tokio::test]
    async fn what_is_refused_is_told_and_asked_again() {
        let cluster = Cluster::start(2, 3_600).await;
        let mut scale = scale(&cluster, TargetKind::Deployment).await;
        cluster.refuse(true);
        let error = follow(&mut scale, 4).await.unwrap_err().to_string();
        assert!(error.contains("forbidden"), "{error}");
        cluster.refuse(false);
        follow(&mut scale, 4).await.unwrap();
        assert_eq!(cluster.replicas(), 4);
    }

    #[tokio::test]
    async fn a_change_that_came_in_between_is_not_written_over() {
        let cluster = Cluster::start(2, 3_600).await;
        let mut scale = scale(&cluster, TargetKind::Deployment).await;
        cluster.change_after_next_read(9);
        assert!(follow(&mut scale, 4).await.unwrap_err().to_string().contains("modified"));
        assert_eq!(cluster.replicas(), 9);
        follow(&mut scale, 4).await.unwrap();
        assert_eq!(cluster.replicas(), 4);
    }
}
