//! The commands: each reads its input, asks the services, and prints one answer.

pub mod benchmark;
pub(crate) mod demo;
pub mod evaluate;
pub mod fit;
pub mod rank;
pub(crate) mod select;
pub(crate) mod selection;
pub mod simulate;
pub mod train;
pub mod trainers;
pub mod up;
pub mod zoo;

use std::io::Write as _;
use std::path::Path;

use serde::Serialize;

use crate::args::{InputFormat, ReadingArgs};
use crate::curves::{self, CurveTable, ReadOptions, Source};
use crate::error::CliError;
use crate::output::Excluded;
use crate::terminal::Terminal;

/// How complete an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was answered.
    Complete,
    /// Rows of a file were left out; standard error names them.
    Partial,
}

/// A curve file that was read, with its bad rows as exclusions.
pub(crate) struct Input {
    pub(crate) table: CurveTable,
    pub(crate) rejected: Vec<Excluded>,
}

impl Input {
    pub(crate) fn outcome(&self) -> Outcome {
        if self.table.rejected.is_empty() {
            Outcome::Complete
        } else {
            Outcome::Partial
        }
    }
}

/// Reads a curve file and reports its bad rows on standard error.
pub(crate) fn read_curves(path: &Path, reading: &ReadingArgs) -> Result<Input, CliError> {
    let source = Source::from_argument(path);
    let options = ReadOptions {
        format: reading.input_format.map(|format| match format {
            InputFormat::Wide => curves::Format::Wide,
            InputFormat::Long => curves::Format::Long,
            InputFormat::Jsonl => curves::Format::JsonLines,
        }),
        ..ReadOptions::default()
    };
    let table = curves::read(&source, &options)?;
    let mut rejected: Vec<Excluded> = Vec::new();
    for row in &table.rejected {
        let text = row.to_string();
        complain(&format!("error: {text}"));
        // A candidate is excluded once, with its first fault; standard error has all of them.
        if !rejected.iter().any(|known| known.candidate == row.candidate) {
            rejected.push(Excluded {
                candidate: row.candidate.clone(),
                reason: "bad_row".to_owned(),
                detail: text,
            });
        }
    }
    if table.rejected_total > table.rejected.len() {
        complain(&format!(
            "error: {}: {} more",
            table.file,
            table.rejected_total - table.rejected.len()
        ));
    }
    for note in &table.notes {
        complain(&format!("note: {note}"));
    }
    if reading.strict && table.rejected_total > 0 {
        return Err(CliError::BadRows {
            rows: table.rejected_total,
            file: table.file,
        });
    }
    Ok(Input { table, rejected })
}

/// Tells something on standard error. A closed standard error is no reason to fail.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints to standard output.
pub(crate) fn print(text: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // The reader has seen enough (`| head`): that is not a failure.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(CliError::Write {
            what: "standard output".to_owned(),
            error,
        }),
        Ok(()) => Ok(()),
    }
}

/// One JSON document with a final newline.
pub(crate) fn json<T: Serialize>(answer: &T) -> Result<String, CliError> {
    let mut text = serde_json::to_string_pretty(answer).map_err(|error| CliError::Write {
        what: "the JSON answer".to_owned(),
        error: error.into(),
    })?;
    text.push('\n');
    Ok(text)
}

/// Writes a plot and says so on a terminal.
pub(crate) fn write_plot(path: &Path, svg: &str, terminal: &Terminal) -> Result<(), CliError> {
    std::fs::write(path, svg).map_err(|error| CliError::Write {
        what: path.display().to_string(),
        error,
    })?;
    if terminal.is_terminal {
        complain(&format!("plot written to {}", path.display()));
    }
    Ok(())
}

/// Sizes from `from` to `to`, evenly spaced in their logarithm, ends included, without repeats.
pub(crate) fn log_spaced(from: i64, to: i64, count: u32) -> Vec<i64> {
    if from < 1 || to < from {
        return Vec::new();
    }
    let (low, high) = ((from as f64).ln(), (to as f64).ln());
    let steps = count.max(2) - 1;
    let mut sizes: Vec<i64> = (0..=steps)
        .map(|step| {
            let size = (low + (high - low) * f64::from(step) / f64::from(steps)).exp().round();
            #[expect(clippy::cast_possible_truncation, reason = "clamped into the range of the two ends")]
            let size = size as i64;
            size.clamp(from, to)
        })
        .collect();
    if let (Some(first), Some(last)) = (sizes.first().copied(), sizes.last_mut()) {
        debug_assert!(first >= from);
        *last = to;
    }
    sizes.dedup();
    sizes
}

#[cfg(test)]
mod tests {
    use super::log_spaced;

    #[test]
    fn sizes_between() {
        assert_eq!(log_spaced(100, 10_000, 3), [100, 1000, 10_000]);
        assert_eq!(log_spaced(1, 3, 50), [1, 2, 3]);
        assert_eq!(log_spaced(7, 7, 5), [7]);
        assert!(log_spaced(0, 5, 5).is_empty());
        assert!(log_spaced(9, 5, 5).is_empty());
    }
}
