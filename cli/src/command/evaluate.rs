//! x
use crate::args::{EvaluateArgs, GlobalArgs};
use std::process::ExitCode;
/// x
#[must_use]
pub fn main(_: &EvaluateArgs, _: &GlobalArgs) -> ExitCode {
    ExitCode::FAILURE
}
