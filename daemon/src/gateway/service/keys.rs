//! API keys: make, list, revoke.

use std::sync::Arc;

use bravo_api::Timestamp;
use bravo_api::json::{KeyAnswer, KeyBody, KeyListAnswer, ListKeysQuery, MadeKeyAnswer};
use bravo_api::keys::{KeyText, generate};
use bravo_model::key::{ApiKey, NewKey, Roles};
use bravo_model::{Code, Command, Name, Refusal, Reply, limits};

use super::reads::wrong_answer;
use super::spread::{spread, spread_surely};
use super::wrong_reply;
use crate::cluster::Repeat;
use crate::gateway::app::App;
use crate::gateway::call::{Call, hash};
use crate::raft::types::META_GROUP;
use crate::transport::wire::{Answer, Query};

/// Keys of a page unless the caller says otherwise.
const PAGE: usize = 100;

/// Makes a key and tells its secret, this once.
pub(crate) async fn make(
    app: &Arc<App>,
    call: &Call,
    body: KeyBody,
    digest: [u8; 16],
) -> Result<MadeKeyAnswer, Refusal> {
    let mut project_id = body.project_id.unwrap_or_default();
    call.caller.fill(&mut project_id);
    let named = (!project_id.is_empty()).then(|| Name::parse("project_id", &project_id)).transpose()?;
    if let Some(project) = &named {
        call.caller.may_write(project)?;
    }
    let text = generate();
    let internal = || Refusal::new(Code::Internal, "a key was made that is none");
    let new_text = KeyText::parse(&text).ok_or_else(internal)?;
    let new = NewKey {
        id: new_text.id().ok_or_else(internal)?,
        name: body.name,
        project: named,
        roles: Roles::parse(body.roles.iter().map(String::as_str))?,
        hash: new_text.hash(),
        created_by: call.caller.actor.to_string(),
        expires_at: body.expires_at.map(|time| time.0),
    };
    let own = new.id.clone();
    let idempotency = Some(call.remembered("", digest));
    let envelope = call.envelope(idempotency, Command::MakeKey(Box::new(new)));
    let id = match app.cluster.propose(META_GROUP, &envelope, Repeat::Safe, call.deadline).await? {
        Reply::KeyMade { id, .. } => id,
        other => return Err(wrong_reply(&other)),
    };
    call.names(&id);
    spread(app, Query::Key(id.clone()), |answer| matches!(answer, Answer::Keys(found) if !found.is_empty())).await;
    let key = find(app, call, &id).await?.ok_or_else(|| no_key(id.as_str()))?;
    // A repetition finds the key of the first call, whose secret nobody has any more.
    let told = (id == own).then_some(text);
    Ok(MadeKeyAnswer { of: key.into(), key: told.clone(), secret: told })
}

/// A page of the keys that the caller may see, the oldest first.
pub(crate) async fn list(app: &Arc<App>, call: &Call, query: ListKeysQuery) -> Result<KeyListAnswer, Refusal> {
    let limit = query.limit.map_or(Ok(PAGE), page_size)?;
    let mut project = query.project_id.map(|project| Name::parse("project_id", &project)).transpose()?;
    let sees_any = call.caller.narrow(&mut project);
    let as_of = Timestamp(app.cluster.now(META_GROUP));
    let Answer::Keys(all) = app.cluster.read(META_GROUP, Query::Keys, call.deadline).await? else {
        return Err(wrong_answer());
    };
    let of_project = |key: &ApiKey| project.is_none() || key.project == project;
    let all = all.into_iter().filter(|key| sees_any && of_project(key));
    let mut rest: Box<dyn Iterator<Item = ApiKey> + Send> = Box::new(all);
    if let Some(cursor) = query.cursor {
        let place = cursor.split_once('-').and_then(|(at, id)| Some((at.parse::<u64>().ok()?, id.to_owned())));
        let (at, id) = place.ok_or_else(|| Refusal::new(Code::InvalidArgument, "cursor: not one of this list"))?;
        rest = Box::new(rest.skip_while(move |key| (key.created_at, key.id.as_str()) <= (at, id.as_str())));
    }
    let keys: Vec<ApiKey> = rest.by_ref().take(limit).collect();
    let last = keys.last().map(|key| format!("{}-{}", key.created_at, key.id));
    let next_cursor = last.filter(|_| rest.next().is_some());
    Ok(KeyListAnswer { keys: keys.into_iter().map(KeyAnswer::from).collect(), next_cursor, as_of })
}

/// Revokes a key: when this is answered, no node that could be reached and answered within two seconds takes it any more,
/// and the others will not for longer than they may be out of touch with the cluster.
pub(crate) async fn revoke(app: &Arc<App>, call: &Call, id: &str) -> Result<(), Refusal> {
    let id = Name::parse("id", id).map_err(|_| no_key(id))?;
    call.names(&id);
    let idempotency = Some(call.remembered("", hash(&[id.as_str().as_bytes()])));
    let envelope = call.envelope(idempotency, Command::RevokeKey(id.clone()));
    match app.cluster.propose(META_GROUP, &envelope, Repeat::Safe, call.deadline).await? {
        Reply::Done => {}
        other => return Err(wrong_reply(&other)),
    }
    spread_surely(app, Query::Key(id), |answer| matches!(answer, Answer::Keys(found) if found.is_empty())).await;
    Ok(())
}

async fn find(app: &Arc<App>, call: &Call, id: &Name) -> Result<Option<ApiKey>, Refusal> {
    match app.cluster.read(META_GROUP, Query::Key(id.clone()), call.deadline).await? {
        Answer::Keys(found) => Ok(found.into_iter().next()),
        _ => Err(wrong_answer()),
    }
}

/// How many entries a page of a list has.
pub(super) fn page_size(limit: u64) -> Result<usize, Refusal> {
    let size = usize::try_from(limit).ok().filter(|size| (1..=limits::LIST_PAGE_MAX).contains(size));
    size.ok_or_else(|| Refusal::new(Code::InvalidArgument, format!("limit: 1 to {}", limits::LIST_PAGE_MAX)))
}

fn no_key(id: &str) -> Refusal {
    Refusal::new(Code::NotFound, format!("there is no key {id}"))
}
