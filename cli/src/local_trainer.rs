//! A trainer in this process, for one command: the very service that `trainer-svc` is, without a socket.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use svc_kit::client::Transport;
use svc_kit::config::HumanDuration;
use svc_kit::server::Context;
use svc_kit::shutdown::Token;
use tempfile::TempDir;
use trainer_client::TrainerClient;
use trainer_svc::config::{Config, DeviceConfig, PRECISIONS, TrainerConfig};
use trainer_svc::grpc::Host;

use crate::error::CliError;

/// Progress and log events that are kept of the run: a command reads them as they come, it only must not fall far behind.
const RETAINED_EVENTS: usize = 100_000;
/// The device where none is asked for.
const DEFAULT_DEVICE: &str = "cpu";

/// The trainer, and the folder that its run lies in.
pub(crate) struct LocalTrainer {
    client: TrainerClient,
    host: Host,
    shutdown: Token,
    /// Removed when it is dropped, unless the caller named it.
    state: State,
}

enum State {
    Passing(TempDir),
    Kept(PathBuf),
}

/// What it runs on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LocalDevice<'a> {
    /// Its name; empty: the default.
    pub(crate) name: &'a str,
    /// Its precision; empty: the default.
    pub(crate) precision: &'a str,
    /// Absent: one per core.
    pub(crate) threads: Option<usize>,
}

impl LocalTrainer {
    /// Opens it. `state`: a folder to keep the run in, so that an interrupted one can be gone on with; absent: a passing one.
    pub(crate) async fn open(device: LocalDevice<'_>, state: Option<&Path>) -> Result<Self, CliError> {
        let state = match state {
            Some(folder) => State::Kept(folder.to_owned()),
            None => State::Passing(passing()?),
        };
        let name = if device.name.is_empty() {
            DEFAULT_DEVICE
        } else {
            device.name
        };
        let mut settings = DeviceConfig {
            threads: device.threads.unwrap_or(0),
            ..DeviceConfig::default()
        };
        // Another is refused like a trainer elsewhere refuses it.
        if PRECISIONS.contains(&device.precision) {
            device.precision.clone_into(&mut settings.precision);
        }
        let trainer = TrainerConfig {
            state_dir: state.path().to_owned(),
            devices: BTreeMap::from([(name.to_owned(), settings)]),
            retained_events: RETAINED_EVENTS,
            // Every step is told.
            progress_interval: HumanDuration::from_secs(0),
            ..TrainerConfig::default()
        };
        let server = crate::suite::unlimited();
        let config = Config {
            server: server.clone(),
            trainer,
            ..Config::default()
        };
        let (host, shutdown) = (Host::default(), Token::new());
        let context = Context::new(&server, shutdown.clone());
        let failed = |error: svc_kit::BoxError| CliError::Connection(error.to_string());
        let app = host.assemble(config, context.clone(), trainer_svc::worker::open).await;
        let stack = app.map_err(failed)?.into_local(&server, &context);
        let stack = stack.map_err(|error| failed(error.into()))?;
        Ok(Self {
            client: TrainerClient::new(Transport::local(stack)),
            host,
            shutdown,
            state,
        })
    }

    /// Calls it.
    pub(crate) fn client(&self) -> TrainerClient {
        self.client.clone()
    }

    /// Ends it; a run that goes on saves a checkpoint first.
    pub(crate) fn close(self) {
        self.shutdown.trigger();
        self.host.finish();
    }

    /// Ends it and forgets the run.
    pub(crate) fn forget(self) {
        let kept = match &self.state {
            State::Kept(folder) => Some(folder.clone()),
            State::Passing(_) => None,
        };
        self.close();
        if let Some(folder) = kept {
            // What was wanted of it is elsewhere by now; what cannot be removed does no harm.
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

impl State {
    fn path(&self) -> &Path {
        match self {
            Self::Passing(folder) => folder.path(),
            Self::Kept(folder) => folder,
        }
    }
}

fn passing() -> Result<TempDir, CliError> {
    let folder = tempfile::Builder::new().prefix("finepick-").tempdir();
    folder.map_err(|error| CliError::Write {
        what: "a passing folder".to_owned(),
        error,
    })
}
