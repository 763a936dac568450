//! The server stack and the client over real sockets and in process.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a broken expectation is a failed test"
)]

mod client;
mod echo;
mod limits;
mod replicas;
mod server;
mod tls;
