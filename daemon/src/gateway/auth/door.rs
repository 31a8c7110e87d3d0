//! Finds out who a request is from.
//!
//! A key is looked up in this node's replica of meta. One that is not there may have been made a moment ago:
//! then the leader is asked, a bounded number of times at once. A replica that has not heard of a leader for
//! long knows nothing of keys that were revoked since, and lets nobody in.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bravo_api::keys::KeyText;
use bravo_model::key::{ApiKey, SecretHash};
use bravo_model::{Code, Command, Envelope, Name, Refusal, Time};
use http::header::AUTHORIZATION;
use http::{Extensions, HeaderMap};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::Caller;
use crate::cluster::{Cluster, Repeat};
use crate::config;
use crate::gateway::peer::ClientCertificate;
use crate::query;
use crate::raft::clock::wall;
use crate::raft::types::META_GROUP;
use crate::telemetry::events::KeyUsesLost;
use crate::transport::wire::{Answer, Query};

/// A replica of meta that is older lets nobody in.
const STALE_MS_MAX: u64 = 10_000;
/// Keys that are asked for at the leader at a time.
const ASKS_MAX: usize = 16;
/// How long one waits for the leader.
const ASK_PATIENCE: Duration = Duration::from_secs(2);
/// A use is noted if the last one that was is older.
const USE_MS: u64 = 60_000;
/// How often uses are told.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Who a request is from, as far as a node knows.
pub(crate) enum Found<'a> {
    /// Somebody
    Caller(Caller),
    /// Whoever holds a key that may have been made a moment ago, if it was made at all
    New(NewKey<'a>),
}

/// A key that this node does not know.
pub(crate) struct NewKey<'a> {
    text: KeyText<'a>,
    id: Name,
}

/// The door of one node.
pub(crate) struct Door {
    required: bool,
    /// The key of the configuration.
    admin: Option<(Name, SecretHash)>,
    asks: Semaphore,
    /// Uses that are to be told; at most as many as one command tells.
    uses: Mutex<HashMap<Name, Time>>,
}

impl Door {
    /// As it is configured; fails if the key of the configuration cannot be read.
    pub(crate) fn new(config: &config::Auth) -> anyhow::Result<Self> {
        let admin = config.admin_key_file.as_deref().map(read_key).transpose()?;
        Ok(Self { required: config.required, admin, asks: Semaphore::new(ASKS_MAX), uses: Mutex::default() })
    }

    /// Whom these headers are from, as far as this node knows.
    pub(crate) fn look<'a>(
        &self,
        cluster: &Cluster,
        headers: &'a HeaderMap,
        extensions: &Extensions,
    ) -> Result<Found<'a>, Refusal> {
        let Some(presented) = presented(headers) else {
            if let Some(certificate) = extensions.get::<ClientCertificate>() {
                return certified(certificate, wall()).map(Found::Caller);
            }
            if self.required {
                let detail = "an API key is required (Authorization: Bearer KEY), or a client certificate";
                return Err(Refusal::new(Code::Unauthenticated, detail));
            }
            return Ok(Found::Caller(Caller::anybody()));
        };
        let text = presented.and_then(KeyText::parse).ok_or_else(unknown)?;
        let id = text.id().ok_or_else(unknown)?;
        if let Some((admin, hash)) = &self.admin
            && *admin == id
        {
            let admin = || Caller { actor: format!("key:{id}").into(), key: Some(id.clone()), ..Caller::anybody() };
            return if text.is(hash) { Ok(Found::Caller(admin())) } else { Err(unknown()) };
        }
        in_touch(cluster.silent_ms(META_GROUP))?;
        match cluster.group(META_GROUP).and_then(|meta| query::key(&meta.shared, &id)) {
            Some(key) => self.holder(cluster, &text, key).map(Found::Caller),
            None => Ok(Found::New(NewKey { text, id })),
        }
    }

    /// Whom a key is from that this node does not know: the leader is asked.
    pub(crate) async fn ask(
        &self,
        cluster: &Arc<Cluster>,
        NewKey { text, id }: &NewKey<'_>,
    ) -> Result<Caller, Refusal> {
        let Ok(_place) = self.asks.try_acquire() else {
            return Err(Refusal::retry_after(Code::Shed, "too many unknown keys are looked for", 1_000));
        };
        match cluster.read(META_GROUP, Query::Key(id.clone()), Instant::now() + ASK_PATIENCE).await? {
            Answer::Keys(found) => {
                let key = found.into_iter().next().ok_or_else(unknown)?;
                self.holder(cluster, text, key)
            }
            _ => Err(Refusal::new(Code::Internal, "a read was answered with the wrong kind")),
        }
    }

    /// Who holds this key, if that is its secret and its time is not over.
    fn holder(&self, cluster: &Cluster, text: &KeyText<'_>, key: ApiKey) -> Result<Caller, Refusal> {
        if !text.is(&key.hash) {
            return Err(unknown());
        }
        let now = cluster.now(META_GROUP);
        if key.expires_at.is_some_and(|end| end <= now) {
            return Err(Refusal::new(Code::Unauthenticated, "this API key has expired"));
        }
        self.note_use(&key, now);
        let ApiKey { id, project, roles, .. } = key;
        Ok(Caller { actor: format!("key:{id}").into(), project, roles, key: Some(id), until: None })
    }

    /// Whether what a stream or a long call was opened with still holds, as this node knows: they outlive the check at
    /// their start.
    pub(crate) fn holds(&self, cluster: &Cluster, caller: &Caller) -> Result<(), Refusal> {
        in_time(caller.until, wall())?;
        let Some(id) = caller.key.as_ref().filter(|id| self.admin.as_ref().is_none_or(|(admin, _)| admin != *id))
        else {
            return Ok(());
        };
        in_touch(cluster.silent_ms(META_GROUP))?;
        let now = cluster.now(META_GROUP);
        let key = cluster.group(META_GROUP).and_then(|meta| query::key(&meta.shared, id));
        match key.filter(|key| key.expires_at.is_none_or(|end| end > now)) {
            Some(_) => Ok(()),
            None => Err(Refusal::new(Code::Unauthenticated, "this API key does not hold any more")),
        }
    }

    fn note_use(&self, key: &ApiKey, now: Time) {
        if key.used_at.is_some_and(|last| now.saturating_sub(last) < USE_MS) {
            return;
        }
        let mut uses = self.uses.lock();
        if uses.len() < bravo_model::limits::KEY_USES_MAX || uses.contains_key(&key.id) {
            uses.insert(key.id.clone(), now);
        }
    }

    /// Tells the cluster when keys were used last, until `leave` is over.
    pub(crate) async fn tell_uses(&self, cluster: &Arc<Cluster>, leave: impl Future<Output = ()>) {
        tokio::pin!(leave);
        loop {
            tokio::select! {
                () = tokio::time::sleep(TELL_EVERY) => {}
                () = &mut leave => return,
            }
            let uses: Vec<(Name, Time)> = self.uses.lock().drain().collect();
            if uses.is_empty() {
                continue;
            }
            let envelope = Envelope::plain(Command::UseKeys(uses));
            let told = cluster.propose(META_GROUP, &envelope, Repeat::Safe, Instant::now() + ASK_PATIENCE).await;
            if let Err(refusal) = told {
                KeyUsesLost { detail: &refusal.detail }.emit();
            }
        }
    }
}

/// Whom a certificate names, which the client CA signed: a connection may outlive it.
fn certified(certificate: &ClientCertificate, now: Time) -> Result<Caller, Refusal> {
    let ClientCertificate { project, roles, name, until } = certificate.clone();
    in_time(Some(until), now)?;
    Ok(Caller { actor: format!("cert:{name}").into(), project, roles, key: None, until: Some(until) })
}

/// Refuses what a certificate was for until before now.
fn in_time(until: Option<Time>, now: Time) -> Result<(), Refusal> {
    match until {
        Some(until) if until < now => Err(Refusal::new(Code::Unauthenticated, "this client certificate has expired")),
        _ => Ok(()),
    }
}

/// Refuses to say which keys hold after a silence in which some may have been revoked.
fn in_touch(silent_ms: u64) -> Result<(), Refusal> {
    if silent_ms <= STALE_MS_MAX {
        return Ok(());
    }
    let detail = "this node has not heard of the cluster for too long to know which keys hold";
    Err(Refusal::retry_after(Code::NoLeader, detail, 1_000))
}

/// The key that came with a request; `Some(None)`: something came that is none.
fn presented(headers: &HeaderMap) -> Option<Option<&str>> {
    if let Some(value) = headers.get(AUTHORIZATION) {
        let token = value.to_str().ok().and_then(|text| {
            let (scheme, token) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        return Some(token);
    }
    headers.get("x-api-key").map(|value| value.to_str().ok().map(str::trim))
}

/// The same for a key that is not there, and for a wrong secret of one that is.
fn unknown() -> Refusal {
    Refusal::new(Code::Unauthenticated, "this API key is not known")
}

fn read_key(path: &Path) -> anyhow::Result<(Name, SecretHash)> {
    let text = std::fs::read_to_string(path).with_context(|| format!("auth.admin_key_file: {}", path.display()))?;
    let whole = KeyText::parse(text.trim()).and_then(|text| Some((text.id()?, text.hash())));
    whole.with_context(|| format!("auth.admin_key_file: {} has no key: bravo_<id>_<secret>", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        headers
    }

    #[test]
    fn a_certificate_holds_until_it_expires_and_not_for_as_long_as_its_connection() {
        let certificate =
            ClientCertificate { project: None, roles: bravo_model::key::Roles::ADMIN, name: "ci".into(), until: 5_000 };
        let caller = certified(&certificate, 5_000).unwrap();
        assert_eq!((&*caller.actor, caller.until), ("cert:ci", Some(5_000)));
        assert_eq!(certified(&certificate, 5_001).unwrap_err().code, Code::Unauthenticated);
        assert_eq!(in_time(caller.until, 5_001).unwrap_err().code, Code::Unauthenticated, "a stream ends too");
        assert!(in_time(None, u64::MAX).is_ok(), "what comes with a key ends when the key does");
    }

    #[test]
    fn a_node_that_is_out_of_touch_does_not_say_which_keys_hold() {
        assert!(in_touch(STALE_MS_MAX).is_ok());
        assert_eq!(in_touch(STALE_MS_MAX + 1).unwrap_err().code, Code::NoLeader);
    }

    #[test]
    fn a_key_comes_in_either_header() {
        assert_eq!(presented(&of("authorization", "Bearer k")), Some(Some("k")));
        assert_eq!(presented(&of("authorization", "bearer  k ")), Some(Some("k")));
        assert_eq!(presented(&of("x-api-key", "k")), Some(Some("k")));
        assert_eq!(presented(&HeaderMap::new()), None);
        assert_eq!(presented(&of("authorization", "Basic abc")), Some(None), "something that is no key is wrong");
    }
}
