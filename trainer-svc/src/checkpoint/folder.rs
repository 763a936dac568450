//! Files of a folder that was made by others: nothing outside of it is ever opened.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use super::CheckpointError;

/// A folder whose files are opened by name.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    /// As it was given, for messages.
    shown: PathBuf,
    /// Without links.
    root: PathBuf,
    /// Where files may lie besides.
    blobs: Option<PathBuf>,
}

impl Folder {
    /// A folder that exists.
    pub(crate) fn open(path: &Path) -> Result<Self, CheckpointError> {
        let failed = |source| CheckpointError::Io {
            path: path.to_owned(),
            source,
        };
        let root = path.canonicalize().map_err(failed)?;
        if !root.is_dir() {
            return Err(failed(std::io::ErrorKind::NotADirectory.into()));
        }
        Ok(Self {
            shown: path.to_owned(),
            blobs: hub_blobs(&root),
            root,
        })
    }

    /// The folder, as it was given.
    pub(crate) fn path(&self) -> &Path {
        &self.shown
    }

    /// The regular file of this name, `None` if there is none.
    ///
    /// A link may point to a file of the same folder, or of the `blobs` of a local hub cache whose snapshot the folder is: that
    /// is how such caches are laid out.
    pub(crate) fn file(&self, name: &str) -> Result<Option<PathBuf>, CheckpointError> {
        let leaves = || CheckpointError::Leaves {
            folder: self.shown.clone(),
            name: super::shown(name),
        };
        let relative = Path::new(name);
        let plain = !name.is_empty() && relative.components().all(|part| matches!(part, Component::Normal(_)));
        if !plain {
            return Err(leaves());
        }
        let path = match self.root.join(relative).canonicalize() {
            Ok(path) => path,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(CheckpointError::Io {
                    path: self.shown.join(super::shown(name)),
                    source,
                });
            }
        };
        let blob = self.blobs.as_ref().is_some_and(|blobs| path.starts_with(blobs));
        if !path.starts_with(&self.root) && !blob {
            return Err(leaves());
        }
        // A pipe would block for ever, a folder cannot be read.
        Ok(path.is_file().then_some(path))
    }

    /// A whole small file, `None` if there is none.
    pub(crate) fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, CheckpointError> {
        let Some(path) = self.file(name)? else {
            return Ok(None);
        };
        let failed = |source| CheckpointError::Io {
            path: path.clone(),
            source,
        };
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
            .map_err(failed)?;
        if bytes.len() as u64 > limit {
            return Err(CheckpointError::File {
                path,
                message: format!("is longer than {limit} bytes"),
            });
        }
        Ok(Some(bytes))
    }

    /// Names of its files that end in one of these.
    pub(crate) fn ending_in(&self, endings: &[&str]) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.root) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| endings.iter().any(|ending| name.ends_with(ending)))
            .collect();
        names.sort();
        names
    }
}

/// `<cache>/models--org--name/blobs`, if the folder is `<cache>/models--org--name/snapshots/<revision>`.
fn hub_blobs(root: &Path) -> Option<PathBuf> {
    let snapshots = root.parent()?;
    if snapshots.file_name()? != "snapshots" {
        return None;
    }
    snapshots.parent()?.join("blobs").canonicalize().ok()
}
