//! The fitter as a process of its own.

use std::process::ExitCode;

use clap::Parser;

/// Fits scaling laws to learning curves and predicts losses at larger data sizes.
#[derive(Parser)]
#[command(name = "fitter-svc", version)]
struct Args {
    #[command(flatten)]
    flags: svc_kit::config::Flags,
}

fn main() -> ExitCode {
    svc_kit::run("fitter-svc", &Args::parse().flags, fitter_svc::grpc::assemble)
}
