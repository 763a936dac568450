//! The run manager over an executor that only pretends to train: real threads, real files, losses that depend on every step.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as the tests themselves do"
)]

mod basics;
#[cfg(feature = "server")]
mod conformance;
mod crash;
mod disk;
mod fake;
mod stops;
mod watch_over;
mod world;
