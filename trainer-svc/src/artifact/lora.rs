//! Low-rank adapters in PEFT's layout: tensors `base_model.model.<module>.lora_A.weight` `[r, inputs]` and `….lora_B.weight`
//! `[outputs, r]`, whatever the layout of the module's own weight.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};

use super::adapter::{CONFIG, Source, WEIGHTS, refuse};
use super::folder::{Existing, Pending};
use super::model::write_json;
use super::tensors::{self, Planned};
use super::{ArtifactError, Fetch};
use crate::arch::{ConfigError, Linear, WeightLayout};
use crate::checkpoint::{StoredType, read_tensor, shown};
use crate::method::{Lora, Method, Starts, Trainable, a_name, b_name};

/// What PEFT puts before the names of the model.
const PREFIX: &str = "base_model.model.";
/// Largest rank.
const MAX_RANK: usize = 1 << 16;
/// Fields that are read, or that change nothing in the result. Any other field that is set is refused: PEFT gets new ones with every
/// version, and most of them change the formula.
const KNOWN: [&str; 21] = [
    "auto_mapping",
    "base_model_name_or_path",
    "bias",
    "exclude_modules",
    "fan_in_fan_out",
    "inference_mode",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "lora_alpha",
    "lora_dropout",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
    "use_rslora",
];
/// Initialisations that leave the base model's weights alone.
const PLAIN_STARTS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

/// Writes low-rank adapters. `layers`: all linear layers of the model, from [`crate::arch::outline`]; `trainable`: the adapters'
/// weights; `base_model`: where the model can be found, as PEFT will look for it.
///
/// # Errors
/// The folder exists, the disk is full, a weight cannot be fetched or has another shape.
pub fn save_lora(
    target: &Path,
    lora: &Lora,
    base_model: &str,
    layers: &[Linear],
    trainable: &[Trainable],
    fetch: &mut Fetch<'_>,
    existing: Existing,
) -> Result<(), ArtifactError> {
    let pending = Pending::begin(target, existing)?;
    let names: BTreeSet<&str> = trainable.iter().map(|weight| weight.name.as_str()).collect();
    let adapted: Vec<&Linear> = layers
        .iter()
        .filter(|layer| names.contains(a_name(&layer.module).as_str()))
        .collect();
    let transposed = adapted
        .iter()
        .any(|layer| layer.layout == WeightLayout::InputsByOutputs);
    let config = json!({
        "alpha_pattern": {},
        "auto_mapping": null,
        "base_model_name_or_path": base_model,
        "bias": "none",
        "fan_in_fan_out": transposed,
        "inference_mode": true,
        "init_lora_weights": true,
        "layers_pattern": null,
        "layers_to_transform": null,
        "lora_alpha": number(lora.alpha),
        "lora_dropout": lora.dropout,
        "modules_to_save": null,
        "peft_type": "LORA",
        "r": lora.rank,
        "rank_pattern": {},
        "revision": null,
        "target_modules": targets(layers, &adapted),
        "task_type": "CAUSAL_LM",
        "use_dora": false,
        "use_rslora": false,
    });
    let planned: Vec<Planned> = trainable
        .iter()
        .map(|weight| Planned {
            source: weight.name.clone(),
            name: format!("{PREFIX}{}", weight.name),
            shape: weight.shape.clone(),
            stored: StoredType::F32,
        })
        .collect();
    pending.write(CONFIG, |writer| Ok(write_json(writer, config)?))?;
    pending.write(WEIGHTS, |writer| tensors::write(writer, &planned, fetch))?;
    pending.commit()
}

/// A whole number where it is one: PEFT declares α so.
fn number(x: f64) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "checked by going back")]
    let whole = x as i64;
    #[expect(clippy::float_cmp, reason = "exactly a whole number")]
    if whole as f64 == x { whole.into() } else { x.into() }
}

/// Last parts of the adapted modules' paths, if they name these modules and no others; else the paths.
fn targets(layers: &[Linear], adapted: &[&Linear]) -> BTreeSet<String> {
    let last = |layer: &Linear| layer.module.rsplit('.').next().unwrap_or_default().to_owned();
    let parts: BTreeSet<String> = adapted.iter().map(|layer| last(layer)).collect();
    let named = layers.iter().filter(|layer| parts.contains(&last(layer))).count();
    if named == adapted.len() {
        return parts;
    }
    adapted.iter().map(|layer| layer.module.clone()).collect()
}

/// Reads low-rank adapters; targets are the full paths of the modules that have one.
pub(super) fn read(source: &Source<'_>) -> Result<(Method, Starts), ArtifactError> {
    let (rank, alpha, dropout) = settings(source).map_err(|error| ArtifactError::Config {
        path: source.path.to_owned(),
        source: error,
    })?;
    let (mut weights, mut problems) = (Starts::new(), Vec::new());
    // Per module: is there an A, a B?
    let mut modules: BTreeMap<&str, [bool; 2]> = BTreeMap::new();
    for (name, tensor) in &source.weights.tensors {
        let Some((module, half)) = parse(name) else {
            problems.push(format!("{} is no part of a low-rank adapter", shown(name)));
            continue;
        };
        let stored_rank = match (half, tensor.shape.as_slice()) {
            (0, &[rank, _]) | (1, &[_, rank]) => rank,
            _ => 0,
        };
        if stored_rank != rank {
            problems.push(format!(
                "{} is {:?}, of another rank than {rank}",
                shown(name),
                tensor.shape
            ));
            continue;
        }
        if let Some(seen) = modules.entry(module).or_default().get_mut(half) {
            *seen = true;
        }
        let own = if half == 0 { a_name(module) } else { b_name(module) };
        weights.insert(own, read_tensor(&source.weights.path, name, tensor)?);
    }
    for (module, halves) in &modules {
        if *halves != [true, true] {
            problems.push(format!("{} has only one of lora_A and lora_B", shown(module)));
        }
    }
    if modules.is_empty() && problems.is_empty() {
        problems.push("holds no low-rank adapter".into());
    }
    refuse(source.path, problems)?;
    let lora = Lora {
        rank,
        alpha,
        dropout,
        targets: modules.into_keys().map(str::to_owned).collect(),
    };
    Ok((Method::Lora(lora), weights))
}

/// Module, and 0 for A or 1 for B. Old versions put the adapter's name, `default`, between.
fn parse(name: &str) -> Option<(&str, usize)> {
    let name = name.strip_prefix(PREFIX)?.strip_suffix(".weight")?;
    let name = name.strip_suffix(".default").unwrap_or(name);
    let halves = [name.strip_suffix(".lora_A"), name.strip_suffix(".lora_B")];
    let half = halves.iter().position(Option::is_some)?;
    Some((halves.into_iter().flatten().next()?, half))
}

/// Rank, α and dropout. α is the one that is divided by the rank: with `use_rslora` PEFT divides by its root.
fn settings(source: &Source<'_>) -> Result<(usize, f64, f64), ConfigError> {
    let fields = &source.fields;
    fields.refuse_others(&KNOWN)?;
    if let Some(bias) = fields.text("bias")?.filter(|bias| *bias != "none") {
        return Err(unsupported("bias", bias, "none"));
    }
    if let Some(Value::String(start)) = fields.get("init_lora_weights")
        && !PLAIN_STARTS.contains(&start.as_str())
    {
        let supported = "true, false, gaussian, eva, orthogonal: the others change the base model's weights";
        return Err(unsupported("init_lora_weights", start, supported));
    }
    let rank = fields.count("r", 1..=MAX_RANK)?;
    let dropout = fields.number("lora_dropout", 0.0..=0.999, 0.0)?;
    let mut alpha = fields.number("lora_alpha", 0.0..=1e9, 8.0)?;
    if fields.flag("use_rslora", false)? {
        alpha *= (rank as f64).sqrt();
    }
    Ok((rank, alpha, dropout))
}

fn unsupported(field: &str, found: &str, supported: &str) -> ConfigError {
    ConfigError::Unsupported {
        field: field.to_owned(),
        found: shown(found),
        supported: supported.to_owned(),
    }
}
