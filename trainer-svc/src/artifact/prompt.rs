//! Trained prompts in PEFT's layout: one tensor `prompt_embeddings` `[virtual tokens, embedding width]`.

use std::path::Path;

use serde_json::json;

use super::adapter::{CONFIG, Source, WEIGHTS, refuse};
use super::folder::{Existing, Pending};
use super::model::write_json;
use super::tensors::{self, Planned};
use super::{ArtifactError, Fetch};
use crate::arch::ConfigError;
use crate::checkpoint::{StoredType, read_tensor, shown};
use crate::method::{Method, PROMPT_EMBEDDINGS, Prompt, Starts};

/// Most virtual tokens.
const MAX_LENGTH: usize = 1 << 16;
/// Widest embedding.
const MAX_WIDTH: usize = 1 << 20;
/// Fields that are read, or that change nothing in the result; see the low-rank adapters' list.
const KNOWN: [&str; 16] = [
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "num_attention_heads",
    "num_layers",
    "num_transformer_submodules",
    "num_virtual_tokens",
    "peft_type",
    "peft_version",
    "prompt_tuning_init",
    "prompt_tuning_init_text",
    "revision",
    "task_type",
    "token_dim",
    "tokenizer_kwargs",
    "tokenizer_name_or_path",
];

/// Writes a prompt of this length and embedding width; `base_model`: where the model can be found, as PEFT will look for it.
///
/// # Errors
/// The folder exists, the disk is full, the embeddings cannot be fetched or have another shape.
pub fn save_prompt(
    target: &Path,
    prompt: &Prompt,
    width: usize,
    base_model: &str,
    fetch: &mut Fetch<'_>,
    existing: Existing,
) -> Result<(), ArtifactError> {
    let pending = Pending::begin(target, existing)?;
    let config = json!({
        "auto_mapping": null,
        "base_model_name_or_path": base_model,
        "inference_mode": true,
        "num_transformer_submodules": 1,
        "num_virtual_tokens": prompt.length,
        "peft_type": "PROMPT_TUNING",
        // How it started does not matter any more; with a text, PEFT would ask for a tokenizer.
        "prompt_tuning_init": "RANDOM",
        "prompt_tuning_init_text": null,
        "revision": null,
        "task_type": "CAUSAL_LM",
        "token_dim": width,
        "tokenizer_name_or_path": null,
    });
    let planned = [Planned {
        source: PROMPT_EMBEDDINGS.into(),
        name: PROMPT_EMBEDDINGS.into(),
        shape: vec![prompt.length, width],
        stored: StoredType::F32,
    }];
    pending.write(CONFIG, |writer| Ok(write_json(writer, config)?))?;
    pending.write(WEIGHTS, |writer| tensors::write(writer, &planned, fetch))?;
    pending.commit()
}

/// Reads a prompt.
pub(super) fn read(source: &Source<'_>) -> Result<(Method, Starts), ArtifactError> {
    let settings = settings(source).map_err(|error| ArtifactError::Config {
        path: source.path.to_owned(),
        source: error,
    })?;
    let (length, width) = settings;
    let mut problems = Vec::new();
    let others = source.weights.tensors.keys().filter(|name| *name != PROMPT_EMBEDDINGS);
    problems.extend(others.map(|name| format!("{} is no part of a prompt", shown(name))));
    let tensor = source.weights.tensors.get(PROMPT_EMBEDDINGS);
    match tensor {
        None => problems.push(format!("{PROMPT_EMBEDDINGS} is missing")),
        Some(tensor) if tensor.shape != [length, width] => problems.push(format!(
            "{PROMPT_EMBEDDINGS} is {:?}, the settings say {:?}",
            tensor.shape,
            [length, width]
        )),
        Some(_) => {}
    }
    refuse(source.path, problems)?;
    let mut weights = Starts::new();
    if let Some(tensor) = tensor {
        let tensor = read_tensor(&source.weights.path, PROMPT_EMBEDDINGS, tensor)?;
        weights.insert(PROMPT_EMBEDDINGS.to_owned(), tensor);
    }
    let prompt = Prompt {
        length,
        initial_text: String::new(),
    };
    Ok((Method::Prompt(prompt), weights))
}

/// Virtual tokens and embedding width.
fn settings(source: &Source<'_>) -> Result<(usize, usize), ConfigError> {
    let fields = &source.fields;
    fields.refuse_others(&KNOWN)?;
    fields.count_if_any("num_transformer_submodules", 1..=1)?;
    let length = fields.count("num_virtual_tokens", 1..=MAX_LENGTH)?;
    Ok((length, fields.count("token_dim", 1..=MAX_WIDTH)?))
}
