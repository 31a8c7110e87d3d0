//! The edge of a node: what it takes from clients, what it writes for its operator, how it stops.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bravo_model::limits::HORIZON_MS_MAX;
use ipnet::IpNet;

use super::key::{GIB, KIB, Kind, MIB, int, section};
use serde::{Deserialize, Serialize};

section! {
    /// Bounds of the public interface. Over a bound the caller is refused with a code that says which
    /// kind of bound it was.
    ["limits"] Limits {
        /// Bytes of one request body, after decompression. The default has room for 8 MiB of
        /// payloads as base64.
        request_body_bytes_max: u64 = 12 * MIB, int(64 * KIB, GIB);
        /// Open client connections.
        connections_max: u32 = 10_000, int(16, 1_000_000);
        /// Of these, connections from one address (of IPv6, from one /64). Those of `rate_limits.exempt` and
        /// `rate_limits.trusted_proxies` are not counted.
        connections_per_address_max: u32 = 1_024, int(1, 1_000_000);
        /// Requests that are worked on at a time, lease calls that wait for a job not counted.
        /// Further ones are refused with `shed`.
        requests_in_flight_max: u32 = 4_096, int(16, 1_000_000);
        /// Lease calls that may wait for a job at a time. Further ones are refused with `shed`.
        waiting_leases_max: u32 = 10_000, int(16, 1_000_000);
        /// Bytes of the header lines of one request; over it, 431.
        header_bytes_max: u64 = 32 * KIB, int(4 * KIB, MIB);
        /// Milliseconds in which a new connection must have said what it speaks: its TLS handshake and the first
        /// bytes of HTTP.
        connect_timeout_ms: u64 = 5_000, int(100, 600_000);
        /// Milliseconds in which the header lines of a request must have come.
        header_read_timeout_ms: u64 = 10_000, int(100, 600_000);
        /// Milliseconds without a byte of a request's body after which it is given up. The streams in which a
        /// caller sends when it has something to send (`Work`, `EnqueueStream`) may be silent for longer. Of an
        /// artifact, 64 KiB or the rest must come in that time.
        read_timeout_ms: u64 = 60_000, int(100, 600_000);
        /// Milliseconds without a byte taken by the caller, while there is something for it, after which its
        /// connection is closed. A stream in which nothing happens has nothing to send and is left alone.
        send_timeout_ms: u64 = 60_000, int(100, 600_000);
        /// Milliseconds that a request may take when it names no `X-Timeout-Ms`; over it,
        /// `deadline_exceeded`.
        request_timeout_ms: u64 = 30_000, int(100, 600_000);
        /// Longest `wait_ms` of a lease call.
        wait_ms_max: u64 = 60_000, int(0, 600_000);
        /// How old an answer with `?consistency=stale` may be, in milliseconds.
        max_staleness_ms: u64 = 1_000, int(10, 600_000);
        /// Streams that one HTTP/2 connection may have open.
        http2_streams_max: u32 = 256, int(1, 65_536);
        /// Streams of one HTTP/2 connection that its peer may have taken back before they were looked at; with one
        /// more, the connection is closed.
        http2_resets_max: u32 = 20, int(1, 10_000);
        /// Distinct queue names that metrics may carry as a label. Further ones are counted together
        /// under `other`.
        queue_labels_max: u32 = 1_000, int(1, 100_000);
    }
}

section! {
    /// How many requests a caller may make of this node; over it, `rate_limited`. Each node counts for itself. A
    /// stream counts once, when it is opened, and so does a batch. `/health`, `/ready` and `/metrics` are not counted.
    ["rate_limits"] RateLimits {
        /// Requests a second from one address (of IPv6, from one /64) that come without a valid key or certificate;
        /// 0: any number.
        address_per_second: u32 = 100, int(0, 1_000_000);
        /// Of these, how many may come at once.
        address_burst: u32 = 20, int(1, 1_000_000);
        /// Requests a second under one API key or client certificate; 0: any number.
        key_per_second: u32 = 1_000, int(0, 1_000_000);
        /// Of these, how many may come at once.
        key_burst: u32 = 50, int(1, 1_000_000);
        /// Requests a minute of all callers together, a sixtieth of them at once; 0: any number.
        global_per_minute: u32 = 0, int(0, 100_000_000);
        /// Networks whose addresses have no limit of their own, neither of requests nor of connections.
        exempt: Vec<IpNet> = loopback(), Kind::Networks;
        /// Networks of proxies that are believed when they say whom they speak for.
        trusted_proxies: Vec<IpNet> = Vec::new(), Kind::Networks;
        /// The header in which they say it (RFC 7239, or what most write). The other one is not looked at: a proxy
        /// hands on what a caller wrote there.
        proxy_header: ProxyHeader = ProxyHeader::XForwardedFor, Kind::OneOf(&["x-forwarded-for", "forwarded"]);
    }
}

/// In which header proxies say whom they speak for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyHeader {
    /// `X-Forwarded-For`
    XForwardedFor,
    /// `Forwarded`
    Forwarded,
}

/// This machine itself.
fn loopback() -> Vec<IpNet> {
    let v4 = IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8);
    vec![v4, IpNet::from(IpAddr::V6(Ipv6Addr::LOCALHOST))]
}

section! {
    /// Which reads that may be stale are answered by replicas that do not lead, in percent of them; the leader
    /// answers the rest, and whatever no replica is fresh enough for (`limits.max_staleness_ms`). Lists are such
    /// reads unless they ask for `?consistency=linearizable`; a job, a workflow and a queue are if they ask for
    /// `?consistency=stale`.
    ["reads"] Reads {
        /// Lists of templates, and searches.
        template_search: u32 = 80, int(0, 100);
        /// Lists of jobs, schedules, artifacts and webhooks; single jobs.
        analytics: u32 = 100, int(0, 100);
        /// Workflows, and lists of them.
        workflow_status: u32 = 60, int(0, 100);
        /// Queues with their counts: what waits for which agents.
        agent_metrics: u32 = 90, int(0, 100);
    }
}

section! {
    /// Queues.
    ["queues"] Queues {
        /// Whether jobs, tasks of workflows and schedules may only name queues that were configured. Otherwise a
        /// queue exists, with defaults, from its first use. The same on all nodes.
        must_exist: bool = false, Kind::Boolean;
    }
}

section! {
    /// Workflows.
    ["workflows"] Workflows {
        /// Milliseconds that a workflow is kept, with its history, once it is over; where neither it nor its
        /// template says. Its jobs are kept as their queues say.
        retention_ms: u64 = 30 * 86_400_000, int(1, HORIZON_MS_MAX);
        /// Bytes of the cache of templates that are ready for use. One is kept for five minutes, or until any
        /// template changes.
        template_cache_bytes: u64 = 100 * MIB, int(MIB, 16 * GIB);
    }
}

section! {
    /// Deliveries to webhooks.
    ["webhooks"] Webhooks {
        /// Whether deliveries may go to private addresses: loopback, link-local, private and shared networks,
        /// the addresses of clouds' metadata. Whoever may make a webhook reaches with it what this node
        /// reaches. `bravod dev` allows it.
        allow_private: bool = false, Kind::Boolean;
        /// Deliveries that this node has under way at a time.
        in_flight_max: u32 = 256, int(1, 4_096);
    }
}

section! {
    /// What the daemon writes to standard error.
    ["log"] Log {
        /// Lines below this level are left out. The variable `RUST_LOG` (`info,quinn=warn`) has the
        /// last word where it is set.
        level: Level = Level::Info, Kind::OneOf(&["error", "warn", "info", "debug", "trace"]);
        /// Lines for people, or one JSON object a line.
        format: Format = Format::Text, Kind::OneOf(&["text", "json"]);
    }
}

section! {
    /// How a node stops on SIGTERM or SIGINT.
    ["shutdown"] Shutdown {
        /// Milliseconds that requests in flight and leadership transfers are given before the node
        /// stops all the same.
        drain_ms: u64 = 10_000, int(0, 600_000);
    }
}

/// The least important level that is still written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Something is broken.
    Error,
    /// Something may break, or was refused in a way that an operator should know.
    Warn,
    /// The node's life: starts, stops, elections, membership.
    Info,
    /// Single requests and batches.
    Debug,
    /// Everything.
    Trace,
}

impl Level {
    /// The word of the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }
    }
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line, for machines.
    Json,
}
