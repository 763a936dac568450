//! Parquet files: the same fields, as columns.

use std::fs::File;
use std::io::{BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parquet::column::page::Page;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, FileReader, Length, SerializedFileReader};
use parquet::record::{Field, Row};
use parquet::schema::types::Type;
use serde_json::{Map, Value};

use super::error::{DataError, Unit};
use super::read::Collector;
use super::record::{self, FIELDS};
use super::source::io_error;

/// Rows of a Parquet file. Columns besides the known ones are not read.
pub(super) fn parquet_rows(path: &Path, collector: &mut Collector<'_>) -> Result<(), DataError> {
    let file = File::open(path).map_err(|error| io_error(path, &error))?;
    // The crate checks most of what a file says, not all: some malformed files make it panic.
    match catch_unwind(AssertUnwindSafe(|| rows(file, path, collector))) {
        Ok(result) => result,
        Err(_) => Err(DataError::Parquet {
            path: path.to_owned(),
            message: "malformed".to_owned(),
        }),
    }
}

fn rows(file: File, path: &Path, collector: &mut Collector<'_>) -> Result<(), DataError> {
    let refuse = |error: &ParquetError| DataError::Parquet {
        path: path.to_owned(),
        message: error.to_string(),
    };
    let reader = SerializedFileReader::new(Guarded(file)).map_err(|error| refuse(&error))?;
    let schema = reader.metadata().file_metadata().schema();
    let wanted = projection(schema, path)?;
    dictionaries(&reader, collector.options.examples).map_err(|error| refuse(&error))?;
    let rows = reader.get_row_iter(Some(wanted)).map_err(|error| refuse(&error))?;
    for (number, row) in (1..).zip(rows) {
        let row = row.map_err(|error| DataError::Parquet {
            path: path.to_owned(),
            message: format!("row {number}: {error}"),
        })?;
        let value = Value::Object(object(row));
        collector.push(Unit::Row, number, record::example(value))?;
    }
    Ok(())
}

/// Refuses dictionaries that say they have more entries than they have bytes, or than there may be examples: the crate would
/// set memory aside for all of them, and a process that runs out of memory ends. Other pages are passed over unread.
fn dictionaries(reader: &SerializedFileReader<Guarded>, limit: usize) -> Result<(), ParquetError> {
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group)?;
        for column in 0..group.num_columns() {
            let chunk = group.metadata().column(column);
            if !chunk
                .column_path()
                .parts()
                .first()
                .is_some_and(|name| FIELDS.contains(&name.as_str()))
            {
                continue;
            }
            let mut pages = group.get_column_page_reader(column)?;
            while let Some(page) = pages.peek_next_page()? {
                if !page.is_dict {
                    pages.skip_next_page()?;
                } else if let Some(Page::DictionaryPage { buf, num_values, .. }) = pages.get_next_page()? {
                    let entries = num_values as usize;
                    if entries > limit || entries > buf.len() {
                        let message = format!("a dictionary of {entries} entries in {} bytes", buf.len());
                        return Err(ParquetError::General(message));
                    }
                }
            }
        }
    }
    Ok(())
}

/// A file that ends once. The crate passes over a list in a page's header entry by entry, as many as the header claims, whether or
/// not there are bytes left: a file of 500 bytes would keep it busy for hours.
struct Guarded(File);

/// What is read from a place in the file on.
struct GuardedRead {
    inner: BufReader<File>,
    ends: u32,
}

/// The end may be seen so often.
const ENDS: u32 = 16;

impl Read for GuardedRead {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if count == 0 && !buffer.is_empty() {
            self.ends += 1;
            if self.ends > ENDS {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(count)
    }
}

impl Length for Guarded {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

impl ChunkReader for Guarded {
    type T = GuardedRead;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        let inner = self.0.get_read(start)?;
        Ok(GuardedRead { inner, ends: 0 })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        // The crate would set the memory aside before it looks.
        if start.saturating_add(length as u64) > self.0.len() {
            return Err(ParquetError::EOF(format!(
                "{length} bytes from {start} on, in a file of {}",
                self.0.len()
            )));
        }
        self.0.get_bytes(start, length)
    }
}

/// The schema with the known columns only.
fn projection(schema: &Type, path: &Path) -> Result<Type, DataError> {
    let columns = schema.get_fields();
    let known: Vec<Arc<Type>> = columns
        .iter()
        .filter(|column| FIELDS.contains(&column.name()))
        .cloned()
        .collect();
    if known.is_empty() {
        let mut names: Vec<&str> = columns.iter().map(|column| column.name()).take(20).collect();
        if columns.len() > names.len() {
            names.push("…");
        }
        return Err(DataError::Columns {
            path: path.to_owned(),
            found: names.join(", "),
        });
    }
    Type::group_type_builder(schema.name())
        .with_fields(known)
        .build()
        .map_err(|error| DataError::Parquet {
            path: path.to_owned(),
            message: error.to_string(),
        })
}

/// A row as the JSON object that it would be in a file of lines. Columns that are null are absent.
fn object(row: Row) -> Map<String, Value> {
    row.into_columns()
        .into_iter()
        .filter(|(_, field)| !matches!(field, Field::Null))
        .map(|(name, field)| (name, value(field)))
        .collect()
}

/// The few kinds of values that examples are made of; numbers and times stay what they are, to be refused by kind.
fn value(field: Field) -> Value {
    match field {
        Field::Str(text) => Value::String(text),
        // Strings written without the annotation that they are text.
        Field::Bytes(bytes) => match String::from_utf8(bytes.data().to_vec()) {
            Ok(text) => Value::String(text),
            Err(_) => Value::Null,
        },
        Field::Group(row) => Value::Object(object(row)),
        Field::ListInternal(list) => Value::Array(list.elements().iter().cloned().map(value).collect()),
        Field::Null | Field::MapInternal(_) => Value::Null,
        Field::Bool(truth) => Value::Bool(truth),
        _ => Value::from(0),
    }
}
