//! Files and folders to examples.
//!
//! | file | example |
//! |---|---|
//! | `.jsonl`, `.ndjson` | an object per line: `text`; or `prompt` and `completion`; or `messages`, `[{role, content}]` |
//! | `.json` | an array of such objects (or, when it begins with `{`, such lines) |
//! | `.parquet` | a row with such columns |
//! | `.txt` | a line that is not white space; with [`ReadOptions::paragraphs`], the lines up to one of white space |
//! | another ending | what the first bytes say: `PAR1`, `[` or `{`; otherwise refused |
//! | folder | the files of these endings in it, sorted by name; neither hidden ones nor folders in it |
//!
//! A Parquet file is read as what it is whatever its name. Text is UTF-8; a byte order mark and
//! carriage returns at line ends are taken off; UTF-16 is refused. Fields besides the known ones are not read.
//!
//! Rows that are no examples are skipped, counted and named ([`Skipped`]); with [`ReadOptions::strict`] they are an error.
//! A JSON array or a Parquet file that breaks off is an error always: what follows cannot be found.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::{BrokenRow, DataError, Unit};
use super::example::Example;
use super::source::{Source, digest_text, io_error};
use super::{columns, json, lines};

/// Broken rows that are kept with number and reason; more are only counted.
const BROKEN_KEPT: usize = 20;
/// Files of a folder; more are surely a mistake.
const FILES_LIMIT: usize = 10_000;

/// How to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadOptions {
    /// Is a broken row an error? Otherwise it is skipped and reported.
    pub strict: bool,
    /// In plain text, is a paragraph an example? Otherwise a line is.
    pub paragraphs: bool,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Bytes of one line or paragraph, and of one example's texts together.
    pub line_bytes: usize,
    /// Bytes of all examples' texts together: what they take in memory. A compressed file may hold far more than its size.
    pub text_bytes: u64,
    /// Examples of all files.
    pub examples: usize,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            strict: false,
            paragraphs: false,
            file_bytes: 4 << 30,
            line_bytes: 16 << 20,
            text_bytes: 4 << 30,
            examples: 10_000_000,
        }
    }
}

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFile {
    /// Where it lies.
    pub path: PathBuf,
    /// `sha256:…` of its bytes.
    pub digest: String,
    /// Its size.
    pub bytes: u64,
    /// Examples that came from it.
    pub examples: usize,
}

/// What was skipped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Rows that are no examples.
    pub broken: u64,
    /// The first 20 of them.
    pub first: Vec<BrokenRow>,
    /// Examples without text.
    pub empty: u64,
}

/// Examples, in the order of the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examples {
    all: Vec<Example>,
    files: Vec<DataFile>,
    skipped: Skipped,
    digest: String,
}

impl Examples {
    /// Reads a file or the files of a folder. At least one example comes of it.
    ///
    /// # Errors
    /// See [`DataError`]; the module's page says which faults are skipped instead.
    pub fn read(path: &Path, options: &ReadOptions) -> Result<Self, DataError> {
        let metadata = std::fs::metadata(path).map_err(|error| io_error(path, &error))?;
        let files = if metadata.is_dir() {
            folder(path)?
        } else {
            vec![path.to_owned()]
        };
        let mut collector = Collector::new(options);
        let mut read = Vec::with_capacity(files.len());
        for file in files {
            let before = collector.examples.len();
            let (digest, bytes) = read_file(&file, &mut collector)?;
            read.push(DataFile {
                path: file,
                digest,
                bytes,
                examples: collector.examples.len() - before,
            });
        }
        if options.strict && collector.skipped.broken > 0 {
            return Err(DataError::Broken {
                count: collector.skipped.broken,
                first: collector.skipped.first,
            });
        }
        if collector.examples.is_empty() {
            return Err(DataError::NoExamples {
                path: path.to_owned(),
                broken: collector.skipped.broken,
                empty: collector.skipped.empty,
                first: collector.skipped.first.into_iter().next(),
            });
        }
        Ok(Self {
            all: collector.examples,
            digest: if metadata.is_dir() {
                digest_of_files(&read)
            } else {
                read[0].digest.clone()
            },
            files: read,
            skipped: collector.skipped,
        })
    }

    /// Examples that come from no file; empty ones are dropped and counted.
    #[must_use]
    pub fn of(examples: Vec<Example>) -> Self {
        let mut hash = Sha256::new();
        let given = examples.len();
        let examples: Vec<Example> = examples.into_iter().filter(|example| !example.is_empty()).collect();
        for example in &examples {
            hash.update(example.content_hash());
        }
        Self {
            skipped: Skipped {
                empty: (given - examples.len()) as u64,
                ..Skipped::default()
            },
            all: examples,
            files: Vec::new(),
            digest: digest_text(hash),
        }
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// None at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The examples.
    #[must_use]
    pub fn examples(&self) -> &[Example] {
        &self.all
    }

    /// The files, in the order in which they were read.
    #[must_use]
    pub fn files(&self) -> &[DataFile] {
        &self.files
    }

    /// What was skipped.
    #[must_use]
    pub fn skipped(&self) -> &Skipped {
        &self.skipped
    }

    /// `sha256:…` of the file's bytes; of a folder: over the names and digests of its files.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

/// Gathers examples and faults, within bounds.
pub(super) struct Collector<'a> {
    pub(super) options: &'a ReadOptions,
    path: PathBuf,
    examples: Vec<Example>,
    skipped: Skipped,
    text_bytes: u64,
}

impl<'a> Collector<'a> {
    fn new(options: &'a ReadOptions) -> Self {
        Self {
            options,
            path: PathBuf::new(),
            examples: Vec::new(),
            skipped: Skipped::default(),
            text_bytes: 0,
        }
    }

    /// Takes a row: an example, or why it is none.
    pub(super) fn push(&mut self, unit: Unit, number: u64, row: Result<Example, String>) -> Result<(), DataError> {
        let row = row.and_then(|example| match example.bytes() {
            bytes if bytes > self.options.line_bytes => Err(format!(
                "{bytes} bytes of text, the limit is {}",
                self.options.line_bytes
            )),
            _ => Ok(example),
        });
        match row {
            Err(reason) => {
                self.broken(BrokenRow {
                    file: self.path.clone(),
                    unit,
                    number,
                    reason,
                });
                Ok(())
            }
            Ok(example) if example.is_empty() => {
                self.skipped.empty += 1;
                Ok(())
            }
            Ok(example) => {
                self.text_bytes += example.bytes() as u64;
                self.examples.push(example);
                self.check_bounds()
            }
        }
    }

    fn broken(&mut self, row: BrokenRow) {
        self.skipped.broken += 1;
        if self.skipped.first.len() < BROKEN_KEPT {
            self.skipped.first.push(row);
        }
    }

    fn check_bounds(&self) -> Result<(), DataError> {
        let (what, found, limit) = if self.examples.len() > self.options.examples {
            (
                "number of examples",
                self.examples.len() as u64,
                self.options.examples as u64,
            )
        } else if self.text_bytes > self.options.text_bytes {
            ("text in bytes", self.text_bytes, self.options.text_bytes)
        } else {
            return Ok(());
        };
        Err(DataError::TooLarge {
            path: self.path.clone(),
            what,
            found,
            limit,
        })
    }
}

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    JsonLines,
    JsonArray,
    Parquet,
    Text,
}

fn read_file(path: &Path, collector: &mut Collector<'_>) -> Result<(String, u64), DataError> {
    path.clone_into(&mut collector.path);
    let mut reader = Source::open(path, collector.options.file_bytes)?;
    let head = head(&mut reader, path)?;
    match sniff(path, &head)? {
        Format::JsonLines => lines::json_lines(&mut reader, path, collector)?,
        Format::Text => lines::text_lines(&mut reader, path, collector)?,
        Format::JsonArray => {
            if head.starts_with(b"\xef\xbb\xbf") {
                reader.consume(3);
            }
            json::json_array(&mut reader, path, collector)?;
        }
        Format::Parquet => columns::parquet_rows(path, collector)?,
    }
    Source::finish(reader, path)
}

/// The first bytes, which stay in the reader.
fn head(reader: &mut BufReader<Source>, path: &Path) -> Result<Vec<u8>, DataError> {
    let bytes = reader.fill_buf().map_err(|error| io_error(path, &error))?;
    Ok(bytes.iter().take(4096).copied().collect())
}

fn sniff(path: &Path, head: &[u8]) -> Result<Format, DataError> {
    let refuse = |found: String| DataError::Format {
        path: path.to_owned(),
        found,
    };
    if head.starts_with(b"PAR1") {
        return Ok(Format::Parquet);
    }
    if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
        return Err(refuse("text in UTF-16, UTF-8 is wanted".to_owned()));
    }
    if head.starts_with(b"\x1f\x8b") {
        return Err(refuse("compressed by gzip".to_owned()));
    }
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
    match (ending(path).as_str(), first) {
        ("txt", _) => Ok(Format::Text),
        ("parquet", _) => Err(DataError::Parquet {
            path: path.to_owned(),
            message: "it does not begin with PAR1".to_owned(),
        }),
        ("jsonl" | "ndjson", _) | ("json", None) | (_, Some(b'{')) => Ok(Format::JsonLines),
        ("json", _) | (_, Some(b'[')) => Ok(Format::JsonArray),
        ("", _) => Err(refuse("a file without ending".to_owned())),
        (other, _) => Err(refuse(format!("a file ending in .{other}"))),
    }
}

/// In lower case; empty without one.
fn ending(path: &Path) -> String {
    path.extension()
        .map(|ending| ending.to_string_lossy().to_lowercase())
        .unwrap_or_default()
}

/// Data files of a folder, sorted by name.
fn folder(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|error| io_error(path, &error))? {
        let file = entry.map_err(|error| io_error(path, &error))?.path();
        let hidden = file
            .file_name()
            .is_none_or(|name| name.to_string_lossy().starts_with('.'));
        let known = matches!(ending(&file).as_str(), "jsonl" | "ndjson" | "json" | "parquet" | "txt");
        if !hidden && known && file.is_file() {
            files.push(file);
        }
        if files.len() > FILES_LIMIT {
            return Err(DataError::TooLarge {
                path: path.to_owned(),
                what: "number of files",
                found: files.len() as u64,
                limit: FILES_LIMIT as u64,
            });
        }
    }
    if files.is_empty() {
        return Err(DataError::Format {
            path: path.to_owned(),
            found: "a folder without data files".to_owned(),
        });
    }
    files.sort();
    Ok(files)
}

/// Over names and digests: the folder's place does not count.
fn digest_of_files(files: &[DataFile]) -> String {
    let mut hash = Sha256::new();
    for file in files {
        let name = file.path.file_name().map(|name| name.to_string_lossy().into_owned());
        hash.update(name.unwrap_or_default().as_bytes());
        hash.update(b"\0");
        hash.update(file.digest.as_bytes());
        hash.update(b"\n");
    }
    digest_text(hash)
}

#[cfg(test)]
mod tests;
