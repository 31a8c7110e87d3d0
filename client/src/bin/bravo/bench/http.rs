//! Plain HTTP/1.1 with connections that are kept: the REST interface as anybody would call it.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// A client of the REST interface; cheap to clone.
#[derive(Clone)]
pub(crate) struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    auth: Option<HeaderValue>,
    timeout: Duration,
}

impl Http {
    /// A client that keeps up to this many idle connections to each node.
    pub(crate) fn new(connections: usize, key: Option<&str>, timeout: Duration) -> Result<Self, String> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(2)));
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(connections).build(connector);
        let value = |key: &str| HeaderValue::from_str(&format!("Bearer {key}"));
        let auth = key.map(value).transpose().map_err(|_| "the key cannot be in a header".to_owned())?;
        Ok(Self { client, auth, timeout })
    }

    /// One call: the status and the body. An error says why there was no answer.
    pub(crate) async fn call(&self, method: Method, url: &str, body: Bytes) -> Result<(StatusCode, Bytes), String> {
        let mut request = Request::builder().method(method).uri(url);
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(auth) = &self.auth {
            request = request.header(AUTHORIZATION, auth.clone());
        }
        let request = request.body(Full::new(body)).map_err(|error| format!("{url}: {error}"))?;
        let answer = async {
            let response = self.client.request(request).await.map_err(|error| format!("{url}: {error}"))?;
            let status = response.status();
            let body = response.into_body().collect().await.map_err(|error| format!("{url}: {error}"))?;
            Ok((status, body.to_bytes()))
        };
        tokio::time::timeout(self.timeout, answer).await.map_err(|_| format!("{url}: no answer in time"))?
    }

    /// Reads JSON; any other status than 200 is an error.
    pub(crate) async fn json(&self, url: &str) -> Result<Value, String> {
        let (status, body) = self.call(Method::GET, url, Bytes::new()).await?;
        if status != StatusCode::OK {
            return Err(format!("{url}: {status}: {}", String::from_utf8_lossy(&body)));
        }
        serde_json::from_slice(&body).map_err(|error| format!("{url}: {error}"))
    }
}
