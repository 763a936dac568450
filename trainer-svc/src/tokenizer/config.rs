//! What a folder says about its tokenizer besides the vocabulary: special tokens and the chat template.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use super::{CONFIG_LIMIT, TokenizerError, read_bounded};

/// The special tokens that templates know by name in transformers.
const SPECIAL: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];

/// From `tokenizer_config.json`, `special_tokens_map.json` and `chat_template.jinja`; all may be absent.
#[derive(Debug, Default)]
pub(super) struct Config {
    /// By their names, e.g. `bos_token`.
    pub(super) special_tokens: BTreeMap<String, String>,
    /// The source of the chat template.
    pub(super) template: Option<String>,
    /// For byte-level tokenizers without `tokenizer.json`.
    pub(super) add_prefix_space: bool,
}

impl Config {
    pub(super) fn read(model_dir: &Path) -> Result<Self, TokenizerError> {
        let mut config = Self::default();
        // The later file wins.
        let map = object(&model_dir.join("special_tokens_map.json"))?;
        let main = object(&model_dir.join("tokenizer_config.json"))?;
        for object in [&map, &main] {
            for name in SPECIAL {
                if let Some(token) = object.get(name).and_then(token) {
                    config.special_tokens.insert(name.to_owned(), token.to_owned());
                }
            }
        }
        config.add_prefix_space = main.get("add_prefix_space").and_then(Value::as_bool).unwrap_or(false);
        config.template = match text(&model_dir.join("chat_template.jinja"))? {
            Some(template) => Some(template),
            None => main.get("chat_template").and_then(template).map(str::to_owned),
        };
        Ok(config)
    }

    pub(super) fn special(&self, name: &str) -> Option<&str> {
        self.special_tokens.get(name).map(String::as_str)
    }
}

/// A token is a string, or an object that says how it is matched.
fn token(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}

/// A template is a string, or one of a list of named ones: that named `default`, or the only one.
fn template(value: &Value) -> Option<&str> {
    let list = match value {
        Value::String(template) => return Some(template),
        Value::Array(list) => list,
        _ => return None,
    };
    let default = list
        .iter()
        .find(|template| template.get("name").and_then(Value::as_str) == Some("default"));
    let only = if list.len() == 1 { list.first() } else { None };
    default.or(only)?.get("template")?.as_str()
}

fn object(path: &Path) -> Result<Map<String, Value>, TokenizerError> {
    let Some(bytes) = read_bounded(path, CONFIG_LIMIT)? else {
        return Ok(Map::new());
    };
    serde_json::from_slice(&bytes).map_err(|error| TokenizerError::Malformed {
        path: path.to_owned(),
        message: error.to_string(),
    })
}

fn text(path: &Path) -> Result<Option<String>, TokenizerError> {
    let Some(bytes) = read_bounded(path, CONFIG_LIMIT)? else {
        return Ok(None);
    };
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|error| TokenizerError::Malformed {
            path: path.to_owned(),
            message: error.to_string(),
        })
}
