//! The trainer on ONNX Runtime as a process of its own.

use std::process::ExitCode;

use clap::Parser;
use trainer_svc::grpc::Host;

/// Fine-tunes language models on ONNX Runtime: full, low-rank adapters, prompts.
#[derive(Parser)]
#[command(name = "trainer-svc", version)]
struct Args {
    #[command(flatten)]
    flags: svc_kit::config::Flags,
}

fn main() -> ExitCode {
    let host = Host::default();
    let code = svc_kit::run("trainer-svc", &Args::parse().flags, async |config, context| {
        host.assemble(config, context, trainer_svc::worker::open).await
    });
    host.finish();
    code
}
