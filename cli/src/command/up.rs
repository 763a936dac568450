//! `finepick up`.
use std::process::ExitCode;
/// stub
pub fn run(_flags: &svc_kit::config::Flags) -> ExitCode {
    ExitCode::SUCCESS
}
