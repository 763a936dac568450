//! From flags to exit code: what every `main` does.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use crate::BoxError;
use crate::config::{self, ConfigError, Flags, ServiceConfig};
use crate::server::{App, Context, Listener, ServeError};
use crate::shutdown::{Signals, Token};
use crate::telemetry::{self, TelemetryError};

/// The process cannot start. Displays as one line.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The server cannot start.
    #[error(transparent)]
    Serve(ServeError),
    /// Telemetry cannot start.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The service could not be put together.
    #[error("{0}")]
    Service(BoxError),
    /// The operating system refused something.
    #[error("{0}: {1}")]
    System(String, std::io::Error),
}

impl From<ServeError> for StartError {
    fn from(error: ServeError) -> Self {
        match error {
            ServeError::Config(error) => Self::Config(error),
            other => Self::Serve(other),
        }
    }
}

impl StartError {
    /// The exit code: 2 for what the user can correct in the configuration, 1 for everything else.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Config(_) => 2,
            _ => 1,
        }
    }
}

/// Runs a service until it is told to stop, and returns the process's exit code. Errors are one line on stderr.
///
/// `assemble` gets the configuration and returns what to serve; it runs once the address is bound.
pub fn run<C, F>(name: &'static str, flags: &Flags, assemble: F) -> ExitCode
where
    C: ServiceConfig,
    F: AsyncFnOnce(C, Context) -> Result<App, BoxError>,
{
    match try_run(name, flags, assemble) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing can be done about a stderr that is closed.
            let _ = writeln!(std::io::stderr(), "{name}: {error}");
            ExitCode::from(error.code())
        }
    }
}

fn try_run<C, F>(name: &'static str, flags: &Flags, assemble: F) -> Result<(), StartError>
where
    C: ServiceConfig,
    F: AsyncFnOnce(C, Context) -> Result<App, BoxError>,
{
    let config: C = config::load(flags, config::process_env())?;
    if flags.print_config {
        let text = config::to_toml(&config)?;
        return std::io::stdout()
            .write_all(text.as_bytes())
            .map_err(|error| StartError::System("stdout".into(), error));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.server().threads())
        .enable_all()
        .build()
        .map_err(|error| StartError::System("cannot start threads".to_owned(), error))?;
    // Exporters are driven by the runtime, also while the guard flushes them.
    let telemetry = {
        let _entered = runtime.enter();
        telemetry::init(config.telemetry(), name)?
    };
    let served = runtime.block_on(serve(name, flags.port_file.as_deref(), config, assemble));
    telemetry.flush();
    // Calls that outlived the drain are dropped, and blocking work is not waited for.
    runtime.shutdown_background();
    served
}

async fn serve<C, F>(name: &'static str, port_file: Option<&Path>, config: C, assemble: F) -> Result<(), StartError>
where
    C: ServiceConfig,
    F: AsyncFnOnce(C, Context) -> Result<App, BoxError>,
{
    let server = config.server().clone();
    let context = Context::new(&server, Token::new());
    let signals =
        Signals::listen().map_err(|error| StartError::System("cannot listen to signals".to_owned(), error))?;
    tokio::spawn(signals.trigger(context.shutdown.clone()));
    let listener = Listener::bind(&server).await?;
    let app = assemble(config, context.clone()).await.map_err(StartError::Service)?;
    let address = listener.local_addr();
    tracing::info!(%address, service = name, "serving");
    if let Some(path) = port_file {
        write_port_file(path, &address.to_string())?;
    }
    listener.serve(app, &server, &context).await?;
    tracing::info!(service = name, "stopped");
    Ok(())
}

/// Writes the address so that a reader sees all of it or nothing.
fn write_port_file(path: &Path, address: &str) -> Result<(), StartError> {
    let partial = path.with_extension("partial");
    std::fs::write(&partial, address)
        .and_then(|()| std::fs::rename(&partial, path))
        .map_err(|error| StartError::System(format!("cannot write {}", path.display()), error))
}
