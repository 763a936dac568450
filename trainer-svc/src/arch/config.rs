//! Fields of a `config.json` or `adapter_config.json`, read with bounds: the file is somebody else's.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};
use thiserror::Error;

use crate::checkpoint::shown;

/// Most layers.
pub(super) const MAX_LAYERS: usize = 1_000;
/// Widest embedding, inner layer or head.
pub(super) const MAX_WIDTH: usize = 1 << 20;
/// Most heads.
pub(super) const MAX_HEADS: usize = 4_096;
/// Widest head.
pub(super) const MAX_HEAD: usize = 8_192;
/// Largest vocabulary.
pub(super) const MAX_VOCABULARY: usize = 1 << 24;
/// Most positions.
pub(super) const MAX_POSITIONS: usize = 1 << 28;

/// A configuration does not describe a model that can be built.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// A field is missing.
    #[error("{field} is missing")]
    Missing {
        /// Its name.
        field: String,
    },
    /// A field has a value that no such model can have.
    #[error("{field} is {found}, wanted {wanted}")]
    Invalid {
        /// Its name.
        field: String,
        /// What it is, shortened if it is very long.
        found: String,
        /// What it must be.
        wanted: String,
    },
    /// A field asks for something that would change the model's results and that is not built.
    #[error("{field} = {found} is not supported; supported: {supported}")]
    Unsupported {
        /// Its name.
        field: String,
        /// What it is, shortened if it is very long.
        found: String,
        /// What can be had.
        supported: String,
    },
}

/// The fields of an object; those that are null are as good as absent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a> {
    values: &'a Map<String, Value>,
    /// Where the object lies in the file, e.g. `rope_scaling.`.
    place: &'static str,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(values: &'a Map<String, Value>) -> Self {
        Self { values, place: "" }
    }

    /// A field that is there and not null.
    pub(crate) fn get(&self, field: &str) -> Option<&'a Value> {
        self.values.get(field).filter(|value| !value.is_null())
    }

    /// An object inside; `place` is its name with a dot.
    pub(crate) fn object(&self, place: &'static str) -> Result<Option<Fields<'a>>, ConfigError> {
        let field = place.trim_end_matches('.');
        match self.get(field) {
            None => Ok(None),
            Some(Value::Object(values)) => Ok(Some(Fields { values, place })),
            Some(other) => Err(self.invalid(field, other, "an object")),
        }
    }

    /// A whole number that must be there.
    pub(crate) fn count(&self, field: &str, range: RangeInclusive<usize>) -> Result<usize, ConfigError> {
        self.count_if_any(field, range)?.ok_or_else(|| ConfigError::Missing {
            field: self.name(field),
        })
    }

    /// A whole number.
    pub(crate) fn count_if_any(&self, field: &str, range: RangeInclusive<usize>) -> Result<Option<usize>, ConfigError> {
        let Some(value) = self.get(field) else {
            return Ok(None);
        };
        let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
        let inside = count.filter(|count| range.contains(count));
        inside.map(Some).ok_or_else(|| {
            let wanted = format!("a whole number from {} to {}", range.start(), range.end());
            self.invalid(field, value, &wanted)
        })
    }

    /// A real number, or a default.
    pub(crate) fn number(&self, field: &str, range: RangeInclusive<f64>, default: f64) -> Result<f64, ConfigError> {
        Ok(self.number_if_any(field, range)?.unwrap_or(default))
    }

    /// A real number.
    pub(crate) fn number_if_any(&self, field: &str, range: RangeInclusive<f64>) -> Result<Option<f64>, ConfigError> {
        let Some(value) = self.get(field) else {
            return Ok(None);
        };
        let inside = value.as_f64().filter(|number| range.contains(number));
        inside.map(Some).ok_or_else(|| {
            let wanted = format!("a number from {} to {}", range.start(), range.end());
            self.invalid(field, value, &wanted)
        })
    }

    /// What is added to a variance.
    pub(crate) fn epsilon(&self, field: &str, default: f64) -> Result<f32, ConfigError> {
        let epsilon = self.number(field, 0.0..=1.0, default)?;
        #[expect(clippy::cast_possible_truncation, reason = "graphs compute in f32")]
        Ok(epsilon as f32)
    }

    /// A flag, or a default.
    pub(crate) fn flag(&self, field: &str, default: bool) -> Result<bool, ConfigError> {
        match self.get(field) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(self.invalid(field, other, "true or false")),
        }
    }

    /// A text.
    pub(crate) fn text(&self, field: &str) -> Result<Option<&'a str>, ConfigError> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.invalid(field, other, "a text")),
        }
    }

    /// Refuses a field that is set to anything but null, false, 0 or empty.
    pub(crate) fn refuse(&self, field: &str) -> Result<(), ConfigError> {
        match self.get(field) {
            Some(value) if !is_idle(value) => Err(self.unsupported(field, value, "models without it")),
            _ => Ok(()),
        }
    }

    /// Refuses every field that is set to anything but null, false, 0 or empty, and is not one of these.
    pub(crate) fn refuse_others(&self, known: &[&str]) -> Result<(), ConfigError> {
        let mut others = self.values.keys().filter(|field| !known.contains(&field.as_str()));
        others.try_for_each(|field| self.refuse(field))
    }

    pub(crate) fn invalid(&self, field: &str, found: &Value, wanted: &str) -> ConfigError {
        ConfigError::Invalid {
            field: self.name(field),
            found: shown(&found.to_string()),
            wanted: wanted.to_owned(),
        }
    }

    pub(crate) fn unsupported(&self, field: &str, found: &Value, supported: &str) -> ConfigError {
        ConfigError::Unsupported {
            field: self.name(field),
            found: shown(&found.to_string()),
            supported: supported.to_owned(),
        }
    }

    fn name(&self, field: &str) -> String {
        format!("{}{field}", self.place)
    }
}

/// Null, false, 0 or empty: such a field asks for nothing.
fn is_idle(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(items) => items.is_empty(),
        Value::Bool(true) => false,
    }
}

/// Heads of an attention layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Heads {
    /// Query heads.
    pub(super) queries: usize,
    /// Key and value heads, each of which serves `queries / keys` query heads that lie side by side.
    pub(super) keys: usize,
    /// Extent of one head.
    pub(super) width: usize,
}

impl Heads {
    /// As many key heads as query heads, which together are as wide as the model.
    pub(super) fn dividing(fields: Fields<'_>, width: (&str, usize), heads: &str) -> Result<Self, ConfigError> {
        let queries = fields.count(heads, 1..=MAX_HEADS)?;
        let (field, extent) = width;
        if !extent.is_multiple_of(queries) {
            return Err(fields.invalid(
                heads,
                &queries.into(),
                &format!("a divisor of {field}, which is {extent}"),
            ));
        }
        let head = extent / queries;
        if head > MAX_HEAD {
            return Err(fields.invalid(
                heads,
                &queries.into(),
                &format!("heads of at most {MAX_HEAD}, these have {head}"),
            ));
        }
        Ok(Self {
            queries,
            keys: queries,
            width: head,
        })
    }

    /// Extent of all query heads together.
    pub(super) fn query_width(self) -> usize {
        self.queries * self.width
    }

    /// Extent of all key heads together.
    pub(super) fn key_width(self) -> usize {
        self.keys * self.width
    }

    /// 1/√width, by which scores are multiplied.
    pub(super) fn scale(self) -> f64 {
        (self.width as f64).sqrt().recip()
    }
}
