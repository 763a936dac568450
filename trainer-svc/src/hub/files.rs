//! Which files of a model count, and which names are safe.

use std::collections::BTreeSet;

use serde_json::Value;

use super::HubError;

/// Configuration and tokenizer. Only `config.json` must be there.
pub(super) const SMALL_FILES: [&str; 10] = [
    "added_tokens.json",
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
];

/// All weights.
pub(super) const SINGLE: &str = "model.safetensors";
/// Which weights lie in which file.
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// Does the name stay in its folder, on any system? Folders in it are allowed.
pub(super) fn safe_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 1_000
        && !name.contains(['\\', ':'])
        && !name.chars().any(char::is_control)
        && name
            .split('/')
            .all(|part| !matches!(part, "" | "." | "..") && part.len() <= 255)
}

/// The files that an index names, sorted.
pub(super) fn indexed(index: &[u8], what: &str) -> Result<BTreeSet<String>, HubError> {
    let malformed = |message: &str| HubError::Answer {
        what: format!("{what}: {INDEX}"),
        message: message.to_owned(),
    };
    let index: Value = serde_json::from_slice(index).map_err(|error| malformed(&error.to_string()))?;
    let map = index.get("weight_map").and_then(Value::as_object);
    let map = map.ok_or_else(|| malformed("no weight_map"))?;
    let mut files = BTreeSet::new();
    for file in map.values() {
        let file = file.as_str().ok_or_else(|| malformed("a weight without a file"))?;
        if !safe_name(file) || !file.ends_with(".safetensors") {
            return Err(HubError::Path {
                what: what.to_owned(),
                name: file.chars().take(200).collect(),
            });
        }
        files.insert(file.to_owned());
    }
    if files.is_empty() {
        return Err(malformed("it names no file"));
    }
    Ok(files)
}

/// The refusal of a model without safetensors, with the names of weights that are there instead.
pub(super) fn no_weights<'a>(names: impl Iterator<Item = &'a str>, what: &str) -> HubError {
    let pickles: Vec<&str> = names
        .filter(|name| {
            [".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack"]
                .iter()
                .any(|ending| name.ends_with(ending))
        })
        .take(3)
        .collect();
    HubError::NoWeights {
        what: what.to_owned(),
        pickles: pickles.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in ["a", "a/b.json", "..a", "a..b"] {
            assert!(safe_name(name), "{name}");
        }
        for name in ["", "/a", "a/", "a//b", "..", "a/../b", "./a", "a\\b", "c:x", "a\nb"] {
            assert!(!safe_name(name), "{name}");
        }
        assert!(!safe_name(&"a".repeat(300)));
    }

    #[test]
    fn indexes() {
        let files = indexed(
            br#"{"weight_map": {"a": "2.safetensors", "b": "1.safetensors", "c": "1.safetensors"}}"#,
            "m",
        );
        assert_eq!(
            files.unwrap().into_iter().collect::<Vec<_>>(),
            ["1.safetensors", "2.safetensors"]
        );
        let refused = indexed(br#"{"weight_map": {"a": "../x.safetensors"}}"#, "m");
        assert!(matches!(refused, Err(HubError::Path { name, .. }) if name == "../x.safetensors"));
        assert!(matches!(
            indexed(br#"{"weight_map": {"a": "x.bin"}}"#, "m"),
            Err(HubError::Path { .. })
        ));
        for text in ["", "{}", r#"{"weight_map": {}}"#, r#"{"weight_map": {"a": 1}}"#] {
            assert!(
                matches!(indexed(text.as_bytes(), "m"), Err(HubError::Answer { .. })),
                "{text}"
            );
        }
    }
}
