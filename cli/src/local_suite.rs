//! Selections on this machine: the very services of the suite in this process, for one command. Everything is kept in one folder, so that
//! a later command goes on where this one was ended, however it was.

use std::path::Path;
use std::time::Duration;

use svc_kit::client::Transport;
use svc_kit::server::Context;
use svc_kit::shutdown::Token;
use trainer_client::TrainerClient;
use trainer_svc::grpc::Host;

use crate::args::{HostedTrainer, LocalArgs};
use crate::error::CliError;
use crate::suite;

/// Folder of the trainer's runs within the state folder.
const TRAINER_FOLDER: &str = "trainer";

/// How long the end of background work is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the suite is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// To look at selections; nothing goes on.
    Look,
    /// To go on with them, on this trainer.
    Drive(HostedTrainer),
}

/// The suite.
pub(crate) struct LocalSuite {
    selector: Transport,
    trainer: Option<TrainerClient>,
    host: Host,
    context: Context,
}

impl LocalSuite {
    /// Opens it.
    pub(crate) async fn open(local: &LocalArgs, purpose: Use) -> Result<Self, CliError> {
        if purpose == Use::Look && !suite::store_file(&local.state_dir).exists() {
            return Err(CliError::Usage(format!(
                "--state-dir {}: there are no selections here; a running suite is asked by --endpoint",
                local.state_dir.display()
            )));
        }
        let failed = |error: svc_kit::BoxError| explain(&local.state_dir, &error);
        let (host, shutdown) = (Host::default(), Token::new());
        let server = suite::unlimited();
        let context = Context::new(&server, shutdown.clone());
        let trainer = match purpose {
            Use::Look => None,
            Use::Drive(HostedTrainer::Onnx) => {
                let config = trainer_svc::config::TrainerConfig {
                    state_dir: local.state_dir.join(TRAINER_FOLDER),
                    devices: suite::one_device(local.threads.map(usize::from)),
                    ..trainer_svc::config::TrainerConfig::default()
                };
                let trainer = suite::onnx_trainer(config, &server, &context, &host).await;
                Some((suite::ONNX, trainer.map_err(failed)?))
            }
            Use::Drive(HostedTrainer::Simulated) => {
                let config = trainer_sim::SimulationConfig::default();
                let trainer = suite::simulated_trainer(&config, &server, &shutdown);
                Some((suite::SIMULATED, trainer.map_err(failed)?))
            }
        };
        let client = trainer
            .as_ref()
            .map(|(_, transport)| TrainerClient::new(transport.clone()));
        let selector = suite::selector_of_one_command(&local.state_dir, trainer, &server, &context).await;
        Ok(Self {
            selector: selector.map_err(failed)?,
            trainer: client,
            host,
            context,
        })
    }

    /// The selector.
    pub(crate) fn selector(&self) -> Transport {
        self.selector.clone()
    }

    /// The trainer; absent where the suite was opened to look only.
    pub(crate) fn trainer(&self) -> Option<TrainerClient> {
        self.trainer.clone()
    }

    /// Ends it: runs save a checkpoint, selections are left as they are.
    pub(crate) async fn close(self) {
        self.context.shutdown.trigger();
        // Selections are given back before the trainer goes: nobody takes its going for an answer.
        let _ = svc_kit::shutdown::within(PATIENCE, self.context.background.finish()).await;
        let host = self.host;
        let _ = tokio::task::spawn_blocking(move || host.finish()).await;
    }
}

/// An error of opening, with what can be done about it.
fn explain(folder: &Path, error: &svc_kit::BoxError) -> CliError {
    match error.downcast_ref::<trainer_svc::runs::OpenError>() {
        Some(trainer_svc::runs::OpenError::Locked { .. }) => CliError::InUse {
            folder: folder.display().to_string(),
        },
        _ => CliError::Connection(format!("--state-dir {}: {error}", folder.display())),
    }
}
