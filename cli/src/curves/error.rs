//! What can be wrong with a file of curves, and what can be wrong with one candidate in it.

use std::fmt::{self, Write as _};

/// Why a file of curves could not be used at all. Each message names the file and, where there is one, the line
/// (from 1) and the column.
#[derive(Debug, thiserror::Error)]
pub enum CurveFileError {
    /// There is no such file.
    #[error("{file}: no such file")]
    NotFound {
        /// The source as named by the user.
        file: String,
    },
    /// The path is a directory.
    #[error("{file}: is a directory, not a file of curves")]
    Directory {
        /// The source as named by the user.
        file: String,
    },
    /// The operating system refused.
    #[error("{file}: cannot be read: {source}")]
    Io {
        /// The source as named by the user.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Nothing but white space.
    #[error("{file}: is empty")]
    Empty {
        /// The source as named by the user.
        file: String,
    },
    /// Larger than the limit.
    #[error("{file}: is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The source as named by the user.
        file: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// A byte sequence that is not UTF-8.
    #[error("{file}: row {row}: byte {offset} of the file is not UTF-8{hint}")]
    NotUtf8 {
        /// The source as named by the user.
        file: String,
        /// Line of the file.
        row: usize,
        /// Offset of the first bad byte from the start of the file, from 0.
        offset: usize,
        /// What the file may be instead; may be empty.
        hint: &'static str,
    },
    /// The content is in none of the layouts.
    #[error(
        "{file}: unknown format: {reason}; expected wide CSV (name, one column per data size), \
         long CSV (candidate,data_size,test_loss) or one JSON object a line"
    )]
    UnknownFormat {
        /// The source as named by the user.
        file: String,
        /// What was found instead.
        reason: &'static str,
    },
    /// A header, but no line below it.
    #[error("{file}: has a header but no data rows")]
    NoDataRows {
        /// The source as named by the user.
        file: String,
    },
    /// A wide file without a column whose header is a data size.
    #[error(
        "{file}: row {row}: no column is a data size: in a wide file the header of a measured column is a plain whole \
         number of examples such as 200; a long file has the columns candidate, data_size and test_loss"
    )]
    NoSizeColumns {
        /// The source as named by the user.
        file: String,
        /// Line of the header.
        row: usize,
    },
    /// A long file without one of the columns it needs.
    #[error("{file}: row {row}: column `{column}` is missing; a long file needs candidate, data_size and test_loss")]
    MissingColumn {
        /// The source as named by the user.
        file: String,
        /// Line of the header.
        row: usize,
        /// The missing column.
        column: &'static str,
    },
    /// Two columns mean the same.
    #[error("{file}: row {row}: column `{column}` appears twice, as fields {first} and {second}")]
    DuplicateColumn {
        /// The source as named by the user.
        file: String,
        /// Line of the header.
        row: usize,
        /// The header that repeats.
        column: String,
        /// The earlier field, from 1.
        first: usize,
        /// The later field, from 1.
        second: usize,
    },
    /// A header that is a number but cannot be a data size.
    #[error("{file}: row {row}: column `{column}` cannot be a data size: {reason}")]
    BadSizeColumn {
        /// The source as named by the user.
        file: String,
        /// Line of the header.
        row: usize,
        /// The header as written.
        column: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// An attribute's name cannot be used.
    #[error("{file}: row {row}: column `{column}`: {reason}")]
    BadColumnName {
        /// The source as named by the user.
        file: String,
        /// Line of the header.
        row: usize,
        /// The header as written, shortened.
        column: String,
        /// What is wrong.
        reason: String,
    },
    /// Quotes that do not pair up.
    #[error("{file}: row {row}: broken quoting: {reason}")]
    BrokenQuoting {
        /// The source as named by the user.
        file: String,
        /// Line where the quoted field starts.
        row: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// More of something than is read.
    #[error("{file}: row {row}: more than {limit} {what}")]
    TooMany {
        /// The source as named by the user.
        file: String,
        /// Line where the limit was passed.
        row: usize,
        /// What there is too much of, e.g. `rows`.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// Every candidate was rejected.
    #[error("{file}: no usable curve is left: {}", list(rejected, *total))]
    AllRejected {
        /// The source as named by the user.
        file: String,
        /// The faults kept in full.
        rejected: Vec<RejectedRow>,
        /// All faults.
        total: usize,
    },
}

/// Joins the first faults for a one-paragraph message.
fn list(rejected: &[RejectedRow], total: usize) -> String {
    const SHOWN: usize = 3;
    let mut text = rejected
        .iter()
        .take(SHOWN)
        .map(RejectedRow::place_and_message)
        .collect::<Vec<_>>()
        .join("; ");
    let more = total.saturating_sub(SHOWN);
    if more > 0 {
        // Writing to a string cannot fail.
        let _ = write!(text, "; and {more} more");
    }
    text
}

/// One fault of one candidate, which is therefore left out of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedRow {
    /// The source as named by the user.
    pub file: String,
    /// The candidate left out; empty when the line does not say whose it is.
    pub candidate: String,
    /// Line of the file, from 1.
    pub row: usize,
    /// Name of the column (in JSON the key's path, e.g. `observations[2].test_loss`); `None` when the whole line is at
    /// fault.
    pub column: Option<String>,
    /// What is wrong, in a sentence without the place.
    pub message: String,
}

impl RejectedRow {
    /// The fault without the file: `row 4, column 800: …`.
    #[must_use]
    pub fn place_and_message(&self) -> String {
        let mut text = format!("row {}", self.row);
        if let Some(column) = &self.column {
            let _ = write!(text, ", column `{column}`");
        }
        if !self.candidate.is_empty() {
            let _ = write!(text, " ({})", self.candidate);
        }
        format!("{text}: {}", self.message)
    }
}

impl fmt::Display for RejectedRow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.file, self.place_and_message())
    }
}
