//! The past of a type of agents, told to whoever asks meta's leader and taken from whoever has one from elsewhere.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bravo_model::{Code, Command, Envelope, Name, Refusal, Reply, limits};
use bravo_scaling::{Past, Settings, State};

use super::look::Totals;
use super::memory;
use crate::cluster::{Cluster, Repeat, wrong_answer};
use crate::raft::types::META_GROUP;
use crate::transport::wire::{PastSeen, Request, Response};

/// Longest wait for a look at the load to end, and for a past to be kept.
const PATIENCE: Duration = Duration::from_secs(10);

// What may be put is what is remembered.
const _: () = assert!(limits::SCALING_TICKS_MAX == bravo_scaling::TICKS_MAX);
const _: () = assert!(limits::SCALING_ROLLUPS_MAX == bravo_scaling::ROLLUPS_MAX);

impl Cluster {
    /// The past of a type, as meta's leader knows it; none if nothing is remembered.
    pub(crate) async fn past(self: &Arc<Self>, of: &Name, deadline: Instant) -> Result<Option<PastSeen>, Refusal> {
        let request = || Request::Past(of.clone());
        match self.at_leader(META_GROUP, deadline, Repeat::Safe, request).await? {
            Response::Past(past) => Ok(past.map(|past| *past)),
            other => Err(wrong_answer(&other)),
        }
    }

    /// Has meta's leader take a past in place of what it knows.
    pub(crate) async fn learn_past(
        self: &Arc<Self>,
        of: &Name,
        past: &PastSeen,
        deadline: Instant,
    ) -> Result<(), Refusal> {
        let request = || Request::LearnPast(of.clone(), Box::new(past.clone()));
        match self.at_leader(META_GROUP, deadline, Repeat::Safe, request).await? {
            Response::Done => Ok(()),
            other => Err(wrong_answer(&other)),
        }
    }

    /// Tells a past, if this node leads meta: as it is now, or as it was kept when nobody looks at the type.
    pub(crate) async fn serve_past(self: &Arc<Self>, of: &Name) -> Response {
        if let Some(other) = self.not_leading() {
            return other;
        }
        let Ok(brain) = tokio::time::timeout(PATIENCE, self.scaling.brain.lock()).await else { return busy() };
        let tick = self.scaling.tick();
        let known = match brain.as_ref().and_then(|brain| brain.state(of)) {
            Some(state) => Some(state.past(tick.as_secs_f64())),
            None => self.remembered(of).map(|(state, _)| state.past(tick.as_secs_f64())),
        };
        let ms = |seconds: Option<f64>| seconds.map(|seconds| (seconds * 1000.0).round() as u64);
        Response::Past(known.map(|past| {
            Box::new(PastSeen {
                tick_ms: self.scaling.tick_ms(),
                at: self.now(META_GROUP),
                older: past.older,
                ticks: past.ticks,
                service_ms: ms(past.service_s),
                boot_ms: ms(past.boot_s),
            })
        }))
    }

    /// Takes a past, if this node leads meta: it is kept, and the next look goes on with it.
    pub(crate) async fn serve_learn_past(self: &Arc<Self>, of: Name, past: PastSeen) -> Response {
        if let Some(other) = self.not_leading() {
            return other;
        }
        let tick = self.scaling.tick();
        if past.tick_ms != self.scaling.tick_ms() {
            let detail = format!("tick_ms: this cluster looks at its load every {} ms", self.scaling.tick_ms());
            return Response::Refused(Refusal::new(Code::InvalidArgument, detail));
        }
        // Nobody keeps what was learned of the old past after this, and nobody looks while it is replaced.
        let Ok(mut brain) = tokio::time::timeout(PATIENCE, self.scaling.brain.lock()).await else { return busy() };
        let totals = match brain.as_ref().and_then(|brain| brain.totals(&of)) {
            Some(totals) => totals,
            // Of a past from elsewhere nobody knows how it lies to what the queues count: nothing has gone through since.
            None => self.remembered(&of).map(|(_, totals)| totals).unwrap_or_default(),
        };
        let seconds = |ms: Option<u64>| ms.map(|ms| ms as f64 / 1000.0);
        let past = Past {
            tick_s: tick.as_secs_f64(),
            older: past.older,
            ticks: past.ticks,
            service_s: seconds(past.service_ms),
            boot_s: seconds(past.boot_ms),
        };
        let tick_ms = self.scaling.tick_ms();
        let pack = move || memory::pack(tick_ms, &State::of_past(&Settings::default(), &past), &totals);
        let Some(bytes) = tokio::task::spawn_blocking(pack).await.ok().flatten() else {
            return Response::Refused(Refusal::new(Code::PayloadTooLarge, "this past is too large to be kept"));
        };
        let envelope = Envelope::plain(Command::SaveScaling { agent_type: of.clone(), bytes });
        let kept = self.propose(META_GROUP, &envelope, Repeat::Safe, Instant::now() + PATIENCE).await;
        match kept {
            Ok(Reply::Done) => {}
            Ok(other) => return Response::Unknown(format!("{other:?}")),
            Err(refusal) => return Response::Refused(refusal),
        }
        // Who leads by now may have begun with what was kept before.
        if let Some(other) = self.not_leading() {
            return other;
        }
        if let Some(brain) = brain.as_mut() {
            brain.drop_pool(&of);
        }
        Response::Done
    }

    /// What is kept in meta of a type.
    pub(super) fn remembered(&self, of: &Name) -> Option<(State, Totals)> {
        let meta = self.group(META_GROUP)?;
        let memory = bravo_model::view::scaling_memory(&*meta.shared.state.read(), of)?;
        let unpacked = memory::unpack(self.scaling.tick_ms(), &memory.bytes);
        if unpacked.is_none() {
            tracing::warn!(agent_type = %of, "what scaling had learned is of another format or of other ticks; it begins anew");
        }
        unpacked
    }

    fn not_leading(&self) -> Option<Response> {
        let Some(meta) = self.group(META_GROUP) else { return Some(Response::NotLeader(None)) };
        meta.shared.foreign_leader().map(Response::NotLeader)
    }
}

fn busy() -> Response {
    let detail = "the load is being looked at, which takes unusually long";
    Response::Refused(Refusal::retry_after(Code::DeadlineExceeded, detail, 1_000))
}
