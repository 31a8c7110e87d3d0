//! Applies one log entry: each command in order, each whole or not at all.
//!
//! A command first checks everything and then writes, so that a refusal leaves no trace. One file
//! per command holds its rule and its tests; what several share lives beside (`transition`,
//! `finish`, `fair`, `bucket`, `unique`, `idempotency`).

mod ack;
mod artifacts;
mod audit;
mod cancel;
mod cluster;
mod definitions;
mod enqueue;
mod extend;
mod keys;
mod lease;
mod lifecycle;
mod nack;
mod purge;
mod queue;
mod quotas;
mod retry;
mod scaling;
mod schedules;
mod templates;
mod tick;
mod webhooks;
pub(crate) mod workflow;

pub(crate) use webhooks::Hooks;

use crate::code::{Code, Refusal};
use crate::command::{Command, Entry, Envelope};
use crate::happened::Happened;
use crate::id::Name;
use crate::job::{Job, JobState};
use crate::reply::{Effect, ItemResult, Outcome, Reply};
use crate::state::State;
use crate::txn::Txn;

/// Applies an entry to the tables of `partition` (`u16::MAX` for the meta group): the only way that
/// state changes. One outcome per command, in order.
pub fn apply(txn: &mut impl Txn, partition: u16, entry: &Entry) -> Vec<Outcome> {
    let mut state = State::open(txn, partition, entry.at);
    let outcomes = entry.commands.iter().map(|bytes| state.apply(bytes)).collect();
    state.close();
    outcomes
}

/// The same, and what happened to jobs and workflows, for those who watch.
pub fn apply_watched(txn: &mut impl Txn, partition: u16, entry: &Entry) -> (Vec<Outcome>, Vec<Happened>) {
    let mut state = State::open(txn, partition, entry.at);
    state.happened = Some(Vec::new());
    let outcomes = entry.commands.iter().map(|bytes| state.apply(bytes)).collect();
    let happened = state.happened.take().unwrap_or_default();
    state.close();
    (outcomes, happened)
}

type Answer = Result<Reply, Refusal>;

impl State<'_> {
    fn apply(&mut self, bytes: &[u8]) -> Outcome {
        let envelope = match Envelope::decode(bytes) {
            Ok(envelope) => envelope,
            Err(refusal) => return Outcome { reply: Reply::Refused(refusal), effects: Vec::new() },
        };
        if let Some(idempotency) = &envelope.idempotency
            && let Some(reply) = self.recall(idempotency)
        {
            return Outcome { reply, effects: Vec::new() };
        }
        let mut effects = Vec::new();
        self.scope = envelope.scope;
        let reply = self.run(envelope.command, &mut effects).unwrap_or_else(Reply::Refused);
        self.scope = None;
        let reply = self.settle(reply);
        self.make_deliveries();
        if let Some(idempotency) = &envelope.idempotency {
            self.keep(idempotency, &reply);
        }
        effects.extend(self.effects());
        Outcome { reply, effects }
    }

    fn run(&mut self, command: Command, effects: &mut Vec<Effect>) -> Answer {
        match command {
            Command::Enqueue(jobs) => self.enqueue(jobs),
            Command::Lease(lease) => self.lease(&lease),
            Command::Ack(acks) => self.ack(acks),
            Command::Nack(nacks) => self.nack(nacks),
            Command::Extend(extends) => self.extend(extends),
            Command::Cancel(seq) => self.cancel(seq),
            Command::Retry(seq) => self.retry(seq),
            Command::SetQueue(definition) => self.set_queue(definition),
            Command::ForgetQueue { name, version } => self.forget_queue(&name, version),
            Command::Purge(name) => Ok(self.purge(&name)),
            Command::Redrive(name) => Ok(self.redrive(&name)),
            Command::Tick => Ok(self.tick()),
            Command::Reserve | Command::Marker(_) => Ok(Reply::Done),
            Command::PutQueue { name, config } => self.put_queue(name, config, effects),
            Command::SwitchQueue { name, paused, draining } => self.switch_queue(name, paused, draining, effects),
            Command::DeleteQueue(name) => self.delete_queue(&name, effects),
            Command::PutNode(node) => Ok(self.put_node(&node)),
            Command::DeleteNode(id) => self.delete_node(id),
            Command::FormCluster { name, partitions } => self.form_cluster(name, partitions),
            Command::PutTemplate(put) => self.put_template(put),
            Command::DeleteTemplate { name, expected } => self.delete_template(&name, &expected),
            Command::PutSchedule(new) => self.put_schedule(*new),
            Command::PauseSchedule { name, paused } => self.pause_schedule(&name, paused),
            Command::DeleteSchedule(name) => self.delete_schedule(&name),
            Command::PutArtifact(put) => self.put_artifact(*put),
            Command::DeleteArtifact { project, path, expected } => self.delete_artifact(&project, &path, &expected),
            Command::PutLifecycle { project, rules } => self.put_lifecycle(project, rules, effects),
            Command::DeleteLifecycle(project) => self.delete_lifecycle(&project, effects),
            Command::SetLifecycle(new) => self.set_lifecycle(new),
            Command::MoveVersion { id, to } => self.move_version(&id, to),
            Command::PutWebhook(put) => self.put_webhook(*put, effects),
            Command::DisableWebhook { project, name, version } => {
                self.disable_webhook(&project, &name, version, effects)
            }
            Command::DeleteWebhook { project, name } => self.delete_webhook(&project, &name, effects),
            Command::SetWebhook(subscription) => Ok(self.set_webhook(*subscription)),
            Command::ForgetWebhook { project, name, version } => Ok(self.forget_webhook(&project, &name, version)),
            Command::StartWorkflow(new) => self.start_workflow(*new),
            Command::CancelWorkflow(seq) => self.cancel_workflow(seq),
            Command::PauseWorkflow { seq, paused } => self.pause_workflow(seq, paused),
            Command::RetryWorkflow(seq) => self.retry_workflow(seq),
            Command::Signal { seq, name, payload } => self.signal(seq, &name, payload),
            Command::AddTasks(add) => self.add_tasks(*add),
            Command::MakeKey(new) => self.make_key(*new),
            Command::RevokeKey(id) => self.revoke_key(&id),
            Command::UseKeys(uses) => self.use_keys(uses),
            Command::AppendAudit(entries) => self.append_audit(entries),
            Command::PutQuota(quota) => self.put_quota(*quota),
            Command::DeleteQuota(project) => self.delete_quota(&project),
            Command::PutScaling(policy) => self.put_scaling(&policy),
            Command::DeleteScaling(agent_type) => self.delete_scaling(&agent_type),
            Command::SaveScaling { agent_type, bytes } => self.save_scaling(agent_type, bytes),
        }
    }

    /// The job that a caller names, if it is there for that caller.
    fn job_asked(&self, seq: u64) -> Option<Job> {
        self.job(seq).filter(|job| self.may_touch(&job.project))
    }

    /// Whether the caller may know of what belongs to this project.
    pub(crate) fn may_touch(&self, project: &Name) -> bool {
        self.scope.as_ref().is_none_or(|scope| scope == project)
    }

    /// The same of what may belong to all projects at once.
    fn may_touch_all_of(&self, project: Option<&Name>) -> bool {
        self.scope.as_ref().is_none_or(|scope| Some(scope) == project)
    }

    /// The job that this token leases now; a lease is over when its end is reached, whether or not
    /// a tick has seen it.
    fn leased(&mut self, seq: u64, token: u64) -> Result<Job, Code> {
        let job = self.job_asked(seq).ok_or(Code::NotFound)?;
        let held = job.state == JobState::Leased && job.lease_token == token;
        let running = job.lease_expires_at.is_some_and(|end| end > self.now());
        if held && running { Ok(job) } else { Err(Code::LeaseLost) }
    }
}

/// Answers each item for itself.
fn each<T>(items: Vec<T>, mut answer: impl FnMut(T) -> Result<ItemResult, Code>) -> Answer {
    if items.len() > crate::limits::ACK_ITEMS_MAX {
        let detail = format!("at most {} items a call, these are {}", crate::limits::ACK_ITEMS_MAX, items.len());
        return Err(Refusal::new(Code::InvalidArgument, detail));
    }
    let refused = |code| ItemResult { code: Some(code), ..ItemResult::default() };
    Ok(Reply::Items(items.into_iter().map(|item| answer(item).unwrap_or_else(refused)).collect()))
}

fn invalid<T>(detail: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::new(Code::InvalidArgument, detail))
}
