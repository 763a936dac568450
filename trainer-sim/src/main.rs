//! The simulated trainer as a process of its own.

use std::process::ExitCode;

use clap::Parser;

/// Simulates fine-tuning: losses from a declared law, time, cost and failures on demand.
#[derive(Parser)]
#[command(name = "trainer-sim", version)]
struct Args {
    #[command(flatten)]
    flags: svc_kit::config::Flags,
}

fn main() -> ExitCode {
    svc_kit::run("trainer-sim", &Args::parse().flags, trainer_sim::grpc::assemble)
}
