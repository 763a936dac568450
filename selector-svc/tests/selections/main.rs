//! Durable selections as clients see them: over sockets, driven on the simulated trainer, or by a worker of the caller's own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests stop a test as its own lines do"
)]
#![allow(
    clippy::unnecessary_wraps,
    reason = "fields of messages are optional, and helpers fill them"
)]

mod amending;
mod asking;
mod changing;
mod creating;
mod crowd;
mod liars;
mod life;
mod nested;
mod paying;
mod refusals;
mod sizes;
mod slow;
mod support;
mod watching;
