//! A cluster of processes on loopback addresses of its own.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bravo_api::certs;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{Proc, Rest, binary};

/// Clusters that run at a time: more would only measure how they starve each other.
static SEATS: Semaphore = Semaphore::const_new(2);
static NEXT: AtomicU32 = AtomicU32::new(0);

/// How a cluster is made.
pub struct Options {
    /// Job partitions; few, so that faults hit something.
    pub partitions: u16,
    /// Folders for the nodes' data where they are not to lie beside each other.
    pub data: Vec<PathBuf>,
    /// More configuration, as TOML.
    pub config: String,
    /// Variables of each node's environment.
    pub env: Vec<Vec<(String, String)>>,
}

impl Default for Options {
    fn default() -> Self {
        Self { partitions: 2, data: Vec::new(), config: String::new(), env: Vec::new() }
    }
}

/// Three nodes.
pub struct Procs {
    /// The nodes, by id less one.
    pub nodes: Vec<Proc>,
    /// To talk to them.
    pub rest: Rest,
    number: u32,
    options: Options,
    folder: TempDir,
    _seat: SemaphorePermit<'static>,
}

/// Addresses in 127.0.0.0/8 that no other cluster of this or another test process has.
fn address(cluster: u32, node: u64, port: u16) -> SocketAddr {
    let number = (std::process::id() * 16 + cluster) % (200 * 250);
    SocketAddr::from(([127, (20 + number / 250) as u8, (number % 250) as u8, node as u8], port))
}

impl Procs {
    /// Starts three nodes and waits until each is ready.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let mut this = Self::prepare(options).await?;
        this.start_all()?;
        this.ready(Duration::from_secs(30)).await?;
        Ok(this)
    }

    /// Makes three nodes and starts none.
    pub async fn prepare(options: Options) -> anyhow::Result<Self> {
        let seat = SEATS.acquire().await?;
        let cluster = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = tempfile::Builder::new().prefix("bravo-faults-").tempdir()?;
        let program = binary::bravod()?;
        certs::init_ca(folder.path())?;
        let mut nodes = Vec::new();
        let founders: Vec<u64> = (1..=3).collect();
        for id in &founders {
            let mut node = make(cluster, *id, folder.path(), &program, &options, &initial(cluster, &founders))?;
            node.env = options.env.get(*id as usize - 1).cloned().unwrap_or_default();
            nodes.push(node);
        }
        Ok(Self { nodes, rest: Rest::default(), number: cluster, options, folder, _seat: seat })
    }

    /// Makes one more node, which asks those that are there to be added when it is started.
    pub fn add(&mut self, id: u64) -> anyhow::Result<()> {
        let peers = self.nodes.iter().map(|node| format!("\"{}\"", address(self.number, node.id, 7701)));
        let join = format!("join = [{}]\n", peers.collect::<Vec<_>>().join(", "));
        let program = binary::bravod()?;
        self.nodes.push(make(self.number, id, self.folder.path(), &program, &self.options, &join)?);
        Ok(())
    }

    /// Where the configurations and logs are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where the nodes serve.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.public).collect()
    }

    /// Starts all nodes that do not run.
    pub fn start_all(&mut self) -> anyhow::Result<()> {
        self.nodes.iter_mut().filter(|node| !node.runs()).try_for_each(Proc::start)
    }

    /// `kill -9` of all.
    pub fn kill_all(&mut self) -> anyhow::Result<()> {
        self.nodes.iter_mut().filter(|node| node.runs()).try_for_each(Proc::kill)
    }

    /// Waits until all running nodes are ready; says how long that took.
    pub async fn ready(&mut self, patience: Duration) -> anyhow::Result<Duration> {
        let began = Instant::now();
        for index in 0..self.nodes.len() {
            if self.nodes[index].runs() {
                self.node_ready(index, patience.saturating_sub(began.elapsed())).await?;
            }
        }
        Ok(began.elapsed())
    }

    /// Waits until one node is ready.
    pub async fn node_ready(&mut self, index: usize, patience: Duration) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let mut last;
        loop {
            let public = self.nodes[index].public;
            match self.rest.get(public, "/ready").await {
                Ok(answer) if answer.status == 200 => return Ok(began.elapsed()),
                Ok(answer) => last = answer.body.to_string(),
                Err(error) => last = format!("it does not answer: {error:#}"),
            }
            let node = &mut self.nodes[index];
            if let Some(status) = node.ended(Duration::ZERO).await? {
                anyhow::bail!("node {} ended ({status}) before it was ready:\n{}", node.id, tail(&node.said()));
            }
            if began.elapsed() > patience {
                let id = node.id;
                anyhow::bail!("node {id} is not ready after {patience:?}: {last}\n{}", self.story());
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// The index of the node that leads a partition, as a node that runs sees it.
    pub async fn leader(&self, partition: u64) -> anyhow::Result<usize> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            for node in self.nodes.iter().filter(|node| node.runs()) {
                let Ok(answer) = self.rest.get(node.public, "/api/v1/cluster").await else { continue };
                let of = |group: &&Value| group["id"].as_u64() == Some(partition);
                let group = answer.body["partitions"].as_array().and_then(|groups| groups.iter().find(of).cloned());
                let leader = group.and_then(|group| group["leader"].as_u64()).filter(|id| *id > 0);
                if let Some(index) = leader.and_then(|id| self.nodes.iter().position(|node| node.id == id)) {
                    return Ok(index);
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::bail!("no node knows who leads partition {partition}")
    }

    /// The last lines of all nodes, for a failed test.
    pub fn story(&self) -> String {
        let said = |node: &Proc| format!("--- node {}\n{}\n", node.id, tail(&node.said()));
        self.nodes.iter().map(said).collect()
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}

/// Writes a node's certificate and configuration.
fn make(
    cluster: u32,
    id: u64,
    folder: &Path,
    program: &Path,
    options: &Options,
    members: &str,
) -> anyhow::Result<Proc> {
    let public = address(cluster, id, 7700);
    certs::node_cert(folder, id, &[public.ip().to_string()])?;
    let data = options.data.get(id as usize - 1).cloned();
    let data = data.unwrap_or_else(|| folder.join(format!("data-{id}")));
    let node = Proc::new(id, public, data, folder, program.to_owned());
    std::fs::write(&node.config, config(cluster, &node, folder, options, members))?;
    Ok(node)
}

/// The founders as each of them is told of them.
fn initial(cluster: u32, founders: &[u64]) -> String {
    let mut initial = "initial = [\n".to_owned();
    for id in founders {
        let (peer, public) = (address(cluster, *id, 7701), address(cluster, *id, 7700));
        let _ = writeln!(initial, "  {{ id = {id}, peer = \"{peer}\", public = \"{public}\" }},");
    }
    initial + "]\n"
}

fn config(cluster: u32, node: &Proc, folder: &Path, options: &Options, members: &str) -> String {
    format!(
        "[node]\nid = {id}\ndata_dir = \"{data}\"\n\
         [listen]\npublic = \"{public}\"\npeer = \"{peer}\"\n\
         [cluster]\nname = \"faults\"\npartitions = {partitions}\n{members}\
         [tls]\nca = \"{folder}/ca.pem\"\ncert = \"{folder}/node-{id}.pem\"\nkey = \"{folder}/node-{id}.key\"\n\
         [storage]\nlog_segment_bytes = 16_777_216\ncache_disk_bytes = 0\n{more}",
        id = node.id,
        data = node.data.display(),
        public = node.public,
        peer = address(cluster, node.id, 7701),
        partitions = options.partitions,
        folder = folder.display(),
        more = options.config,
    )
}

impl Drop for Procs {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.story());
            if std::env::var_os("BRAVO_KEEP").is_some() {
                let _ = self.kill_all();
                self.folder.disable_cleanup(true);
                eprintln!("kept: {}", self.folder.path().display());
            }
        }
        self.nodes.clear();
    }
}
