//! How many requests a caller may make, over real sockets.

use std::net::SocketAddr;

use bravo_api::problem::refusal_of;
use bravo_api::proto::{self, jobs_client::JobsClient};
use bravo_model::Code;
use http::{Method, StatusCode};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tonic::transport::Channel;

use crate::harness::{Answer, call_at, get, own_node};

/// A node that makes no exception for this machine, and lets nobody come again for a long time.
async fn strict(burst: u32) -> SocketAddr {
    let limits = |config: &mut bravo_daemon::config::Config| {
        config.rate_limits.exempt = Vec::new();
        config.rate_limits.address_per_second = 1;
        config.rate_limits.address_burst = burst;
        config.rate_limits.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    };
    own_node(limits).await.0
}

async fn list(address: SocketAddr, headers: &[(&str, &str)]) -> Answer {
    call_at(address, Method::GET, "/api/v1/queues", headers, "").await
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers[name].to_str().unwrap()
}

/// Makes requests until one is refused; gives those that were let through, and the refused one.
async fn until_refused(address: SocketAddr, headers: &[(&str, &str)]) -> (Vec<Answer>, Answer) {
    let mut passed = Vec::new();
    loop {
        let answer = list(address, headers).await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            return (passed, answer);
        }
        passed.push(answer);
        assert!(passed.len() < 1_000, "nobody is refused");
    }
}

#[tokio::test]
async fn an_address_has_its_limit_and_is_told_of_it() {
    let address = strict(5).await;
    let (passed, refused) = until_refused(address, &[("x-forwarded-for", "192.0.2.1")]).await;
    assert!(passed.len() >= 5, "{}", passed.len());
    assert_eq!(header(&passed[0], "ratelimit-policy"), "\"address\";q=1;w=1");
    assert_eq!(header(&passed[0], "ratelimit"), "\"address\";r=4;t=1");
    assert_eq!(refused.code(), "rate_limited");
    assert!(refused.json()["retry_after_ms"].as_u64().unwrap() <= 1_001);
    assert_eq!((header(&refused, "retry-after"), header(&refused, "ratelimit")), ("1", "\"address\";r=0;t=1"));

    let other = list(address, &[("forwarded", "for=\"[2001:db8::1]\"")]).await;
    assert_eq!(other.status, StatusCode::OK, "whom a trusted proxy speaks for has its own");
    for path in ["/health", "/ready", "/metrics"] {
        let answer = call_at(address, Method::GET, path, &[("x-forwarded-for", "192.0.2.1")], "").await;
        assert!(answer.status == StatusCode::OK && !answer.headers.contains_key("ratelimit"), "{path}");
    }
    let metrics = get("/metrics").await.text;
    assert!(metrics.contains("bravo_requests_rate_limited_total{limit=\"address\"}"), "{metrics}");
}

#[tokio::test]
async fn who_tries_keys_out_is_limited_by_its_address() {
    let address = strict(5).await;
    let headers = [("x-forwarded-for", "192.0.2.7"), ("authorization", "Bearer wrong")];
    let (refused, limited) = until_refused(address, &headers).await;
    assert!(refused.iter().all(|answer| answer.status == StatusCode::UNAUTHORIZED), "a wrong key is refused");
    assert!(refused.len() < 500 && limited.code() == "rate_limited");
}

#[tokio::test]
async fn grpc_calls_are_told_when_to_come_again() {
    let address = strict(5).await;
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let mut jobs = JobsClient::new(channel);
    let refused = loop {
        if let Err(status) = jobs.list(proto::ListJobsRequest::default()).await {
            break status;
        }
    };
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    let refusal = refusal_of(&refused).unwrap();
    assert_eq!(refusal.code, Code::RateLimited);
    assert!(refusal.retry_after_ms.is_some_and(|ms| ms > 0), "{refusal:?}");
    assert!(refused.metadata().get("ratelimit").is_some());
}

#[tokio::test]
async fn this_machine_is_exempt_unless_said_otherwise() {
    for _ in 0..200 {
        let answer = get("/api/v1/queues").await;
        assert!(answer.status == StatusCode::OK && !answer.headers.contains_key("ratelimit"));
    }
}

#[tokio::test]
async fn all_callers_together_have_a_limit_where_one_is_set() {
    let (address, _) = own_node(|config| config.rate_limits.global_per_minute = 1).await;
    let (passed, refused) = until_refused(address, &[]).await;
    assert_eq!((passed.len(), refused.code().as_str()), (1, "rate_limited"));
    assert_eq!(header(&refused, "ratelimit-policy"), "\"global\";q=1;w=60");
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_the_next_one_is_told() {
    let limits = |config: &mut bravo_daemon::config::Config| {
        config.rate_limits.exempt = Vec::new();
        config.limits.connections_per_address_max = 4;
    };
    let (address, _) = own_node(limits).await;
    let mut held = Vec::new();
    let told = loop {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut answer = Vec::new();
        // One that was taken in says nothing.
        let read = tokio::time::timeout(std::time::Duration::from_millis(300), stream.read_to_end(&mut answer)).await;
        if read.is_ok() {
            break String::from_utf8(answer).unwrap();
        }
        held.push(stream);
        assert!(held.len() <= 4, "more than the bound were taken in");
    };
    assert!(told.starts_with("HTTP/1.1 503 ") && told.contains("connections_per_address_max"), "{told}");
}
