//! Files of lines: JSON lines and plain text.

use std::io::{BufRead, Read};
use std::path::Path;

use super::error::{DataError, Unit};
use super::example::Example;
use super::read::Collector;
use super::record;
use super::source::io_error;

/// A line, without its end.
enum Line<'a> {
    Bytes(&'a [u8]),
    /// It is longer than the limit, and was passed over.
    TooLong,
}

/// Lines of a bounded length.
struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    number: u64,
    limit: usize,
}

impl<R: BufRead> Lines<R> {
    fn new(reader: R, limit: usize) -> Self {
        Self {
            reader,
            buffer: Vec::new(),
            number: 0,
            limit,
        }
    }

    /// The next line and its number, from 1. A byte order mark at the start and a carriage return at the end are taken off.
    fn next(&mut self) -> std::io::Result<Option<(u64, Line<'_>)>> {
        self.buffer.clear();
        // Two more than the limit: the line's end may be two bytes.
        let bound = self.limit as u64 + 2;
        if Read::take(&mut self.reader, bound).read_until(b'\n', &mut self.buffer)? == 0 {
            return Ok(None);
        }
        self.number += 1;
        let ended = self.buffer.last() == Some(&b'\n');
        if !ended && self.buffer.len() as u64 == bound {
            self.skip_line()?;
            return Ok(Some((self.number, Line::TooLong)));
        }
        let mut line = self.buffer.as_slice();
        line = line.strip_suffix(b"\n").unwrap_or(line);
        line = line.strip_suffix(b"\r").unwrap_or(line);
        if self.number == 1 {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        let line = if line.len() > self.limit {
            Line::TooLong
        } else {
            Line::Bytes(line)
        };
        Ok(Some((self.number, line)))
    }

    fn skip_line(&mut self) -> std::io::Result<()> {
        self.reader.skip_until(b'\n').map(|_| ())
    }
}

/// One JSON object per line; lines of white space are passed over.
pub(super) fn json_lines(reader: impl BufRead, path: &Path, collector: &mut Collector<'_>) -> Result<(), DataError> {
    let limit = collector.options.line_bytes;
    let mut lines = Lines::new(reader, limit);
    while let Some((number, line)) = lines.next().map_err(|error| io_error(path, &error))? {
        let example = match line {
            Line::TooLong => Err(too_long(limit)),
            Line::Bytes(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => continue,
            Line::Bytes(bytes) => text(bytes).and_then(|text| {
                let value = serde_json::from_str(text).map_err(|error| json_reason(&error))?;
                record::example(value)
            }),
        };
        collector.push(Unit::Line, number, example)?;
    }
    Ok(())
}

/// Plain text: an example per line that is not white space, or per paragraph (lines up to one of white space).
pub(super) fn text_lines(reader: impl BufRead, path: &Path, collector: &mut Collector<'_>) -> Result<(), DataError> {
    let limit = collector.options.line_bytes;
    let paragraphs = collector.options.paragraphs;
    let mut lines = Lines::new(reader, limit);
    let mut paragraph = Paragraph::default();
    while let Some((number, line)) = lines.next().map_err(|error| io_error(path, &error))? {
        let line = match line {
            Line::TooLong => Err(too_long(limit)),
            Line::Bytes(bytes) => text(bytes),
        };
        let blank = matches!(line, Ok(text) if text.trim().is_empty());
        if !paragraphs {
            if !blank {
                collector.push(Unit::Line, number, line.map(|text| Example::Text(text.to_owned())))?;
            }
        } else if blank {
            paragraph.end(collector)?;
        } else {
            paragraph.add(number, line, limit);
        }
    }
    paragraph.end(collector)
}

/// A paragraph while it is read.
#[derive(Default)]
struct Paragraph {
    first_line: Option<u64>,
    text: String,
    wrong: Option<String>,
}

impl Paragraph {
    fn add(&mut self, number: u64, line: Result<&str, String>, limit: usize) {
        self.first_line.get_or_insert(number);
        match line {
            Ok(line) if self.text.len() + line.len() < limit => {
                if !self.text.is_empty() {
                    self.text.push('\n');
                }
                self.text.push_str(line);
            }
            Ok(_) => {
                self.text.clear();
                self.wrong
                    .get_or_insert_with(|| format!("a paragraph of more than {limit} bytes"));
            }
            Err(reason) => {
                self.wrong
                    .get_or_insert_with(|| format!("line {number} of the paragraph: {reason}"));
            }
        }
    }

    fn end(&mut self, collector: &mut Collector<'_>) -> Result<(), DataError> {
        let Self {
            first_line,
            text,
            wrong,
        } = std::mem::take(self);
        let Some(first_line) = first_line else {
            return Ok(());
        };
        let example = match wrong {
            Some(reason) => Err(reason),
            None => Ok(Example::Text(text)),
        };
        collector.push(Unit::Line, first_line, example)
    }
}

/// The line as text: UTF-8 without NUL, which only binary files and UTF-16 have.
fn text(bytes: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| format!("not UTF-8 at byte {}", error.valid_up_to() + 1))?;
    match text.find('\0') {
        Some(place) => Err(format!("NUL at byte {}", place + 1)),
        None => Ok(text),
    }
}

fn too_long(limit: usize) -> String {
    format!("longer than {limit} bytes")
}

/// Why a line is no JSON. The parser says "at line 1 column 7": the line is ours to say.
fn json_reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let message = text
        .rsplit_once(" at line ")
        .map_or(text.as_str(), |(message, _)| message);
    format!("not JSON: {message} at column {}", error.column())
}
