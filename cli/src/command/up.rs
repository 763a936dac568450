//! `finepick up`: the suite in one process, on one port.

use std::process::ExitCode;

/// Serves until told to stop.
#[must_use]
pub fn run(flags: &svc_kit::config::Flags) -> ExitCode {
    svc_kit::run("finepick", flags, crate::suite::assemble)
}
