//! `finepick demo`: a selection among the small checkpoints of the zoo for a real text, then the truth.

mod truth;

use std::path::{Path, PathBuf};

use clap::Parser as _;
use tempfile::TempDir;

use self::truth::{Truth, verdict};
use super::select::{created, from_args};
use super::selection::report_of;
use super::{complain, print};
use crate::args::{Cli, Command, DemoArgs, GlobalArgs, HostedTrainer, SelectArgs};
use crate::error::CliError;
use crate::output::selection::Report;
use crate::selections::Selections;
use crate::terminal::Terminal;

/// The selection's id.
const ID: &str = "demo";
/// Contenders whose truth is measured.
const CHECKED: usize = 3;
/// Settings, and those of `--quick`.
const SETTINGS: [&str; 12] = [
    "--full-size",
    "1024",
    "--budget-share",
    "25%",
    "--epochs",
    "1",
    "--lr",
    "5e-4",
    "--sequence-length",
    "64",
    "--batch-size",
    "16",
];
const QUICK: [&str; 12] = [
    "--full-size",
    "256",
    "--budget-share",
    "40%",
    "--epochs",
    "1",
    "--lr",
    "1e-3",
    "--sequence-length",
    "32",
    "--batch-size",
    "16",
];

/// Selects, checks, and shows what the choice was worth; the exit status is that of the selection.
///
/// # Errors
/// Checkpoints or text are not there, or something failed.
pub(crate) async fn run(args: &DemoArgs, global: &GlobalArgs, terminal: &Terminal) -> Result<u8, CliError> {
    if global.endpoint.is_some() {
        return Err(CliError::Usage(
            "the demo runs on this machine: leave --endpoint out, or use `finepick select`".to_owned(),
        ));
    }
    present(
        &args.models,
        "--models",
        "they are part of the repository; `finepick zoo build` makes them anew",
    )?;
    present(&args.data, "--data", "`python3 tools/fetch_texts.py` fetches it")?;
    let folder = Folder::of(args)?;
    let flags = flags(args, folder.path());
    let select = parsed(&flags)?;
    complain(&format!("$ finepick select {}\n", shown(&flags)));
    let spec = from_args(&select, true)?;
    let selections = Selections::to_drive(global, &select.local, HostedTrainer::Onnx).await?;
    let done = demonstrate(&select, spec, &selections, global, terminal).await;
    selections.close().await;
    done
}

async fn demonstrate(
    select: &SelectArgs,
    spec: finepick_proto::selector::v1::SelectionSpec,
    selections: &Selections,
    global: &GlobalArgs,
    terminal: &Terminal,
) -> Result<u8, CliError> {
    let status = created(select, spec.clone(), selections, global, terminal).await?;
    let Some(trainer) = selections.local().and_then(crate::local_suite::LocalSuite::trainer) else {
        return Ok(status);
    };
    let report = Report::from(&report_of(selections, ID).await?);
    if status != 0 || report.choice.is_none() {
        return Ok(status);
    }
    complain("\nWas that right? The first of the ranking are now fine-tuned on all data:");
    let mut truths = Vec::new();
    for contender in report.contenders.iter().take(CHECKED) {
        let truth = Truth::of(contender, &report, &spec, &trainer).await?;
        complain(&format!("  {}", truth.line()));
        truths.push(truth);
    }
    print(&verdict(&truths, &report, terminal))?;
    if let Some(plot) = &select.show.plot {
        print(&format!("The picture of the selection is {}.\n", plot.display()))?;
    }
    Ok(status)
}

fn present(path: &Path, flag: &str, help: &str) -> Result<(), CliError> {
    if path.exists() {
        return Ok(());
    }
    Err(CliError::Usage(format!("{flag} {}: not there; {help}", path.display())))
}

/// Where the selection is kept.
enum Folder {
    Passing(TempDir),
    Kept(PathBuf),
}

impl Folder {
    fn of(args: &DemoArgs) -> Result<Self, CliError> {
        if let Some(folder) = &args.state_dir {
            return Ok(Self::Kept(folder.clone()));
        }
        let folder = tempfile::Builder::new().prefix("finepick-demo-").tempdir();
        folder.map(Self::Passing).map_err(|error| CliError::Write {
            what: "a passing folder".to_owned(),
            error,
        })
    }

    fn path(&self) -> &Path {
        match self {
            Self::Passing(folder) => folder.path(),
            Self::Kept(folder) => folder,
        }
    }
}

/// The flags of the selection.
fn flags(args: &DemoArgs, state: &Path) -> Vec<String> {
    let text = |path: &Path| path.display().to_string();
    let mut flags = vec![
        "--models".to_owned(),
        text(&args.models),
        "--data".to_owned(),
        text(&args.data),
    ];
    flags.extend(if args.quick { QUICK } else { SETTINGS }.map(str::to_owned));
    flags.extend(["--plot".to_owned(), text(&args.plot), "--id".to_owned(), ID.to_owned()]);
    flags.extend(["--state-dir".to_owned(), text(state)]);
    flags
}

/// The flags as a person would have typed them.
fn shown(flags: &[String]) -> String {
    flags.join(" ")
}

fn parsed(flags: &[String]) -> Result<Box<SelectArgs>, CliError> {
    let command = ["finepick", "select"]
        .into_iter()
        .chain(flags.iter().map(String::as_str));
    let cli = Cli::try_parse_from(command).map_err(|error| CliError::Usage(error.to_string()))?;
    match cli.command {
        Command::Select(args) => Ok(args),
        _ => Err(CliError::Usage("the demo's own flags are wrong".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_are_those_of_a_selection() {
        for quick in ["", "--quick"] {
            let cli = Cli::try_parse_from(
                ["finepick", "demo"]
                    .into_iter()
                    .chain(Some(quick).filter(|q| !q.is_empty())),
            );
            let Command::Demo(args) = cli.unwrap().command else {
                panic!("demo")
            };
            let select = parsed(&flags(&args, Path::new("state"))).unwrap();
            assert_eq!(select.id.as_deref(), Some(ID));
            assert_eq!(select.model_folders.first(), Some(&args.models));
            assert!(select.budget.budget_share.is_some_and(|share| share < 0.5));
        }
    }
}
