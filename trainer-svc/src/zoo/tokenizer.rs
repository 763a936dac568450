//! The zoo's tokenizer: byte-level BPE, trained on the zoo's texts.

use std::path::Path;

use serde_json::Value;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer};

use super::recipe::TokenizerRecipe;
use super::{ZooError, io, write};

/// The one special token: the end of a text. Its id is 0.
const END: &str = "<|endoftext|>";

/// Trains the tokenizer.
pub(super) fn train(recipe: &TokenizerRecipe, texts: &Path) -> Result<Tokenizer, ZooError> {
    let mut lines = Vec::new();
    for kind in &recipe.texts {
        let path = texts.join(format!("{kind}.jsonl"));
        let text = std::fs::read_to_string(&path).map_err(|error| io(&path, &error))?;
        for line in text.lines() {
            let example: Value = serde_json::from_str(line).map_err(|error| io(&path, &error.into()))?;
            if let Some(text) = example.get("text").and_then(Value::as_str) {
                lines.push(text.to_owned());
            }
        }
    }
    let failed = |error: tokenizers::Error| ZooError::Tokenizer(error.to_string());
    let mut tokenizer = Tokenizer::new(BPE::default());
    let bytes = ByteLevel::new(false, true, true);
    tokenizer.with_pre_tokenizer(Some(bytes));
    tokenizer.with_decoder(Some(bytes));
    let mut trainer: TrainerWrapper = BpeTrainer::builder()
        .vocab_size(recipe.vocabulary)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(vec![AddedToken::from(END, true)])
        .build()
        .into();
    tokenizer.train(&mut trainer, lines.into_iter()).map_err(failed)?;
    Ok(tokenizer)
}

/// Writes it as transformers reads it.
pub(super) fn write_files(tokenizer: &Tokenizer, folder: &Path) -> Result<(), ZooError> {
    let text = tokenizer
        .to_string(false)
        .map_err(|error| ZooError::Tokenizer(error.to_string()))?;
    write(&folder.join("tokenizer.json"), &text)?;
    let config = serde_json::json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END,
        "eos_token": END,
        "unk_token": END,
        "model_max_length": super::config::POSITIONS,
    });
    write(&folder.join("tokenizer_config.json"), &format!("{config:#}\n"))
}
