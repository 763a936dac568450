//! The binary `finepick`.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    finepick_cli::run(&finepick_cli::args::Cli::parse())
}
