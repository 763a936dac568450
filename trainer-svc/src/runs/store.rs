//! The state folder: one process at a time, a version, an identity, and a folder for each run.
//!
//! ```text
//! lock           held by the process that uses the folder
//! trainer.json   version and instance id
//! ballast        room for the last words of a run when the disk is full
//! runs/ID/       run.json, events.jsonl, artifact/, and what the executor keeps there
//! trash/         runs that are being deleted
//! damaged/       runs that could not be read, set aside
//! ```

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::disk::{Disk, Permit};
use super::journal::{Journal, Read};
use super::record::{FORMAT, Header, Line};
use crate::files::sync_folder;

/// Name of a run's header.
const HEADER: &str = "run.json";

/// The state folder cannot be used.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process uses it.
    #[error("{} is in use by another trainer; each needs a state folder of its own", dir.display())]
    Locked {
        /// The folder.
        dir: PathBuf,
    },
    /// It was written by a newer version.
    #[error("{} is of format {found}, this version knows {FORMAT}: use a newer trainer, or another state folder", path.display())]
    Newer {
        /// The file that says so.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// Its identity cannot be read.
    #[error("{} is no file of a trainer: {message}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The file system refuses.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// There is nothing to run on.
    #[error("the trainer has no device with a slot")]
    NoDevice,
}

/// `trainer.json`
#[derive(Debug, Serialize, Deserialize)]
struct Identity {
    format: u32,
    instance_id: String,
}

/// A run that was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) folder: PathBuf,
    pub(super) header: Header,
    pub(super) journal: Journal,
    pub(super) lines: Vec<Line>,
}

/// The state folder, locked until this is dropped.
#[derive(Debug)]
pub(super) struct Store {
    dir: PathBuf,
    pub(super) disk: Disk,
    pub(super) instance_id: String,
    _lock: File,
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |error| OpenError::Io { path, error }
}

impl Store {
    /// Opens a state folder, or makes it.
    pub(super) fn open(dir: &Path, permit: Option<Permit>) -> Result<Self, OpenError> {
        for part in ["runs", "trash", "damaged"] {
            let path = dir.join(part);
            fs::create_dir_all(&path).map_err(at(&path))?;
        }
        let dir = &dir.canonicalize().map_err(at(dir))?;
        let path = dir.join("lock");
        let lock = File::create(&path).map_err(at(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Locked { dir: dir.clone() }),
            Err(TryLockError::Error(error)) => return Err(OpenError::Io { path, error }),
        }
        let disk = Disk::new(dir, permit);
        let instance_id = identity(dir, &disk)?;
        let trash = dir.join("trash");
        for entry in fs::read_dir(&trash).map_err(at(&trash))?.flatten() {
            // What cannot be removed is tried again at the next start.
            let _ = fs::remove_dir_all(entry.path());
        }
        disk.fill_ballast();
        Ok(Self {
            dir: dir.clone(),
            disk,
            instance_id,
            _lock: lock,
        })
    }

    /// All runs, oldest first; those that cannot be read are set aside, with a sentence on each.
    pub(super) fn load(&self, retained: usize, tell: &mut dyn FnMut(String)) -> Result<Vec<Found>, OpenError> {
        let runs = self.dir.join("runs");
        let mut folders = Vec::new();
        for entry in fs::read_dir(&runs).map_err(at(&runs))? {
            let folder = entry.map_err(at(&runs))?.path();
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with('.') {
                // A creation that was not finished: nobody has heard of it.
                let _ = fs::remove_dir_all(&folder);
                continue;
            }
            // A run of a newer version ends it here, before anything is set aside.
            let header = read_header(&folder)?;
            folders.push((folder, name, header));
        }
        let mut found: Vec<Found> = Vec::new();
        for (folder, name, header) in folders {
            match header.and_then(|header| read_run(&folder, header, retained)) {
                Ok((run, read)) => {
                    if read.cut > 0 {
                        let (id, cut) = (&run.header.id, read.cut);
                        tell(format!("run {id}: {cut} bytes of a torn line were cut off"));
                    }
                    let lines = read.lines;
                    found.push(Found { lines, ..run });
                }
                Err(why) => {
                    tell(format!("runs/{name} cannot be read and is set aside: {why}"));
                    let aside = free_name(&self.dir.join("damaged"), &name, &HashSet::new());
                    fs::rename(&folder, &aside).map_err(at(&folder))?;
                }
            }
        }
        found.sort_by_key(|run| run.header.key);
        Ok(found)
    }

    /// Makes the folder of a new run, complete at once. `avoid`: folders that somebody may still write to.
    pub(super) fn create(&self, header: &Header, first: &Line, avoid: &HashSet<PathBuf>) -> io::Result<PathBuf> {
        let runs = self.dir.join("runs");
        let making = runs.join(format!(".{}", header.key));
        let made = (|| {
            fs::create_dir(&making)?;
            self.disk
                .write_new(&making.join(HEADER), &serde_json::to_vec(header)?)?;
            Journal::create(&self.disk, &making, first)?;
            sync_folder(&making)?;
            let folder = free_name(&runs, &header.id, avoid);
            fs::rename(&making, &folder)?;
            sync_folder(&runs)?;
            Ok(folder)
        })();
        if made.is_err() {
            let _ = fs::remove_dir_all(&making);
        }
        made
    }

    /// Takes a run out of sight; its files are then removed with [`remove`].
    pub(super) fn discard(&self, folder: &Path, key: u64) -> io::Result<PathBuf> {
        let trash = free_name(&self.dir.join("trash"), &key.to_string(), &HashSet::new());
        fs::rename(folder, &trash)?;
        sync_folder(&self.dir.join("runs"))?;
        Ok(trash)
    }
}

/// Removes files for good. What cannot be removed is tried again at the next start.
pub(super) fn remove(trash: &Path) {
    let _ = fs::remove_dir_all(trash);
}

fn format_of(path: &Path, bytes: &[u8]) -> Result<Result<(), String>, OpenError> {
    let value: serde_json::Value = match serde_json::from_slice(bytes) {
        Ok(value) => value,
        Err(error) => return Ok(Err(error.to_string())),
    };
    match value.get("format").and_then(serde_json::Value::as_u64) {
        Some(found) if found > u64::from(FORMAT) => Err(OpenError::Newer {
            path: path.to_owned(),
            found,
        }),
        Some(_) => Ok(Ok(())),
        None => Ok(Err("it has no format".to_owned())),
    }
}

fn identity(dir: &Path, disk: &Disk) -> Result<String, OpenError> {
    let path = dir.join("trainer.json");
    match fs::read(&path) {
        Ok(bytes) => {
            let damaged = |message: String| OpenError::Damaged {
                path: path.clone(),
                message,
            };
            format_of(&path, &bytes)?.map_err(damaged)?;
            let identity: Identity = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
            if identity.instance_id.is_empty() || identity.instance_id.len() > 256 {
                return Err(damaged("instance_id must have 1 to 256 bytes".to_owned()));
            }
            Ok(identity.instance_id)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let identity = Identity {
                format: FORMAT,
                instance_id: format!("onnx-{:016x}", RandomState::new().build_hasher().finish()),
            };
            let bytes = serde_json::to_vec(&identity).map_err(|error| at(&path)(error.into()))?;
            disk.replace(&path, &bytes).map_err(at(&path))?;
            Ok(identity.instance_id)
        }
        Err(error) => Err(OpenError::Io { path, error }),
    }
}

/// A name in a folder that nothing has, and that is not avoided: `name`, `name~2`, `name~3`, … No id holds a '~'.
fn free_name(folder: &Path, name: &str, avoid: &HashSet<PathBuf>) -> PathBuf {
    let mut number = 1_u64;
    loop {
        let path = if number == 1 {
            folder.join(name)
        } else {
            folder.join(format!("{name}~{number}"))
        };
        if !path.exists() && !avoid.contains(&path) {
            return path;
        }
        number += 1;
    }
}

/// The header of a run's folder; what is wrong with it, where that is the run's own matter.
fn read_header(folder: &Path) -> Result<Result<Header, String>, OpenError> {
    let path = folder.join(HEADER);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) => return Ok(Err(format!("{HEADER}: {error}"))),
    };
    if let Err(message) = format_of(&path, &bytes)? {
        return Ok(Err(format!("{HEADER}: {message}")));
    }
    Ok(serde_json::from_slice(&bytes).map_err(|error| format!("{HEADER}: {error}")))
}

/// The run of a folder.
fn read_run(folder: &Path, header: Header, retained: usize) -> Result<(Found, Read), String> {
    let mut journal = Journal::new(folder, retained);
    let read = journal
        .read()
        .map_err(|error| format!("{}: {error}", super::journal::FILE))?;
    let found = Found {
        folder: folder.to_owned(),
        header,
        journal,
        lines: Vec::new(),
    };
    Ok((found, read))
}
