//! Signals: what a task waits for, or will.

use bytes::Bytes;
use serde_json::Value as Json;

use super::control::is_already;
use super::{Ending, Step};
use crate::apply::{Answer, invalid};
use crate::code::{Code, Refusal};
use crate::limits;
use crate::reply::Reply;
use crate::row;
use crate::state::State;
use crate::table::{self, tag};
use crate::workflow::{Action, EventKind, TaskRef};

impl State<'_> {
    /// The first task that waits for the signal gets it; else it is kept.
    pub(in crate::apply) fn signal(&mut self, seq: u64, name: &str, payload: Bytes) -> Answer {
        let mut workflow = self.workflow_asked(seq)?;
        if workflow.status.is_final() {
            return Err(is_already(&workflow));
        }
        if name.is_empty() || name.len() > limits::NAME_BYTES_MAX {
            return invalid(format!("a signal's name has 1 to {} bytes", limits::NAME_BYTES_MAX));
        }
        if payload.len() > limits::PAYLOAD_BYTES_MAX {
            let detail = format!("a signal has at most {} bytes", limits::PAYLOAD_BYTES_MAX);
            return Err(Refusal::new(Code::PayloadTooLarge, detail));
        }
        let waits = row::front(self.rows(), &table::named(tag::WAITS, seq, name));
        if waits.is_none() {
            if workflow.signals >= limits::WORKFLOW_SIGNALS_MAX {
                let detail = format!("{} signals are kept already that no task took", limits::WORKFLOW_SIGNALS_MAX);
                return Err(Refusal::new(Code::Conflict, detail));
            }
            if workflow.events >= limits::WORKFLOW_EVENTS_MAX {
                let detail = format!("the workflow has had {} events", limits::WORKFLOW_EVENTS_MAX);
                return Err(Refusal::new(Code::Conflict, detail));
            }
            workflow.signals = workflow.signals.saturating_add(1);
            self.put_workflow(&workflow);
            // Events grow with each signal, so the number is new.
            let key = table::of_signal(tag::SIGNAL, seq, name, workflow.events);
            self.put_text(key, &payload);
        }
        self.event(seq, EventKind::SignalReceived, None, Some(name.to_owned()));
        if let Some((key, _)) = waits {
            let at = TaskRef::whole(seq, table::last_u32(&key));
            self.deliver(at, payload);
        }
        Ok(Reply::Workflow { seq, status: workflow.status })
    }

    /// Takes a signal that was kept, or waits for one.
    pub(super) fn await_signal(&mut self, at: TaskRef, name: &str) {
        match row::front(self.rows(), &table::named(tag::SIGNAL, at.workflow, name)) {
            Some((key, payload)) => {
                self.txn.delete(&key);
                if let Some(mut workflow) = self.workflow(at.workflow) {
                    workflow.signals = workflow.signals.saturating_sub(1);
                    self.put_workflow(&workflow);
                }
                let ending = self.taken(at, payload);
                self.steps.push_back(Step::Ended(at, ending));
            }
            None => self.mark(table::of_signal(tag::WAITS, at.workflow, name, at.task)),
        }
    }

    /// Takes back what [`State::await_signal`] wrote.
    pub(super) fn await_no_signal(&mut self, at: TaskRef) {
        let Some(spec) = self.spec(at) else { return };
        let name = match &spec.action {
            Action::Signal(name) => name,
            Action::Approval => spec.id.as_str(),
            _ => return,
        };
        self.txn.delete(&table::of_signal(tag::WAITS, at.workflow, name, at.task));
    }

    fn deliver(&mut self, at: TaskRef, payload: Bytes) {
        let ending = self.taken(at, payload);
        self.await_no_signal(at);
        self.end_wait(at, ending);
    }

    /// What a signal does to the task that takes it.
    fn taken(&self, at: TaskRef, payload: Bytes) -> Ending {
        let approval = self.spec(at).is_some_and(|spec| spec.action == Action::Approval);
        if approval && is_rejection(&payload) {
            return Ending::Failed("rejected".into());
        }
        Ending::Passed(Some(payload))
    }
}

fn is_rejection(payload: &[u8]) -> bool {
    match serde_json::from_slice(payload) {
        Ok(Json::Bool(approved)) => !approved,
        Ok(Json::Object(members)) => members.get("approved") == Some(&Json::Bool(false)),
        _ => false,
    }
}
