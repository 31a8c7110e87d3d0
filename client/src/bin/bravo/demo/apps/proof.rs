//! The proof from outside: what every node says of each workflow over plain REST, and the bundles' bytes.

use std::collections::{BTreeMap, BTreeSet};

use bravo_client::Client;
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::Value;

use super::board::{App, TASKS};
use super::report::Built;
use crate::bench::http::Http;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Proof {
    /// The applications, as the first node tells of them.
    pub(super) built: Vec<Built>,
    /// Tasks that succeeded once.
    pub(super) tasks: usize,
    /// Bundles whose bytes a node gave with the right hash.
    pub(super) bundles: usize,
    /// At which attempt each job was done.
    pub(super) attempts: BTreeMap<String, u64>,
    /// What is wrong.
    pub(super) problems: Vec<String>,
}

impl Proof {
    /// Asks every node for one application.
    pub(super) async fn look(&mut self, http: &Http, client: &Client, urls: &[String], app: &App) -> Result<(), String> {
        let mut first: Option<Value> = None;
        for url in urls {
            let at = format!("{url}/api/v1/workflows/{}?consistency=linearizable", app.workflow);
            let told = http.json(&at).await?;
            self.is_whole(url, app, &told);
            match &first {
                None => first = Some(told),
                Some(first) if first["tasks"] != told["tasks"] => {
                    self.problems.push(format!("{}: {url} tells of other tasks than {}", app.name, urls[0]));
                }
                Some(_) => (),
            }
        }
        let told = first.ok_or("there is no node")?;
        self.once(client, app).await?;
        let built = built(&urls[0], app, &told);
        for url in urls {
            self.bundle(http, url, &built).await?;
        }
        self.built.push(built);
        Ok(())
    }

    /// The workflow and each of its tasks succeeded.
    fn is_whole(&mut self, url: &str, app: &App, told: &Value) {
        let tasks = told["tasks"].as_array().map_or(&[][..], Vec::as_slice);
        let succeeded = tasks.iter().filter(|task| task["state"] == "succeeded");
        let names: BTreeSet<&str> = succeeded.filter_map(|task| task["id"].as_str()).collect();
        if told["status"] != "succeeded" || tasks.len() != TASKS.len() || names != BTreeSet::from(TASKS) {
            self.problems.push(format!("{}: {url}: {} with {names:?}", app.name, told["status"]));
        }
        for task in tasks {
            if let (Some(job), Some(attempt)) = (task["job_id"].as_str(), task["attempt"].as_u64()) {
                self.attempts.insert(job.to_owned(), attempt);
            }
        }
    }

    /// The workflow's events tell of each task's success once.
    async fn once(&mut self, client: &Client, app: &App) -> Result<(), String> {
        let failed = |error: String| format!("{}: events: {error}", app.name);
        let mut events = client.workflow_events(&app.workflow, 0).await.map_err(|error| failed(error.to_string()))?;
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        while let Some(event) = events.message().await.map_err(|status| failed(status.to_string()))? {
            if event.event == "task.succeeded" {
                *counts.entry(event.task_id).or_default() += 1;
            }
        }
        for task in TASKS {
            match counts.get(task) {
                Some(1) => self.tasks += 1,
                count => self.problems.push(format!("{}: {task} succeeded {} times", app.name, count.unwrap_or(&0))),
            }
        }
        Ok(())
    }

    /// A node gives the bytes that deployment named.
    async fn bundle(&mut self, http: &Http, url: &str, built: &Built) -> Result<(), String> {
        let path = built.url.split_once("/api/").map_or("", |(_, path)| path);
        let at = format!("{url}/api/{path}");
        let (status, bytes) = http.call(Method::GET, &at, Bytes::new()).await?;
        if status == StatusCode::OK && blake3::hash(&bytes).to_hex().as_str() == built.blake3 {
            self.bundles += 1;
        } else {
            self.problems.push(format!("{at}: {status}, {} bytes that are not the bundle", bytes.len()));
        }
        Ok(())
    }
}

/// What is told of an application in the end.
fn built(node: &str, app: &App, told: &Value) -> Built {
    let task = told["tasks"].as_array().into_iter().flatten().find(|task| task["id"] == "deployment");
    let result = task.map_or(&Value::Null, |task| &task["result"]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let number = |name: &str| result[name].as_u64().unwrap_or(0);
    let version = result["bundle"]["version"].as_u64().unwrap_or(0);
    Built {
        app: app.name.clone(),
        kind: app.kind.clone(),
        workflow: app.workflow.clone(),
        features: number("features"),
        tests_passed: number("tests_passed"),
        http_checks: result["checks"].as_array().map_or(0, Vec::len),
        lines: number("lines"),
        seconds: app.seconds(),
        url: format!("{node}{}?version={version}", text(&result["url"])),
        blake3: text(&result["bundle"]["blake3"]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn app() -> App {
        App { name: "a".into(), kind: "crud".into(), workflow: "w0-1".into(), seen: Default::default() }
    }

    fn told(states: [&str; 5], status: &str) -> Value {
        let task = |(name, state): (&str, &str)| json!({"id": name, "state": state, "job_id": format!("j-{name}"), "attempt": 2});
        json!({"status": status, "tasks": TASKS.into_iter().zip(states).map(task).collect::<Vec<_>>()})
    }

    #[test]
    fn what_is_not_whole_is_told() {
        let problems = |told: &Value| {
            let mut proof = Proof::default();
            proof.is_whole("http://a", &app(), told);
            (proof.problems.len(), proof.attempts.get("j-testing").copied())
        };
        assert_eq!(problems(&told(["succeeded"; 5], "succeeded")), (0, Some(2)));
        assert_eq!(problems(&told(["succeeded"; 5], "running")).0, 1);
        let mut states = ["succeeded"; 5];
        states[3] = "skipped";
        assert_eq!(problems(&told(states, "succeeded")).0, 1);
        assert_eq!(problems(&json!({"status": "succeeded", "tasks": []})).0, 1);
    }

    #[test]
    fn an_application_has_the_url_of_its_version() {
        let mut told = told(["succeeded"; 5], "succeeded");
        told["tasks"][4]["result"] = json!({
            "url": "/api/v1/artifacts/apps/x", "bundle": {"version": 3, "blake3": "b"}, "checks": ["a"], "tests_passed": 9,
        });
        let built = built("http://n:1", &app(), &told);
        assert_eq!((&*built.url, built.http_checks, built.tests_passed), ("http://n:1/api/v1/artifacts/apps/x?version=3", 1, 9));
    }
}
