//! Delivers what webhooks ask for: a worker on each node, for the reserved queue.
//!
//! ```text
//!   partition ── delivery (a job) ──► dispatch ──► this worker ──► read the webhook, sign, post
//!                                                      │
//!        ack, or nack until the next attempt ◄─────────┘
//! ```
//!
//! A delivery is an ordinary job: it is leased, tried again with a backoff, and dead when its attempts are
//! used up; if this node dies, its lease ends and another node sends. The queue lets each webhook have a few
//! deliveries at a time and shares the rest by the time that receivers take, so that a slow one holds up
//! nobody else. Names and addresses are looked at in [`address`], the wire is in [`post`].

mod address;
mod post;
mod sign;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bravo_api::Timestamp;
use bravo_api::convert::events::event;
use bravo_api::json::{DeliveryBody, RawJson, event_text};
use bravo_model::command::{Ack, Nack};
use bravo_model::reply::LeasedJob;
use bravo_model::webhook::{self, Notice, Webhook};
use bravo_model::{Command, Envelope, JobId, Name, Payload, Refusal};
use bytes::Bytes;
use http::StatusCode;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

pub(crate) use address::check_url;

use crate::cluster::{Cluster, Repeat};
use crate::config::Webhooks;
use crate::dispatch::queue::{InLine, Sink};
use crate::dispatch::workers::Card;
use crate::dispatch::{Credit, Waiter};
use crate::raft::types::{META_GROUP, partition_group};
use crate::telemetry::events::WebhookDelivered;
use crate::transport::wire::{Answer, Delivery, Query};
use post::{Failed, Poster};

/// Longest time for one try: names, connection, request and the answer's head.
const POST_MAX: Duration = Duration::from_secs(15);
/// Longest time to read a webhook, and to end a lease.
const CALL_MAX: Duration = Duration::from_secs(5);
/// Shortest and longest time that a receiver may put a delivery off.
const PUT_OFF_MS: (u64, u64) = (1_000, 86_400_000);
/// Part of a pause that may be added to it, so that deliveries that failed together do not come back together.
const JITTER: f64 = 0.1;

/// Works until it is dropped.
pub(crate) async fn run(cluster: Arc<Cluster>, config: Webhooks) {
    let (Ok(queue), Ok(worker)) =
        (Name::parse("queue", webhook::QUEUE), Name::parse("worker_id", &format!("bravod-{}", cluster.node)))
    else {
        return;
    };
    let poster = Arc::new(Poster::new(config.allow_private).await);
    let credit = Credit::new(config.in_flight_max);
    let card = Card::new(worker);
    let in_line: Arc<InLine> = Arc::default();
    let (sender, mut deliveries) = mpsc::unbounded_channel::<Delivery>();
    let mut under_way = JoinSet::new();
    loop {
        if credit.open() > 0 && in_line.step_in() {
            let sink = Sink::Stream(sender.clone(), in_line.clone());
            let waiter = Waiter::plain(card.clone(), credit.clone(), sink);
            cluster.dispatcher.wait(&cluster, &queue, waiter);
        }
        tokio::select! {
            Some(delivery) = deliveries.recv() => {
                let partition = delivery.partition;
                for (job, payload) in delivery.jobs {
                    let one = One { cluster: cluster.clone(), poster: poster.clone(), partition, job };
                    under_way.spawn(async move { one.deliver(payload).await });
                }
            }
            Some(_) = under_way.join_next(), if !under_way.is_empty() => credit.grant(1),
            () = credit.settled() => {}
        }
    }
}

/// One delivery under way.
struct One {
    cluster: Arc<Cluster>,
    poster: Arc<Poster>,
    partition: u16,
    job: LeasedJob,
}

/// What becomes of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// The receiver has it.
    Done(StatusCode),
    /// Nobody wants it any more.
    Dropped,
    /// The receiver wants nothing more of this webhook.
    Gone,
    /// It is tried again, after so many milliseconds if the receiver or this node knows better than the usual.
    Again(&'static str, String, Option<u64>),
}

impl One {
    async fn deliver(self, payload: Payload) {
        let verdict = self.tried(&payload).await;
        let (outcome, command) = self.command(verdict);
        WebhookDelivered { outcome }.emit();
        let group = partition_group(self.partition);
        let deadline = Instant::now() + CALL_MAX;
        // If this fails the lease ends by itself, and the event is told once more.
        if let Err(error) = self.cluster.propose(group, &Envelope::plain(command), Repeat::Safe, deadline).await {
            tracing::debug!(job = %self.id(), %error, "a delivery's lease could not be ended");
        }
    }

    fn id(&self) -> JobId {
        JobId { partition: self.partition, seq: self.job.seq }
    }

    async fn tried(&self, payload: &Payload) -> Verdict {
        let Ok(notice) = serde_json::from_slice::<Notice>(&payload.bytes) else {
            return Verdict::Again("failed", "this version of bravod cannot read the event".into(), None);
        };
        let webhook = match self.webhook(&notice).await {
            Ok(Some(webhook)) if !webhook.disabled => webhook,
            Ok(_) => return Verdict::Dropped,
            Err(refusal) => {
                return Verdict::Again("failed", format!("the webhook was not read: {refusal}"), Some(5_000));
            }
        };
        let body = body(self.partition, notice);
        let sent = self.post(&webhook, body);
        let verdict = match tokio::time::timeout(POST_MAX, sent).await {
            Ok(verdict) => verdict,
            Err(_) => Verdict::Again("failed", format!("no answer within {} s", POST_MAX.as_secs()), None),
        };
        if verdict == Verdict::Gone {
            self.disable(&webhook).await;
        }
        verdict
    }

    /// The webhook as it is now; this node's replica will do if it is no older than the event.
    async fn webhook(&self, notice: &Notice) -> Result<Option<Webhook>, Refusal> {
        let query = Query::Webhook(self.job.project.clone(), notice.webhook.clone());
        if let Answer::Webhooks(found) = self.cluster.read_stale(META_GROUP, &query).await?
            && let Some(webhook) = found.into_iter().next().filter(|found| found.version >= notice.version)
        {
            return Ok(Some(webhook));
        }
        match self.cluster.read(META_GROUP, query, Instant::now() + CALL_MAX).await? {
            Answer::Webhooks(found) => Ok(found.into_iter().next()),
            _ => Ok(None),
        }
    }

    async fn post(&self, webhook: &Webhook, body: Bytes) -> Verdict {
        let id = format!("msg_{}", self.id());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let signature = sign::signature(&webhook.secret.0, &id, now, &body);
        let headers = [("webhook-id", id), ("webhook-timestamp", now.to_string()), ("webhook-signature", signature)];
        match self.poster.post(&webhook.url, &headers, body).await {
            Ok(answer) if answer.status.is_success() => Verdict::Done(answer.status),
            Ok(answer) if answer.status == StatusCode::GONE => Verdict::Gone,
            Ok(answer) => {
                let put_off = answer.retry_after_ms.map(|ms| ms.clamp(PUT_OFF_MS.0, PUT_OFF_MS.1));
                let outcome = if put_off.is_some() { "throttled" } else { "failed" };
                Verdict::Again(outcome, format!("the receiver answered {}", answer.status), put_off)
            }
            Err(Failed::Refused(detail)) => Verdict::Again("refused", detail, None),
            Err(Failed::Broken(detail)) => Verdict::Again("failed", detail, None),
        }
    }

    async fn disable(&self, webhook: &Webhook) {
        let (project, name, version) = (webhook.project.clone(), webhook.name.clone(), webhook.version);
        tracing::info!(%project, webhook = %name, "disabled: its receiver answered 410 Gone");
        let envelope = Envelope::plain(Command::DisableWebhook { project, name, version });
        // Should it fail, the next delivery is answered the same.
        let _ = self.cluster.propose(META_GROUP, &envelope, Repeat::Safe, Instant::now() + CALL_MAX).await;
    }

    /// The outcome for the metric, and what ends the lease.
    fn command(&self, verdict: Verdict) -> (&'static str, Command) {
        let (seq, token) = (self.job.seq, self.job.token);
        let ack = |result: String| {
            let result = Some(Payload { json: true, bytes: result.into() });
            Command::Ack(vec![Ack { seq, token, result }])
        };
        let nack = |error: String, retry_in_ms, dead| {
            Command::Nack(vec![Nack { seq, token, error: Some(error), retry_in_ms, dead, unseen: false }])
        };
        match verdict {
            Verdict::Done(status) => ("delivered", ack(format!(r#"{{"status":{}}}"#, status.as_u16()))),
            Verdict::Dropped => ("dropped", ack(r#"{"dropped":true}"#.into())),
            Verdict::Gone => ("gone", nack("410 Gone: the webhook was disabled".into(), None, true)),
            Verdict::Again(outcome, error, put_off) => {
                let pause = put_off.unwrap_or_else(|| jittered(webhook::pause_ms(self.job.attempt)));
                (outcome, nack(error, Some(pause), false))
            }
        }
    }
}

fn jittered(ms: u64) -> u64 {
    ms + (ms as f64 * JITTER * rand::random::<f64>()) as u64
}

fn body(partition: u16, notice: Notice) -> Bytes {
    let timestamp = Timestamp(notice.happened.at());
    let (name, data) = event_text(event(partition, notice.happened));
    let body = DeliveryBody { r#type: name, timestamp, data: RawJson(data.into()) };
    serde_json::to_vec(&body).unwrap_or_default().into()
}
