//! The Rust client library of Bravo: take jobs in, work on them, look at them.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use bravo_client::{Client, NewJob, Output, Worker};
//!
//! let client = Client::builder().server("http://127.0.0.1:7700").build()?;
//!
//! let producer = client.producer();
//! let job = producer.enqueue(NewJob::new("mail").json(&serde_json::json!({"to": "a@b.c"}))?).await?;
//! println!("enqueued {}", job.id);
//!
//! let shutdown = async { tokio::signal::ctrl_c().await.unwrap_or(()) };
//! Worker::builder(&client, ["mail"])
//!     .concurrency(16)
//!     .run(|job| async move {
//!         println!("{} attempt {}", job.id(), job.attempt());
//!         Ok(Output::none())
//!     }, shutdown)
//!     .await?;
//! # Ok(()) }
//! ```
//!
//! ```text
//!   many tasks ──► Producer ──► one EnqueueStream, batches pipelined ──┐
//!   handlers  ◄──► Worker  ◄──► one Work stream, credits and acks  ────┼──► net: any node that answers
//!   the rest  ───► Client  ───► unary calls ───────────────────────────┘
//! ```
//!
//! Artifacts, which are as large as somebody likes, are streams over the same connections: a put is repeated and a
//! read goes on at another node when one is lost ([`Client::put_artifact`], [`Client::artifact`]).
//! `examples/agents/` shows programs that stand on this library alone.
//!
//! Nothing hot is a unary call. Every loop that talks to the cluster survives the loss of a node:
//! it goes on with another one, and repeats what it does not know the outcome of under the same
//! idempotency key or lease token.

mod artifacts;
mod client;
mod cluster;
mod error;
mod events;
mod job;
mod jobs;
mod keys;
mod net;
mod producer;
mod queues;
mod rest;
mod scaling;
mod schedules;
mod templates;
mod webhooks;
pub mod worker;
mod workflows;

pub use artifacts::{Artifact, Source};
pub use bravo_api::{Code, Refusal, Timestamp, json, limits, proto};
pub use client::{Client, ClientBuilder};
pub use error::Error;
pub use job::{Enqueued, JobId, NewJob};
pub use producer::{Pending, Producer, ProducerBuilder};
pub use worker::{Failure, JobContext, Output, Summary, Worker, WorkerBuilder};
