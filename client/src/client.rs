//! The client: a handle to a cluster.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::net::{Auth, Backoff, Link, Nodes, Options};
use crate::{Error, Producer, ProducerBuilder};

/// A handle to a cluster; cheap to clone. Nothing is sent before the first call.
#[derive(Clone)]
pub struct Client {
    pub(crate) nodes: Arc<Nodes>,
    deadline: Duration,
    patience: Duration,
}

/// Says how to reach a cluster.
#[derive(Clone, Debug)]
pub struct ClientBuilder {
    servers: Vec<String>,
    api_key: Option<String>,
    deadline: Duration,
    patience: Option<Duration>,
    connect_timeout: Duration,
    discover: bool,
    ca_pem: Option<String>,
    identity_pem: Option<(String, String)>,
}

/// When a call whose outcome is unknown is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Carrying it out twice is as good as once.
    Always,
    /// Only where it is certain that nothing was changed.
    Unsent,
}

impl ClientBuilder {
    /// A node's URL; may be given more than once. The others are learned from it.
    pub fn server(mut self, url: impl Into<String>) -> Self {
        self.servers.push(url.into());
        self
    }

    /// The API key that every call carries.
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = Some(key.into());
        self
    }

    /// How long a call may take, with everything that is tried again; 30 seconds unless set.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How long to go on trying while no node can be reached at all; as long as the deadline unless set.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// How long connecting to one node may take; 2 seconds unless set.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Whether other nodes are learned from the cluster; yes unless set.
    pub fn discover(mut self, discover: bool) -> Self {
        self.discover = discover;
        self
    }

    /// The CA of `https://` servers, as PEM.
    pub fn ca_pem(mut self, pem: impl Into<String>) -> Self {
        self.ca_pem = Some(pem.into());
        self
    }

    /// The client certificate for `https://` servers and its key, as PEM.
    pub fn identity_pem(mut self, cert: impl Into<String>, key: impl Into<String>) -> Self {
        self.identity_pem = Some((cert.into(), key.into()));
        self
    }

    /// The client. Fails if there is no server, or a URL or key that cannot be used.
    pub fn build(self) -> Result<Client, Error> {
        let options = Options {
            auth: Auth::new(self.api_key.as_deref())?,
            connect_timeout: self.connect_timeout,
            discover: self.discover,
            ca_pem: self.ca_pem,
            identity_pem: self.identity_pem,
        };
        let nodes = Arc::new(Nodes::new(&self.servers, options)?);
        Ok(Client { nodes, deadline: self.deadline, patience: self.patience.unwrap_or(self.deadline) })
    }
}

impl Client {
    /// Starts to say how to reach a cluster.
    pub fn builder() -> ClientBuilder {
        ClientBuilder {
            servers: Vec::new(),
            api_key: None,
            deadline: Duration::from_secs(30),
            patience: None,
            connect_timeout: Duration::from_secs(2),
            discover: true,
            ca_pem: None,
            identity_pem: None,
        }
    }

    /// The same client with another deadline for its calls.
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self { deadline, ..self.clone() }
    }

    /// A producer with the usual settings; must be called on a tokio runtime.
    pub fn producer(&self) -> Producer {
        self.producer_builder().build()
    }

    /// Starts to say how a producer batches.
    pub fn producer_builder(&self) -> ProducerBuilder {
        ProducerBuilder::new(self.clone())
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
    }

    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// Makes a unary call, on one node after the other, until it is answered or the deadline passes.
    pub(crate) async fn call<Q, A, F>(
        &self,
        request: Q,
        repeat: Repeat,
        send: impl Fn(Link, Request<Q>) -> F,
    ) -> Result<A, Error>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let (start, end) = (Instant::now(), Instant::now() + self.deadline);
        let mut backoff = Backoff::default();
        let mut unknown = false;
        loop {
            let error = match self.attempt(request.clone(), end, &send).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            unknown |= error.outcome_unknown();
            let impatient = matches!(error, Error::Unreachable(_)) && start.elapsed() >= self.patience;
            let safe = repeat == Repeat::Always || !error.outcome_unknown();
            let pause = error.retry_after_ms().map_or(backoff.pause(), Duration::from_millis);
            if !error.is_retryable() || !safe || impatient || Instant::now() + pause >= end {
                return Err(match error {
                    // This try sent nothing, but an earlier one may have done it.
                    Error::Unreachable(detail) if unknown => Error::Broken(detail),
                    error => error,
                });
            }
            tracing::debug!(%error, ?pause, "trying again");
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt<Q, A, F>(
        &self,
        request: Q,
        end: Instant,
        send: &impl Fn(Link, Request<Q>) -> F,
    ) -> Result<A, Error>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let late = |_| Error::Unreachable("no connection in time".into());
        let link = tokio::time::timeout_at(end, self.nodes.connect()).await.map_err(late)??;
        let url = link.url.clone();
        let mut request = Request::new(request);
        request.set_timeout(end.saturating_duration_since(Instant::now()));
        let late = |_| Error::TimedOut(format!("{url} did not answer"));
        let answer = tokio::time::timeout_at(end, send(link, request)).await.map_err(late);
        let error = match answer {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) => Error::from(status),
            Err(error) => error,
        };
        match &error {
            Error::Broken(_) | Error::TimedOut(_) => self.nodes.failed(&url),
            error if error.is_of_the_node() => self.nodes.leave(&url),
            _ => (),
        }
        Err(error)
    }
}
