//! The policies on published curves: goldens, the published table, calibration, and what no input may break.
//!
//! The curves are looked for at `FINEPICK_BENCHMARK_DIR` and, failing that, at `../shared/data` beside the repository;
//! where neither exists, the tests that need them say so and pass.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests stop a test as its own lines do, and say why they skip"
)]

mod calibration;
mod data;
mod golden_adaptive;
mod golden_flat;
mod online;
mod properties;
mod regret;
