//! The public interface of a real cluster of three nodes, over real sockets.
#![allow(clippy::unwrap_used)]

mod artifacts;
mod balancing;
mod events;
mod grpc;
mod harness;
mod lifecycle;
mod limits;
mod orphans;
mod reads;
mod rest;
mod schedules;
mod templates;
mod webhooks;
mod workflows;
