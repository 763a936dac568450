//! What is asked for, from the flags. Ranges are the selector's to check: it names the field.

use std::collections::HashMap;

use finepick_proto::selector::v1 as selector;
use finepick_proto::types::v1 as types;

use super::{methods, models};
use crate::args::{BudgetArgs, SelectArgs};
use crate::command::train::reference;
use crate::error::CliError;
use crate::{request, suite};

/// Share of trying all where no budget in examples is given.
const DEFAULT_SHARE: f64 = 0.1;

/// The selection that the flags describe. `here`: it is done on this machine.
pub(in crate::command) fn from_args(args: &SelectArgs, here: bool) -> Result<selector::SelectionSpec, CliError> {
    let place = |uri: &str, flag: &str| {
        let uri = if here {
            models::local_path(uri, flag)?
        } else {
            uri.to_owned()
        };
        Ok::<_, CliError>(reference(&uri))
    };
    let data = args.data.as_deref().map(|data| place(data, "--data")).transpose()?;
    let held_out = args
        .held_out
        .as_deref()
        .map(|data| place(data, "--held-out"))
        .transpose()?;
    let mut budget = budget(&args.budget)?;
    if budget.examples.is_none() && budget.relative.is_none() && budget.exhaustive_fraction.is_none() {
        budget.exhaustive_fraction = Some(DEFAULT_SHARE);
    }
    Ok(selector::SelectionSpec {
        candidates: models::candidates(args, here)?,
        methods: methods::methods(args)?,
        data,
        held_out,
        data_size_full: args.full_size,
        data_size_min: args.min_size,
        budget: Some(budget),
        policy: Some(request::online_policy(args.policy, &args.parameters)),
        constraints: request::constraints(&args.constraints)?,
        // Here the selection remembers which trainer was hosted for it.
        trainers: match args.trainers.as_slice() {
            [] if here => vec![suite::ONNX.to_owned()],
            names => names.to_vec(),
        },
        parallelism: args.parallelism,
        max_attempts: args.max_attempts,
        seed: args.tuning.seed,
        subset_seed: args.tuning.subset_seed,
        interval_level: Some(args.level),
        work_mode: selector::WorkMode::Driven.into(),
        reuse: if args.no_reuse {
            selector::ReusePolicy::Never
        } else {
            selector::ReusePolicy::SameDigests
        }
        .into(),
        warm_start: if args.warm_start {
            selector::WarmStart::EarlierSelections
        } else {
            selector::WarmStart::Off
        }
        .into(),
        max_run_duration: args
            .max_run_duration
            .map(|time| wire(time, "--max-run-duration"))
            .transpose()?,
        device: args.device.clone(),
        labels: labels(&args.labels)?,
        display_name: args.name.clone(),
    })
}

/// The limits that the flags give.
pub(in crate::command) fn budget(args: &BudgetArgs) -> Result<selector::SelectionBudget, CliError> {
    Ok(selector::SelectionBudget {
        examples: args.budget_examples,
        relative: args.budget_ratio.map(|budget_ratio| selector::RelativeBudget {
            budget_ratio,
            fraction: args.budget_fraction,
        }),
        exhaustive_fraction: args.budget_share,
        example_parameters: args.budget_example_parameters,
        device_seconds: args.budget_device_seconds.map(|time| time.as_secs_f64()),
        money: args.budget_money.as_ref().map(|money| types::Money {
            currency_code: money.currency.clone(),
            units: money.units,
            nanos: money.nanos,
        }),
        wall_time: args.deadline.map(|time| wire(time, "--deadline")).transpose()?,
    })
}

fn wire<T: TryFrom<std::time::Duration>>(time: std::time::Duration, flag: &str) -> Result<T, CliError> {
    T::try_from(time).map_err(|_| CliError::Usage(format!("{flag} is too long")))
}

/// `KEY=VALUE` marks.
pub(in crate::command) fn labels(texts: &[String]) -> Result<HashMap<String, String>, CliError> {
    let pair = |text: &String| {
        let pair = text
            .split_once('=')
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        pair.ok_or_else(|| CliError::Usage(format!("--label {text:?} is not KEY=VALUE")))
    };
    texts.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    fn spec(flags: &[&str]) -> Result<selector::SelectionSpec, CliError> {
        let common = [
            "finepick",
            "select",
            "--model=a=hf://x/a",
            "--model=hf://x/b",
            "--data=hf://datasets/x/d",
        ];
        let cli = Cli::try_parse_from(common.iter().chain(flags)).map_err(|e| CliError::Usage(e.to_string()))?;
        let Command::Select(args) = &cli.command else {
            panic!("select")
        };
        from_args(args, false)
    }

    #[test]
    fn flags_become_a_spec() {
        let spec = spec(&[
            "--budget-ratio=1/64",
            "--budget-fraction=0.5",
            "--budget-money=12.50 EUR",
            "--budget-device-seconds=1h30m",
            "--deadline=2h",
            "--policy=ats",
            "--where=family=llama",
            "--trainer=x",
            "--trainer=y",
            "--warm-start",
            "--no-reuse",
            "--label=team=x=y",
            "--seed=7",
        ])
        .unwrap();
        let budget = spec.budget.unwrap();
        assert_eq!(budget.relative.unwrap().fraction, Some(0.5));
        assert_eq!(budget.device_seconds, Some(5_400.0));
        assert_eq!(budget.money.unwrap().nanos, 500_000_000);
        assert_eq!(budget.wall_time.unwrap().seconds, 7_200);
        assert_eq!((budget.examples, budget.exhaustive_fraction), (None, None));
        assert_eq!(spec.trainers, ["x", "y"]);
        assert_eq!(spec.labels["team"], "x=y");
        assert_eq!(spec.constraints.unwrap().include_families, ["llama"]);
        assert_eq!((spec.reuse, spec.warm_start, spec.seed), (2, 2, 7));
        assert_eq!(spec.candidates.len(), 2);
        assert!(matches!(
            spec.policy.unwrap().kind,
            Some(selector::selection_policy::Kind::Ats(_))
        ));
    }

    #[test]
    fn without_a_budget_a_tenth_of_trying_all_is_spent() {
        let budget = |flags: &[&str]| spec(flags).unwrap().budget.unwrap();
        assert_eq!(budget(&[]).exhaustive_fraction, Some(DEFAULT_SHARE));
        assert_eq!(budget(&["--deadline=1h"]).exhaustive_fraction, Some(DEFAULT_SHARE));
        assert_eq!(budget(&["--budget-examples=100"]).exhaustive_fraction, None);
    }

    #[test]
    fn wrong_flags_are_named() {
        for wrong in [
            "--label=x",
            "--budget-ratio=0",
            "--budget-money=12",
            "--deadline=soon",
            "--where=family",
            "--model=a=hf://y/a",
            "--method=lore",
            "--budget-fraction=1",
        ] {
            let message = spec(&[wrong]).unwrap_err().to_string();
            let flag = wrong.split('=').next().unwrap();
            assert!(message.contains(flag), "{wrong}: {message}");
        }
    }
}
