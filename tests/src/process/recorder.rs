//! A client that writes each call into the history.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::history::{Call, End, Leased, Said};
use super::{Answer, History, Rest};

/// A client of one queue; cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    /// To talk to the nodes.
    pub rest: Rest,
    /// What it did.
    pub history: Arc<History>,
    /// The queue.
    pub queue: String,
    /// How long it waits for an answer.
    pub patience: Duration,
}

/// A job to enqueue.
#[derive(Clone, Debug, Default)]
pub struct Task {
    /// Names the job.
    pub tag: String,
    /// `Idempotency-Key`.
    pub key: Option<String>,
    /// `unique_key`.
    pub unique: Option<String>,
    /// `delay_ms`.
    pub delay_ms: u64,
    /// Further bytes of payload.
    pub padding: usize,
}

/// Codes that promise that nothing was changed.
const NOTHING_CHANGED: [&str; 13] = [
    "invalid_argument",
    "unauthenticated",
    "permission_denied",
    "not_found",
    "lease_lost",
    "conflict",
    "precondition_failed",
    "payload_too_large",
    "unsupported_media_type",
    "idempotency_key_reuse",
    "rate_limited",
    "queue_full",
    "shed",
];

/// How a call ended whose answer is a refusal or no answer at all.
fn bad_end(answer: anyhow::Result<Answer>) -> End {
    match answer {
        Ok(answer) if NOTHING_CHANGED.contains(&answer.code()) => End::Failed(answer.code().to_owned()),
        Ok(answer) => End::Unknown(format!("{} {}", answer.status, answer.body)),
        Err(error) => End::Unknown(format!("{error:#}")),
    }
}

/// The code of a call that was refused.
pub fn code_of(end: &End) -> &str {
    match end {
        End::Failed(code) => code,
        _ => "",
    }
}

impl Recorder {
    /// A client of a queue.
    pub fn new(rest: &Rest, queue: &str) -> Self {
        let history = Arc::new(History::default());
        Self { rest: rest.clone(), history, queue: queue.into(), patience: Duration::from_secs(3) }
    }

    async fn recorded(
        &self,
        node: SocketAddr,
        call: Call,
        (path, body, key): (&str, Value, Option<&str>),
        said: impl FnOnce(&Value) -> Result<Said, End>,
    ) -> End {
        let op = self.history.begin(call);
        let answer = self.rest.call(node, Method::POST, path, Some(&body), key, self.patience).await;
        let end = match answer {
            Ok(answer) if answer.is_ok() => match said(&answer.body) {
                Ok(said) => End::Ok(said),
                Err(end) => end,
            },
            other => bad_end(other),
        };
        self.history.end(op, end.clone());
        end
    }

    /// Enqueues a job.
    pub async fn enqueue(&self, node: SocketAddr, task: &Task) -> End {
        let Task { tag, key, unique, delay_ms, padding } = task.clone();
        let mut body = json!({
            "queue": self.queue,
            "payload": { "tag": tag, "padding": "x".repeat(padding) },
            "metadata": { "tag": tag },
        });
        if let Some(unique) = &unique {
            body["unique_key"] = json!(unique);
        }
        if delay_ms > 0 {
            body["delay_ms"] = json!(delay_ms);
        }
        let call = Call::Enqueue { tag, key: key.clone(), unique, delay_ms };
        self.recorded(node, call, ("/api/v1/jobs", body, key.as_deref()), |body| {
            let job = &body["jobs"][0];
            let id = job["id"].as_str().ok_or_else(|| End::Unknown(format!("no id: {body}")))?.to_owned();
            Ok(Said::Enqueued { id, duplicate: job["duplicate"].as_bool().unwrap_or(false) })
        })
        .await
    }

    /// Asks for jobs.
    pub async fn lease(&self, node: SocketAddr, worker: &str, max: u32, wait_ms: u64, lease_ms: u64) -> Vec<Leased> {
        let body = json!({ "worker_id": worker, "max": max, "wait_ms": wait_ms, "lease_ms": lease_ms });
        let path = format!("/api/v1/queues/{}/lease", self.queue);
        let end = self.recorded(node, Call::Lease { lease_ms }, (&path, body, None), |body| {
            let jobs = body["jobs"].as_array().ok_or_else(|| End::Unknown(format!("no jobs: {body}")))?;
            Ok(Said::Leased(jobs.iter().map(leased).collect()))
        });
        match end.await {
            End::Ok(Said::Leased(jobs)) => jobs,
            _ => Vec::new(),
        }
    }

    /// Acknowledges a job.
    pub async fn ack(&self, node: SocketAddr, job: &Leased, result: &str) -> End {
        let (id, token) = (job.id.clone(), job.token);
        let body = json!({ "acks": [{ "id": id, "lease_token": token, "result": result }] });
        let call = Call::Ack { id, token, result: result.to_owned() };
        self.recorded(node, call, ("/api/v1/jobs/ack", body, None), item).await
    }

    /// Gives a job back.
    pub async fn nack(&self, node: SocketAddr, job: &Leased, retry_in_ms: u64) -> End {
        let (id, token) = (job.id.clone(), job.token);
        let body = json!({ "nacks": [{ "id": id, "lease_token": token, "retry_in_ms": retry_in_ms }] });
        self.recorded(node, Call::Nack { id, token }, ("/api/v1/jobs/nack", body, None), item).await
    }

    /// Prolongs a lease.
    pub async fn extend(&self, node: SocketAddr, job: &Leased, lease_ms: u64) -> End {
        let (id, token) = (job.id.clone(), job.token);
        let body = json!({ "leases": [{ "id": id, "lease_token": token, "lease_ms": lease_ms }] });
        self.recorded(node, Call::Extend { id, token, lease_ms }, ("/api/v1/jobs/extend", body, None), item).await
    }

    /// Cancels a job.
    pub async fn cancel(&self, node: SocketAddr, id: &str) -> End {
        let path = format!("/api/v1/jobs/{id}/cancel");
        self.recorded(node, Call::Cancel { id: id.to_owned() }, (&path, Value::Null, None), |body| {
            body["state"].as_str().map(|state| Said::State(state.into())).ok_or_else(|| End::Unknown(body.to_string()))
        })
        .await
    }

    /// Gives the queue a configuration under which no job dies of faults alone.
    pub async fn configure(&self, node: SocketAddr) -> anyhow::Result<()> {
        let body = json!({
            "max_attempts": 1_000, "lease_ms": 3_000,
            "backoff": { "initial_ms": 10, "factor": 1, "max_ms": 100 },
        });
        let path = format!("/api/v1/queues/{}", self.queue);
        let answer = self.rest.call(node, Method::PUT, &path, Some(&body), None, Duration::from_secs(10)).await?;
        anyhow::ensure!(answer.is_ok(), "configuring the queue: {answer:?}");
        Ok(())
    }
}

fn leased(job: &Value) -> Leased {
    Leased {
        id: job["id"].as_str().unwrap_or_default().into(),
        tag: job["metadata"]["tag"].as_str().unwrap_or_default().into(),
        token: job["lease_token"].as_u64().unwrap_or_default(),
        attempt: job["attempt"].as_u64().unwrap_or_default(),
    }
}

/// The one result of an ack, nack or extend.
fn item(body: &Value) -> Result<Said, End> {
    let item = &body["results"][0];
    match (item["ok"].as_bool(), item["code"].as_str()) {
        (Some(true), _) => Ok(Said::Done),
        (Some(false), Some(code)) if NOTHING_CHANGED.contains(&code) => Err(End::Failed(code.to_owned())),
        _ => Err(End::Unknown(body.to_string())),
    }
}
