//! A small REST client that hides nothing: no retries, no following of leaders.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// The client; cheap to clone.
#[derive(Clone)]
pub struct Rest {
    client: Client<HttpConnector, Full<Bytes>>,
}

/// What a node answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body; null if it is not JSON.
    pub body: Value,
}

impl Answer {
    /// The code of a refusal.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// Whether it was done.
    pub fn is_ok(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl Default for Rest {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(1)));
        Self { client: Client::builder(TokioExecutor::new()).pool_max_idle_per_host(64).build(connector) }
    }
}

impl Rest {
    /// Sends one request; an error means that its outcome is unknown.
    pub async fn call(
        &self,
        node: SocketAddr,
        method: Method,
        path: &str,
        body: Option<&Value>,
        key: Option<&str>,
        patience: Duration,
    ) -> anyhow::Result<Answer> {
        let bytes = body.map_or_else(Bytes::new, |body| body.to_string().into());
        self.send(node, method, path, bytes, key, patience).await
    }

    /// Sends any bytes as JSON.
    pub async fn send(
        &self,
        node: SocketAddr,
        method: Method,
        path: &str,
        body: Bytes,
        key: Option<&str>,
        patience: Duration,
    ) -> anyhow::Result<Answer> {
        let mut request = Request::builder().method(method).uri(format!("http://{node}{path}"));
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        request = request.header("X-Timeout-Ms", patience.as_millis().to_string());
        let request = request.body(Full::new(body))?;
        let exchange = async {
            let response = self.client.request(request).await?;
            let status = response.status().as_u16();
            let bytes = response.into_body().collect().await?.to_bytes();
            Ok(Answer { status, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) })
        };
        // The node is told the same patience and answers in time if it can.
        tokio::time::timeout(patience + Duration::from_millis(500), exchange).await.context("no answer in time")?
    }

    /// A read.
    pub async fn get(&self, node: SocketAddr, path: &str) -> anyhow::Result<Answer> {
        self.call(node, Method::GET, path, None, None, Duration::from_secs(5)).await
    }

    /// What a page says that is not JSON.
    pub async fn text(&self, node: SocketAddr, path: &str) -> anyhow::Result<String> {
        let request = Request::builder().uri(format!("http://{node}{path}")).body(Full::default())?;
        let exchange = async {
            let response = self.client.request(request).await?;
            Ok(String::from_utf8(response.into_body().collect().await?.to_bytes().into())?)
        };
        tokio::time::timeout(Duration::from_secs(5), exchange).await.context("no answer in time")?
    }
}
