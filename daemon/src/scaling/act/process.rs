//! Agents as processes of this node: started, asked to leave with SIGTERM, and started again when they die.
//!
//! An agent that was asked to leave finishes its jobs first, however long that takes; only when the node itself stops
//! is there an end to patience. Each has a process group of its own, so that a signal to the node is none to them, and
//! so that what an agent started for its jobs does not outlive it.
//!
//! Agents outlive a node that is killed. It finds them written down when it comes back and asks them to leave: they finish
//! their jobs, and others that it can wait for take their place.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use rustix::process::{Signal, kill_process};
use tokio::process::{Child, Command};

use super::roll::{Process, Roll};
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
    /// Agents of this node before it was killed, on their way out; none before they were looked for.
    orphans: Option<Vec<Process>>,
    roll: Roll,
    /// What is written down of them all.
    written: Vec<Process>,
    /// Rounds of agents in a row that died soon after their start.
    deaths: u32,
    /// When the last of these was counted. Who was started before belongs to it.
    counted: Option<Instant>,
    not_before: Option<Instant>,
}

struct Agent {
    child: Child,
    /// How it is written down.
    process: Option<Process>,
    started: Instant,
    leaves: bool,
}

impl Processes {
    pub(super) fn new(pool: &Pool, server: String, data_dir: &Path) -> Self {
        let mut env = pool.env.clone();
        env.entry("BRAVO_SERVER".to_owned()).or_insert(server);
        env.entry("BRAVO_GRACE_MS".to_owned()).or_insert_with(|| GRACE_MS.to_string());
        env.insert("BRAVO_AGENT_TYPE".to_owned(), pool.agent_type.to_string());
        Self {
            agent_type: pool.agent_type.to_string(),
            command: pool.command.clone(),
            env,
            wanted: 0,
            agents: Vec::new(),
            orphans: None,
            roll: Roll::of(data_dir, &pool.agent_type),
            written: Vec::new(),
            deaths: 0,
            counted: None,
            not_before: None,
        }
    }

    /// Finds the agents that this node left behind when it was killed, and asks them to leave.
    async fn recall(&mut self) {
        if self.orphans.is_some() {
            return;
        }
        let roll = self.roll.clone();
        let Ok(mut found) = tokio::task::spawn_blocking(move || roll.read()).await else { return };
        self.written.clone_from(&found);
        let staying = found.iter().filter(|process| !process.leaves).count();
        found.iter_mut().filter(|process| !process.leaves).for_each(Process::ask_to_leave);
        self.tell("asked_to_leave", staying);
        self.orphans = Some(found);
    }

    /// Writes down who is there, so that they are known if this node is killed.
    async fn write_down(&mut self) {
        let own = |agent: &Agent| agent.process.map(|process| process.with(agent.leaves));
        let all: Vec<Process> =
            self.orphans.iter().flatten().copied().chain(self.agents.iter().filter_map(own)).collect();
        if all == self.written {
            return;
        }
        let (roll, processes) = (self.roll.clone(), all.clone());
        match tokio::task::spawn_blocking(move || roll.write(&processes)).await {
            Ok(Ok(())) => self.written = all,
            Ok(Err(error)) => tracing::warn!(agent_type = self.agent_type, %error, "agents are not written down"),
            Err(_) => {}
        }
    }

    /// All processes, those on their way out with them.
    fn processes(&self) -> usize {
        self.agents.len() + self.orphans.as_ref().map_or(0, Vec::len)
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
        let left = before - self.agents.len() - died.len();
        let orphans = self.orphans.as_mut().map_or(0, |orphans| {
            let before = orphans.len();
            orphans.retain(|orphan| orphan.lives());
            before - orphans.len()
        });
        self.tell("left", left + orphans);
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
        let room = PROCESSES_MAX.saturating_sub(self.processes());
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
        let process = group::pid(&child).and_then(Process::of);
        Ok(Agent { child, process, started, leaves: false })
    }

    async fn end(&mut self, patience: Duration) {
        self.wanted = 0;
        self.recall().await;
        self.agents.iter_mut().filter(|agent| !agent.leaves).for_each(Agent::ask_to_leave);
        let until = Instant::now() + patience;
        while self.processes() > 0 && Instant::now() < until {
            tokio::time::sleep(LOOK_EVERY).await;
            self.reap(Instant::now());
        }
        self.tell("killed", self.processes());
        self.orphans.iter_mut().flat_map(std::mem::take).for_each(Process::kill);
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
        Box::pin(async {
            self.recall().await;
            let settled = self.settle(Instant::now());
            self.write_down().await;
            settled
        })
    }

    fn running(&self) -> u32 {
        u32::try_from(self.staying()).unwrap_or(u32::MAX)
    }

    fn pids(&self) -> Vec<u32> {
        let orphans = self.orphans.iter().flatten().map(|orphan| orphan.pid());
        self.agents.iter().filter_map(|agent| agent.child.id()).chain(orphans).collect()
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
        pool_in(Path::new("/nowhere"), script)
    }

    fn pool_in(data_dir: &Path, script: &str) -> Processes {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        let agent_type = bravo_model::Name::parse("name", "coder").unwrap();
        let pool = Pool { actuator: ActuatorKind::Process, command, ..Pool::of(agent_type) };
        Processes::new(&pool, "http://127.0.0.1:1".into(), data_dir)
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
    async fn agents_of_a_node_that_was_killed_are_asked_to_leave_and_no_second_set_is_added_to_them() {
        let folder = tempfile::tempdir().unwrap();
        let (told, done) = (folder.path().join("told"), folder.path().join("done"));
        let script = format!(
            "trap 'echo $$ >> {told}' TERM; touch {ready}.$$; while [ ! -e {done} ]; do sleep 0.3; done",
            told = told.display(),
            done = done.display(),
            ready = folder.path().join("ready").display(),
        );
        let ready = || {
            let files = std::fs::read_dir(folder.path()).unwrap().flatten();
            files.filter(|file| file.file_name().to_string_lossy().starts_with("ready")).count()
        };
        let mut killed = pool_in(folder.path(), &script);
        killed.wanted = 3;
        killed.apply(None).await.unwrap();
        until(&mut killed, "ready", |_| ready() == 3).await;
        killed.wanted = 2;
        killed.apply(None).await.unwrap();
        let count = || std::fs::read_to_string(&told).unwrap_or_default().lines().count();
        until(&mut killed, "told that it is too many", |_| count() == 1).await;
        // As kill -9 does it: nobody is told.
        std::mem::forget(killed);

        let mut next = pool_in(folder.path(), &script);
        next.apply(None).await.unwrap();
        until(&mut next, "told", |_| count() == 3).await;
        assert_eq!((next.running(), next.processes(), next.pids().len()), (0, 3, 3), "they finish what they hold");
        next.wanted = PROCESSES_MAX as u32;
        next.apply(None).await.unwrap();
        assert_eq!((next.agents.len(), next.processes()), (PROCESSES_MAX - 3, PROCESSES_MAX));
        until(&mut next, "ready", |_| ready() == PROCESSES_MAX).await;
        next.wanted = 0;
        next.apply(None).await.unwrap();
        assert_eq!(next.roll.read().len(), PROCESSES_MAX, "all are known, should this one be killed as well");
        std::fs::write(&done, "").unwrap();
        until(&mut next, "gone", |next| next.processes() == 0).await;
        next.apply(None).await.unwrap();
        assert_eq!((next.roll.read(), count()), (vec![], PROCESSES_MAX), "each was told once");
    }

    #[tokio::test]
    async fn agents_of_a_node_that_was_killed_are_ended_when_the_node_stops_and_they_are_deaf() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!("trap '' TERM; sleep 600 & echo $! > {}.new; mv {0}.new {0}; wait", file.display());
        let mut killed = pool_in(folder.path(), &script);
        killed.wanted = 1;
        killed.apply(None).await.unwrap();
        until(&mut killed, "started", |_| file.exists()).await;
        std::mem::forget(killed);
        pool_in(folder.path(), &script).end(Duration::from_millis(100)).await;
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
