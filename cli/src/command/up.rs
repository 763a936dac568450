//! `finepick up`: the suite in one process, on one port.

use std::process::ExitCode;

use trainer_svc::grpc::Host;

use crate::args::{HostedTrainer, UpArgs};

/// Serves until told to stop.
#[must_use]
pub fn run(args: &UpArgs) -> ExitCode {
    let mut flags = args.flags.clone();
    match args.trainer {
        Some(HostedTrainer::Simulated) => flags.set.push("trainer.hosted=simulated".to_owned()),
        Some(HostedTrainer::Onnx) => flags.set.push("trainer.hosted=onnx".to_owned()),
        None => {}
    }
    let host = Host::default();
    let status = svc_kit::run("finepick", &flags, async |config, context| {
        crate::suite::assemble(config, context, &host).await
    });
    host.finish();
    status
}
