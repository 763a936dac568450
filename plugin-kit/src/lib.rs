//! finepick-conformance: proves a trainer plugin against the contract `finepick.trainer.v1`.
//!
//! `docs/plugin-contract.md` is the contract in numbered clauses. The cases are a table ([`cases`]): each names the
//! clauses that it proves, says what it proves in a sentence, and what a trainer must claim for it to apply.
//!
//! | module | holds |
//! |---|---|
//! | `options` | what the kit is told |
//! | `kit`, `watch` | the trainer under test: calls with deadlines, watches, the runs of a case |
//! | `verdict` | expectations: a failure has a clause, what was expected, what came |
//! | `case`, `cases` | the table |
//! | `runner` | cases side by side or alone; each one's runs are removed after it |
//! | `report`, `args` | text, JSON, `JUnit`; the command line |
//!
//! ```no_run
//! # async fn example() -> Result<(), plugin_kit::StartError> {
//! let report = plugin_kit::run(plugin_kit::Options::to("http://localhost:50063")).await?;
//! assert!(report.is_green(), "{}", report.render(plugin_kit::Format::Text));
//! # Ok(()) }
//! ```

mod args;
mod case;
mod cases;
mod kit;
mod options;
mod report;
mod runner;
mod verdict;
mod watch;

use std::io::Write as _;
use std::process::ExitCode;

pub use args::Args;
pub use case::{CAPABILITIES, Case, Company, Needs};
pub use cases::all as cases;
pub use kit::StartError;
pub use options::Options;
pub use report::{CaseReport, Format, Outcome, Report};
pub use runner::run;
pub use verdict::Failure;

/// Usage, or nothing answers.
const EXIT_UNUSABLE: u8 = 2;

/// Runs the command line: 0 all passed, 1 some failed, 2 usage or unreachable.
#[must_use]
pub fn main(args: &Args) -> ExitCode {
    match execute(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            let _ = writeln!(std::io::stderr(), "finepick-conformance: {problem}");
            ExitCode::from(EXIT_UNUSABLE)
        }
    }
}

/// Whether all passed.
fn execute(args: &Args) -> Result<bool, String> {
    if args.list {
        write(args, &list(&args.options()))?;
        return Ok(true);
    }
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let report = runtime
        .block_on(run(args.options()))
        .map_err(|error| error.to_string())?;
    write(args, &report.render(args.format))?;
    Ok(report.is_green())
}

fn write(args: &Args, text: &str) -> Result<(), String> {
    match &args.output {
        Some(path) => std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display())),
        None => std::io::stdout()
            .write_all(text.as_bytes())
            .map_err(|error| error.to_string()),
    }
}

/// The cases that are wanted, one a line: id, clauses, what it needs, what it proves.
fn list(options: &Options) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    for case in cases().into_iter().filter(|case| options.wants(case.id)) {
        let needs = match case.needs {
            Needs::Nothing => String::new(),
            Needs::Claimed(name) => format!(" [needs {name}]"),
            Needs::Unclaimed(name) => format!(" [without {name}]"),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "{:<28} {:<28} {}{needs}",
            case.id,
            case.clauses.join(" "),
            case.proves
        );
    }
    out
}
