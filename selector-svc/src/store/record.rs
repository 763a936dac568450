//! Events and summaries as they are written down: JSON with a version.
//!
//! `{"version":1,"kind":"scheduled",…}`: one version for each record, so that a store may hold old and new ones side by side. Records of
//! a version once written stay readable for ever (`tests/golden/events`).
//!
//! When the version grows: when a program that does not know the change would come to another state. A record of a newer version is
//! therefore refused, never guessed at. A change that an older program may overlook, say one more remark, keeps the version:
//! unknown fields of a known version are passed over, so that the release before can still read what this one wrote.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::curve::Observation;
use crate::selection::Event;
use crate::store::{KnownForecast, Summary};

/// The version that is written, and the newest that is read.
pub const VERSION: u32 = 1;

/// A record that cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("selection {selection:?}, {}: {problem}", place(*.sequence))]
pub struct RecordError {
    /// Whose record.
    pub selection: String,
    /// Number of the event; 0: the summary.
    pub sequence: u64,
    /// What is wrong.
    pub problem: RecordProblem,
}

fn place(sequence: u64) -> String {
    match sequence {
        0 => "summary".to_owned(),
        sequence => format!("event {sequence}"),
    }
}

/// What is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RecordProblem {
    /// Written by a newer program.
    #[error("the record has version {found}; this program knows versions up to {VERSION}")]
    Newer {
        /// Its version.
        found: u32,
    },
    /// Damaged, or not a record.
    #[error("the record cannot be read: {detail}")]
    Malformed {
        /// Where and how.
        detail: String,
    },
    /// It would not be read as what was to be written, for instance because a number is not finite.
    #[error("the record cannot be written: {detail}")]
    Unwritable {
        /// Where and how.
        detail: String,
    },
}

impl RecordProblem {
    /// With its place; `sequence` 0 is the summary.
    #[must_use]
    pub fn at(self, selection: &str, sequence: u64) -> RecordError {
        RecordError {
            selection: selection.to_owned(),
            sequence,
            problem: self,
        }
    }

    fn malformed(error: &serde_json::Error) -> Self {
        Self::Malformed {
            detail: error.to_string(),
        }
    }
}

#[derive(Serialize)]
struct Versioned<'a, T> {
    version: u32,
    #[serde(flatten)]
    content: &'a T,
}

#[derive(Deserialize)]
struct Head {
    version: u32,
}

/// An event as text.
///
/// # Errors
/// [`RecordProblem::Unwritable`] if the text would not be read as the same event.
pub fn encode_event(event: &Event) -> Result<String, RecordProblem> {
    encode(event)
}

/// The event of a text.
///
/// # Errors
/// [`RecordProblem::Newer`] or [`RecordProblem::Malformed`].
pub fn decode_event(text: &str) -> Result<Event, RecordProblem> {
    decode(text)
}

/// A summary as text.
///
/// # Errors
/// [`RecordProblem::Unwritable`] if the text would not be read as the same summary.
pub fn encode_summary(summary: &Summary) -> Result<String, RecordProblem> {
    encode(summary)
}

/// The summary of a text.
///
/// # Errors
/// [`RecordProblem::Newer`] or [`RecordProblem::Malformed`].
pub fn decode_summary(text: &str) -> Result<Summary, RecordProblem> {
    decode(text)
}

/// What a store keeps of a loss, as text.
///
/// # Errors
/// [`RecordProblem::Unwritable`] if the text would not be read as the same observation.
pub fn encode_observation(observation: &Observation) -> Result<String, RecordProblem> {
    encode(observation)
}

/// The observation of a text.
///
/// # Errors
/// [`RecordProblem::Newer`] or [`RecordProblem::Malformed`].
pub fn decode_observation(text: &str) -> Result<Observation, RecordProblem> {
    decode(text)
}

/// # Errors
/// [`RecordProblem::Unwritable`] for a forecast that is not a positive number.
pub(super) fn check_forecast(forecast: &KnownForecast) -> Result<(), RecordProblem> {
    if forecast.loss.is_finite() && forecast.loss > 0.0 {
        return Ok(());
    }
    let detail = format!("the forecast for model {:?} is {}", forecast.model_key, forecast.loss);
    Err(RecordProblem::Unwritable { detail })
}

fn encode<T: Serialize + DeserializeOwned + PartialEq>(content: &T) -> Result<String, RecordProblem> {
    let unwritable = |detail: String| RecordProblem::Unwritable { detail };
    let record = Versioned {
        version: VERSION,
        content,
    };
    let text = serde_json::to_string(&record).map_err(|error| unwritable(error.to_string()))?;
    // JSON has no infinities: a record that would be read as something else must not get into the store.
    match decode::<T>(&text) {
        Ok(read) if read == *content => Ok(text),
        Ok(_) => Err(unwritable("it would be read as something else".to_owned())),
        Err(problem) => Err(unwritable(problem.to_string())),
    }
}

fn decode<T: DeserializeOwned>(text: &str) -> Result<T, RecordProblem> {
    let head: Head = serde_json::from_str(text).map_err(|error| RecordProblem::malformed(&error))?;
    match head.version {
        VERSION => serde_json::from_str(text).map_err(|error| RecordProblem::malformed(&error)),
        0 => Err(RecordProblem::Malformed {
            detail: "there is no version 0".to_owned(),
        }),
        found => Err(RecordProblem::Newer { found }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::curve::DataSize;
    use crate::selection::{DecisionRecord, Ending};

    fn judged(log_threshold: Option<f64>) -> Event {
        let decision = Box::new(DecisionRecord {
            rule: "geometric".to_owned(),
            data_size: DataSize::ZERO,
            trained: Vec::new(),
            contenders: Vec::new(),
            log_threshold,
            saved_examples: u64::MAX,
            expected_regret: None,
            next: Vec::new(),
            explanation: "“quoted” \u{0}\n".to_owned(),
        });
        Event::Judged { decision }
    }

    #[test]
    fn a_record_begins_with_its_version_and_kind() {
        assert_eq!(
            encode_event(&Event::Paused).unwrap(),
            r#"{"version":1,"kind":"paused"}"#
        );
        let text = encode_event(&judged(Some(0.5))).unwrap();
        assert!(
            text.starts_with(r#"{"version":1,"kind":"judged","decision":{"#),
            "{text}"
        );
    }

    #[test]
    fn newer_versions_are_refused_and_named() {
        let problem = decode_event(r#"{"version":7,"kind":"teleported","where":"away"}"#).unwrap_err();
        assert_eq!(problem, RecordProblem::Newer { found: 7 });
        assert_eq!(
            problem.at("autumn", 12).to_string(),
            r#"selection "autumn", event 12: the record has version 7; this program knows versions up to 1"#
        );
    }

    #[test]
    fn fields_of_later_releases_are_passed_over() {
        let text = r#"{"version":1,"kind":"resumed","by":"somebody"}"#;
        assert_eq!(decode_event(text), Ok(Event::Resumed));
        let text = r#"{"kind":"ended","ending":"succeeded","mood":{"good":[1]},"version":1}"#;
        let ending = Ending::Succeeded;
        assert_eq!(decode_event(text), Ok(Event::Ended { ending }));
    }

    #[test]
    fn what_is_no_record_is_malformed() {
        for text in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"version":1}"#,
            r#"{"version":0,"kind":"paused"}"#,
            r#"{"version":-1,"kind":"paused"}"#,
            r#"{"version":1,"kind":"teleported"}"#,
            r#"{"version":1,"kind":"paused""#,
            r#"{"version":1,"kind":"ended"}"#,
            r#"{"version":1,"kind":"attempt_ended","trial":-1}"#,
        ] {
            let read = decode_event(text);
            assert!(matches!(read, Err(RecordProblem::Malformed { .. })), "{text}: {read:?}");
        }
    }

    #[test]
    fn what_json_cannot_hold_is_not_written() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let written = encode_event(&judged(Some(bad)));
            assert!(
                matches!(written, Err(RecordProblem::Unwritable { .. })),
                "{bad}: {written:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn every_finite_number_comes_back_exactly(bits: u64) {
            let number = f64::from_bits(bits);
            prop_assume!(number.is_finite());
            let event = judged(Some(number));
            prop_assert_eq!(decode_event(&encode_event(&event).unwrap()), Ok(event));
        }

        #[test]
        fn no_text_makes_reading_panic(text in r#"\{"version":[0-9]{1,12},"kind":"[a-z_]{0,16}".{0,40}\}?"#) {
            let read = decode_event(&text);
            prop_assert!(read.is_ok() || !read.unwrap_err().to_string().is_empty());
        }

        #[test]
        fn a_record_that_is_cut_off_is_malformed(cut in 0_usize..60) {
            let text = encode_event(&Event::Stopping { ending: Ending::Cancelled { detail: "enough".to_owned() } }).unwrap();
            prop_assume!(cut < text.len());
            let read = decode_event(text.get(..cut).unwrap());
            let malformed = matches!(read, Err(RecordProblem::Malformed { .. }));
            prop_assert!(malformed, "{:?}", read);
        }
    }
}
