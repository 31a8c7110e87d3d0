//! Lifecycle rules: put, look at, delete. The meta group keeps them; the keeper brings them to the partitions.

use std::sync::Arc;

use bravo_api::convert::reads::Freshness;
use bravo_model::lifecycle::{Lifecycle, Rule};
use bravo_model::{Code, Command, Envelope, Name, Refusal, Reply};

use super::reads::{read as read_group, wrong_answer};
use super::wrong_reply;
use crate::cluster::Repeat;
use crate::gateway::app::App;
use crate::gateway::call::{Call, hash};
use crate::raft::types::META_GROUP;
use crate::transport::wire::{Answer, Query};

/// Makes or replaces a project's rules.
pub(crate) async fn put(app: &Arc<App>, call: &Call, project: Name, rules: Vec<Rule>) -> Result<Lifecycle, Refusal> {
    call.caller.may_write(&project)?;
    call.names(&project);
    let command = Command::PutLifecycle { project: project.clone(), rules: rules.clone() };
    match propose(app, call, command).await? {
        Reply::Version(version) => Ok(Lifecycle { project, version, rules }),
        other => Err(wrong_reply(&other)),
    }
}

/// A project's rules.
pub(crate) async fn read(
    app: &Arc<App>,
    call: &Call,
    project: &Name,
    freshness: Freshness,
) -> Result<Lifecycle, Refusal> {
    if !call.caller.sees(project) {
        return Err(no_rules(project));
    }
    match read_group(app, call, META_GROUP, Query::Lifecycle(project.clone()), freshness).await? {
        Answer::Lifecycles(found) => found.into_iter().next().ok_or_else(|| no_rules(project)),
        _ => Err(wrong_answer()),
    }
}

fn no_rules(project: &Name) -> Refusal {
    Refusal::new(Code::NotFound, format!("project {project} has no lifecycle rules"))
}

/// Deletes a project's rules; what was moved stays where it is.
pub(crate) async fn delete(app: &Arc<App>, call: &Call, project: Name) -> Result<(), Refusal> {
    call.names(&project);
    if !call.caller.sees(&project) {
        return Err(no_rules(&project));
    }
    match propose(app, call, Command::DeleteLifecycle(project)).await? {
        Reply::Version(_) => Ok(()),
        other => Err(wrong_reply(&other)),
    }
}

async fn propose(app: &Arc<App>, call: &Call, command: Command) -> Result<Reply, Refusal> {
    let body = hash(&[&Envelope::plain(command.clone()).encode()]);
    let envelope = call.envelope(Some(call.remembered("", body)), command);
    app.cluster.propose(META_GROUP, &envelope, Repeat::Safe, call.deadline).await
}
