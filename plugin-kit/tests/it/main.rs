//! The kit against trainers: green on one that conforms, red on each that breaks one thing.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stderr,
    missing_docs,
    reason = "a test fails by panicking, and says why it skips"
)]

mod contract;
mod green;
mod mutant;
mod mutants;
mod python;
mod red;
mod server;
