//! The tuning methods, from `--method` and the tuning flags.

use finepick_proto::selector::v1 as selector;
use finepick_proto::trainer::v1 as trainer;

use crate::args::{Method, SelectArgs, TuningSettings};
use crate::command::train::{hyperparameters, method};
use crate::error::CliError;

/// What a `--method` may set for itself.
const KEYS: &str = "id, rank, alpha, dropout, length, lr, epochs, steps, batch-size";

/// The methods in the order of the flags; full tuning where none is given.
pub(super) fn methods(args: &SelectArgs) -> Result<Vec<selector::SelectionMethod>, CliError> {
    if args.methods.is_empty() {
        return Ok(vec![wire(String::new(), Method::Full, &args.tuning)]);
    }
    let one = |text: &String| {
        parse(text, &args.tuning).map_err(|problem| CliError::Usage(format!("--method {text:?}: {problem}")))
    };
    args.methods.iter().map(one).collect()
}

/// `KIND[:KEY=VALUE,...]`.
fn parse(text: &str, common: &TuningSettings) -> Result<selector::SelectionMethod, String> {
    let (kind, settings) = text.split_once(':').unwrap_or((text, ""));
    let kind = match kind {
        "full" => Method::Full,
        "lora" => Method::Lora,
        "prompt" => Method::Prompt,
        _ => return Err("expected full, lora or prompt, with settings such as lora:rank=16,lr=1e-3".to_owned()),
    };
    let (mut id, mut tuning) = (String::new(), common.clone());
    for setting in settings.split(',').filter(|setting| !setting.is_empty()) {
        let (key, value) = setting
            .split_once('=')
            .ok_or_else(|| format!("{setting:?} is not KEY=VALUE, where KEY is one of {KEYS}"))?;
        if key == "id" {
            value.clone_into(&mut id);
        } else {
            set(&mut tuning, key, value)?;
        }
    }
    Ok(wire(id, kind, &tuning))
}

fn set(tuning: &mut TuningSettings, key: &str, value: &str) -> Result<(), String> {
    let whole = || {
        value
            .parse::<i32>()
            .map_err(|_| format!("{key} must be a whole number, not {value:?}"))
    };
    let number = || {
        value
            .parse::<f64>()
            .map_err(|_| format!("{key} must be a number, not {value:?}"))
    };
    match key {
        "rank" => tuning.lora_rank = whole()?,
        "alpha" => tuning.lora_alpha = Some(number()?),
        "dropout" => tuning.lora_dropout = Some(number()?),
        "length" => tuning.prompt_length = whole()?,
        "lr" | "learning-rate" => tuning.learning_rate = Some(number()?),
        "epochs" => (tuning.epochs, tuning.steps) = (Some(whole()?), None),
        "steps" => (tuning.epochs, tuning.steps) = (None, Some(whole()?)),
        "batch-size" => tuning.batch_size = Some(whole()?),
        _ => return Err(format!("unknown setting {key:?}; settings are {KEYS}")),
    }
    Ok(())
}

fn wire(method_id: String, kind: Method, tuning: &TuningSettings) -> selector::SelectionMethod {
    selector::SelectionMethod {
        method_id,
        tuning: Some(trainer::TuningMethod {
            kind: Some(method(kind, tuning)),
        }),
        hyperparameters: hyperparameters(tuning),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use trainer::tuning_method::Kind;

    use super::*;
    use crate::args::{Cli, Command};

    fn parsed(flags: &[&str]) -> Result<Vec<selector::SelectionMethod>, CliError> {
        let common = ["finepick", "select", "--model", "m", "--data", "d"];
        let cli = Cli::try_parse_from(common.iter().chain(flags)).unwrap();
        let Command::Select(args) = &cli.command else {
            panic!("select")
        };
        methods(args)
    }

    #[test]
    fn a_method_takes_the_common_settings_and_its_own() {
        let found = parsed(&[
            "--method=full",
            "--method=lora:id=wide,rank=16,lr=1e-2,epochs=3",
            "--method=prompt:length=5",
            "--lr=1e-4",
            "--steps=100",
        ])
        .unwrap();
        let [full, lora, prompt] = &found[..] else {
            panic!("{found:?}")
        };
        let rate = |method: &selector::SelectionMethod| method.hyperparameters.as_ref().and_then(|h| h.learning_rate);
        assert_eq!(
            (rate(full), rate(lora), rate(prompt)),
            (Some(1e-4), Some(1e-2), Some(1e-4))
        );
        assert_eq!(lora.method_id, "wide");
        let own = lora.hyperparameters.clone().unwrap();
        assert_eq!((own.epochs, own.steps), (Some(3), None));
        let Some(Kind::Lora(settings)) = lora.tuning.clone().and_then(|tuning| tuning.kind) else {
            panic!("lora")
        };
        assert_eq!(settings.rank, 16);
        let Some(Kind::Prompt(settings)) = prompt.tuning.clone().and_then(|tuning| tuning.kind) else {
            panic!("prompt")
        };
        assert_eq!(settings.length, 5);
        assert_eq!(parsed(&[]).unwrap().len(), 1, "full tuning where nothing is said");
    }

    #[test]
    fn wrong_methods_name_the_flag() {
        for wrong in [
            "--method=lore",
            "--method=lora:rank",
            "--method=lora:rank=x",
            "--method=lora:size=3",
        ] {
            let message = parsed(&[wrong]).unwrap_err().to_string();
            assert!(message.starts_with("--method \""), "{message}");
        }
    }
}
