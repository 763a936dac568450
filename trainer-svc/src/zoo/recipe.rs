//! What is to be built, as a TOML document.

use serde::Deserialize;
use thiserror::Error;

/// A recipe.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The tokenizer, one for all.
    pub tokenizer: TokenizerRecipe,
    /// What all are trained with.
    pub training: TrainingRecipe,
    /// The checkpoints.
    #[serde(rename = "model")]
    pub models: Vec<ModelRecipe>,
}

/// The tokenizer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerRecipe {
    /// Entries, 257 to 65,536: all bytes, the end of a text, merges.
    pub vocabulary: usize,
    /// Kinds of text that it is trained on.
    pub texts: Vec<String>,
}

/// What all checkpoints are trained with.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingRecipe {
    /// Tokens of a sequence; the models take 256.
    pub sequence_length: usize,
    /// Sequences of a step.
    pub batch_size: usize,
    /// Share of the steps with rising learning rate.
    pub warmup_ratio: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Bound of the gradient's norm.
    pub clip_norm: f64,
    /// Seed of start weights and orders.
    pub seed: u64,
}

/// A checkpoint.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRecipe {
    /// Name of its folder.
    pub name: String,
    /// `gpt2` or `llama`.
    pub architecture: String,
    /// Width of the hidden states.
    pub width: usize,
    /// Layers.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// llama: heads of keys and values; absent: as many as heads.
    pub key_value_heads: Option<usize>,
    /// Width of the feed-forward layers; absent: 4 × width.
    pub inner: Option<usize>,
    /// Kinds of text that it is pretrained on.
    pub texts: Vec<String>,
    /// Passes over them.
    pub epochs: u32,
    /// Peak learning rate; it falls as a cosine.
    pub learning_rate: f64,
}

/// A recipe cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecipeError {
    /// It is no such document.
    #[error("the recipe: {0}")]
    Malformed(String),
    /// A value is out of its range.
    #[error("the recipe: {field} {message}")]
    Value {
        /// Which.
        field: String,
        /// What is wrong.
        message: String,
    },
    /// No checkpoint is called that.
    #[error("the recipe has no model {name:?}; it has {known}")]
    NoSuchModel {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
}

impl Recipe {
    /// Checks the values.
    ///
    /// # Errors
    /// The first one that is out of its range.
    pub fn check(&self) -> Result<(), RecipeError> {
        let value = |field: &str, message: &str| RecipeError::Value {
            field: field.to_owned(),
            message: message.to_owned(),
        };
        if !(257..=65_536).contains(&self.tokenizer.vocabulary) {
            return Err(value("tokenizer.vocabulary", "must be 257 to 65,536"));
        }
        if self.training.batch_size == 0 || !(2..=super::config::POSITIONS).contains(&self.training.sequence_length) {
            return Err(value(
                "training",
                "must have a batch size ≥ 1 and sequences of 2 to 256 tokens",
            ));
        }
        for model in &self.models {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if model.name.is_empty() || !model.name.chars().all(is_plain) {
                return Err(value("model.name", "must be letters, digits, '-' and '_'"));
            }
            let field = |name: &str| format!("model {}: {name}", model.name);
            if !["gpt2", "llama"].contains(&model.architecture.as_str()) {
                return Err(value(&field("architecture"), "must be gpt2 or llama"));
            }
            let divides = |parts: usize, whole: usize| parts > 0 && whole.is_multiple_of(parts);
            if !divides(model.heads, model.width) || !divides(model.key_value_heads.unwrap_or(model.heads), model.heads)
            {
                return Err(value(
                    &field("heads"),
                    "must divide the width, and key_value_heads the heads",
                ));
            }
            if model.layers == 0 || model.epochs == 0 || model.texts.is_empty() {
                return Err(value(&field("layers, epochs and texts"), "must not be empty"));
            }
        }
        Ok(())
    }

    pub(super) fn check_names(&self, names: &[String]) -> Result<(), RecipeError> {
        self.check()?;
        let known: Vec<&str> = self.models.iter().map(|model| model.name.as_str()).collect();
        match names.iter().find(|name| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => Err(RecipeError::NoSuchModel {
                name: name.clone(),
                known: known.join(", "),
            }),
        }
    }
}
