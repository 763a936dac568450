//! Files that survive: whole writes, appends that are taken back when they fail, and a little room for bad times.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::files;

/// Bytes kept in reserve, so that the end of a run can be written when the disk is full.
const BALLAST_BYTES: usize = 256 << 10;

/// Asked before every write; what it refuses fails as if the disk had.
pub type Permit = Arc<dyn Fn(&Path, usize) -> io::Result<()> + Send + Sync>;

/// Is this error one of a full disk?
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Writes to the state folder. Clones are the same one.
#[derive(Clone)]
pub(super) struct Disk {
    permit: Option<Permit>,
    ballast: PathBuf,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk")
            .field("ballast", &self.ballast)
            .finish_non_exhaustive()
    }
}

impl Disk {
    pub(super) fn new(state_dir: &Path, permit: Option<Permit>) -> Self {
        Self {
            permit,
            ballast: state_dir.join("ballast"),
        }
    }

    fn permit(&self, path: &Path, bytes: usize) -> io::Result<()> {
        self.permit.as_ref().map_or(Ok(()), |permit| permit(path, bytes))
    }

    /// Puts the reserve in place, if there is room for it.
    pub(super) fn fill_ballast(&self) {
        let is_there = fs::metadata(&self.ballast).is_ok_and(|file| file.len() >= BALLAST_BYTES as u64);
        if !is_there && self.write_new(&self.ballast, &vec![0xfe; BALLAST_BYTES]).is_err() {
            let _ = fs::remove_file(&self.ballast);
        }
    }

    /// Gives the reserve away.
    pub(super) fn drop_ballast(&self) {
        // It may have gone before; there is nothing more to give then.
        let _ = fs::remove_file(&self.ballast);
    }

    /// Writes a file and makes its content last; not its name.
    pub(super) fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.permit(path, bytes.len())?;
        files::write_lasting(path, bytes)
    }

    /// Writes a file so that its place holds the old or the new content, whatever happens.
    pub(super) fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        files::replace(path, |beside| self.write_new(beside, bytes))
    }

    /// Opens a file to append to.
    pub(super) fn append(&self, path: &Path) -> io::Result<Appender> {
        let file = OpenOptions::new().append(true).open(path)?;
        let length = file.metadata()?.len();
        Ok(Appender {
            disk: self.clone(),
            path: path.to_owned(),
            file,
            length,
        })
    }
}

/// A file that grows at its end.
#[derive(Debug)]
pub(super) struct Appender {
    disk: Disk,
    path: PathBuf,
    file: File,
    /// Up to here it is whole.
    length: u64,
}

impl Appender {
    /// Appends all of it or nothing; with `lasting`, everything so far outlives a loss of power when this returns.
    pub(super) fn append(&mut self, bytes: &[u8], lasting: bool) -> io::Result<()> {
        let written = self
            .disk
            .permit(&self.path, bytes.len())
            .and_then(|()| self.file.write_all(bytes))
            .and_then(|()| if lasting { self.file.sync_data() } else { Ok(()) });
        match written {
            Ok(()) => self.length += bytes.len() as u64,
            // What was written of it is cut off, now or when the file is read again.
            Err(_) => drop(self.file.set_len(self.length)),
        }
        written
    }
}
