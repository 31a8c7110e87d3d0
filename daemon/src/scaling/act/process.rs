//! Agents as processes of this node: started, asked to leave with SIGTERM, and started again when they die.
//!
//! An agent that was asked to leave finishes its jobs first, however long that takes; only when the node itself stops
//! is there an end to patience. Each has a process group of its own, so that a signal to the node is none to them, and
//! so that what an agent started for its jobs does not outlive it.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use rustix::process::{Signal, kill_process};
use tokio::process::{Child, Command};

use super::{ActError, Actuator, group};
use crate::config::Pool;
use crate::telemetry::events::AgentMoved;
use crate::transport::wire::Share;

/// How long an agent that was asked to leave may work on, unless the pool says otherwise: a day.
const GRACE_MS: u64 = 86_400_000;
/// Processes of one pool, those on their way out with them.
const PROCESSES_MAX: usize = 64;
/// Pause before an agent is started again that died, the first time and at most.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// One that ran for so long did not die of its start.
const SETTLED: Duration = Duration::from_secs(60);
/// How often it is looked whether all are gone, once the node stops.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Longest wait for one that was killed: one that a disk holds up is waited for by nobody.
const KILLED_WITHIN: Duration = Duration::from_secs(2);

/// The agents of one pool on this node.
pub(super) struct Processes {
    agent_type: String,
    command: Vec<String>,
    env: BTreeMap<String, String>,
    wanted: u32,
    agents: Vec<Agent>,
    /// Rounds of agents in a row that died soon after their start.
    deaths: u32,
    /// When the last of these was counted. Who was started before belongs to it.
    counted: Option<Instant>,
    not_before: Option<Instant>,
}

struct Agent {
    child: Child,
    started: Instant,
    leaves: bool,
}

impl Processes {
    pub(super) fn new(pool: &Pool, server: String) -> Self {
        let mut env = pool.env.clone();
        env.entry("BRAVO_SERVER".to_owned()).or_insert(server);
        env.entry("BRAVO_GRACE_MS".to_owned()).or_insert_with(|| GRACE_MS.to_string());
        env.insert("BRAVO_AGENT_TYPE".to_owned(), pool.agent_type.to_string());
        let (agent_type, command) = (pool.agent_type.to_string(), pool.command.clone());
        Self { agent_type, command, env, wanted: 0, agents: Vec::new(), deaths: 0, counted: None, not_before: None }
    }

    fn staying(&self) -> usize {
        self.agents.iter().filter(|agent| !agent.leaves).count()
    }

    /// Notes who is gone; who died and should not have is missed for a while.
    fn reap(&mut self, now: Instant) {
        let before = self.agents.len();
        let mut died = Vec::new();
        self.agents.retain_mut(|agent| {
            let is_gone = group::bury(&mut agent.child);
            if is_gone && !agent.leaves {
                died.push(agent.started);
            }
            !is_gone
        });
        for started in &died {
            if self.counted.is_some_and(|counted| *started <= counted) {
                continue;
            }
            self.deaths = if now.duration_since(*started) > SETTLED { 1 } else { self.deaths.saturating_add(1) };
            self.counted = Some(now);
        }
        if !died.is_empty() {
            self.not_before = Some(now + self.pause());
        } else if self.agents.iter().all(|agent| now.duration_since(agent.started) > SETTLED) && self.staying() > 0 {
            self.deaths = 0;
        }
        self.tell("died", died.len());
        self.tell("left", before - self.agents.len() - died.len());
    }

    fn pause(&self) -> Duration {
        PAUSE_MIN.saturating_mul(1 << self.deaths.saturating_sub(1).min(6)).min(PAUSE_MAX)
    }

    fn tell(&self, what: &'static str, count: usize) {
        if count > 0 {
            AgentMoved { agent_type: &self.agent_type, what, count }.emit();
        }
    }

    fn settle(&mut self, now: Instant) -> Result<(), ActError> {
        self.reap(now);
        let (wanted, staying) = (self.wanted as usize, self.staying());
        if staying > wanted {
            // The newest first: they have done least, and what is kept warm stays.
            let surplus = self.agents.iter_mut().rev().filter(|agent| !agent.leaves).take(staying - wanted);
            surplus.for_each(Agent::ask_to_leave);
            self.tell("asked_to_leave", staying - wanted);
        }
        if staying >= wanted || self.not_before.is_some_and(|time| now < time) {
            return Ok(());
        }
        let room = PROCESSES_MAX.saturating_sub(self.agents.len());
        let before = self.agents.len();
        let mut all_started = Ok(());
        for _ in staying..wanted.min(staying + room) {
            match self.start(now) {
                Ok(agent) => self.agents.push(agent),
                Err(error) => {
                    self.deaths = self.deaths.saturating_add(1);
                    self.not_before = Some(now + self.pause());
                    all_started = Err(error);
                    break;
                }
            }
        }
        self.tell("started", self.agents.len() - before);
        all_started
    }

    fn start(&self, started: Instant) -> Result<Agent, ActError> {
        let Some((program, arguments)) = self.command.split_first() else {
            return Err(ActError::Program("no program".into(), std::io::ErrorKind::NotFound.into()));
        };
        let mut command = Command::new(program);
        command.args(arguments).envs(&self.env).stdin(Stdio::null()).process_group(0).kill_on_drop(true);
        let child = command.spawn().map_err(|error| ActError::Program(program.clone(), error))?;
        Ok(Agent { child, started, leaves: false })
    }

    async fn end(&mut self, patience: Duration) {
        self.wanted = 0;
        self.agents.iter_mut().filter(|agent| !agent.leaves).for_each(Agent::ask_to_leave);
        let until = Instant::now() + patience;
        while !self.agents.is_empty() && Instant::now() < until {
            tokio::time::sleep(LOOK_EVERY).await;
            self.reap(Instant::now());
        }
        self.tell("killed", self.agents.len());
        for mut agent in self.agents.drain(..) {
            group::kill(&agent.child);
            let _ = tokio::time::timeout(KILLED_WITHIN, agent.child.wait()).await;
        }
    }
}

impl Agent {
    /// The agent alone is told, not what it started for its jobs.
    fn ask_to_leave(&mut self) {
        self.leaves = true;
        if let Some(pid) = group::pid(&self.child) {
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

impl Actuator for Processes {
    fn apply<'a>(&'a mut self, share: Option<&'a Share>) -> BoxFuture<'a, Result<(), ActError>> {
        if let Some(share) = share {
            self.wanted = share.agents;
        }
        let settled = self.settle(Instant::now());
        Box::pin(std::future::ready(settled))
    }

    fn running(&self) -> u32 {
        u32::try_from(self.staying()).unwrap_or(u32::MAX)
    }

    fn pids(&self) -> Vec<u32> {
        self.agents.iter().filter_map(|agent| agent.child.id()).collect()
    }

    fn stop(&mut self, patience: Duration) -> BoxFuture<'_, ()> {
        Box::pin(self.end(patience))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ActuatorKind;

    fn pool(script: &str) -> Processes {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        let agent_type = bravo_model::Name::parse("name", "coder").unwrap();
        let pool = Pool { actuator: ActuatorKind::Process, command, ..Pool::of(agent_type) };
        Processes::new(&pool, "http://127.0.0.1:1".into())
    }

    async fn until(pool: &mut Processes, what: &str, holds: impl Fn(&Processes) -> bool) {
        for _ in 0..600 {
            pool.settle(Instant::now()).unwrap();
            if holds(pool) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("never {what}");
    }

    #[tokio::test]
    async fn an_agent_that_works_on_is_let_work_until_it_leaves_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let (told, done) = (folder.path().join("told"), folder.path().join("done"));
        let script = format!(
            "trap 'touch {told}' TERM; touch {ready}.$$; while [ ! -e {done} ]; do sleep 0.05; done",
            told = told.display(),
            done = done.display(),
            ready = folder.path().join("ready").display(),
        );
        let mut pool = pool(&script);
        pool.wanted = 2;
        pool.settle(Instant::now()).unwrap();
        let ready = |folder: &std::path::Path| std::fs::read_dir(folder).unwrap().count();
        until(&mut pool, "ready", |_| ready(folder.path()) == 2).await;
        pool.wanted = 1;
        until(&mut pool, "told", |_| told.exists()).await;
        assert_eq!((pool.running(), pool.agents.len()), (1, 2), "it works on, and does not count any more");
        pool.wanted = 2;
        until(&mut pool, "replaced", |pool| pool.running() == 2).await;
        assert_eq!(pool.agents.len(), 3, "a third one takes its place");
        std::fs::write(&done, "").unwrap();
        pool.wanted = 0;
        until(&mut pool, "gone", |pool| pool.agents.is_empty()).await;
    }

    #[tokio::test]
    async fn an_agent_that_dies_is_started_again_after_a_pause_that_grows() {
        let mut pool = pool("exit 1");
        // However many die, that is one reason to wait.
        pool.wanted = 3;
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..3 {
            pool.settle(now).unwrap();
            until_dead(&mut pool, now).await;
            let next = pool.not_before.unwrap();
            pool.settle(next - Duration::from_millis(1)).unwrap();
            assert!(pool.agents.is_empty(), "not before its time");
            pauses.push(next - now);
            now = next;
        }
        assert_eq!(pauses, [1, 2, 4].map(Duration::from_secs));
    }

    #[tokio::test]
    async fn when_the_node_stops_the_deaf_are_ended_with_all_that_they_started() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let mut pool =
            pool(&format!("trap '' TERM; sleep 600 & echo $! > {}.new; mv {0}.new {0}; wait", file.display()));
        pool.wanted = 1;
        until(&mut pool, "started", |_| file.exists()).await;
        pool.end(Duration::from_millis(100)).await;
        assert!(pool.agents.is_empty());
        group::tests::until_gone(&file).await;
    }

    #[tokio::test]
    async fn what_an_agent_started_does_not_outlive_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let mut pool = pool(&format!("sleep 600 & echo $! > {}; exit 1", file.display()));
        pool.wanted = 1;
        pool.settle(Instant::now()).unwrap();
        until_dead(&mut pool, Instant::now()).await;
        group::tests::until_gone(&file).await;
    }

    #[tokio::test]
    async fn who_runs_well_again_is_not_held_to_have_died_before() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("well");
        let mut pool = pool(&format!("test -e {} || exit 1; sleep 600", file.display()));
        pool.wanted = 1;
        let now = Instant::now();
        pool.settle(now).unwrap();
        until_dead(&mut pool, now).await;
        std::fs::write(&file, "").unwrap();
        let again = pool.not_before.unwrap();
        pool.settle(again).unwrap();
        assert_eq!((pool.running(), pool.deaths), (1, 1));
        pool.reap(again + SETTLED + Duration::from_secs(1));
        assert_eq!((pool.running(), pool.deaths), (1, 0));
        pool.end(Duration::from_millis(100)).await;
    }

    async fn until_dead(pool: &mut Processes, now: Instant) {
        while !pool.agents.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
            pool.reap(now);
        }
    }
}
