//! Load over REST: connections that are kept, and a call for everything.
//!
//! Jobs are enqueued and worked on; or jobs that are there are read; or workflows are started.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::http::Http;
use super::plan::{Mode, Plan};
use super::record::Record;

/// How long a lease call waits for the first job.
const WAIT_MS: u64 = 1_000;
const AFTER_ERROR: Duration = Duration::from_millis(20);

/// What a lease call is answered with, as far as it is needed.
#[derive(Deserialize)]
struct Leased<'a> {
    #[serde(borrow)]
    jobs: Vec<LeasedJob<'a>>,
}

#[derive(Deserialize)]
struct LeasedJob<'a> {
    id: &'a str,
    lease_token: u64,
    #[serde(borrow)]
    payload: &'a RawValue,
}

#[derive(Deserialize)]
struct Acked<'a> {
    #[serde(borrow)]
    results: Vec<Result<'a>>,
}

#[derive(Deserialize)]
struct Result<'a> {
    ok: bool,
    code: Option<&'a str>,
}

#[derive(Deserialize)]
struct Problem<'a> {
    code: &'a str,
}

/// Jobs of one call of those that are enqueued to be read.
const PRELOAD_BATCH: u64 = 1_000;
/// Projects that workflows are started in.
const PROJECTS: usize = 1_000;

/// What producers ask for.
#[derive(Clone)]
pub(super) enum Ask {
    /// That jobs be taken in
    Enqueue,
    /// Jobs, by these ids
    Read(Arc<[String]>),
    /// That workflows be started
    Workflow,
}

#[derive(Deserialize)]
struct Taken {
    jobs: Vec<TakenJob>,
}

#[derive(Deserialize)]
struct TakenJob {
    id: String,
}

impl Ask {
    /// What this plan asks for, with the jobs in place that it reads.
    pub(super) async fn of(plan: &Plan, http: &Http, url: &str) -> std::result::Result<Self, String> {
        match plan.mode {
            Mode::Read => {}
            Mode::Workflow => return Ok(Self::Workflow),
            Mode::Enqueue | Mode::E2e | Mode::Mixed => return Ok(Self::Enqueue),
        }
        let (url, payload) = (format!("{url}/api/v1/jobs"), vec![b'1'; plan.payload]);
        let mut ids = Vec::new();
        while (ids.len() as u64) < plan.preload {
            let batch = PRELOAD_BATCH.min(plan.preload - ids.len() as u64);
            let body = body(&plan.queue, &payload, batch as usize);
            let (status, answer) = http.call(Method::POST, &url, body).await?;
            if !status.is_success() {
                return Err(format!("{url}: {status}: {}", String::from_utf8_lossy(&answer)));
            }
            let taken: Taken = serde_json::from_slice(&answer).map_err(|error| format!("{url}: {error}"))?;
            ids.extend(taken.jobs.into_iter().map(|job| job.id));
        }
        Ok(Self::Read(ids.into()))
    }

    /// The k-th call of a node: its method, URL and body.
    fn call(&self, plan: &Plan, url: &str, record: &Record, due_us: u64, k: usize) -> (Method, String, Bytes) {
        match self {
            Self::Enqueue => {
                let body = body(&plan.queue, &record.payload(due_us), plan.batch);
                (Method::POST, format!("{url}/api/v1/jobs"), body)
            }
            Self::Read(ids) => (Method::GET, format!("{url}/api/v1/jobs/{}", ids[k % ids.len()]), Bytes::new()),
            Self::Workflow => (Method::POST, format!("{url}/api/v1/workflows"), workflow(k)),
        }
    }
}

/// A workflow that a template makes of requirements.
fn workflow(k: usize) -> Bytes {
    let project = k % PROJECTS;
    format!(
        r#"{{"name":"bench {k}","project_id":"bench-{project}","requirements":{{"type":"crud","features":["auth","api","database"]}}}}"#
    )
    .into()
}

/// One caller: its client and the node that it calls.
struct Caller {
    plan: Arc<Plan>,
    http: Http,
    url: String,
    record: Arc<Record>,
}

/// Starts the producers, spread over the servers.
pub(super) fn produce(
    plan: &Arc<Plan>,
    http: &Http,
    urls: &[String],
    ask: &Ask,
    record: &Arc<Record>,
    tasks: &mut JoinSet<()>,
) {
    for (number, url) in urls.iter().cycle().take(plan.producers).enumerate() {
        let caller = Caller::new(plan, http, url.clone(), record);
        tasks.spawn(caller.produce(ask.clone(), number));
    }
}

/// Starts the workers, spread over the servers.
pub(super) fn work(
    plan: &Arc<Plan>,
    http: &Http,
    urls: &[String],
    record: &Arc<Record>,
    stop: &CancellationToken,
) -> JoinSet<u64> {
    let mut tasks = JoinSet::new();
    for (number, url) in urls.iter().cycle().take(plan.workers).enumerate() {
        let caller = Caller::new(plan, http, url.clone(), record);
        tasks.spawn(caller.work(number, stop.clone()));
    }
    tasks
}

impl Caller {
    fn new(plan: &Arc<Plan>, http: &Http, url: String, record: &Arc<Record>) -> Self {
        Self { plan: plan.clone(), http: http.clone(), url, record: record.clone() }
    }

    async fn produce(self, ask: Ask, number: usize) {
        let full = || self.plan.works() && self.record.open() >= self.plan.open_max;
        for k in (number..).step_by(self.plan.producers) {
            let Some(due_us) = self.record.starter().next(full).await else { return };
            let (method, url, body) = ask.call(&self.plan, &self.url, &self.record, due_us, k);
            if self.call(method, &url, body).await.is_some() {
                self.record.enqueued(due_us, self.plan.batch as u64);
            }
        }
    }

    /// Leases, acknowledges, and so on; how many acks were accepted.
    async fn work(self, number: usize, stop: CancellationToken) -> u64 {
        let lease = format!("{}/api/v1/queues/{}/lease", self.url, self.plan.queue);
        let ack = format!("{}/api/v1/jobs/ack", self.url);
        let max = self.plan.batch;
        let ask = format!("{{\"worker_id\":\"bench-{number}\",\"max\":{max},\"wait_ms\":{WAIT_MS}}}");
        let ask = Bytes::from(ask);
        let mut accepted = 0;
        while !stop.is_cancelled() {
            let Some(answer) = self.post(&lease, ask.clone()).await else { continue };
            let Ok(leased) = serde_json::from_slice::<Leased<'_>>(&answer) else {
                self.record.failed("answer_not_understood");
                continue;
            };
            if leased.jobs.is_empty() {
                continue;
            }
            leased.jobs.iter().for_each(|job| self.record.delivered(job.payload.get().as_bytes()));
            let Some(answer) = self.post(&ack, acks(&leased.jobs)).await else { continue };
            let Ok(acked) = serde_json::from_slice::<Acked<'_>>(&answer) else {
                self.record.failed("answer_not_understood");
                continue;
            };
            let refused = acked.results.iter().filter(|result| !result.ok);
            refused.for_each(|result| self.record.failed(result.code.unwrap_or("refused")));
            let done = acked.results.iter().filter(|result| result.ok).count() as u64;
            self.record.finished(done);
            accepted += done;
        }
        accepted
    }

    async fn post(&self, url: &str, body: Bytes) -> Option<Bytes> {
        self.call(Method::POST, url, body).await
    }

    /// A call's answer; none if it was refused or broke, which is counted.
    async fn call(&self, method: Method, url: &str, body: Bytes) -> Option<Bytes> {
        match self.http.call(method, url, body).await {
            Ok((status, body)) if status.is_success() => return Some(body),
            Ok((status, body)) => match serde_json::from_slice::<Problem<'_>>(&body) {
                Ok(problem) => self.record.failed(problem.code),
                Err(_) => self.record.failed(status.as_str()),
            },
            Err(_) => self.record.failed("broken"),
        }
        tokio::time::sleep(AFTER_ERROR).await;
        None
    }
}

/// The body of an enqueue call. Queue names and payloads need no escapes.
fn body(queue: &str, payload: &[u8], batch: usize) -> Bytes {
    let mut text = Vec::with_capacity((payload.len() + queue.len() + 32) * batch + 16);
    if batch > 1 {
        text.extend_from_slice(b"{\"jobs\":[");
    }
    for number in 0..batch {
        if number > 0 {
            text.push(b',');
        }
        for part in [&b"{\"queue\":\""[..], queue.as_bytes(), b"\",\"payload\":", payload, b"}"] {
            text.extend_from_slice(part);
        }
    }
    if batch > 1 {
        text.extend_from_slice(b"]}");
    }
    text.into()
}

fn acks(jobs: &[LeasedJob<'_>]) -> Bytes {
    let ack = |job: &LeasedJob<'_>| format!("{{\"id\":\"{}\",\"lease_token\":{}}}", job.id, job.lease_token);
    format!("{{\"acks\":[{}]}}", jobs.iter().map(ack).collect::<Vec<_>>().join(",")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_json() {
        assert_eq!(&body("q", b"\"x\"", 1)[..], br#"{"queue":"q","payload":"x"}"#);
        assert_eq!(&body("q", b"1", 2)[..], br#"{"jobs":[{"queue":"q","payload":1},{"queue":"q","payload":1}]}"#);
    }

    #[test]
    fn workflows_are_json_of_many_projects() {
        let made: serde_json::Value = serde_json::from_slice(&workflow(1_007)).unwrap();
        assert_eq!((&made["name"], &made["project_id"]), (&"bench 1007".into(), &"bench-7".into()));
        assert_eq!(made["requirements"]["features"][2], "database");
    }

    #[test]
    fn leases_become_acks() {
        let answer = br#"{"jobs":[{"id":"j1-2","queue":"q","payload":"x","attempt":1,"lease_token":3}]}"#;
        let leased: Leased<'_> = serde_json::from_slice(answer).unwrap();
        assert_eq!(leased.jobs[0].payload.get(), "\"x\"");
        assert_eq!(&acks(&leased.jobs)[..], br#"{"acks":[{"id":"j1-2","lease_token":3}]}"#);
    }
}
