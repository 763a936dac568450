//! `finepick evaluate`: a checkpoint's loss on data, by a run that tunes on nothing.

use std::process::ExitCode;

use finepick_proto::trainer::v1 as pb;
use pb::tuning_method::Kind;
use serde::Serialize;
use trainer_svc::artifact;
use trainer_svc::method::Method;

use super::train::{self, Runner};
use super::trainers::block_on;
use super::{complain, json, print};
use crate::args::{EvaluateArgs, GlobalArgs, PlainFormat};
use crate::error::CliError;
use crate::local_trainer::LocalDevice;
use crate::text::{examples, loss};

/// What was measured. Keys are published.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Answer {
    /// Nats per token.
    loss: f64,
    standard_error: Option<f64>,
    /// Predicted tokens.
    tokens: i64,
    examples: i64,
    /// Examples that were cut.
    truncated: i64,
}

/// Measures a loss; returns the exit status.
#[must_use]
pub fn main(args: &EvaluateArgs, global: &GlobalArgs) -> ExitCode {
    match block_on(run(args, global)) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            complain(&format!("error: {error}"));
            ExitCode::from(error.exit_status())
        }
    }
}

async fn run(args: &EvaluateArgs, global: &GlobalArgs) -> Result<u8, CliError> {
    let spec = spec(args)?;
    let device = LocalDevice {
        name: &args.device,
        ..LocalDevice::default()
    };
    let runner = Runner::open(global, args.trainer.as_deref(), device, None).await?;
    let run = train::quietly(&runner.client(), spec).await;
    runner.forget();
    let run = run?;
    let Some(measured) = run.evaluations.first() else {
        complain(&format!("error: {}", run.detail));
        return Ok(train::exit_status(run.state()));
    };
    let answer = Answer {
        loss: measured.loss,
        standard_error: measured.standard_error,
        tokens: measured.tokens,
        examples: measured.examples,
        truncated: measured.truncated_examples,
    };
    print(&match args.format {
        PlainFormat::Json => json(&answer)?,
        PlainFormat::Table => answer.to_text(),
    })?;
    Ok(0)
}

fn spec(args: &EvaluateArgs) -> Result<pb::TrainingRunSpec, CliError> {
    let kind = match &args.adapter {
        None => Kind::Full(pb::FullTuning {}),
        Some(folder) => adapter(folder)?,
    };
    Ok(pb::TrainingRunSpec {
        candidate_id: "evaluate".to_owned(),
        model: Some(train::reference(&args.model)),
        data: Some(train::reference(&args.data)),
        held_out: Some(train::reference(&args.data)),
        data_sizes: vec![0],
        method: Some(pb::TuningMethod { kind: Some(kind) }),
        hyperparameters: Some(pb::Hyperparameters {
            batch_size: args.batch_size,
            sequence_length: args.sequence_length,
            ..pb::Hyperparameters::default()
        }),
        initial_adapter: args.adapter.as_deref().map(train::reference),
        device: args.device.clone(),
        ..pb::TrainingRunSpec::default()
    })
}

/// The method that an adapter was tuned with, by its own settings.
fn adapter(folder: &str) -> Result<Kind, CliError> {
    let read = artifact::read_adapter(std::path::Path::new(folder));
    let read = read.map_err(|error| CliError::Usage(format!("--adapter: {error}")))?;
    let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    Ok(match read.method {
        Method::Full => Kind::Full(pb::FullTuning {}),
        Method::Lora(lora) => Kind::Lora(pb::LoraTuning {
            rank: count(lora.rank),
            alpha: Some(lora.alpha),
            dropout: None,
            target_modules: lora.targets,
        }),
        Method::Prompt(prompt) => Kind::Prompt(pb::PromptTuning {
            length: count(prompt.length),
            initial_text: String::new(),
        }),
    })
}

impl Answer {
    fn to_text(&self) -> String {
        let error = self
            .standard_error
            .map_or_else(String::new, |error| format!(" +- {}", loss(error)));
        let mut text = format!(
            "loss {}{error} nats per token, over {} tokens of {} examples",
            loss(self.loss),
            examples(self.tokens),
            examples(self.examples)
        );
        if self.truncated > 0 {
            text = format!("{text}, {} of them cut", examples(self.truncated));
        }
        format!("{text}\n")
    }
}
