//! The command line of finepick.
//!
//! Every command builds the messages of the contracts and calls the services through their generated clients, in this process
//! or over the network: there is one code path, so both print the same answer.

pub mod args;
pub mod backend;
pub mod command;
pub mod curves;
pub mod error;
mod local_trainer;
pub mod output;
pub mod plot;
pub mod request;
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
        Ok(Outcome::Complete) => ExitCode::SUCCESS,
        Ok(Outcome::Partial) => ExitCode::from(EXIT_PARTIAL),
        Err(error) => {
            command::complain(&format!("error: {error}"));
            ExitCode::from(error.exit_status())
        }
    }
}

fn answer(cli: &Cli) -> Result<Outcome, CliError> {
    let terminal = Terminal::detect(&cli.global);
    match &cli.command {
        Command::Version => {
            command::print(&format!("finepick {}\n", env!("CARGO_PKG_VERSION")))?;
            return Ok(Outcome::Complete);
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "finepick", &mut script);
            command::print(&String::from_utf8_lossy(&script))?;
            return Ok(Outcome::Complete);
        }
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| CliError::Connection(format!("cannot start: {error}")))?;
    runtime.block_on(async {
        let mut backend = Backend::open(&cli.global)?;
        match &cli.command {
            Command::Rank(args) => command::rank::run(args, &mut backend, &terminal).await,
            Command::Fit(args) => command::fit::run(args, &mut backend, &terminal).await,
            Command::Benchmark(args) => command::benchmark::run(args, &mut backend, &terminal).await,
            Command::Simulate(args) => command::simulate::run(args, &mut backend, &terminal).await,
            Command::Up(_)
            | Command::Trainers(_)
            | Command::Train(_)
            | Command::Evaluate(_)
            | Command::Zoo(_)
            | Command::Version
            | Command::Completions { .. } => Ok(Outcome::Complete),
        }
    })
}
