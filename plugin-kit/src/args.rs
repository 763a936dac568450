//! The command line of `finepick-conformance`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::options::Options;
use crate::report::Format;

/// Proves a trainer plugin against the contract finepick.trainer.v1.
///
/// The cases name the clauses of docs/plugin-contract.md that they prove. Runs that the kit creates begin with
/// "conformance-" and are removed when it is done. Exit code: 0 all passed, 1 some failed, 2 usage or unreachable.
#[derive(Debug, Parser)]
#[command(name = "finepick-conformance", version)]
pub struct Args {
    /// The trainer, http://host:port or https://host:port.
    #[arg(long, value_name = "URL", required_unless_present = "list")]
    target: Option<String>,
    /// Authority that signed the trainer's certificate, PEM; with https.
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Checkpoint to train, as the trainer reads it.
    #[arg(long, value_name = "URI")]
    model: Option<String>,
    /// Data to train on, as the trainer reads them.
    #[arg(long, value_name = "URI")]
    data: Option<String>,
    /// Subset size; repeat, ascending. A run of all of them must end within --run-timeout.
    #[arg(long = "size", value_name = "N")]
    sizes: Vec<i64>,
    /// Subset size that keeps a run busy for a minute or more; such runs are cancelled.
    #[arg(long, value_name = "N")]
    long_size: Option<i64>,
    /// Passes over the data of such runs.
    #[arg(long, value_name = "N")]
    long_epochs: Option<i32>,
    /// Capability that must be claimed; repeat. Without this, cases of what is not claimed are skipped.
    #[arg(long = "capability", value_name = "NAME")]
    capabilities: Vec<String>,
    /// Only cases with this id; `*` stands for anything; repeat.
    #[arg(long = "case", value_name = "PATTERN")]
    cases: Vec<String>,
    /// Time a call may take.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    timeout: Duration,
    /// Time a run of the sizes may take, in the queue and out of it.
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = duration)]
    run_timeout: Duration,
    /// Time a case may take.
    #[arg(long, value_name = "DURATION", default_value = "45s", value_parser = duration)]
    case_timeout: Duration,
    /// Runs created at most to fill slots and queue.
    #[arg(long, value_name = "N", default_value_t = 1_500)]
    max_load: usize,
    /// Cases at the same time.
    #[arg(long, value_name = "N", default_value_t = 8)]
    parallel: usize,
    /// Form of the report.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// Where the report goes; standard output without it.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Lists the cases and does nothing else.
    #[arg(long)]
    pub(crate) list: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<svc_kit::config::HumanDuration>();
    parsed
        .map(svc_kit::config::HumanDuration::get)
        .map_err(|error| error.to_string())
}

impl Args {
    /// The options that they stand for.
    #[must_use]
    pub fn options(&self) -> Options {
        let mut options = Options::to(self.target.clone().unwrap_or_default());
        options.tls_ca.clone_from(&self.tls_ca);
        if let Some(model) = &self.model {
            options.model.clone_from(model);
        }
        if let Some(data) = &self.data {
            options.data.clone_from(data);
        }
        if !self.sizes.is_empty() {
            options.sizes.clone_from(&self.sizes);
        }
        options.long_size = self.long_size.unwrap_or(options.long_size);
        options.long_epochs = self.long_epochs;
        options.capabilities.clone_from(&self.capabilities);
        options.cases.clone_from(&self.cases);
        options.call_timeout = self.timeout;
        options.run_timeout = self.run_timeout;
        options.case_timeout = self.case_timeout;
        options.max_load = self.max_load;
        options.parallel = self.parallel;
        options
    }
}
