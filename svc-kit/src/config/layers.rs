//! Each layer becomes a list of assignments (path, value, where it was written); they are applied in order.

use std::path::Path;

use config::{Config, Value, ValueKind};

use super::{ConfigError, Flags, ServiceConfig};

/// The prefix of environment variables.
const ENV_PREFIX: &str = "FINEPICK_";

/// One key set to one value.
#[derive(Debug, Clone)]
pub(super) struct Assignment {
    origin: String,
    path: Vec<String>,
    value: Value,
}

/// The assignments of a TOML file.
pub(super) fn from_file(path: &Path) -> Result<Vec<Assignment>, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Read {
        path: path.to_owned(),
        error,
    })?;
    let table: toml::Table = toml::from_str(&text).map_err(|error: toml::de::Error| {
        let offset = error.span().map_or(0, |span| span.start);
        let line = text.get(..offset).unwrap_or_default().matches('\n').count() + 1;
        ConfigError::Syntax {
            path: path.to_owned(),
            line,
            message: one_line(error.message()),
        }
    })?;
    let mut assignments = Vec::new();
    flatten(
        &path.display().to_string(),
        &mut Vec::new(),
        toml::Value::Table(table),
        &mut assignments,
    );
    Ok(assignments)
}

fn flatten(origin: &str, path: &mut Vec<String>, value: toml::Value, out: &mut Vec<Assignment>) {
    match value {
        toml::Value::Table(table) if !table.is_empty() || path.is_empty() => {
            for (key, value) in table {
                path.push(key);
                flatten(origin, path, value, out);
                path.pop();
            }
        }
        value => out.push(Assignment {
            origin: origin.to_owned(),
            path: path.clone(),
            value: convert(value),
        }),
    }
}

/// The assignments of the environment, sorted by name so that errors do not depend on chance.
pub(super) fn from_env(env: impl IntoIterator<Item = (String, String)>) -> Vec<Assignment> {
    let mut variables: Vec<(String, String)> = env.into_iter().collect();
    variables.sort();
    variables
        .into_iter()
        .filter_map(|(name, text)| {
            let key = name.strip_prefix(ENV_PREFIX)?;
            key.contains("__").then(|| Assignment {
                origin: format!("environment variable {name}"),
                path: key.to_lowercase().split("__").map(str::to_owned).collect(),
                value: parse_text(&text),
            })
        })
        .collect()
}

/// The assignments of the flags. `--listen` and `--log-level` come after `--set`: the more exact flag wins.
pub(super) fn from_flags(flags: &Flags) -> Result<Vec<Assignment>, ConfigError> {
    let mut assignments = Vec::new();
    for text in &flags.set {
        let error = || ConfigError::Flag {
            flag: "--set",
            text: text.clone(),
            message: "expected SECTION.KEY=VALUE".to_owned(),
        };
        let (key, value) = text.split_once('=').ok_or_else(error)?;
        let path: Vec<String> = key.trim().split('.').map(str::to_owned).collect();
        if path.iter().any(String::is_empty) {
            return Err(error());
        }
        assignments.push(Assignment {
            origin: format!("--set {text}"),
            path,
            value: parse_text(value),
        });
    }
    for (flag, path, value) in [
        ("--listen", ["server", "listen"], &flags.listen),
        ("--log-level", ["telemetry", "log_level"], &flags.log_level),
    ] {
        if let Some(text) = value {
            let path = path.map(str::to_owned).to_vec();
            assignments.push(Assignment {
                origin: flag.to_owned(),
                path,
                value: Value::from(text.clone()),
            });
        }
    }
    Ok(assignments)
}

/// Applies the assignments to the defaults.
///
/// All at once; only when that fails, one after the other, to find the one at fault.
pub(super) fn apply<C: ServiceConfig>(defaults: &C, assignments: &[Assignment]) -> Result<C, ConfigError> {
    let base = Config::try_from(defaults).map_err(|error| ConfigError::Defaults(error.to_string()))?;
    let build = |assignments: &[Assignment]| -> Result<C, config::ConfigError> {
        let mut builder = Config::builder().add_source(base.clone());
        for assignment in assignments {
            builder = builder.add_source(assignment.clone());
        }
        builder.build()?.try_deserialize()
    };
    let all = build(assignments);
    let Err(error) = all else {
        return all.map_err(|error| ConfigError::Defaults(error.to_string()));
    };
    for (index, assignment) in assignments.iter().enumerate() {
        if let Err(error) = build(assignments.get(..=index).unwrap_or_default()) {
            return Err(ConfigError::Key {
                origin: assignment.origin.clone(),
                key: assignment.path.join("."),
                message: describe(&error),
            });
        }
    }
    Err(ConfigError::Invalid(describe(&error)))
}

/// What is wrong, without the `config` crate's own guess at key and origin, which we know better.
fn describe(error: &config::ConfigError) -> String {
    match error {
        config::ConfigError::At { error, .. } => describe(error),
        config::ConfigError::Type {
            unexpected, expected, ..
        } => format!("{unexpected} is not {expected}"),
        other => one_line(&other.to_string()),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Text of a variable or flag: arrays and inline tables are read as TOML, everything else stays text and takes the
/// type of its key.
fn parse_text(text: &str) -> Value {
    let trimmed = text.trim();
    if trimmed.starts_with(['[', '{'])
        && let Ok(mut table) = toml::from_str::<toml::Table>(&format!("value = {trimmed}"))
        && let Some(value) = table.remove("value")
    {
        return convert(value);
    }
    Value::from(text.to_owned())
}

fn convert(value: toml::Value) -> Value {
    let kind = match value {
        toml::Value::String(text) => ValueKind::String(text),
        toml::Value::Integer(number) => ValueKind::I64(number),
        toml::Value::Float(number) => ValueKind::Float(number),
        toml::Value::Boolean(flag) => ValueKind::Boolean(flag),
        toml::Value::Datetime(time) => ValueKind::String(time.to_string()),
        toml::Value::Array(values) => ValueKind::Array(values.into_iter().map(convert).collect()),
        toml::Value::Table(table) => {
            ValueKind::Table(table.into_iter().map(|(key, value)| (key, convert(value))).collect())
        }
    };
    Value::new(None, kind)
}

impl config::Source for Assignment {
    fn clone_into_box(&self) -> Box<dyn config::Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<config::Map<String, Value>, config::ConfigError> {
        let mut levels = self.path.iter().rev();
        let Some(last) = levels.next() else {
            return Ok(config::Map::new());
        };
        let mut map = config::Map::from([(last.clone(), self.value.clone())]);
        for level in levels {
            map = config::Map::from([(level.clone(), Value::new(None, ValueKind::Table(map)))]);
        }
        Ok(map)
    }
}
