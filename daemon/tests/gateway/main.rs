//! The public interface of a real cluster of three nodes, over real sockets.

mod grpc;
mod harness;
mod limits;
mod rest;
