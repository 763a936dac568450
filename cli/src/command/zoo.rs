//! `finepick zoo`: the small checkpoints that demos and tests run on.

use std::path::Path;
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};
use trainer_svc::session::{Device, DeviceOptions, Runtime};
use trainer_svc::train::Report;
use trainer_svc::zoo::{self, Built, Places, Recipe};

use super::{complain, print};
use crate::args::{ZooBuildArgs, ZooCommand};
use crate::error::CliError;

const TEMPLATE: &str = "{prefix} {bar:30} {percent:>3}% {pos}/{len} {msg}, {eta} left";

/// Makes checkpoints; returns the exit status.
#[must_use]
pub fn main(what: &ZooCommand) -> ExitCode {
    let ZooCommand::Build(args) = what;
    match build(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("error: {error}"));
            ExitCode::from(error.exit_status())
        }
    }
}

fn build(args: &ZooBuildArgs) -> Result<(), CliError> {
    let recipe = read(&args.recipe)?;
    if !args.texts.is_dir() {
        let text = format!(
            "{} is not there: `python3 tools/fetch_texts.py` fetches the texts",
            args.texts.display()
        );
        return Err(CliError::Usage(text));
    }
    let device = device(args)?;
    let scratch = tempfile::Builder::new().prefix("finepick-zoo-").tempdir();
    let scratch = scratch.map_err(|error| write_error("a folder for what is needed on the way", error))?;
    let places = Places {
        texts: args.texts.clone(),
        output: args.output.clone(),
        scratch: scratch.path().to_owned(),
    };
    let mut bar = Bar::new();
    let built = zoo::build(&recipe, &args.only, &places, &device, &mut |name, report| {
        bar.show(name, report);
    });
    bar.bar.finish_and_clear();
    let built = built.map_err(|error| CliError::Usage(error.to_string()))?;
    print(&table(&built))
}

fn read(path: &Path) -> Result<Recipe, CliError> {
    let unusable = |message: String| CliError::Usage(format!("{}: {message}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| unusable(error.to_string()))?;
    let recipe: Recipe = toml::from_str(&text).map_err(|error| unusable(error.to_string()))?;
    recipe.check().map_err(|error| unusable(error.to_string()))?;
    Ok(recipe)
}

fn device(args: &ZooBuildArgs) -> Result<Device, CliError> {
    let options = DeviceOptions {
        threads: args.threads,
        ..DeviceOptions::default()
    };
    let opened = Runtime::locate_for(None, [args.device.as_str()])
        .and_then(|library| Runtime::load(&library))
        .and_then(|runtime| runtime.open(&args.device, &options));
    opened.map_err(|error| CliError::Connection(error.to_string()))
}

fn write_error(what: &str, error: std::io::Error) -> CliError {
    CliError::Write {
        what: what.to_owned(),
        error,
    }
}

fn table(built: &[Built]) -> String {
    let row = |one: &Built| {
        format!(
            "{}: {} parameters, held-out loss {:.4}\n",
            one.name, one.parameters, one.loss
        )
    };
    built.iter().map(row).collect()
}

/// One bar for the checkpoint at hand.
struct Bar {
    bar: ProgressBar,
}

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::no_length();
        // The template is a constant; where it were wrong, the default style would do.
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar }
    }

    fn show(&mut self, name: &str, report: &Report) {
        match report {
            Report::Prepared { total_steps, .. } => {
                self.bar.reset();
                self.bar.set_prefix(name.to_owned());
                self.bar.set_length(*total_steps);
            }
            Report::Step { step, loss, .. } => {
                self.bar.set_position(*step);
                self.bar.set_message(format!("training loss {loss:.3}"));
            }
            Report::Evaluated { measurement, .. } => self.say(&format!("{name}: held-out loss {measurement}")),
            Report::Warning(text) => self.say(&format!("{name}: {text}")),
            Report::Saved { .. } | Report::Note(_) => {}
        }
    }

    fn say(&self, line: &str) {
        self.bar.suspend(|| complain(line));
    }
}
