//! What can be wrong with data.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

use crate::tokenizer::TokenizerError;

/// What is counted inside a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Lines of text and JSON lines; a paragraph is named by its first line.
    Line,
    /// Elements of a JSON array.
    Element,
    /// Rows of a table.
    Row,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Line => "line",
            Self::Element => "element",
            Self::Row => "row",
        })
    }
}

/// A row that is no example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenRow {
    /// The file.
    pub file: PathBuf,
    /// What `number` counts.
    pub unit: Unit,
    /// From 1.
    pub number: u64,
    /// What was found, and what is wanted.
    pub reason: String,
}

impl fmt::Display for BrokenRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            unit,
            number,
            reason,
        } = self;
        write!(f, "{}: {unit} {number}: {reason}", file.display())
    }
}

/// Data cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DataError {
    /// A file or folder cannot be read.
    #[error("{}: {message}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        message: String,
    },
    /// Neither the ending nor the first bytes tell what it is.
    #[error("{}: {found}; data is .jsonl, .ndjson, .json, .parquet or .txt, or a folder of these", path.display())]
    Format {
        /// The file or folder.
        path: PathBuf,
        /// What it seems to be.
        found: String,
    },
    /// Something is larger than it may be.
    #[error("{}: {what} is {found}, the limit is {limit}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What was measured, with its unit.
        what: &'static str,
        /// Its measure, or the first one above the limit.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// A JSON array breaks off or is none.
    #[error("{}: line {line}, column {column}: {message}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What is wrong there.
        message: String,
    },
    /// A Parquet file cannot be read.
    #[error("{}: not readable as Parquet: {message}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A Parquet file has no column that is known.
    #[error("{}: columns {found}; wanted: text, or prompt and completion, or messages", path.display())]
    Columns {
        /// The file.
        path: PathBuf,
        /// Names of the columns it has.
        found: String,
    },
    /// Rows are broken, and that was not to be tolerated.
    #[error("{count} broken rows{}", first.first().map(|row| format!(", the first: {row}")).unwrap_or_default())]
    Broken {
        /// How many.
        count: u64,
        /// The first 20 of them.
        first: Vec<BrokenRow>,
    },
    /// Nothing is left.
    #[error("{}: no examples ({broken} broken, {empty} empty{})", path.display(), first.as_ref().map(|row| format!("; {row}")).unwrap_or_default())]
    NoExamples {
        /// The file or folder.
        path: PathBuf,
        /// Rows that were no examples.
        broken: u64,
        /// Examples without text.
        empty: u64,
        /// The first broken row.
        first: Option<BrokenRow>,
    },
    /// A split needs two different examples.
    #[error("{distinct} different examples: too few to hold one out")]
    TooFewToSplit {
        /// Different examples there are.
        distinct: usize,
    },
    /// More examples are asked for than there are.
    #[error(
        "{asked} training examples are asked for, {available} are there besides the held-out ones and their duplicates"
    )]
    TooFewExamples {
        /// Asked for.
        asked: usize,
        /// There.
        available: usize,
    },
    /// An index beyond the examples.
    #[error("there is no example {index} among {examples}")]
    NoSuchExample {
        /// The index, from 0.
        index: usize,
        /// How many there are.
        examples: usize,
    },
    /// Sequences of fewer than two tokens predict nothing; very long ones are no sequences.
    #[error("a sequence length of {0} tokens is asked for, from 2 to 1,048,576 are possible")]
    SequenceLength(usize),
    /// No token of any example can be predicted.
    #[error("none of {examples} examples has a token to predict{}", first.as_ref().map(|row| format!(" (the first: {row})")).unwrap_or_default())]
    NothingToPredict {
        /// How many examples were tried.
        examples: usize,
        /// Why the first one has none.
        first: Option<String>,
    },
    /// The tokenizer cannot do this.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}
