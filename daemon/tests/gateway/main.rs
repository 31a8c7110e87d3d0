//! The public interface of a real cluster of three nodes, over real sockets.
#![allow(clippy::unwrap_used)]

mod access;
mod admission;
mod artifacts;
mod balancing;
mod events;
mod grpc;
mod harness;
mod lifecycle;
mod limits;
mod orphans;
mod packed;
mod rates;
mod reads;
mod rest;
mod scaling;
mod schedules;
mod slow;
mod templates;
mod tls;
mod webhooks;
mod workflows;
