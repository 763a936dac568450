//! Files that hold one JSON array. Elements are turned into examples one by one: the array is never in memory as a whole.

use std::fmt;
use std::io::Read;
use std::path::Path;

use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde_json::Value;

use super::error::{DataError, Unit};
use super::read::Collector;
use super::record;

/// An array of objects.
pub(super) fn json_array(reader: impl Read, path: &Path, collector: &mut Collector<'_>) -> Result<(), DataError> {
    let mut refused = None;
    let mut json = serde_json::Deserializer::from_reader(reader);
    let seed = Elements {
        collector,
        refused: &mut refused,
    };
    let result = seed.deserialize(&mut json).and_then(|()| json.end());
    if let Some(error) = refused {
        return Err(error);
    }
    result.map_err(|error| {
        let text = error.to_string();
        let message = text
            .rsplit_once(" at line ")
            .map_or(text.as_str(), |(message, _)| message);
        DataError::Json {
            path: path.to_owned(),
            line: error.line(),
            column: error.column(),
            message: message.to_owned(),
        }
    })
}

struct Elements<'a, 'b> {
    collector: &'a mut Collector<'b>,
    /// The collector's own error: serde can carry only a text through the parser.
    refused: &'a mut Option<DataError>,
}

impl<'de> DeserializeSeed<'de> for Elements<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let mut number = 0;
        while let Some(value) = elements.next_element::<Value>()? {
            number += 1;
            if let Err(error) = self.collector.push(Unit::Element, number, record::example(value)) {
                *self.refused = Some(error);
                return Err(serde::de::Error::custom("refused"));
            }
        }
        Ok(())
    }
}
