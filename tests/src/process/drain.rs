//! After the faults: progress is demanded, then all is read and judged.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;
use tokio::task::JoinSet;

use super::history::{End, Final, Finals, Said};
use super::{Procs, Recorder, check};

/// The rest of a run in which the cluster is whole again: works all jobs off, reads them all, compares
/// the replicas and holds the history against the promises. `least` are the enqueues and acks below
/// which the run says nothing.
pub async fn judge(procs: &mut Procs, recorder: &Recorder, least: usize) -> anyhow::Result<Finals> {
    procs.ready(Duration::from_secs(30)).await.context("the cluster does not come back")?;
    drain(procs, recorder, Duration::from_secs(40)).await?;
    let finals = finals(procs, recorder).await?;
    settled_digests(procs).await?;
    let history = &recorder.history;
    let violations = check(&history.ops(), &finals);
    let (enqueued, acked, unknown) = (history.enqueued(), history.acked(), history.unknown());
    eprintln!("enqueued {enqueued}, acked {acked}, unknown {unknown}, jobs {}", finals.len());
    if !violations.is_empty() {
        let shown: Vec<String> = violations.iter().take(20).map(ToString::to_string).collect();
        anyhow::bail!("{} broken promises:\n{}", violations.len(), shown.join("\n"));
    }
    anyhow::ensure!(
        enqueued >= least && acked >= least,
        "inconclusive: {enqueued} enqueues, {acked} acks, not {least}"
    );
    Ok(finals)
}

/// Works jobs off until none waits.
async fn drain(procs: &Procs, recorder: &Recorder, patience: Duration) -> anyhow::Result<()> {
    let deadline = Instant::now() + patience;
    let path = format!("/api/v1/queues/{}?consistency=linearizable", recorder.queue);
    loop {
        let mut busy = false;
        for node in procs.addresses() {
            for job in recorder.lease(node, "drain", 200, 50, 3_000).await {
                busy = true;
                recorder.ack(node, &job, &format!("{}#{}", job.id, job.token)).await;
            }
        }
        let mut counts = Value::Null;
        if !busy {
            let answer = procs.rest.get(procs.nodes[0].public, &path).await?;
            counts = answer.body;
            let left = ["ready", "scheduled", "blocked", "leased"].map(|state| counts[state].as_u64());
            if left.iter().all(|count| *count == Some(0)) {
                return Ok(());
            }
        }
        anyhow::ensure!(Instant::now() < deadline, "no progress: after {patience:?} the queue still has {counts}");
    }
}

/// All jobs of the queue: each that a list tells of or that was acknowledged, read by its id.
async fn finals(procs: &Procs, recorder: &Recorder) -> anyhow::Result<Finals> {
    let mut ids = listed(procs, recorder).await?;
    ids.extend(recorder.history.ops().into_iter().filter_map(|op| match op.end {
        End::Ok(Said::Enqueued { id, .. }) => Some(id),
        _ => None,
    }));
    let ids: Vec<String> = ids.into_iter().collect();
    let mut readers = JoinSet::new();
    for (reader, ids) in ids.chunks(ids.len().div_ceil(16).max(1)).enumerate() {
        let (rest, ids, node) = (procs.rest.clone(), ids.to_vec(), procs.nodes[reader % procs.nodes.len()].public);
        readers.spawn(async move {
            let mut found = Vec::new();
            for id in ids {
                let answer = rest.get(node, &format!("/api/v1/jobs/{id}")).await?;
                // A job that is gone is for the checker to find.
                anyhow::ensure!(answer.is_ok() || answer.code() == "not_found", "reading {id}: {answer:?}");
                found.extend(answer.is_ok().then(|| (id, final_of(&answer.body))));
            }
            Ok(found)
        });
    }
    let mut finals = Finals::new();
    while let Some(found) = readers.join_next().await {
        finals.extend(found??);
    }
    Ok(finals)
}

/// The ids of all jobs of the queue.
async fn listed(procs: &Procs, recorder: &Recorder) -> anyhow::Result<BTreeSet<String>> {
    let node = procs.nodes[0].public;
    let mut ids = BTreeSet::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/api/v1/jobs?queue={}&limit=1000&consistency=linearizable{cursor}", recorder.queue);
        let answer = procs.rest.get(node, &path).await?;
        anyhow::ensure!(answer.is_ok(), "listing the jobs: {answer:?}");
        let jobs = answer.body["jobs"].as_array().context("no jobs in the list")?;
        ids.extend(jobs.iter().filter_map(|job| job["id"].as_str()).map(ToOwned::to_owned));
        match answer.body["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(ids),
        }
    }
}

fn final_of(job: &Value) -> Final {
    Final {
        tag: job["metadata"]["tag"].as_str().unwrap_or_default().into(),
        state: job["state"].as_str().unwrap_or_default().into(),
        attempt: job["attempt"].as_u64().unwrap_or_default(),
        result: job["result"].as_str().map(ToOwned::to_owned),
    }
}

/// Waits until all three replicas of every group have one digest.
pub async fn settled_digests(procs: &Procs) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = procs.rest.get(procs.nodes[0].public, "/api/v1/cluster/digest").await;
        let verdict = answer.and_then(|answer| compared(&answer.body));
        match verdict {
            Ok(()) => return Ok(()),
            // A replica that differs at one index never comes right again.
            Err(error) if error.to_string().contains("differ") => return Err(error),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(300)).await,
        }
    }
}

fn compared(body: &Value) -> anyhow::Result<()> {
    let partitions = body["partitions"].as_array().with_context(|| format!("no digests: {body}"))?;
    for partition in partitions {
        let replicas = partition["replicas"].as_array().map(Vec::as_slice).unwrap_or_default();
        anyhow::ensure!(replicas.len() == 3, "not all replicas answered: {partition}");
        let same = replicas.windows(2).all(|pair| pair[0]["digest"] == pair[1]["digest"]);
        anyhow::ensure!(same, "the replicas differ: {partition}");
    }
    Ok(())
}
