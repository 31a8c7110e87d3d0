//! `bravo demo apps`: agents in processes of their own build applications, all at once; a node and an agent are
//! killed in the middle.
//!
//! ```text
//!   requirements ──► 3 × bravod ◄──► 6 × bravo-agent: analysis, planning, codegen, 2 × testing, deployment
//!                      ▲    artifacts: source, program, bundle ▲
//!          SIGKILL of the leader                 SIGKILL while it holds a job
//! ```

mod agents;
mod board;
mod proof;
mod report;
mod specs;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use bravo_client::proto::StartWorkflowRequest;
use bravo_client::Client;
use futures_util::future::{join_all, try_join_all};
use parking_lot::Mutex;

use super::fault::{Fault, Scene};
use super::nodes::Nodes;
use super::probe::{Probes, QUEUE};
use super::screen::Screen;
use super::view::{Leaders, equal_groups, list};
use super::{Setting, client, program, verdict};
use crate::bench::http::Http;
use crate::exit::Failure;
use crate::global::Global;
use crate::output::show;
use agents::Agents;
use board::App;
use proof::Proof;
use report::Report;

/// The project of all applications.
const PROJECT: &str = "demo";
/// Between two looks at the workflows.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long all may take.
const ALL_MAX: Duration = Duration::from_secs(240);
/// How long the killed agent stays away.
const AWAY: Duration = Duration::from_secs(3);

/// Run a cluster of three and agents that build applications; kill a node and an agent; prove that all were built.
///
/// Ten workflows start at once. Agents turn requirements into a model, a plan, the source of a small service, a
/// tested program, and a bundle in the artifact store. In the middle the node that leads most groups and a testing
/// agent that holds a job are killed with SIGKILL, and come back. Then every node is asked for each workflow and
/// each bundle. Needs cargo, with which the applications are compiled.
#[derive(clap::Args, Clone, Debug)]
#[group(id = "apps-demo")]
pub(super) struct Args {
    #[command(flatten)]
    setting: Setting,
    /// Applications to build
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=50))]
    apps: u16,
    /// The agents' program; the one beside this program unless given
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
    /// Leave the cluster and the agents at work in the end, until Ctrl-C
    #[arg(long)]
    hold: bool,
}

pub(super) async fn run(args: &Args, global: &Global, held: &OnceLock<bool>) -> Result<(), Failure> {
    let screen = Screen::new(global.output);
    let bravod = args.setting.bravod()?;
    let agent = program("bravo-agent", "--agent", args.agent.as_deref())?;
    let cargo = std::process::Command::new("cargo").arg("--version").output();
    if !cargo.is_ok_and(|output| output.status.success()) {
        return Err(Failure::Usage("cargo is not there, with which the applications are compiled".into()));
    }
    // Dropped after the processes, which write into it.
    let folder = args.setting.folder()?;
    let http = Http::new(32, None, Duration::from_secs(10)).map_err(Failure::Usage)?;
    screen.event(&format!("starting {} nodes in {}", args.setting.nodes, folder.path().display()));
    let mut nodes = Nodes::start(&bravod, folder.path(), args.setting.nodes).map_err(Failure::No)?;
    let urls = nodes.urls();
    let mut agents = Agents::start(&agent, folder.path(), &urls).map_err(Failure::No)?;
    let run = Run { args, screen: &screen, http: &http, urls, client: client(&nodes.urls()).map_err(Failure::No)? };
    let outcome = run.all(&mut nodes, &mut agents).await;
    screen.keep();
    let words = nodes.ended().or_else(|| agents.ended());
    let report = outcome.map_err(|error| Failure::No(words.map_or(error.clone(), |words| format!("{error}\n{words}"))))?;
    show(global.output, &report, report::render);
    if args.hold {
        // Nobody else sets it.
        let _ = held.set(report.pass);
        screen.event("the cluster and the agents go on until Ctrl-C");
        std::future::pending::<()>().await;
    }
    drop(agents);
    verdict(report.pass)
}

/// One run on a cluster that was started.
struct Run<'a> {
    args: &'a Args,
    screen: &'a Screen,
    http: &'a Http,
    urls: Vec<String>,
    client: Client,
}

/// What became of the killed agent.
struct Killed {
    agent: String,
    job: String,
}

impl Run<'_> {
    async fn all(&self, nodes: &mut Nodes, agents: &mut Agents) -> Result<Report, String> {
        nodes.ready(self.http).await?;
        let leaders = Leaders::ask(self.http, &self.urls).await?;
        self.screen.event(&format!("{} nodes are ready; leaders: {}", self.urls.len(), leaders.text()));
        self.load().await?;
        let probes = Probes::start(&self.client, leaders.groups.saturating_sub(1)).await?;

        let start = Instant::now();
        let apps = Mutex::new(self.begin().await?);
        let (agents_text, count) = (agents.count(), self.args.apps);
        self.screen.event(&format!("{count} workflows started; {agents_text} agents are at work"));
        let over = AtomicBool::new(false);
        let scene = Scene { http: self.http, probes: &probes, screen: self.screen, over: &over };
        let faults = async {
            let killed = self.kill_agent(&apps, agents).await?;
            let back = async {
                tokio::time::sleep(AWAY).await;
                self.start_agent(agents, &killed.agent)
            };
            let (fault, ()) = tokio::try_join!(scene.play(nodes), back)?;
            Ok::<_, String>((fault, killed))
        };
        let late = |_| format!("not all was done within {} s", ALL_MAX.as_secs());
        let both = async { tokio::try_join!(self.watch(&apps), faults) };
        let ((), (fault, killed)) = tokio::time::timeout(ALL_MAX, both).await.map_err(late)??;
        let seconds = start.elapsed().as_secs_f64();
        let probes = probes.stop().await?;

        self.screen.event(&format!("all {count} applications are built; asking every node for proof"));
        let mut proof = Proof::default();
        let apps = apps.into_inner();
        for app in &apps {
            proof.look(self.http, &self.client, &self.urls, app).await?;
        }
        for url in &self.urls {
            let listed = list(self.http, url, QUEUE).await?;
            let lost = probes.iter().filter(|id| !listed.contains_key(*id)).count();
            if lost > 0 {
                proof.problems.push(format!("{url}: {lost} probes were acknowledged and are lost"));
            }
        }
        let (equal, wrong) = equal_groups(self.http, &self.urls[0], self.urls.len()).await?;
        proof.problems.extend(wrong);
        let attempt = proof.attempts.get(&killed.job).copied().unwrap_or(0);
        if attempt < 2 {
            let text = format!("{}: its agent was killed, and it was done at attempt {attempt}", killed.job);
            proof.problems.push(text);
        }
        let replicas = format!("{equal} of {}", leaders.groups);
        Ok(report(proof, seconds, &fault, killed, attempt, probes.len(), replicas))
    }

    /// Puts the templates into the cluster.
    async fn load(&self) -> Result<(), String> {
        for (name, template) in specs::TEMPLATES {
            let put = self.client.put_template(name, template, None).await;
            put.map_err(|error| format!("template {name}: {error}"))?;
        }
        Ok(())
    }

    /// Starts all workflows at once.
    async fn begin(&self) -> Result<Vec<App>, String> {
        let start = |(name, requirements): (String, serde_json::Value)| async move {
            let request = StartWorkflowRequest {
                name: name.clone(),
                project_id: PROJECT.into(),
                requirements: requirements.to_string().into(),
                ..Default::default()
            };
            let started = self.client.start_workflow(request).await.map_err(|error| format!("{name}: {error}"))?;
            let kind = requirements["type"].as_str().unwrap_or_default().to_owned();
            Ok::<_, String>(App { name, kind, workflow: started.id, seen: board::Seen::default() })
        };
        try_join_all(specs::requirements(self.args.apps.into()).into_iter().map(start)).await
    }

    /// Looks at all workflows, and shows them, until all are done.
    async fn watch(&self, apps: &Mutex<Vec<App>>) -> Result<(), String> {
        loop {
            let mut looked = apps.lock().clone();
            join_all(looked.iter_mut().map(|app| app.look(&self.client))).await;
            if !self.screen.is_terminal() {
                let before = apps.lock().clone();
                let changed = looked.iter().zip(&before).filter(|(new, old)| new.seen.differs(&old.seen));
                changed.for_each(|(app, _)| self.screen.event(app.line().trim()));
            }
            self.screen.replace(board::tree(&looked));
            if let Some(app) = looked.iter().find(|app| app.seen.failed.is_some()) {
                return Err(format!("{}: {}", app.name, app.seen.failed.as_deref().unwrap_or_default()));
            }
            let done = looked.iter().all(|app| app.seen.done);
            *apps.lock() = looked;
            if done {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Kills a testing agent while it compiles, once some of the work is done.
    async fn kill_agent(&self, apps: &Mutex<Vec<App>>, agents: &mut Agents) -> Result<Killed, String> {
        let enough = usize::from(self.args.apps) / 5;
        loop {
            let held = {
                let apps = apps.lock();
                let done = apps.iter().filter(|app| app.seen.done).count();
                if done == apps.len() {
                    return Err("all was done before an agent could be killed at work".into());
                }
                let running = apps.iter().filter_map(|app| app.seen.running.as_ref());
                let compiling = running.filter(|running| running.step == "compiling" && running.worker.starts_with("testing-"));
                compiling.map(|running| (running.worker.clone(), running.job.clone())).next().filter(|_| done >= enough)
            };
            if let Some((name, job)) = held
                && let Some(pid) = agents.named(&name).and_then(agents::Agent::kill)
            {
                let state = self.http.json(&format!("{}/api/v1/jobs/{job}", self.urls[0])).await?;
                if state["state"] == "leased" && state["worker_id"] == *name {
                    self.screen.event(&format!("killed agent {name} (pid {pid}) and its cargo: it held {job}"));
                    return Ok(Killed { agent: name, job });
                }
                // It was faster, and has told of its end.
                self.start_agent(agents, &name)?;
            }
            tokio::time::sleep(LOOK_EVERY / 4).await;
        }
    }

    fn start_agent(&self, agents: &mut Agents, name: &str) -> Result<(), String> {
        let agent = agents.named(name).ok_or_else(|| format!("no agent {name}"))?;
        let pid = agent.start()?;
        self.screen.event(&format!("started agent {name} again (pid {pid})"));
        Ok(())
    }
}

fn report(proof: Proof, seconds: f64, fault: &Fault, killed: Killed, attempt: u64, writes: usize, replicas: String) -> Report {
    Report {
        apps: proof.built,
        seconds,
        tasks: proof.tasks,
        bundles_checked: proof.bundles,
        killed_node: fault.node,
        killed_node_led: fault.led,
        failover_seconds: fault.failover.as_secs_f64(),
        killed_agent: killed.agent,
        killed_job: killed.job,
        killed_job_attempt: attempt,
        probe_writes: writes,
        replicas_equal: replicas,
        pass: proof.problems.is_empty(),
        problems: proof.problems,
    }
}
