//! Webhooks: put, look at, delete. What is written is known to every partition when it is answered.

use std::sync::Arc;

use bravo_api::convert::reads::Freshness;
use bravo_api::convert::webhooks as convert;
use bravo_api::proto;
use bravo_model::webhook::Webhook;
use bravo_model::{Code, Command, Name, Refusal, Reply};
use bytes::Bytes;
use futures_util::future::try_join_all;

use super::reads::{Kind, or_stale, read as read_group, read_shared, wrong_answer};
use super::wrong_reply;
use crate::cluster::Repeat;
use crate::gateway::app::App;
use crate::gateway::call::{Call, hash};
use crate::keeper;
use crate::raft::types::META_GROUP;
use crate::transport::wire::{Answer, Query};
use crate::webhooks::check_url;

/// Bytes of a secret that is made up here.
const SECRET_BYTES: usize = 32;

/// Makes a webhook, or replaces it. Its secret is told if this made it.
pub(crate) async fn put(
    app: &Arc<App>,
    call: &Call,
    request: proto::PutWebhookRequest,
    digest: [u8; 16],
) -> Result<proto::PutWebhookResponse, Refusal> {
    check_url(&request.url, app.allow_private)?;
    let made_up: [u8; SECRET_BYTES] = rand::random();
    let put = convert::put(request, Bytes::copy_from_slice(&made_up))?;
    let (project, name) = (put.project.clone(), put.name.clone());
    call.caller.may_write(&project)?;
    call.names(format_args!("{project}/{name}"));
    // The digest is of what was asked: what is made up here is another each time.
    let idempotency = Some(call.remembered(project.as_str(), digest));
    let envelope = call.envelope(idempotency, Command::PutWebhook(Box::new(put)));
    let created = match app.cluster.propose(META_GROUP, &envelope, Repeat::Safe, call.deadline).await? {
        Reply::WebhookPut { created, .. } => created,
        other => return Err(wrong_reply(&other)),
    };
    let there = found(app, call, &project, &name, Freshness::Linearizable).await?;
    push(app, call, &there).await?;
    let secret = if created { convert::shown(&there.secret) } else { String::new() };
    let webhook = proto::Webhook { secret, ..convert::webhook(there) };
    Ok(proto::PutWebhookResponse { webhook: Some(webhook), created })
}

/// One webhook.
pub(crate) async fn read(
    app: &Arc<App>,
    call: &Call,
    project: &Name,
    name: &Name,
    freshness: Freshness,
) -> Result<proto::Webhook, Refusal> {
    found(app, call, project, name, freshness).await.map(convert::webhook)
}

/// A project's webhooks, by name.
pub(crate) async fn list(
    app: &Arc<App>,
    call: &Call,
    project: &Name,
    freshness: Freshness,
) -> Result<proto::ListWebhooksResponse, Refusal> {
    if !call.caller.sees(project) {
        return Ok(proto::ListWebhooksResponse { webhooks: Vec::new(), as_of_ms: app.cluster.now(META_GROUP) });
    }
    let freshness = or_stale(freshness);
    let query = Query::Webhooks(project.clone());
    match read_shared(app, call, Kind::Analytics, META_GROUP, query, freshness).await? {
        (Answer::Webhooks(found), as_of_ms) => {
            let webhooks = found.into_iter().map(convert::webhook).collect();
            Ok(proto::ListWebhooksResponse { webhooks, as_of_ms })
        }
        _ => Err(wrong_answer()),
    }
}

/// Deletes a webhook; deliveries that wait are dropped when their turn comes.
pub(crate) async fn delete(app: &Arc<App>, call: &Call, project: &Name, name: &Name) -> Result<(), Refusal> {
    call.names(format_args!("{project}/{name}"));
    if !call.caller.sees(project) {
        // In the words of the model.
        return Err(Refusal::new(Code::NotFound, format!("there is no webhook {name}")));
    }
    let idempotency =
        Some(call.remembered(project.as_str(), hash(&[project.as_str(), name.as_str()].map(str::as_bytes))));
    let command = Command::DeleteWebhook { project: project.clone(), name: name.clone() };
    let envelope = call.envelope(idempotency, command);
    let version = match app.cluster.propose(META_GROUP, &envelope, Repeat::Safe, call.deadline).await? {
        Reply::Version(version) => version,
        other => return Err(wrong_reply(&other)),
    };
    let forgets = (0..app.cluster.partitions())
        .map(|partition| keeper::forget_webhook(&app.cluster, partition, project, name, version, call.deadline));
    try_join_all(forgets).await.map(drop)
}

async fn push(app: &Arc<App>, call: &Call, webhook: &Webhook) -> Result<(), Refusal> {
    let pushes = (0..app.cluster.partitions())
        .map(|partition| keeper::push_webhook(&app.cluster, partition, webhook.subscription(), call.deadline));
    try_join_all(pushes).await.map(drop)
}

async fn found(
    app: &Arc<App>,
    call: &Call,
    project: &Name,
    name: &Name,
    freshness: Freshness,
) -> Result<Webhook, Refusal> {
    let query = Query::Webhook(project.clone(), name.clone());
    let none = || no_webhook(project, name);
    if !call.caller.sees(project) {
        return Err(none());
    }
    match read_group(app, call, META_GROUP, query, freshness).await? {
        Answer::Webhooks(found) => found.into_iter().next().ok_or_else(none),
        _ => Err(wrong_answer()),
    }
}

fn no_webhook(project: &Name, name: &Name) -> Refusal {
    Refusal::new(Code::NotFound, format!("project {project} has no webhook {name}"))
}
