//! The binary `finepick-conformance`.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    plugin_kit::main(&plugin_kit::Args::parse())
}
