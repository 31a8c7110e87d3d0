//! Deployment: the tested program is started and called as its users would, then bundled with its source.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bravo_client::{Client, Failure, JobContext};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::analysis::{Entity, Model};
use crate::pack::{self, Packed};
use crate::service::Service;
use crate::stored::{self, Stored};
use crate::{Deployment, progress};

/// The result of deployment.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Deployed {
    pub(crate) app: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) features: usize,
    pub(crate) lines: usize,
    pub(crate) tests_passed: usize,
    /// What was tried over HTTP.
    pub(crate) checks: Vec<String>,
    /// Where the bundle is to be had from any node.
    pub(crate) url: String,
    pub(crate) bundle: Stored,
}

/// Starts, calls, bundles.
pub(crate) async fn deploy(client: &Client, job: &JobContext, task: &Deployment) -> Result<Deployed, Failure> {
    progress(job, "fetching", 0, 3);
    let source = stored::get(client, job, &task.code.source).await?;
    let binary = stored::get(client, job, &task.tests.binary).await?;
    let dir = tempfile::Builder::new().prefix("bravo-deployment-").tempdir()?;
    let model = &task.plan.model;
    let program = dir.path().join(&model.crate_name);
    tokio::fs::write(&program, &binary).await?;
    tokio::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).await?;

    progress(job, "calling", 1, 3);
    let data = dir.path().join("data");
    let checks = tokio::select! {
        checks = check(&program, &data, model) => checks?,
        () = job.cancelled() => return Err(Failure::new("cancelled")),
    };
    progress(job, "bundling", 2, 3);
    let report = json!({
        "app": model.app, "type": model.kind, "features": model.features, "lines": task.code.lines,
        "tests_passed": task.tests.passed, "checks": checks,
    });
    let bundle = bundle(&source, &binary, &report, &model.crate_name)?;
    let name = format!("{}.tar.zst", model.crate_name);
    let bundle = stored::put(client, job, &name, bundle, "application/zstd").await?;
    Ok(Deployed {
        app: model.app.clone(),
        kind: model.kind.clone(),
        features: model.features.len(),
        lines: task.code.lines,
        tests_passed: task.tests.passed,
        checks,
        url: format!("/api/v1/artifacts/{}/{}", job.project(), bundle.path),
        bundle,
    })
}

fn bundle(source: &[u8], binary: &[u8], report: &Value, name: &str) -> std::io::Result<Vec<u8>> {
    let sources = pack::texts(source)?.into_iter().map(|(path, text)| (format!("{name}/{path}"), text.as_str().into()));
    let mut files: BTreeMap<String, Packed> = sources.collect();
    files.insert(format!("{name}/bin/{name}"), Packed { bytes: binary.to_vec(), program: true });
    files.insert(format!("{name}/report.json"), format!("{report:#}\n").as_str().into());
    pack::pack(&files)
}

/// Uses the service; what was tried, or the first thing that is wrong.
async fn check(program: &Path, data: &Path, model: &Model) -> Result<Vec<String>, Failure> {
    let service = Service::start(program, data).await?;
    let mut checks = Checks { service, model, done: Vec::new() };
    checks.come_in().await?;
    let left = checks.records().await?;
    checks.behaviours(&left).await?;
    let Checks { service, mut done, .. } = checks;
    let headers = service.headers.clone();
    service.stop().await;
    if model.features.iter().any(|name| name == "database") {
        kept(program, data, &left, headers, model, &mut done).await?;
    }
    Ok(done)
}

/// A service that was killed has all records when it comes back.
async fn kept(
    program: &Path,
    data: &Path,
    left: &str,
    headers: Vec<(String, String)>,
    model: &Model,
    done: &mut Vec<String>,
) -> Result<(), Failure> {
    let service = Service::start(&PathBuf::from(program), data).await?;
    let mut checks = Checks { service, model, done: std::mem::take(done) };
    checks.service.headers = headers;
    if checks.has("auth") {
        checks.login("ada").await?;
    }
    checks.expect("a record survives kill -9", "GET", left, &Value::Null, 200).await?;
    checks.service.stop().await;
    *done = checks.done;
    Ok(())
}

struct Checks<'a> {
    service: Service,
    model: &'a Model,
    done: Vec<String>,
}

impl Checks<'_> {
    fn has(&self, feature: &str) -> bool {
        self.model.features.iter().any(|name| name == feature)
    }

    /// One call that must have this status.
    async fn expect(
        &mut self,
        what: &str,
        method: &str,
        target: &str,
        body: &Value,
        status: u16,
    ) -> Result<Value, Failure> {
        let answer = self.service.call(method, target, body).await?;
        if answer.status != status {
            let text = String::from_utf8_lossy(&answer.body);
            return Err(Failure::new(format!(
                "{what}: {method} {target}: {} instead of {status}: {text}",
                answer.status
            )));
        }
        self.done.push(what.to_owned());
        Ok(answer.json())
    }

    fn must(&mut self, what: &str, holds: bool) -> Result<(), Failure> {
        self.done.push(what.to_owned());
        if holds { Ok(()) } else { Err(Failure::new(format!("{what}: it is not so"))) }
    }

    /// Names a tenant, registers and logs in, where the service wants that.
    async fn come_in(&mut self) -> Result<(), Failure> {
        self.expect("it is well", "GET", "/health", &Value::Null, 200).await?;
        let list = self.path("");
        if self.has("multi_tenancy") {
            self.expect("no tenant is 400", "GET", &list, &Value::Null, 400).await?;
            self.service.headers.push(("x-tenant".into(), "acme".into()));
        }
        if self.has("auth") {
            self.expect("no token is 401", "GET", &list, &Value::Null, 401).await?;
            let ada = json!({"name": "ada", "password": "a password of hers"});
            self.expect("a user registers", "POST", "/register", &ada, 201).await?;
            self.login("ada").await?;
        }
        Ok(())
    }

    async fn login(&mut self, name: &str) -> Result<(), Failure> {
        let credentials = json!({"name": name, "password": "a password of hers"});
        self.service.headers.retain(|(name, _)| name != "authorization");
        let answer = self.expect("a user logs in", "POST", "/login", &credentials, 200).await?;
        let token = answer["token"].as_str().unwrap_or_default();
        self.service.headers.push(("authorization".into(), format!("Bearer {token}")));
        Ok(())
    }

    /// The path of the main entity, with what follows.
    fn path(&self, rest: &str) -> String {
        format!("/{}{rest}", self.model.entities[0].plural)
    }

    /// Creates, reads, lists, updates and deletes; the path of a record that is left.
    async fn records(&mut self) -> Result<String, Failure> {
        let (main, list) = (self.model.entities[0].clone(), self.path(""));
        let body = self.sample(&main).await?;
        let made = self.expect("create", "POST", &list, &body, 201).await?;
        let one = format!("{list}/{}", made["id"]);
        let read = self.expect("read", "GET", &one, &Value::Null, 200).await?;
        self.must("what is read is what was written", read == made)?;
        let all = self.expect("list", "GET", &list, &Value::Null, 200).await?;
        self.must("the list has it", all.as_array().is_some_and(|all| all.contains(&made)))?;
        self.expect("update", "PUT", &one, &body, 200).await?;
        self.expect("what is not complete is 422", "POST", &list, &json!({}), 422).await?;
        self.expect("delete", "DELETE", &one, &Value::Null, 204).await?;
        self.expect("what is deleted is 404", "GET", &one, &Value::Null, 404).await?;
        if self.has("soft_delete") {
            self.expect("what is deleted can be restored", "POST", &format!("{one}/restore"), &Value::Null, 200)
                .await?;
        }
        let body = self.sample(&main).await?;
        let left = self.expect("create another", "POST", &list, &body, 201).await?;
        Ok(format!("{list}/{}", left["id"]))
    }

    /// What a record must have; what it refers to is made before it.
    async fn sample(&mut self, entity: &Entity) -> Result<Value, Failure> {
        let mut row = Map::new();
        for field in entity.fields.iter().filter(|field| field.required) {
            let value = match &*field.kind {
                "text" if field.name == "email" => json!("ada@example.org"),
                "text" if field.name == "url" => json!("http://127.0.0.1:9/"),
                "text" => json!("sample"),
                "integer" => json!(5),
                "boolean" => json!(true),
                other => {
                    let other = self.model.entities.iter().find(|entity| entity.name == other).cloned();
                    let other = other.ok_or_else(|| Failure::new("a reference to nothing").dead())?;
                    let body = Box::pin(self.sample(&other)).await?;
                    self.expect(&format!("create {}", other.name), "POST", &format!("/{}", other.plural), &body, 201)
                        .await?["id"]
                        .clone()
                }
            };
            row.insert(field.name.clone(), value);
        }
        Ok(Value::Object(row))
    }

    /// What the chosen features promise, as far as a call shows it.
    async fn behaviours(&mut self, one: &str) -> Result<(), Failure> {
        let list = self.path("");
        if self.has("cache") {
            let answer = self.service.call("GET", one, &Value::Null).await?;
            let mut headers = self.service.headers.clone();
            headers.push(("if-none-match".into(), answer.header("etag").unwrap_or_default().into()));
            let again = self.service.call_with("GET", one, &Value::Null, &headers).await?;
            self.must("what is known is 304", again.status == 304 && again.body.is_empty())?;
        }
        if self.has("pagination") {
            let answer = self.service.call("GET", &format!("{list}?limit=1"), &Value::Null).await?;
            let told = answer.header("x-total-count").is_some();
            self.must(
                "a page has one record and tells of all",
                told && answer.json().as_array().is_some_and(|page| page.len() == 1),
            )?;
        }
        if self.has("roles") {
            let eve = json!({"name": "eve", "password": "a password of hers"});
            self.expect("another user registers", "POST", "/register", &eve, 201).await?;
            let admin = self.service.headers.clone();
            self.login("eve").await?;
            self.expect("a viewer's delete is 403", "DELETE", one, &Value::Null, 403).await?;
            self.service.headers = admin;
        }
        let gets = [
            ("ui", "/"),
            ("documentation", "/openapi.json"),
            ("monitoring", "/metrics"),
            ("audit", "/audit"),
            ("admin", "/admin/stats"),
            ("notifications", "/notifications"),
            ("quotas", "/quota"),
            ("presence", "/presence"),
            ("typing", "/typing"),
            ("history", "/history"),
            ("cart", "/cart"),
            ("catalog", "/catalog"),
            ("email", "/emails"),
        ];
        for (feature, path) in gets {
            if self.has(feature) {
                self.expect(&format!("{feature} answers"), "GET", path, &Value::Null, 200).await?;
            }
        }
        for (feature, rest) in
            [("search", "/search?q=sample"), ("export", "/export"), ("sorting", "?sort=-id"), ("versioning", "")]
        {
            if self.has(feature) {
                let version = if feature == "versioning" { "/v1" } else { "" };
                self.expect(&format!("{feature} answers"), "GET", &format!("{version}{list}{rest}"), &Value::Null, 200)
                    .await?;
            }
        }
        Ok(())
    }
}
