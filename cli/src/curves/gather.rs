//! Collects candidates from any layout, keeps the faults, and makes the table.

use std::collections::{BTreeMap, HashMap};

use super::cell;
use super::error::{CurveFileError, RejectedRow};
use super::{CurvePoint, CurveRow, CurveTable, Format, Limits};

/// A value and the line that stated it.
type Stated<T> = Option<(T, usize)>;

/// A candidate as far as it has been read.
struct Draft {
    name: String,
    row: usize,
    family: Stated<String>,
    parameters: Stated<u64>,
    attributes: BTreeMap<String, (String, usize)>,
    observations: Vec<(CurvePoint, usize)>,
    rejected: bool,
}

/// A candidate by its position among the drafts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(usize);

/// The collector.
pub(super) struct Gather<'l> {
    file: String,
    limits: &'l Limits,
    drafts: Vec<Draft>,
    by_name: HashMap<String, usize>,
    rejected: Vec<RejectedRow>,
    rejected_total: usize,
    notes: Vec<String>,
    observations: usize,
}

impl<'l> Gather<'l> {
    /// Nothing yet.
    pub(super) fn new(file: &str, limits: &'l Limits) -> Self {
        Self {
            file: file.to_owned(),
            limits,
            drafts: Vec::new(),
            by_name: HashMap::new(),
            rejected: Vec::new(),
            rejected_total: 0,
            notes: Vec::new(),
            observations: 0,
        }
    }

    /// The source as messages name it.
    pub(super) fn file(&self) -> &str {
        &self.file
    }

    /// The bounds.
    pub(super) fn limits(&self) -> &'l Limits {
        self.limits
    }

    /// Adds a remark.
    pub(super) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// The error for a passed limit.
    pub(super) fn too_many(&self, row: usize, what: &'static str, limit: usize) -> CurveFileError {
        CurveFileError::TooMany {
            file: self.file.clone(),
            row,
            what,
            limit,
        }
    }

    /// The candidate called `name`, made on first sight; `None` (and a fault) when the name cannot be one.
    pub(super) fn candidate(&mut self, name: &str, row: usize, column: &str) -> Option<Slot> {
        let name = name.trim();
        let checked = if name.is_empty() {
            Err("the candidate has no name".to_owned())
        } else {
            cell::text(name, "the name", self.limits.max_text_bytes)
        };
        match checked {
            Ok(name) => Some(self.slot(name, row)),
            Err(message) => {
                self.push(String::new(), row, Some(column), message);
                None
            }
        }
    }

    /// As [`Gather::candidate`], but the name must be new.
    pub(super) fn new_candidate(&mut self, name: &str, row: usize, column: &str) -> Option<Slot> {
        let slot = self.candidate(name, row, column)?;
        match self.drafts.get(slot.0) {
            Some(draft) if draft.row != row => {
                let message = format!(
                    "the candidate is in row {} already; names are unique in a wide file",
                    draft.row
                );
                self.reject(slot, row, column, message);
                None
            }
            _ => Some(slot),
        }
    }

    fn slot(&mut self, name: String, row: usize) -> Slot {
        if let Some(index) = self.by_name.get(&name) {
            return Slot(*index);
        }
        let index = self.drafts.len();
        self.by_name.insert(name.clone(), index);
        self.drafts.push(Draft {
            name,
            row,
            family: None,
            parameters: None,
            attributes: BTreeMap::new(),
            observations: Vec::new(),
            rejected: false,
        });
        Slot(index)
    }

    /// Whether the candidate is left out already.
    pub(super) fn is_rejected(&self, slot: Slot) -> bool {
        self.drafts.get(slot.0).is_some_and(|draft| draft.rejected)
    }

    /// Leaves a candidate out for a fault in `column`.
    pub(super) fn reject(&mut self, slot: Slot, row: usize, column: &str, message: String) {
        let name = match self.drafts.get_mut(slot.0) {
            Some(draft) => {
                draft.rejected = true;
                draft.name.clone()
            }
            None => String::new(),
        };
        self.push(name, row, Some(column), message);
    }

    /// Leaves out a whole line and, when `name` can be told, its candidate.
    pub(super) fn reject_line(&mut self, name: &str, row: usize, message: String) {
        let name = cell::text(name.trim(), "", self.limits.max_text_bytes).unwrap_or_default();
        if !name.is_empty() {
            let slot = self.slot(name.clone(), row);
            if let Some(draft) = self.drafts.get_mut(slot.0) {
                draft.rejected = true;
            }
        }
        self.push(name, row, None, message);
    }

    fn push(&mut self, candidate: String, row: usize, column: Option<&str>, message: String) {
        self.rejected_total += 1;
        if self.rejected.len() < self.limits.max_reported {
            let column = column.map(cell::shown);
            self.rejected.push(RejectedRow {
                file: self.file.clone(),
                candidate,
                row,
                column,
                message,
            });
        }
    }

    /// States the family; an empty cell states nothing.
    pub(super) fn family(&mut self, slot: Slot, row: usize, column: &str, value: &str) {
        self.state(slot, row, column, value, |draft, text| {
            stated(&mut draft.family, text.to_owned(), row)
        });
    }

    /// States the number of weights from a cell; an empty one states nothing.
    pub(super) fn parameters(&mut self, slot: Slot, row: usize, column: &str, value: &str) {
        if value.is_empty() {
            return;
        }
        let fault = match cell::parameters(value) {
            Ok(count) => match self.drafts.get_mut(slot.0) {
                Some(draft) => stated(&mut draft.parameters, count, row),
                None => None,
            },
            Err(message) => Some(message),
        };
        if let Some(message) = fault {
            self.reject(slot, row, column, message);
        }
    }

    /// States an attribute; an empty cell states nothing.
    pub(super) fn attribute(&mut self, slot: Slot, row: usize, column: &str, value: &str) {
        let limit = self.limits.max_attributes;
        self.state(slot, row, column, value, |draft, text| {
            if let Some((known, first)) = draft.attributes.get(column) {
                return (known != text).then(|| disagreement(text, known, *first));
            }
            if draft.attributes.len() >= limit {
                return Some(format!("the candidate has more than {limit} attributes"));
            }
            draft.attributes.insert(column.to_owned(), (text.to_owned(), row));
            None
        });
    }

    /// Checks a piece of text and hands it to `set`, which may find a fault.
    fn state(
        &mut self,
        slot: Slot,
        row: usize,
        column: &str,
        value: &str,
        set: impl FnOnce(&mut Draft, &str) -> Option<String>,
    ) {
        if value.is_empty() {
            return;
        }
        let fault = match cell::text(value, "the value", self.limits.max_text_bytes) {
            Ok(text) => self.drafts.get_mut(slot.0).and_then(|draft| set(draft, &text)),
            Err(message) => Some(message),
        };
        if let Some(message) = fault {
            self.reject(slot, row, column, message);
        }
    }

    /// Adds a point.
    pub(super) fn observe(&mut self, slot: Slot, row: usize, point: CurvePoint) -> Result<(), CurveFileError> {
        self.observations += 1;
        if self.observations > self.limits.max_observations {
            return Err(self.too_many(row, "observations", self.limits.max_observations));
        }
        if let Some(draft) = self.drafts.get_mut(slot.0) {
            draft.observations.push((point, row));
        }
        Ok(())
    }

    /// Sorts each curve, looks for repeated sizes and makes the table.
    pub(super) fn finish(mut self, name: String, format: Format) -> Result<CurveTable, CurveFileError> {
        for index in 0..self.drafts.len() {
            let Some(draft) = self.drafts.get_mut(index) else {
                continue;
            };
            // Stable: points of equal size stay in the order of their lines.
            draft.observations.sort_by_key(|(point, _)| point.data_size);
            let repeated: Vec<_> = draft
                .observations
                .windows(2)
                .filter_map(|pair| match pair {
                    [(a, first), (b, second)] if a.data_size == b.data_size => Some((a.data_size, *first, *second)),
                    _ => None,
                })
                .collect();
            for (size, first, second) in repeated {
                let message = format!("data size {size} of this candidate is in row {first} already");
                self.reject(Slot(index), second, "data_size", message);
            }
        }
        self.rejected.sort_by_key(|fault| fault.row);
        let rows: Vec<_> = self
            .drafts
            .into_iter()
            .filter(|draft| !draft.rejected)
            .map(Draft::into_row)
            .collect();
        if rows.is_empty() {
            let (file, total) = (self.file, self.rejected_total);
            return Err(match total {
                0 => CurveFileError::NoDataRows { file },
                _ => CurveFileError::AllRejected {
                    file,
                    rejected: self.rejected,
                    total,
                },
            });
        }
        Ok(CurveTable {
            name,
            file: self.file,
            format,
            rows,
            rejected: self.rejected,
            rejected_total: self.rejected_total,
            notes: self.notes,
        })
    }
}

impl Draft {
    fn into_row(self) -> CurveRow {
        CurveRow {
            candidate: self.name,
            family: self.family.map(|(value, _)| value),
            parameters: self.parameters.map(|(value, _)| value),
            attributes: self
                .attributes
                .into_iter()
                .map(|(key, (value, _))| (key, value))
                .collect(),
            observations: self.observations.into_iter().map(|(point, _)| point).collect(),
            row: self.row,
        }
    }
}

/// Keeps the first statement; the message when a later one differs.
fn stated<T: PartialEq + std::fmt::Display>(known: &mut Stated<T>, value: T, row: usize) -> Option<String> {
    match known {
        None => {
            *known = Some((value, row));
            None
        }
        Some((first, _)) if *first == value => None,
        Some((first, at)) => Some(disagreement(&value.to_string(), &first.to_string(), *at)),
    }
}

fn disagreement(value: &str, known: &str, row: usize) -> String {
    format!(
        "`{}` disagrees with `{}` in row {row}",
        cell::shown(value),
        cell::shown(known)
    )
}
