//! What is asked for, from the flags. Ranges are the trainer's to check: it names the field.

use std::time::Duration;

use finepick_proto::trainer::v1 as pb;
use pb::tuning_method::Kind;

use crate::args::{Method, Order, TrainArgs, TuningSettings};
use crate::error::CliError;

/// Bytes of a candidate's name, by the contract.
const MAX_CANDIDATE_BYTES: usize = 256;

pub(super) fn from_args(args: &TrainArgs) -> Result<pb::TrainingRunSpec, CliError> {
    let mut sizes = args.sizes.clone();
    sizes.sort_unstable();
    sizes.dedup();
    let candidate = args.candidate.clone().unwrap_or_else(|| tail(&args.model).to_owned());
    let max_duration = args.max_duration.map(|seconds| {
        let duration = Duration::try_from_secs_f64(seconds)
            .ok()
            .filter(|duration| !duration.is_zero());
        let duration = duration.and_then(|duration| duration.try_into().ok());
        duration.ok_or_else(|| CliError::Usage("--max-duration must be a positive number of seconds".to_owned()))
    });
    let labels = args.labels.iter().map(|label| {
        let pair = label
            .split_once('=')
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        pair.ok_or_else(|| CliError::Usage(format!("--label {label:?} is not KEY=VALUE")))
    });
    Ok(pb::TrainingRunSpec {
        candidate_id: candidate,
        model: Some(reference(&args.model)),
        data: Some(reference(&args.data)),
        held_out: args.held_out.as_deref().map(reference),
        data_sizes: sizes,
        method: Some(pb::TuningMethod {
            kind: Some(method(args.tuning.method, &args.tuning.settings)),
        }),
        hyperparameters: hyperparameters(&args.tuning.settings),
        seed: args.tuning.settings.seed,
        subset_seed: args.tuning.settings.subset_seed,
        retention_sets: retention_sets(&args.retention)?,
        initial_adapter: args.init_adapter.as_deref().map(reference),
        device: args.device.clone(),
        max_duration: max_duration.transpose()?,
        labels: labels.collect::<Result<_, _>>()?,
    })
}

fn retention_sets(sets: &[String]) -> Result<Vec<pb::RetentionSet>, CliError> {
    let set = |text: &String| {
        let (name, uri) = text
            .split_once('=')
            .ok_or_else(|| CliError::Usage(format!("--retention {text:?} is not NAME=URI")))?;
        Ok(pb::RetentionSet {
            name: name.to_owned(),
            data: Some(reference(uri)),
        })
    };
    sets.iter().map(set).collect()
}

pub(in crate::command) fn reference(uri: &str) -> pb::Reference {
    pb::Reference {
        uri: uri.to_owned(),
        digest: String::new(),
    }
}

/// The end of a URI, where models differ, as far as a name may be long.
fn tail(uri: &str) -> &str {
    let cut = uri.len().saturating_sub(MAX_CANDIDATE_BYTES);
    (cut..=uri.len()).find_map(|from| uri.get(from..)).unwrap_or_default()
}

pub(in crate::command) fn method(method: Method, tuning: &TuningSettings) -> Kind {
    match method {
        Method::Full => Kind::Full(pb::FullTuning {}),
        Method::Lora => Kind::Lora(pb::LoraTuning {
            rank: tuning.lora_rank,
            alpha: tuning.lora_alpha,
            dropout: tuning.lora_dropout,
            target_modules: tuning.lora_targets.clone(),
        }),
        Method::Prompt => Kind::Prompt(pb::PromptTuning {
            length: tuning.prompt_length,
            initial_text: tuning.prompt_text.clone(),
        }),
    }
}

pub(in crate::command) fn hyperparameters(tuning: &TuningSettings) -> Option<pb::Hyperparameters> {
    let asked = pb::Hyperparameters {
        epochs: tuning.epochs,
        steps: tuning.steps,
        batch_size: tuning.batch_size,
        sequence_length: tuning.sequence_length,
        learning_rate: tuning.learning_rate,
        precision: tuning.precision.clone(),
        gradient_accumulation: tuning.accumulation,
        schedule: tuning.schedule.clone(),
        warmup_ratio: tuning.warmup,
        weight_decay: tuning.weight_decay,
        clip_norm: tuning.clip,
        patience: tuning.patience,
        order: match tuning.order {
            Order::AsIs => pb::ExampleOrder::AsIs,
            // What an absent order means.
            Order::Seeded => pb::ExampleOrder::Unspecified,
        }
        .into(),
    };
    (asked != pb::Hyperparameters::default()).then_some(asked)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    fn spec(flags: &[&str]) -> Result<pb::TrainingRunSpec, CliError> {
        let common = ["finepick", "train", "--model", "m", "--data", "d"];
        let cli = Cli::try_parse_from(common.iter().chain(flags)).expect("flags");
        let Command::Train(args) = &cli.command else {
            panic!("train")
        };
        from_args(args)
    }

    #[test]
    fn flags_become_a_spec() {
        let spec = spec(&[
            "--size=400,0",
            "--size=200",
            "--method=lora",
            "--lora-rank=16",
            "--epochs=3",
            "--label=team=x=y",
            "--max-duration=1.5",
        ])
        .expect("a spec");
        assert_eq!(spec.data_sizes, [0, 200, 400]);
        assert_eq!(spec.candidate_id, "m");
        assert_eq!(spec.labels["team"], "x=y");
        assert_eq!(spec.hyperparameters.expect("epochs").epochs, Some(3));
        let duration = spec.max_duration.expect("set");
        assert_eq!((duration.seconds, duration.nanos), (1, 500_000_000));
        let Some(Kind::Lora(lora)) = spec.method.and_then(|method| method.kind) else {
            panic!("lora")
        };
        assert_eq!((lora.rank, lora.alpha), (16, None));
    }

    #[test]
    fn what_is_absent_is_left_to_the_trainer_and_nonsense_is_refused() {
        assert_eq!(spec(&["--size=1"]).expect("a spec").hyperparameters, None);
        for bad in [
            "--label=x",
            "--max-duration=0",
            "--max-duration=-1",
            "--max-duration=NaN",
            "--max-duration=1e300",
        ] {
            assert!(matches!(spec(&["--size=1", bad]), Err(CliError::Usage(_))), "{bad}");
        }
    }

    #[test]
    fn long_uris_are_cut_between_characters() {
        let long = format!("{}{}", "a".repeat(10), "é".repeat(200));
        let cut = tail(&long);
        assert!(cut.len() <= MAX_CANDIDATE_BYTES && long.ends_with(cut) && cut.len() >= MAX_CANDIDATE_BYTES - 1);
        assert_eq!(tail("short"), "short");
    }
}
