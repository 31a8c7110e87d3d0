//! The cluster: one `bravod` per node, with files of its own.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use bravo_api::certs;
use bytes::Bytes;
use http::{Method, StatusCode};
use rand::Rng;

use super::spawn;
use crate::bench::http::Http;

/// How long the nodes may take to be ready.
const READY_MAX: Duration = Duration::from_secs(30);
/// Below what the system gives to outgoing connections, so that a stopped node's port stays free.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A node. Dropping it ends its process.
pub(super) struct Node {
    /// Its id.
    pub(super) id: u64,
    /// `host:port` of its public interface.
    pub(super) public: String,
    program: PathBuf,
    config: PathBuf,
    log: PathBuf,
    process: Option<Child>,
}

/// All nodes.
pub(super) struct Nodes(pub(super) Vec<Node>);

impl Node {
    /// Starts the process.
    pub(super) fn start(&mut self) -> Result<u32, String> {
        let child = spawn(Command::new(&self.program).arg("--config").arg(&self.config), &self.log)?;
        let pid = child.id();
        self.process = Some(child);
        Ok(pid)
    }

    /// Kills the process (SIGKILL) and waits for its end; its pid, unless it had ended before.
    pub(super) fn kill(&mut self) -> Option<u32> {
        let mut process = self.process.take()?;
        let running = matches!(process.try_wait(), Ok(None));
        // It may end by itself in this moment.
        drop(process.kill());
        drop(process.wait());
        running.then(|| process.id())
    }

    /// Its REST interface.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.public)
    }

    /// Why it ended, if it did though nobody killed it.
    fn ended(&mut self) -> Option<String> {
        let status = self.process.as_mut()?.try_wait().ok()??;
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(5)..].join("\n  ");
        Some(format!("node {} ended ({status}); its last words:\n  {tail}", self.id))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Nodes {
    /// Makes certificates and configurations in a folder, and starts the nodes.
    pub(super) fn start(program: &Path, folder: &Path, count: u64) -> Result<Self, String> {
        let certificates = folder.join("certs");
        certs::init_ca(&certificates).map_err(|error| error.to_string())?;
        let ports = free_ports(usize::try_from(count).unwrap_or(0) * 2)?;
        let members: Vec<(u64, u16, u16)> = (1..).zip(ports.chunks(2)).map(|(id, pair)| (id, pair[0], pair[1])).collect();
        let mut nodes = Self(Vec::new());
        for (id, public, peer) in &members {
            certs::node_cert(&certificates, *id, &["127.0.0.1".into()]).map_err(|error| error.to_string())?;
            let config = folder.join(format!("node-{id}.toml"));
            let text = configuration(*id, *public, *peer, &members);
            fs::write(&config, text).map_err(|error| format!("{}: {error}", config.display()))?;
            let log = folder.join(format!("node-{id}.log"));
            let public = format!("127.0.0.1:{public}");
            nodes.0.push(Node { id: *id, public, program: program.into(), config, log, process: None });
        }
        for node in &mut nodes.0 {
            node.start()?;
        }
        Ok(nodes)
    }

    /// Waits until all say that they can serve.
    pub(super) async fn ready(&mut self, http: &Http) -> Result<(), String> {
        let start = Instant::now();
        for node in &mut self.0 {
            while !is_ready(http, &node.url()).await {
                if let Some(words) = node.ended() {
                    return Err(words);
                }
                if start.elapsed() > READY_MAX {
                    return Err(format!("node {} was not ready after {} s", node.id, READY_MAX.as_secs()));
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    /// The first node that ended though nobody killed it, in its last words.
    pub(super) fn ended(&mut self) -> Option<String> {
        self.0.iter_mut().find_map(Node::ended)
    }

    /// All REST interfaces.
    pub(super) fn urls(&self) -> Vec<String> {
        self.0.iter().map(Node::url).collect()
    }
}

/// Whether a node says that it can serve.
pub(super) async fn is_ready(http: &Http, url: &str) -> bool {
    let answer = http.call(Method::GET, &format!("{url}/ready"), Bytes::new()).await;
    answer.is_ok_and(|(status, _)| status == StatusCode::OK)
}

fn configuration(id: u64, public: u16, peer: u16, members: &[(u64, u16, u16)]) -> String {
    let member = |(id, public, peer): &(u64, u16, u16)| {
        format!("  {{ id = {id}, peer = \"127.0.0.1:{peer}\", public = \"127.0.0.1:{public}\" }},\n")
    };
    let members: String = members.iter().map(member).collect();
    format!(
        "[node]\nid = {id}\ndata_dir = \"node-{id}\"\n\
         [listen]\npublic = \"127.0.0.1:{public}\"\npeer = \"127.0.0.1:{peer}\"\n\
         [cluster]\nname = \"demo\"\npartitions = 8\ninitial = [\n{members}]\n\
         [tls]\nca = \"certs/ca.pem\"\ncert = \"certs/node-{id}.pem\"\nkey = \"certs/node-{id}.key\"\n\
         # Three nodes share this machine and its disk.\n\
         [storage]\ncache_memory_bytes = 16777216\ncache_disk_bytes = 67108864\n"
    )
}

/// Ports of the loopback address that nobody uses, for TCP and UDP.
fn free_ports(count: usize) -> Result<Vec<u16>, String> {
    let mut ports = Vec::new();
    for _ in 0..10_000 {
        if ports.len() == count {
            return Ok(ports);
        }
        let port = rand::rng().random_range(PORTS);
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
            && UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if free && !ports.contains(&port) {
            ports.push(port);
        }
    }
    Err("no free ports on 127.0.0.1".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_and_differ() {
        let mut ports = free_ports(12).unwrap();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 12);
    }

    #[test]
    fn every_node_has_all_members() {
        let text = configuration(2, 20_002, 20_003, &[(1, 20_000, 20_001), (2, 20_002, 20_003)]);
        assert!(text.contains("{ id = 1, peer = \"127.0.0.1:20001\", public = \"127.0.0.1:20000\" },"));
        assert!(text.contains("cert = \"certs/node-2.pem\""));
    }
}
