//! The selector as a process of its own.

use std::process::ExitCode;

use clap::Parser;

/// Ranks fine-tuning candidates from their learning curves, and replays selection policies.
#[derive(Parser)]
#[command(name = "selector-svc", version)]
struct Args {
    #[command(flatten)]
    flags: svc_kit::config::Flags,
}

fn main() -> ExitCode {
    svc_kit::run("selector-svc", &Args::parse().flags, selector_svc::grpc::assemble)
}
