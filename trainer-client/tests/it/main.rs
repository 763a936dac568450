//! The client against trainers that misbehave on purpose, over real sockets.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a broken expectation is a failed test"
)]

mod calls;
mod fake;
mod sim;
mod watch;
