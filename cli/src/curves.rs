//! Reading measured learning curves from a file or standard input.
//!
//! Three layouts are understood; which one a file has is told from its content:
//!
//! * **wide** – one candidate a line: the first column is its name, columns whose header is a whole number are data
//!   sizes (fine-tuning examples, `0` is zero-shot), `size` or `parameters` is the number of weights, `family` the
//!   family, every other column an attribute;
//! * **long** – one observation a line: `candidate,data_size,test_loss` and optionally `standard_error`, `weight`,
//!   `size` or `parameters`, `family` and attributes. The lines of a candidate may be scattered;
//! * **jsonl** – one JSON object a line, either an observation with the long layout's keys or a whole curve
//!   (`{"candidate": …, "family": …, "parameters": …, "attributes": {…}, "observations": [{"data_size": …, …}]}`).
//!
//! Wide and long files are separated by commas, tabs or semicolons. Losses are nats per token, finite,
//! `0 < loss <= 1e6`; an empty cell means "not measured".
//!
//! **What happens to bad input.** What makes the file unreadable as a whole is a [`CurveFileError`]. What is wrong with
//! one candidate is a [`RejectedRow`]: that candidate is left out *whole* – never just the bad cell, because a curve with
//! a silently missing point ranks differently, and because the same data must give the same answer in each layout – and
//! the others are still answered.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

mod cell;
mod delimited;
mod error;
mod gather;
mod json;
mod jsonl;
mod long;
mod sniff;
mod wide;

pub(crate) use cell::printable;
pub use error::{CurveFileError, RejectedRow};
pub use sniff::{Format, ParseFormatError};

/// Where curves are read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file.
    Path(PathBuf),
    /// Standard input, written `-` on the command line.
    Stdin,
}

impl Source {
    /// The source an argument names: `-` is standard input, anything else a path.
    #[must_use]
    pub fn from_argument(argument: &Path) -> Self {
        if argument.as_os_str() == "-" {
            Self::Stdin
        } else {
            Self::Path(argument.to_path_buf())
        }
    }

    /// The source as messages name it: the path as given, or `standard input`.
    #[must_use]
    pub fn label(&self) -> String {
        match self {
            Self::Path(path) => cell::printable(&path.to_string_lossy()),
            Self::Stdin => "standard input".to_owned(),
        }
    }

    /// A short name for the table: the file name without its extension, or `stdin`.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Path(path) => path
                .file_stem()
                .map_or_else(|| self.label(), |stem| cell::printable(&stem.to_string_lossy())),
            Self::Stdin => "stdin".to_owned(),
        }
    }
}

/// Bounds on what is read, so that no file can exhaust the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest file in bytes; 64 MiB.
    pub max_bytes: u64,
    /// Most data lines; 1,000,000.
    pub max_rows: usize,
    /// Most columns of a wide or long file; 4,096.
    pub max_columns: usize,
    /// Most attributes a candidate may have (columns that are none of the known ones); 64, as over gRPC.
    pub max_attributes: usize,
    /// Most observations over all candidates; 4,000,000.
    pub max_observations: usize,
    /// Longest candidate name, family, attribute name or attribute value in bytes; 256, as over gRPC.
    pub max_text_bytes: usize,
    /// How many [`RejectedRow`]s are kept in full; the rest are counted. 100.
    pub max_reported: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_bytes: 64 * 1024 * 1024,
            max_rows: 1_000_000,
            max_columns: 4_096,
            max_attributes: 64,
            max_observations: 4_000_000,
            max_text_bytes: 256,
            max_reported: 100,
        }
    }
}

/// How to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// The layout; `None` tells it from the content (the file's extension breaks ties).
    pub format: Option<Format>,
    /// Bounds.
    pub limits: Limits,
}

/// One measured point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CurvePoint {
    /// Fine-tuning examples, below 2^53; 0 is zero-shot.
    pub data_size: u64,
    /// Held-out loss, nats per token, finite, in (0, 1e6].
    pub test_loss: f64,
    /// Standard error of the loss in nats per token, finite and at least 0; `None` when not stated.
    pub standard_error: Option<f64>,
    /// Relative weight in a fit, finite and above 0; `None` when not stated.
    pub weight: Option<f64>,
}

/// The curve of one candidate.
#[derive(Debug, Clone, PartialEq)]
pub struct CurveRow {
    /// The candidate's name, unique in its table, without control characters, at most 256 bytes.
    pub candidate: String,
    /// Model family, if stated.
    pub family: Option<String>,
    /// Number of weights, above 0 and below 2^53, if stated.
    pub parameters: Option<u64>,
    /// Further attributes by column name; cells left empty are absent.
    pub attributes: BTreeMap<String, String>,
    /// The points, ascending and unique in size; may be empty when no cell was filled.
    pub observations: Vec<CurvePoint>,
    /// Line of the file (from 1) where the candidate first appears.
    pub row: usize,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq)]
pub struct CurveTable {
    /// Short name: the file name without extension, or `stdin`.
    pub name: String,
    /// The source as messages name it.
    pub file: String,
    /// The layout the file was read in.
    pub format: Format,
    /// The usable curves, in order of first appearance; never empty.
    pub rows: Vec<CurveRow>,
    /// What was left out and why, in the order found; at most [`Limits::max_reported`].
    pub rejected: Vec<RejectedRow>,
    /// How many faults were found in all, at least `rejected.len()`.
    pub rejected_total: usize,
    /// Remarks that reject nothing, e.g. a header that looks like a data size but is not one.
    pub notes: Vec<String>,
}

/// Reads the curves of `source`.
///
/// # Errors
/// [`CurveFileError`] when the file cannot be read as a whole, see there; a fault of single candidates is in
/// [`CurveTable::rejected`] instead, unless it leaves none.
pub fn read(source: &Source, options: &ReadOptions) -> Result<CurveTable, CurveFileError> {
    let bytes = match source {
        Source::Path(path) => read_path(source, path, options.limits.max_bytes)?,
        Source::Stdin => read_bounded(source, std::io::stdin().lock(), options.limits.max_bytes)?,
    };
    read_bytes(source, &bytes, options)
}

/// Reads curves from bytes already in memory; `source` only names them.
///
/// # Errors
/// As [`read`].
pub fn read_bytes(source: &Source, bytes: &[u8], options: &ReadOptions) -> Result<CurveTable, CurveFileError> {
    let file = source.label();
    if bytes.len() as u64 > options.limits.max_bytes {
        return Err(CurveFileError::TooLarge {
            file,
            limit: options.limits.max_bytes,
        });
    }
    let text = sniff::decode(&file, bytes)?;
    let extension = match source {
        Source::Path(path) => path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase),
        Source::Stdin => None,
    };
    let layout = sniff::sniff(&file, text, extension.as_deref(), options.format)?;
    let mut gather = gather::Gather::new(&file, &options.limits);
    match layout.format {
        Format::Wide => wide::read(text, layout.delimiter, &mut gather)?,
        Format::Long => long::read(text, layout.delimiter, &mut gather)?,
        Format::JsonLines => jsonl::read(text, &mut gather)?,
    }
    gather.finish(source.name(), layout.format)
}

/// Reads a file, telling the usual mistakes apart.
fn read_path(source: &Source, path: &Path, limit: u64) -> Result<Vec<u8>, CurveFileError> {
    let file = source.label();
    let io = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => CurveFileError::NotFound { file: source.label() },
        std::io::ErrorKind::IsADirectory => CurveFileError::Directory { file: source.label() },
        _ => CurveFileError::Io {
            file: source.label(),
            source: error,
        },
    };
    let metadata = std::fs::metadata(path).map_err(io)?;
    if metadata.is_dir() {
        return Err(CurveFileError::Directory { file });
    }
    // A regular file says its size; refusing before reading costs nothing. Pipes and devices are bounded while reading.
    if metadata.is_file() && metadata.len() > limit {
        return Err(CurveFileError::TooLarge { file, limit });
    }
    read_bounded(source, std::fs::File::open(path).map_err(io)?, limit)
}

/// Reads to the end, but never more than one byte over the limit.
fn read_bounded(source: &Source, reader: impl Read, limit: u64) -> Result<Vec<u8>, CurveFileError> {
    let mut bytes = Vec::new();
    reader
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| CurveFileError::Io {
            file: source.label(),
            source: error,
        })?;
    if bytes.len() as u64 > limit {
        return Err(CurveFileError::TooLarge {
            file: source.label(),
            limit,
        });
    }
    Ok(bytes)
}
