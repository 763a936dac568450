//! The gateway process.

use std::process::ExitCode;

use clap::Parser;

/// One address in front of all finepick services: routes gRPC calls by service name
#[derive(Parser)]
#[command(name = "gateway", version)]
struct Args {
    #[command(flatten)]
    flags: svc_kit::config::Flags,
}

fn main() -> ExitCode {
    svc_kit::run("gateway", &Args::parse().flags, gateway::assemble)
}
