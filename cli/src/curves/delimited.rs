//! Comma-, tab- and semicolon-separated text as records with their line in the file.

use csv::{ReaderBuilder, StringRecord, Trim};

use super::cell;
use super::error::CurveFileError;
use super::gather::Gather;

/// A delimited text, its header read.
pub(super) struct Sheet<'t> {
    /// Names of the columns, trimmed.
    pub(super) header: Vec<String>,
    /// Line of the header.
    pub(super) header_row: usize,
    reader: csv::Reader<&'t [u8]>,
    record: StringRecord,
    lines: LineCounter<'t>,
    data_rows: usize,
}

/// What a column is, by its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Common {
    /// `size` or `parameters`.
    Parameters,
    /// `family`.
    Family,
    /// Any other name.
    Attribute,
    /// No name: nothing can refer to it.
    Unnamed,
}

impl Common {
    /// The meaning shared by the wide and the long layout.
    pub(super) fn of(header: &str) -> Self {
        if header.is_empty() {
            Self::Unnamed
        } else if header.eq_ignore_ascii_case("size") || header.eq_ignore_ascii_case("parameters") {
            Self::Parameters
        } else if header.eq_ignore_ascii_case("family") {
            Self::Family
        } else {
            Self::Attribute
        }
    }
}

impl<'t> Sheet<'t> {
    /// Checks the quoting and reads the header.
    pub(super) fn open(text: &'t str, delimiter: u8, gather: &Gather<'_>) -> Result<Self, CurveFileError> {
        check_quotes(text.as_bytes(), delimiter, gather)?;
        let reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .trim(Trim::All)
            .delimiter(delimiter)
            .from_reader(text.as_bytes());
        let lines = LineCounter {
            bytes: text.as_bytes(),
            at: 0,
            row: 1,
        };
        let (header, header_row) = (Vec::new(), 1);
        let mut sheet = Self {
            header,
            header_row,
            reader,
            record: StringRecord::new(),
            lines,
            data_rows: 0,
        };
        let Some(row) = sheet.advance(gather)? else {
            return Err(CurveFileError::Empty {
                file: gather.file().to_owned(),
            });
        };
        sheet.header_row = row;
        if sheet.record.len() > gather.limits().max_columns {
            return Err(gather.too_many(row, "columns", gather.limits().max_columns));
        }
        sheet.header = sheet.record.iter().map(str::to_owned).collect();
        Ok(sheet)
    }

    /// The next record that has as many fields as the header, with its line; records with another number of fields are
    /// rejected on the way, `name_column` being the field (from 0) that holds the candidate.
    pub(super) fn next(
        &mut self,
        name_column: usize,
        gather: &mut Gather<'_>,
    ) -> Result<Option<(usize, &StringRecord)>, CurveFileError> {
        while let Some(row) = self.advance(gather)? {
            self.data_rows += 1;
            if self.data_rows > gather.limits().max_rows {
                return Err(gather.too_many(row, "rows", gather.limits().max_rows));
            }
            if self.record.len() == self.header.len() {
                return Ok(Some((row, &self.record)));
            }
            let (found, expected) = (self.record.len(), self.header.len());
            let message = format!("has {found} fields where the header has {expected}");
            gather.reject_line(self.record.get(name_column).unwrap_or_default(), row, message);
        }
        if self.data_rows == 0 {
            return Err(CurveFileError::NoDataRows {
                file: gather.file().to_owned(),
            });
        }
        Ok(None)
    }

    /// Reads one record that is not blank into `self.record`.
    fn advance(&mut self, gather: &Gather<'_>) -> Result<Option<usize>, CurveFileError> {
        loop {
            let more = self
                .reader
                .read_record(&mut self.record)
                .map_err(|_| CurveFileError::UnknownFormat {
                    file: gather.file().to_owned(),
                    reason: "the content does not split into fields",
                })?;
            if !more {
                return Ok(None);
            }
            let start = self.record.position().map_or(0, csv::Position::byte);
            let row = self.lines.row_of_record(usize::try_from(start).unwrap_or(usize::MAX));
            // Spreadsheets end their exports in lines of nothing but separators.
            if self.record.iter().any(|field| !field.is_empty()) {
                return Ok(Some(row));
            }
        }
    }
}

/// Line numbers of ascending byte offsets, in one pass over the text. (The reader's own line is that of the blank
/// lines before a record.)
struct LineCounter<'t> {
    bytes: &'t [u8],
    at: usize,
    row: usize,
}

impl LineCounter<'_> {
    /// The line of the record that starts at or, blank lines skipped, after `offset`.
    fn row_of_record(&mut self, offset: usize) -> usize {
        while let Some(byte) = self.bytes.get(self.at) {
            let line_break = matches!(byte, b'\n' | b'\r');
            if self.at >= offset && !line_break {
                break;
            }
            let first_of_pair = *byte == b'\r' && self.bytes.get(self.at + 1) == Some(&b'\n');
            self.row += usize::from(line_break && !first_of_pair);
            self.at += 1;
        }
        self.row
    }
}

/// Refuses what a lenient reader would swallow: a quote that never closes takes the rest of the file for one cell.
fn check_quotes(bytes: &[u8], delimiter: u8, gather: &Gather<'_>) -> Result<(), CurveFileError> {
    let broken = |row, reason| {
        Err(CurveFileError::BrokenQuoting {
            file: gather.file().to_owned(),
            row,
            reason,
        })
    };
    let mut lines = LineCounter { bytes, at: 0, row: 1 };
    let mut field_start = true;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        if field_start && *byte == b'"' {
            let opened = at;
            at += 1;
            loop {
                match (bytes.get(at), bytes.get(at + 1)) {
                    (Some(b'"'), Some(b'"')) => at += 2,
                    (Some(b'"'), _) => break,
                    (Some(_), _) => at += 1,
                    (None, _) => return broken(lines.row_of_record(opened), "a quoted field is never closed"),
                }
            }
            at += 1;
            if !bytes
                .get(at)
                .is_none_or(|next| *next == delimiter || matches!(next, b'\n' | b'\r'))
            {
                return broken(
                    lines.row_of_record(opened),
                    "a quoted field goes on after its closing quote",
                );
            }
            field_start = false;
            continue;
        }
        field_start = *byte == delimiter || matches!(byte, b'\n' | b'\r');
        at += 1;
    }
    Ok(())
}

/// Refuses attribute columns that cannot be kept, and too many of them.
pub(super) fn check_attributes<'h>(
    names: impl Iterator<Item = &'h str>,
    row: usize,
    gather: &Gather<'_>,
) -> Result<(), CurveFileError> {
    let limits = gather.limits();
    for (index, name) in names.enumerate() {
        if index >= limits.max_attributes {
            return Err(gather.too_many(row, "attribute columns", limits.max_attributes));
        }
        cell::text(name, "the name", limits.max_text_bytes).map_err(|reason| CurveFileError::BadColumnName {
            file: gather.file().to_owned(),
            row,
            column: cell::shown(name),
            reason,
        })?;
    }
    Ok(())
}

/// The error for two columns that mean the same; `first` and `second` count from 0.
pub(super) fn duplicate(sheet: &Sheet<'_>, first: usize, second: usize, gather: &Gather<'_>) -> CurveFileError {
    CurveFileError::DuplicateColumn {
        file: gather.file().to_owned(),
        row: sheet.header_row,
        column: cell::shown(sheet.header.get(second).map_or("", String::as_str)),
        first: first + 1,
        second: second + 1,
    }
}
