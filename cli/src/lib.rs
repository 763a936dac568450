//! The command line of finepick.
//!
//! Every command builds the messages of the contracts and calls the services through their generated clients, in this process
//! or over the network: there is one code path, so both print the same answer.

pub mod args;
pub mod backend;
pub mod command;
pub mod curves;
pub mod error;
mod local_suite;
mod local_trainer;
pub mod output;
pub mod plot;
pub mod request;
mod selections;
pub mod suite;
pub mod table;
pub mod terminal;
pub mod text;
pub mod values;

use std::process::ExitCode;

use clap::CommandFactory as _;

use args::{Cli, Command};
use backend::Backend;
use command::Outcome;
use error::{CliError, EXIT_PARTIAL};
use terminal::Terminal;

/// Runs one command and returns the process's exit status.
#[must_use]
pub fn run(cli: &Cli) -> ExitCode {
    match &cli.command {
        Command::Up(args) => return command::up::run(args),
        Command::Trainers(what) => return command::trainers::main(what, &cli.global),
        Command::Train(args) => return command::train::main(args, &cli.global),
        Command::Evaluate(args) => return command::evaluate::main(args, &cli.global),
        Command::Zoo(what) => return command::zoo::main(what),
        _ => {}
    }
    match answer(cli) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            command::complain(&format!("error: {error}"));
            ExitCode::from(error.exit_status())
        }
    }
}

fn answer(cli: &Cli) -> Result<u8, CliError> {
    let terminal = Terminal::detect(&cli.global);
    match &cli.command {
        Command::Version => {
            command::print(&format!("finepick {}\n", env!("CARGO_PKG_VERSION")))?;
            return Ok(0);
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "finepick", &mut script);
            command::print(&String::from_utf8_lossy(&script))?;
            return Ok(0);
        }
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| CliError::Connection(format!("cannot start: {error}")))?;
    runtime.block_on(async {
        let global = &cli.global;
        match &cli.command {
            Command::Select(args) => command::select::select(args, global, &terminal).await,
            Command::Watch(args) => command::select::watch(args, global, &terminal).await,
            Command::Selections(args) => command::selection::list(args, global, &terminal).await,
            Command::Explain(args) => command::selection::explain(args, global, &terminal).await,
            Command::Report(args) => command::selection::report(args, global, &terminal).await,
            Command::Clone(args) => command::selection::clone(args, global, &terminal).await,
            Command::Certificate(args) => command::selection::certificate(args, global).await,
            Command::Verify(args) => command::selection::verify(args, global, &terminal).await,
            Command::Cancel(args) => command::selection::cancel(args, global).await,
            Command::Pause(args) => command::selection::pause(args, global).await,
            Command::Resume(args) => command::selection::resume(args, global).await,
            Command::Amend(args) => command::selection::amend(args, global).await,
            Command::Delete(args) => command::selection::delete(args, global).await,
            Command::Demo(args) => command::demo::run(args, global, &terminal).await,
            _ => on_curves(cli, &terminal).await,
        }
    })
}

/// The commands on curve files.
async fn on_curves(cli: &Cli, terminal: &Terminal) -> Result<u8, CliError> {
    let mut backend = Backend::open(&cli.global)?;
    let outcome = match &cli.command {
        Command::Rank(args) => command::rank::run(args, &mut backend, terminal).await?,
        Command::Fit(args) => command::fit::run(args, &mut backend, terminal).await?,
        Command::Benchmark(args) => command::benchmark::run(args, &mut backend, terminal).await?,
        Command::Simulate(args) => command::simulate::run(args, &mut backend, terminal).await?,
        // The others were answered before.
        _ => Outcome::Complete,
    };
    Ok(match outcome {
        Outcome::Complete => 0,
        Outcome::Partial => EXIT_PARTIAL,
    })
}
