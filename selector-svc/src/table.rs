//! The table of candidates: who competes, with which attributes and which measured curve.

use std::collections::{BTreeMap, HashSet};

use thiserror::Error;

use crate::curve::{DataSize, LearningCurve, Loss, Observation};

/// Most candidates of one table.
pub const MAX_CANDIDATES: usize = 10_000;
/// Longest candidate name, in bytes.
pub const MAX_NAME_BYTES: usize = 256;

/// What is known about a candidate besides its curve; constraints read it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Attributes {
    family: Option<String>,
    parameters: Option<u64>,
    other: BTreeMap<String, String>,
}

impl Attributes {
    /// Family (an empty text counts as absent), number of weights (0 counts as absent), anything else by name.
    #[must_use]
    pub fn new(family: Option<String>, parameters: Option<u64>, other: BTreeMap<String, String>) -> Self {
        Self {
            family: family.filter(|text| !text.is_empty()),
            parameters: parameters.filter(|count| *count > 0),
            other,
        }
    }

    /// Model family, e.g. `OPT`.
    #[must_use]
    pub fn family(&self) -> Option<&str> {
        self.family.as_deref()
    }

    /// Number of weights.
    #[must_use]
    pub const fn parameters(&self) -> Option<u64> {
        self.parameters
    }

    /// Any attribute by name; `family` and `parameters` answer here too.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<String> {
        match key {
            "family" => self.family.clone(),
            "parameters" => self.parameters.map(|count| count.to_string()),
            other => self.other.get(other).cloned(),
        }
    }

    /// The attributes other than family and parameters.
    #[must_use]
    pub const fn other(&self) -> &BTreeMap<String, String> {
        &self.other
    }
}

/// One competitor.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    name: String,
    attributes: Attributes,
    curve: LearningCurve,
}

impl Candidate {
    /// A candidate with a name of 1..=[`MAX_NAME_BYTES`] bytes.
    ///
    /// # Errors
    /// [`CandidateError`] for an empty or overlong name, or one with control characters.
    pub fn new(name: String, attributes: Attributes, curve: LearningCurve) -> Result<Self, CandidateError> {
        if name.trim().is_empty() {
            return Err(CandidateError::EmptyName);
        }
        if name.chars().any(char::is_control) {
            return Err(CandidateError::ControlCharacter);
        }
        if name.len() > MAX_NAME_BYTES {
            return Err(CandidateError::NameTooLong { bytes: name.len() });
        }
        Ok(Self {
            name,
            attributes,
            curve,
        })
    }

    /// Its name, unique in the table.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Family, parameters and the rest.
    #[must_use]
    pub const fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// Its measured losses.
    #[must_use]
    pub const fn curve(&self) -> &LearningCurve {
        &self.curve
    }

    /// The measured loss at the full size, where known: the truth that metrics compare with.
    #[must_use]
    pub fn true_loss(&self, full: DataSize) -> Option<Loss> {
        self.curve.loss_at(full)
    }
}

/// Why a candidate was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CandidateError {
    /// No name, or blanks only.
    #[error("a candidate needs a name")]
    EmptyName,
    /// A line break or the like.
    #[error("a candidate's name has no control characters")]
    ControlCharacter,
    /// Above [`MAX_NAME_BYTES`].
    #[error("a candidate's name has at most {MAX_NAME_BYTES} bytes, this one has {bytes}")]
    NameTooLong {
        /// Length of the refused name.
        bytes: usize,
    },
}

/// Candidates with unique names, in the order of the input (which breaks ties).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CandidateTable {
    candidates: Vec<Candidate>,
}

impl CandidateTable {
    /// A table of 1..=[`MAX_CANDIDATES`] candidates.
    ///
    /// # Errors
    /// [`TableError`] when empty, too long, or a name occurs twice.
    pub fn new(candidates: Vec<Candidate>) -> Result<Self, TableError> {
        if candidates.is_empty() {
            return Err(TableError::Empty);
        }
        if candidates.len() > MAX_CANDIDATES {
            return Err(TableError::TooManyCandidates {
                count: candidates.len(),
            });
        }
        let mut seen = HashSet::with_capacity(candidates.len());
        for (index, candidate) in candidates.iter().enumerate() {
            if !seen.insert(candidate.name()) {
                return Err(TableError::DuplicateName {
                    index,
                    name: candidate.name().to_owned(),
                });
            }
        }
        Ok(Self { candidates })
    }

    /// The candidates in input order.
    #[must_use]
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// A candidate by name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Candidate> {
        self.candidates.iter().find(|candidate| candidate.name() == name)
    }

    /// Largest size measured for any candidate, 0 when nothing but zero-shot was measured.
    #[must_use]
    pub fn largest_data_size(&self) -> Option<DataSize> {
        self.candidates
            .iter()
            .filter_map(|c| c.curve().observations().last())
            .map(Observation::data_size)
            .max()
    }
}

/// Why a table was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TableError {
    /// No candidates.
    #[error("at least one candidate is needed")]
    Empty,
    /// Above [`MAX_CANDIDATES`].
    #[error("a table has at most {MAX_CANDIDATES} candidates, this one has {count}")]
    TooManyCandidates {
        /// Number of candidates in the input.
        count: usize,
    },
    /// The same name twice.
    #[error("the name {name:?} occurs twice")]
    DuplicateName {
        /// Position of the repetition.
        index: usize,
        /// The repeated name.
        name: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(name: &str) -> Candidate {
        Candidate::new(name.to_owned(), Attributes::default(), LearningCurve::default()).unwrap()
    }

    #[test]
    fn names_are_needed_and_unique() {
        let empty = Candidate::new(" ".to_owned(), Attributes::default(), LearningCurve::default());
        assert_eq!(empty.unwrap_err(), CandidateError::EmptyName);
        let broken = Candidate::new("a\nb".to_owned(), Attributes::default(), LearningCurve::default());
        assert_eq!(broken.unwrap_err(), CandidateError::ControlCharacter);
        assert_eq!(CandidateTable::new(vec![]).unwrap_err(), TableError::Empty);
        assert_eq!(
            CandidateTable::new(vec![candidate("a"), candidate("b"), candidate("a")]).unwrap_err(),
            TableError::DuplicateName {
                index: 2,
                name: "a".to_owned()
            }
        );
        assert_eq!(
            CandidateTable::new(vec![candidate("a")]).unwrap().largest_data_size(),
            None
        );
    }

    #[test]
    fn absent_attributes_stay_absent() {
        let attributes = Attributes::new(Some(String::new()), Some(0), BTreeMap::new());
        assert_eq!(
            (attributes.family(), attributes.parameters(), attributes.get("licence")),
            (None, None, None)
        );
        let attributes = Attributes::new(Some("OPT".to_owned()), Some(7), BTreeMap::new());
        assert_eq!(attributes.get("family").as_deref(), Some("OPT"));
        assert_eq!(attributes.get("parameters").as_deref(), Some("7"));
    }
}
