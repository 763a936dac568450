//! The reference of all keys is made from the code, and the page in `docs/` is compared with it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use config::{Config, Value, ValueKind};
use serde::{Deserialize, Serialize};

use super::{ServerConfig, ServiceConfig, TelemetryConfig, sections};

/// One service's part of a page: what stands between `<!-- begin NAME -->` and `<!-- end NAME -->`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The name in the markers.
    pub name: String,
    /// Markdown: a table of keys, defaults and meanings.
    pub text: String,
}

/// What every service has in common, with the defaults they share.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Common {
    server: ServerConfig,
    telemetry: TelemetryConfig,
}

/// The reference of the common sections.
///
/// # Errors
/// As [`reference()`].
pub fn common_reference() -> Result<Block, String> {
    let keys = keys_of(&Common::default())?;
    let meanings: Vec<(String, &str)> = common_meanings();
    table("common", &keys, &meanings)
}

/// The reference of a service: its own keys, and the common ones whose defaults it changes, each with default and
/// meaning.
///
/// # Errors
/// When a key has no meaning, or a meaning no key; names them.
pub fn reference<C: ServiceConfig>(name: &str) -> Result<Block, String> {
    let common = keys_of(&Common::default())?;
    let mut keys = keys_of(&C::default())?;
    keys.retain(|key, default| common.get(key) != Some(default));

    let mut meanings = Vec::new();
    for (key, text) in C::MEANINGS {
        if let Some(section) = key.strip_suffix(".@endpoint") {
            let all = sections::ENDPOINT_MEANINGS.iter();
            meanings.extend(all.map(|(key, text)| (format!("{section}.{key}"), *text)));
        } else {
            meanings.push(((*key).to_owned(), *text));
        }
    }
    let changed = common_meanings()
        .into_iter()
        .filter(|(pattern, _)| keys.keys().any(|key| matches(pattern, key)));
    meanings.extend(changed);
    table(name, &keys, &meanings)
}

fn common_meanings() -> Vec<(String, &'static str)> {
    sections::MEANINGS
        .iter()
        .map(|(key, text)| ((*key).to_owned(), *text))
        .collect()
}

fn keys_of<T: Serialize>(defaults: &T) -> Result<BTreeMap<String, String>, String> {
    let defaults = Config::try_from(defaults).map_err(|error| error.to_string())?;
    let mut keys = BTreeMap::new();
    flatten("", &defaults.cache, &mut keys);
    Ok(keys)
}

fn table(name: &str, keys: &BTreeMap<String, String>, meanings: &[(String, &str)]) -> Result<Block, String> {
    let mut text = String::from("| key | default | meaning |\n|---|---|---|\n");
    for (key, default) in keys {
        let Some((_, meaning)) = meanings.iter().find(|(pattern, _)| matches(pattern, key)) else {
            return Err(format!("{key} has no meaning: add it to MEANINGS"));
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| `{key}` | {default} | {meaning} |");
    }
    if let Some((pattern, _)) = meanings
        .iter()
        .find(|(pattern, _)| !keys.keys().any(|key| matches(pattern, key)))
    {
        return Err(format!("{pattern} has a meaning but there is no such key"));
    }
    Ok(Block {
        name: name.to_owned(),
        text,
    })
}

/// Compares a block with the page; with `update`, writes it there instead.
///
/// # Errors
/// When the page cannot be read or written, has no markers for the block, or says something else.
pub fn check_document(page: &Path, block: &Block, update: bool) -> Result<(), String> {
    let say = |error: std::io::Error| format!("{}: {error}", page.display());
    let text = std::fs::read_to_string(page).map_err(say)?;
    let (begin, end) = (
        format!("<!-- begin {} -->\n", block.name),
        format!("<!-- end {} -->", block.name),
    );
    let missing = || format!("{} has no {} … {}", page.display(), begin.trim(), end);
    let (before, rest) = text.split_once(&begin).ok_or_else(missing)?;
    let (current, after) = rest.split_once(&end).ok_or_else(missing)?;
    let wanted = format!("\n{}\n", block.text);
    if current == wanted {
        return Ok(());
    }
    if update {
        return std::fs::write(page, format!("{before}{begin}{wanted}{end}{after}")).map_err(say);
    }
    Err(format!(
        "{} does not show the configuration of {}: set FINEPICK_UPDATE_GOLDEN=1",
        page.display(),
        block.name
    ))
}

fn flatten(path: &str, value: &Value, out: &mut BTreeMap<String, String>) {
    match &value.kind {
        ValueKind::Table(table) => {
            for (key, value) in table {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                flatten(&path, value, out);
            }
        }
        ValueKind::Nil => drop(out.insert(path.to_owned(), "unset".to_owned())),
        ValueKind::Array(values) => {
            let values: Vec<String> = values.iter().map(Value::to_string).collect();
            drop(out.insert(path.to_owned(), format!("`[{}]`", values.join(", "))));
        }
        kind => drop(out.insert(path.to_owned(), format!("`{kind}`"))),
    }
}

/// Does the pattern (with `*` for one level) match the key?
fn matches(pattern: &str, key: &str) -> bool {
    let (mut pattern, mut key) = (pattern.split('.'), key.split('.'));
    loop {
        match (pattern.next(), key.next()) {
            (None, None) => return true,
            (Some(p), Some(k)) if p == "*" || p == k => {}
            _ => return false,
        }
    }
}

/// [`check_document`] as tests call it: with `FINEPICK_UPDATE_GOLDEN=1` in the environment the page is rewritten.
///
/// # Errors
/// As [`check_document`].
#[expect(
    clippy::disallowed_methods,
    reason = "this crate is the one place where the environment is read"
)]
pub fn check_golden(page: &Path, block: &Block) -> Result<(), String> {
    let update = std::env::var_os("FINEPICK_UPDATE_GOLDEN").is_some_and(|value| value == "1");
    check_document(page, block, update)
}
