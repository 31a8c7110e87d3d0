//! The proof from outside: what every node says over plain REST, against the files themselves.

use std::collections::BTreeSet;
use std::path::Path;

use futures_util::StreamExt;
use futures_util::stream::iter;

use super::traffic;
use super::traffic::Sent;
use super::walk::File;
use super::work::{Facts, work};
use crate::bench::http::Http;
use crate::demo::view::list;
use crate::demo::{probe, view};

const READS_AT_ONCE: usize = 16;
/// Problems of one kind that are told one by one.
const TOLD_MAX: usize = 5;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Proof {
    /// Jobs that were leased more than once.
    pub(super) redelivered: usize,
    /// The most leases of one job.
    pub(super) attempts_max: u64,
    /// Results that equal what was computed anew.
    pub(super) results: usize,
    /// Files that were written to while the demo ran, whose results prove nothing.
    pub(super) changed: usize,
    /// Groups whose replicas are equal.
    pub(super) groups: usize,
    /// What is wrong.
    pub(super) problems: Vec<String>,
}

/// What must be.
pub(super) struct Claim<'a> {
    pub(super) root: &'a Path,
    pub(super) files: &'a [File],
    pub(super) jobs: &'a [Sent],
    pub(super) rounds: u64,
    /// Acks that the workers saw accepted.
    pub(super) acked: u64,
    /// Acknowledged writes of the probers.
    pub(super) probes: &'a BTreeSet<String>,
}

/// Looks at everything.
pub(super) async fn prove(http: &Http, urls: &[String], claim: &Claim<'_>) -> Result<Proof, String> {
    let mut proof = Proof::default();
    proof.count(claim);
    for url in urls {
        proof.lists(http, url, claim).await?;
    }
    proof.compare_results(http, urls, claim).await?;
    let (groups, problems) = view::equal_groups(http, &urls[0], urls.len()).await?;
    proof.groups = groups;
    proof.problems.extend(problems);
    Ok(proof)
}

impl Proof {
    /// Each file has one job a round, and each job has one accepted ack.
    fn count(&mut self, claim: &Claim<'_>) {
        let ids: BTreeSet<&str> = claim.jobs.iter().map(|job| &*job.id).collect();
        let mut by_file = vec![0; claim.files.len()];
        claim.jobs.iter().for_each(|job| by_file[job.file] += 1);
        if ids.len() != claim.jobs.len() || by_file.iter().any(|jobs| *jobs != claim.rounds) {
            self.problems.push(format!("{} files, {} rounds, but {} jobs", claim.files.len(), claim.rounds, ids.len()));
        }
        if claim.acked != claim.jobs.len() as u64 {
            self.problems.push(format!("{} jobs, but {} accepted acks", claim.jobs.len(), claim.acked));
        }
    }

    /// One node's lists hold exactly what was acknowledged, all done.
    async fn lists(&mut self, http: &Http, url: &str, claim: &Claim<'_>) -> Result<(), String> {
        let listed = list(http, url, traffic::QUEUE).await?;
        let ids = claim.jobs.iter().map(|job| job.id.as_str()).collect();
        self.same(url, "jobs", &listed.keys().map(String::as_str).collect(), &ids);
        let undone = listed.iter().filter(|(_, (state, attempt))| state != "succeeded" || *attempt == 0);
        self.tell(undone.map(|(id, (state, attempt))| format!("{url}: {id} is {state} at attempt {attempt}")));
        self.redelivered = listed.values().filter(|(_, attempt)| *attempt > 1).count();
        self.attempts_max = listed.values().map(|(_, attempt)| *attempt).max().unwrap_or(0);

        let listed = list(http, url, probe::QUEUE).await?;
        let probes = claim.probes.iter().map(String::as_str).collect();
        self.same(url, "probes", &listed.keys().map(String::as_str).collect(), &probes);
        Ok(())
    }

    fn same(&mut self, url: &str, what: &str, found: &BTreeSet<&str>, wanted: &BTreeSet<&str>) {
        self.tell(wanted.difference(found).map(|id| format!("{url}: {what}: {id} was acknowledged and is lost")));
        self.tell(found.difference(wanted).map(|id| format!("{url}: {what}: {id} is there and was never acknowledged")));
    }

    /// The stored results, read from all nodes in turn, equal what the files say now.
    async fn compare_results(&mut self, http: &Http, urls: &[String], claim: &Claim<'_>) -> Result<(), String> {
        let root = claim.root.to_owned();
        let paths: Vec<_> = claim.files.iter().map(|file| root.join(&file.path)).collect();
        let fresh = tokio::task::spawn_blocking(move || paths.iter().map(|path| work(path).ok()).collect::<Vec<_>>());
        let fresh: Vec<Option<Facts>> = fresh.await.map_err(|error| error.to_string())?;
        let changed: Vec<bool> = claim.files.iter().map(|file| file.changed(claim.root)).collect();
        self.changed = changed.iter().filter(|changed| **changed).count();

        let reads = claim.jobs.iter().enumerate().map(|(index, job)| {
            let url = format!("{}/api/v1/jobs/{}", urls[index % urls.len()], job.id);
            async move { (job.file, http.json(&url).await.map(|answer| (url, answer))) }
        });
        let mut reads = iter(reads).buffer_unordered(READS_AT_ONCE);
        let mut wrong = Vec::new();
        while let Some((file, answer)) = reads.next().await {
            let (url, mut answer) = answer?;
            let stored: Option<Facts> = serde_json::from_value(answer["result"].take()).ok();
            if stored.is_some() && stored == fresh[file] {
                self.results += 1;
            } else if !changed[file] {
                wrong.push(format!("{url}: {}: {stored:?}, not {:?}", claim.files[file].name(), fresh[file]));
            }
        }
        self.tell(wrong.into_iter());
        Ok(())
    }

    fn tell(&mut self, problems: impl Iterator<Item = String>) {
        let mut left = 0;
        for (number, problem) in problems.enumerate() {
            if number < TOLD_MAX {
                self.problems.push(problem);
            } else {
                left += 1;
            }
        }
        if left > 0 {
            self.problems.push(format!("… and {left} more"));
        }
    }
}

/// What is left to do in the queue, as a node counts it.
pub(super) async fn left(http: &Http, url: &str) -> Result<u64, String> {
    let answer = http.json(&format!("{url}/api/v1/queues/{}", traffic::QUEUE)).await?;
    let count = |name: &str| answer[name].as_u64().ok_or_else(|| format!("the queue's {name} is not told: {answer}"));
    match count("dead")? {
        0 => Ok(count("ready")? + count("scheduled")? + count("blocked")? + count("leased")?),
        dead => Err(format!("{dead} jobs are dead")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_and_unknown_jobs_are_told() {
        let mut proof = Proof::default();
        proof.same("http://a", "jobs", &["1", "2"].into(), &["2", "3"].into());
        assert_eq!(proof.problems.len(), 2);
        assert!(proof.problems[0].contains("3 was acknowledged and is lost"));
        proof.tell((0..20).map(|number| number.to_string()));
        assert_eq!(proof.problems.len(), 2 + TOLD_MAX + 1);
    }

    #[test]
    fn counts_must_agree() {
        let sent = |file, id: &str| Sent { file, id: id.into() };
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), "a").unwrap();
        let files = super::super::walk::walk(dir.path(), 9).unwrap();
        let problems = |jobs: &[Sent], rounds, acked| {
            let probes = BTreeSet::new();
            let claim = Claim { root: dir.path(), files: &files, jobs, rounds, acked, probes: &probes };
            let mut proof = Proof::default();
            proof.count(&claim);
            proof.problems.len()
        };
        assert_eq!(problems(&[sent(0, "1"), sent(0, "2")], 2, 2), 0);
        assert_eq!(problems(&[sent(0, "1"), sent(0, "1")], 2, 2), 1);
        assert_eq!(problems(&[sent(0, "1")], 1, 2), 1);
        assert_eq!(problems(&[sent(0, "1")], 2, 1), 1);
    }
}
