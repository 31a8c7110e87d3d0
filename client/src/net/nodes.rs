//! The nodes that this client knows: those it was told of, and those they tell of.
//!
//! One node is used as long as it answers. When it does not, the others are tried: those that did
//! not fail lately first, in random order, so that the clients of a dead node spread.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bravo_api::proto;
use parking_lot::Mutex;
use rand::seq::SliceRandom;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Uri};

use super::{Auth, Link};
use crate::Error;

/// How long a node that failed is tried last.
const AVOID: Duration = Duration::from_secs(3);
/// How often the cluster's members are asked for.
const LEARN_EVERY: Duration = Duration::from_secs(60);
/// Nodes that are kept; a cluster is far smaller.
const NODES_MAX: usize = 256;
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// How to reach nodes.
pub(crate) struct Options {
    pub(crate) auth: Auth,
    pub(crate) connect_timeout: Duration,
    pub(crate) discover: bool,
    pub(crate) ca_pem: Option<String>,
    pub(crate) identity_pem: Option<(String, String)>,
}

/// The nodes that this client knows.
pub(crate) struct Nodes {
    options: Options,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    nodes: Vec<Node>,
    current: Option<Arc<str>>,
    learned_at: Option<Instant>,
}

struct Node {
    url: Arc<str>,
    endpoint: Endpoint,
    /// Told by the user: never forgotten.
    seed: bool,
    channel: Option<Channel>,
    avoid_until: Option<Instant>,
}

impl Nodes {
    pub(crate) fn new(seeds: &[String], options: Options) -> Result<Self, Error> {
        let nodes = Self { options, state: Mutex::default() };
        for url in seeds {
            let node = nodes.node(url, true)?;
            let mut state = nodes.state.lock();
            if state.nodes.iter().all(|known| known.url != node.url) {
                state.nodes.push(node);
            }
        }
        if nodes.state.lock().nodes.is_empty() {
            return Err(Error::Invalid("no server is given".into()));
        }
        Ok(nodes)
    }

    /// A connection to a node that answers.
    pub(crate) async fn connect(self: &Arc<Self>) -> Result<Link, Error> {
        let mut last = String::new();
        for (url, endpoint, channel) in self.candidates() {
            let channel = match channel {
                Some(channel) => Ok(channel),
                None => endpoint.connect().await,
            };
            match channel {
                Ok(channel) => return Ok(self.connected(url, channel)),
                Err(error) => {
                    last = format!("{url}: {}", cause(&error));
                    self.failed(&url);
                }
            }
        }
        Err(Error::Unreachable(last))
    }

    /// A node broke a connection or did not answer: connect anew, to another one first.
    pub(crate) fn failed(&self, url: &str) {
        self.avoid(url, AVOID, true);
    }

    /// A node asked to be left, or cannot serve just now.
    pub(crate) fn leave(&self, url: &str) {
        self.avoid(url, AVOID, false);
    }

    fn avoid(&self, url: &str, time: Duration, disconnect: bool) {
        let mut state = self.state.lock();
        if state.current.as_deref() == Some(url) {
            state.current = None;
        }
        if let Some(node) = state.nodes.iter_mut().find(|node| &*node.url == url) {
            node.avoid_until = Some(Instant::now() + time);
            if disconnect {
                node.channel = None;
            }
        }
    }

    fn candidates(&self) -> Vec<(Arc<str>, Endpoint, Option<Channel>)> {
        let state = self.state.lock();
        let now = Instant::now();
        let mut nodes: Vec<&Node> = state.nodes.iter().collect();
        nodes.shuffle(&mut rand::rng());
        nodes.sort_by_key(|node| {
            let avoid = node.avoid_until.filter(|until| *until > now);
            (avoid, state.current.as_ref() != Some(&node.url))
        });
        nodes.iter().map(|node| (node.url.clone(), node.endpoint.clone(), node.channel.clone())).collect()
    }

    fn connected(self: &Arc<Self>, url: Arc<str>, channel: Channel) -> Link {
        let learn = {
            let mut state = self.state.lock();
            state.current = Some(url.clone());
            if let Some(node) = state.nodes.iter_mut().find(|node| node.url == url) {
                node.channel = Some(channel.clone());
                node.avoid_until = None;
            }
            let due = state.learned_at.is_none_or(|at| at.elapsed() > LEARN_EVERY);
            if due {
                state.learned_at = Some(Instant::now());
            }
            due && self.options.discover
        };
        let link = Link::new(url, channel, self.options.auth.clone());
        if learn {
            tokio::spawn(Self::learn(self.clone(), link.clone()));
        }
        link
    }

    /// Asks a node for the others. What it cannot or may not tell is done without.
    async fn learn(self: Arc<Self>, link: Link) {
        let mut request = tonic::Request::new(proto::GetClusterRequest {});
        request.set_timeout(Duration::from_secs(5));
        match link.cluster().get(request).await {
            Ok(view) => self.learned(&link.url, &view.into_inner().nodes),
            Err(status) => tracing::debug!(url = &*link.url, %status, "the cluster's members are not known"),
        }
    }

    fn learned(&self, from: &str, members: &[proto::Node]) {
        let urls: Vec<String> = members.iter().filter_map(|member| url_of(from, &member.public)).collect();
        let mut state = self.state.lock();
        state.nodes.retain(|node| node.seed || *node.url == *from || urls.iter().any(|url| **url == *node.url));
        for url in &urls {
            let known = state.nodes.iter().any(|node| *node.url == **url);
            if let (false, true, Ok(node)) = (known, state.nodes.len() < NODES_MAX, self.node(url, false)) {
                state.nodes.push(node);
            }
        }
    }

    fn node(&self, url: &str, seed: bool) -> Result<Node, Error> {
        let text = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let url = text.trim_end_matches('/');
        let bad = |what: String| Error::Invalid(format!("{url:?} is not a server's URL: {what}"));
        let uri: Uri = url.parse().map_err(|error| bad(format!("{error}")))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
            return Err(bad("http://HOST:PORT or https://HOST:PORT is".into()));
        }
        let secure = uri.scheme_str() == Some("https");
        let mut endpoint = Channel::builder(uri)
            .connect_timeout(self.options.connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(5))
            .keep_alive_timeout(Duration::from_secs(5))
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        if secure {
            endpoint = endpoint.tls_config(self.tls()).map_err(|error| bad(cause(&error)))?;
        }
        Ok(Node { url: url.into(), endpoint, seed, channel: None, avoid_until: None })
    }

    fn tls(&self) -> ClientTlsConfig {
        let mut tls = ClientTlsConfig::new();
        if let Some(ca) = &self.options.ca_pem {
            tls = tls.ca_certificate(Certificate::from_pem(ca));
        }
        if let Some((cert, key)) = &self.options.identity_pem {
            tls = tls.identity(Identity::from_pem(cert, key));
        }
        tls
    }
}

/// The URL of a member as another node tells it; none where it cannot be meant for us.
fn url_of(from: &str, public: &str) -> Option<String> {
    let (scheme, from) = from.split_once("://")?;
    let address = |authority: &str| -> Option<IpAddr> {
        let (host, _port) = authority.rsplit_once(':')?;
        host.trim_matches(['[', ']']).parse().ok()
    };
    let local = from.starts_with("localhost") || address(from).is_some_and(|ip| ip.is_loopback());
    match address(public) {
        Some(ip) if ip.is_unspecified() => None,
        Some(ip) if ip.is_loopback() && !local => None,
        None if !public.contains(':') => None,
        _ => Some(format!("{scheme}://{public}")),
    }
}

/// The innermost cause: "transport error" alone helps nobody.
pub(super) fn cause(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(seeds: &[&str]) -> Result<Nodes, Error> {
        let options = Options {
            auth: Auth::default(),
            connect_timeout: Duration::from_secs(1),
            discover: true,
            ca_pem: None,
            identity_pem: None,
        };
        Nodes::new(&seeds.iter().map(ToString::to_string).collect::<Vec<_>>(), options)
    }

    fn order(nodes: &Nodes) -> Vec<String> {
        nodes.candidates().into_iter().map(|(url, ..)| url.to_string()).collect()
    }

    #[test]
    fn urls_are_checked() {
        assert!(nodes(&[]).is_err());
        for bad in ["ftp://a:1", "http://", "http://a b"] {
            assert!(matches!(nodes(&[bad]), Err(Error::Invalid(_))), "{bad}");
        }
        assert_eq!(order(&nodes(&["127.0.0.1:7700", "http://127.0.0.1:7700/"]).unwrap()), ["http://127.0.0.1:7700"]);
    }

    #[test]
    fn a_failed_node_is_tried_last() {
        let nodes = nodes(&["http://a:1", "http://b:1", "http://c:1"]).unwrap();
        nodes.failed("http://b:1");
        for _ in 0..10 {
            assert_eq!(order(&nodes)[2], "http://b:1");
        }
    }

    #[test]
    fn members_come_and_go_and_seeds_stay() {
        let nodes = nodes(&["http://a:1"]).unwrap();
        let member = |public: &str| proto::Node { public: public.into(), ..Default::default() };
        nodes.learned("http://a:1", &[member("b:1"), member("c:1"), member("0.0.0.0:1"), member("")]);
        assert_eq!(order(&nodes).len(), 3);
        nodes.learned("http://a:1", &[member("c:1"), member("127.0.0.1:1")]);
        let mut left = order(&nodes);
        left.sort();
        assert_eq!(left, ["http://a:1", "http://c:1"]);
    }
}
