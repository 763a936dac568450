//! `events.jsonl`: the lines of one run, appended.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

use super::disk::{Appender, Disk};
use super::record::Line;

/// Name of the file in the run's folder.
pub(super) const FILE: &str = "events.jsonl";

/// Progress and log lines that a loss of power may take, at most. After a restart numbering leaves out as many: numbers that
/// somebody may have seen are not used again.
pub(super) const MAX_UNSYNCED: i64 = 64;

/// The file is rewritten without old progress and log lines when it holds so many times what is retained of them.
const COMPACT_FACTOR: usize = 8;

/// Writes a run's lines.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: Option<Appender>,
    retained: usize,
    /// Progress and log lines in the file.
    transient: usize,
    /// Of these, since the last that lasts.
    unsynced: i64,
    /// Lines that count and could not be written.
    unsaved: Vec<u8>,
}

/// The lines of a file, as far as they can be read.
#[derive(Debug)]
pub(super) struct Read {
    /// In order; the first is the run's creation.
    pub(super) lines: Vec<Line>,
    /// Bytes of a torn end that were cut off.
    pub(super) cut: u64,
}

fn encode(line: &Line) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    Ok(bytes)
}

impl Journal {
    /// The journal of a run's folder, of which so many progress and log lines are retained.
    pub(super) fn new(folder: &Path, retained: usize) -> Self {
        Self {
            path: folder.join(FILE),
            file: None,
            retained: retained.max(1),
            transient: 0,
            unsynced: 0,
            unsaved: Vec::new(),
        }
    }

    /// Makes the file of a new run, with its first line.
    pub(super) fn create(disk: &Disk, folder: &Path, first: &Line) -> io::Result<()> {
        disk.write_new(&folder.join(FILE), &encode(first)?)
    }

    /// Reads the file, and cuts off a torn end.
    pub(super) fn read(&mut self) -> io::Result<Read> {
        let text = std::fs::read(&self.path)?;
        let (mut lines, mut whole, mut at, mut bad): (Vec<Line>, _, _, _) = (Vec::new(), 0, 0, false);
        for piece in text.split_inclusive(|byte| *byte == b'\n') {
            at += piece.len();
            let parsed: Option<Line> = piece
                .strip_suffix(b"\n")
                .and_then(|line| serde_json::from_slice(line).ok());
            match parsed.filter(|line| line.sequence > lines.last().map_or(0, |last: &Line| last.sequence)) {
                Some(_) if bad => return Err(damaged("a line in its middle cannot be read")),
                Some(line) => {
                    lines.push(line);
                    whole = at;
                }
                None => bad = true,
            }
        }
        if lines.is_empty() {
            return Err(damaged("it holds no line"));
        }
        let cut = (text.len() - whole) as u64;
        if cut > 0 {
            let file = OpenOptions::new().write(true).open(&self.path)?;
            file.set_len(whole as u64)?;
            file.sync_all()?;
        }
        self.transient = lines.iter().filter(|line| line.what.is_transient()).count();
        Ok(Read { lines, cut })
    }

    /// Appends a line. Lines that are no mere progress outlive a loss of power when this returns.
    pub(super) fn append(&mut self, disk: &Disk, line: &Line) -> io::Result<()> {
        let transient = line.what.is_transient();
        let lasting = !transient || self.unsynced + 1 >= MAX_UNSYNCED;
        let bytes = encode(line)?;
        self.save(disk)?;
        self.write(disk, &bytes, lasting)?;
        if transient {
            self.transient += 1;
        }
        self.unsynced = if lasting { 0 } else { self.unsynced + 1 };
        if self.transient > self.retained.saturating_mul(COMPACT_FACTOR) {
            // A file that stays long is no harm; the next line tries again.
            let _ = self.compact(disk);
        }
        Ok(())
    }

    fn write(&mut self, disk: &Disk, bytes: &[u8], lasting: bool) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(disk.append(&self.path)?),
        };
        file.append(bytes, lasting)
    }

    /// Keeps a line that could not be written, to be written later.
    pub(super) fn keep_unsaved(&mut self, line: &Line) {
        if let Ok(bytes) = encode(line) {
            self.unsaved.extend(bytes);
        }
    }

    /// Are there lines to be written?
    pub(super) fn has_unsaved(&self) -> bool {
        !self.unsaved.is_empty()
    }

    /// Writes what could not be written before.
    pub(super) fn save(&mut self, disk: &Disk) -> io::Result<()> {
        if !self.unsaved.is_empty() {
            let bytes = std::mem::take(&mut self.unsaved);
            if let Err(error) = self.write(disk, &bytes, true) {
                self.unsaved = bytes;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Lets the file go until the next line.
    pub(super) fn close(&mut self) {
        self.file = None;
    }

    /// Rewrites the file without old progress and log lines.
    pub(super) fn compact(&mut self, disk: &Disk) -> io::Result<()> {
        let lines = self.read()?.lines;
        let transient: VecDeque<i64> = lines
            .iter()
            .filter(|line| line.what.is_transient())
            .map(|line| line.sequence)
            .collect();
        let oldest = transient
            .len()
            .checked_sub(self.retained)
            .and_then(|at| transient.get(at));
        let mut bytes = Vec::new();
        for line in &lines {
            if !line.what.is_transient() || oldest.is_none_or(|oldest| line.sequence >= *oldest) {
                bytes.extend(encode(line)?);
            }
        }
        self.file = None;
        disk.replace(&self.path, &bytes)?;
        self.transient = self.transient.min(self.retained);
        Ok(())
    }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use trainer_kit::cost::Cost;
    use trainer_kit::event::{Happening, Severity};

    use super::*;
    use crate::runs::record::Facts;

    fn line(sequence: i64, lasting: bool) -> Line {
        let what = if lasting {
            Happening::Cost(Cost::default())
        } else {
            Happening::log(Severity::Info, "x")
        };
        Line {
            sequence,
            at_us: u64::try_from(Duration::from_secs(1_700_000_000).as_micros()).unwrap(),
            held_ms: 1,
            ran_ms: 0,
            what,
            facts: Facts::default(),
        }
    }

    fn folder() -> (tempfile::TempDir, Disk) {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path(), None);
        Journal::create(&disk, folder.path(), &line(1, true)).unwrap();
        (folder, disk)
    }

    #[test]
    fn a_torn_end_is_cut_off_wherever_it_is_torn() {
        let (folder, disk) = folder();
        let mut journal = Journal::new(folder.path(), 10);
        journal.append(&disk, &line(2, true)).unwrap();
        let path = folder.path().join(FILE);
        let before = std::fs::read(&path).unwrap();
        let third = encode(&line(3, true)).unwrap();
        for torn in 0..third.len() {
            let mut bytes = before.clone();
            bytes.extend(&third[..torn]);
            std::fs::write(&path, bytes).unwrap();
            let read = Journal::new(folder.path(), 10).read().unwrap();
            assert_eq!((read.lines.len(), read.cut), (2, torn as u64));
            assert_eq!(std::fs::read(&path).unwrap(), before);
        }
        // A page of zeros, as a file system may leave it.
        std::fs::write(&path, [before.clone(), vec![0; 4_096]].concat()).unwrap();
        assert_eq!(Journal::new(folder.path(), 10).read().unwrap().lines.len(), 2);
        // Damage in the middle is no torn end.
        std::fs::write(&path, [&before[..], b"{\n", &third].concat()).unwrap();
        assert!(Journal::new(folder.path(), 10).read().is_err());
    }

    #[test]
    fn old_progress_goes_and_what_counts_stays() {
        let (folder, disk) = folder();
        let mut journal = Journal::new(folder.path(), 3);
        for sequence in 2..100 {
            journal.append(&disk, &line(sequence, sequence % 10 == 0)).unwrap();
        }
        let mut again = Journal::new(folder.path(), 3);
        let lines = again.read().unwrap().lines;
        let lasting: Vec<i64> = lines
            .iter()
            .filter(|l| !l.what.is_transient())
            .map(|l| l.sequence)
            .collect();
        assert_eq!(lasting, [1, 10, 20, 30, 40, 50, 60, 70, 80, 90]);
        assert!(lines.len() < 10 + 3 * COMPACT_FACTOR + 2, "{}", lines.len());
        assert_eq!(lines.last().map(|line| line.sequence), Some(99));
    }

    #[test]
    fn a_line_that_fails_leaves_nothing_behind() {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicBool, Ordering};
        let (folder, _) = folder();
        let full = Arc::new(AtomicBool::new(false));
        let permit = Arc::clone(&full);
        let disk = Disk::new(
            folder.path(),
            Some(Arc::new(move |_: &Path, _| {
                if permit.load(Ordering::Relaxed) {
                    Err(io::ErrorKind::StorageFull.into())
                } else {
                    Ok(())
                }
            })),
        );
        let mut journal = Journal::new(folder.path(), 3);
        journal.append(&disk, &line(2, true)).unwrap();
        full.store(true, Ordering::Relaxed);
        assert!(journal.append(&disk, &line(3, true)).is_err());
        journal.keep_unsaved(&line(3, true));
        assert!(journal.save(&disk).is_err() && journal.has_unsaved());
        full.store(false, Ordering::Relaxed);
        journal.append(&disk, &line(4, true)).unwrap();
        let read = Journal::new(folder.path(), 3).read().unwrap().lines;
        assert_eq!(read.iter().map(|line| line.sequence).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }
}
