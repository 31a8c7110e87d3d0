//! The API server of Kubernetes: the scale of a target, and how long its pods may take to end.

use std::time::Duration;

use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::{Api, Client, Config, Error};
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::ActError;
use crate::config::{Target, TargetKind};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest text of an error that is kept.
const TEXT_CHARS_MAX: usize = 500;
/// What a pod gets whose template does not say.
const GRACE_S: u64 = 30;

/// A scale as it was read.
pub(super) struct Seen {
    pub(super) replicas: u32,
    /// A change that rests on it must find it as it was.
    pub(super) version: Option<String>,
}

/// The API server that this node belongs to, or that its `KUBECONFIG` names. The pools of a node share one client.
#[derive(Default)]
pub(in crate::scaling) struct Server {
    /// Where it is, unless the surroundings say.
    url: Option<http::Uri>,
    client: Mutex<Option<Client>>,
}

impl Server {
    /// The one at this address, which asks nobody who they are.
    #[cfg(test)]
    pub(super) fn at(url: http::Uri) -> Self {
        Self { url: Some(url), ..Self::default() }
    }

    /// How many pods there are to be.
    pub(super) async fn scale(&self, target: &Target) -> Result<Seen, ActError> {
        let scale = self.ask(target, async |api| api.get_scale(&target.name).await).await?;
        let replicas = scale.spec.and_then(|spec| spec.replicas).unwrap_or(0);
        Ok(Seen { replicas: u32::try_from(replicas).unwrap_or(0), version: scale.metadata.resource_version })
    }

    /// Sets how many pods there are to be.
    pub(super) async fn set_scale(
        &self,
        target: &Target,
        replicas: u32,
        version: Option<String>,
    ) -> Result<(), ActError> {
        let patch = json!({ "metadata": { "resourceVersion": version }, "spec": { "replicas": replicas } });
        let (how, patch) = (PatchParams::default(), Patch::Merge(patch));
        self.ask(target, async |api| api.patch_scale(&target.name, &how, &patch).await).await.map(|_| ())
    }

    /// How long a pod of it may work on after it was told to end.
    pub(super) async fn grace(&self, target: &Target) -> Result<Duration, ActError> {
        let object = self.ask(target, async |api| api.get(&target.name).await).await?;
        let grace_s = object.data.pointer("/spec/template/spec/terminationGracePeriodSeconds");
        Ok(Duration::from_secs(grace_s.and_then(serde_json::Value::as_u64).unwrap_or(GRACE_S)))
    }

    async fn ask<T>(
        &self,
        target: &Target,
        what: impl AsyncFnOnce(Api<DynamicObject>) -> Result<T, Error>,
    ) -> Result<T, ActError> {
        let asked = async {
            let client = self.connected().await?;
            what(Api::namespaced_with(client, &target.namespace, &resource(target.kind))).await
        };
        let answer = match timeout(PATIENCE, asked).await {
            Err(_) => Err(ActError::Slow(format!("Kubernetes with {target}"), PATIENCE)),
            // A no is an answer.
            Ok(Err(error @ Error::Api(_))) => return Err(refused(&error)),
            Ok(answer) => answer.map_err(|error| refused(&error)),
        };
        if answer.is_err() {
            // Where it is and who this node is may have changed.
            self.client.lock().await.take();
        }
        answer
    }

    async fn connected(&self) -> Result<Client, Error> {
        let mut client = self.client.lock().await;
        if let Some(client) = &*client {
            return Ok(client.clone());
        }
        let mut config = match &self.url {
            Some(url) => Config::new(url.clone()),
            None => Config::infer().await.map_err(Error::InferConfig)?,
        };
        // The next look is the next try.
        config.default_retry = false;
        Ok(client.insert(Client::try_from(config)?).clone())
    }
}

fn resource(kind: TargetKind) -> ApiResource {
    let (kind, plural) = match kind {
        TargetKind::Deployment => ("Deployment", "deployments"),
        TargetKind::StatefulSet => ("StatefulSet", "statefulsets"),
    };
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("apps", "v1", kind), plural)
}

fn refused(error: &Error) -> ActError {
    let text = match error {
        Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    };
    ActError::Kubernetes(text.chars().take(TEXT_CHARS_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_cannot_be_reached_is_told_over_tls_too() {
        let target = Target {
            kind: TargetKind::Deployment,
            namespace: "agents".into(),
            name: "coders".into(),
            grace_ms_min: Target::GRACE_MS_MIN,
        };
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        for scheme in ["http", "https"] {
            let server = Server::at(format!("{scheme}://{free}").parse().unwrap());
            assert!(matches!(server.scale(&target).await, Err(ActError::Kubernetes(_))), "{scheme}");
        }
    }
}
