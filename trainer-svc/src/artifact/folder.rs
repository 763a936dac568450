//! A folder that appears complete or not at all.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ArtifactError;
use crate::files::sync_folder;

/// What is done with a folder that has the target's name already. An empty one is always taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Existing {
    /// Nothing is written.
    #[default]
    Refuse,
    /// It is replaced, if nothing is in it but files of a model or adapter.
    Replace,
}

/// Files that are copied from a checkpoint, if they are there.
pub(super) const COPIED: [&str; 13] = [
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "chat_template.jinja",
    "chat_template.json",
    "preprocessor_config.json",
];
/// Files of models and adapters besides weights.
const OTHERS: [&str; 6] = [
    "config.json",
    "adapter_config.json",
    "model.onnx",
    "model.safetensors.index.json",
    "README.md",
    "LICENSE",
];

/// A folder in the making, next to its target. Dropped, it is removed.
#[derive(Debug)]
pub(super) struct Pending {
    target: PathBuf,
    temporary: PathBuf,
    existing: Existing,
}

static COUNTER: AtomicU64 = AtomicU64::new(0);

impl Pending {
    /// Begins a folder; whether it may have this name is checked at once, before hours of work.
    pub(super) fn begin(target: &Path, existing: Existing) -> Result<Self, ArtifactError> {
        check_target(target, existing)?;
        let Some(parent) = parent(target) else {
            return Err(ArtifactError::Exists {
                path: target.to_owned(),
            });
        };
        fs::create_dir_all(&parent).map_err(|source| ArtifactError::io(&parent, source))?;
        let temporary = beside(target, "partial");
        fs::create_dir(&temporary).map_err(|source| ArtifactError::io(&temporary, source))?;
        Ok(Self {
            target: target.to_owned(),
            temporary,
            existing,
        })
    }

    /// Writes a file and brings it to disk.
    pub(super) fn write(
        &self,
        name: &str,
        content: impl FnOnce(&mut dyn Write) -> Result<(), WriteError>,
    ) -> Result<(), ArtifactError> {
        let path = self.temporary.join(name);
        let shown = self.target.join(name);
        let failed = |source| ArtifactError::io(&shown, source);
        let mut writer = BufWriter::new(File::create(&path).map_err(failed)?);
        content(&mut writer).map_err(|error| match error {
            WriteError::Io(source) => failed(source),
            WriteError::Other(error) => error,
        })?;
        let file = writer.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)
    }

    /// Copies a file and brings it to disk.
    pub(super) fn copy(&self, name: &str, from: &Path) -> Result<(), ArtifactError> {
        self.write(name, |writer| {
            let mut source = File::open(from)?;
            std::io::copy(&mut source, writer)?;
            Ok(())
        })
    }

    /// Gives the folder its name.
    pub(super) fn commit(self) -> Result<(), ArtifactError> {
        let failed = |source| ArtifactError::io(&self.target, source);
        sync_folder(&self.temporary).map_err(failed)?;
        check_target(&self.target, self.existing)?;
        let mut replaced = None;
        if fs::symlink_metadata(&self.target).is_ok() {
            let old = beside(&self.target, "replaced");
            fs::rename(&self.target, &old).map_err(failed)?;
            replaced = Some(old);
        }
        if let Err(source) = fs::rename(&self.temporary, &self.target) {
            if let Some(old) = replaced {
                let _ = fs::rename(old, &self.target);
            }
            return Err(failed(source));
        }
        if let Some(parent) = parent(&self.target) {
            sync_folder(&parent).map_err(failed)?;
        }
        if let Some(old) = replaced {
            // The new folder is there; what remains of the old one is only untidy.
            let _ = fs::remove_dir_all(old);
        }
        Ok(())
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // After a commit there is nothing of this name.
        let _ = fs::remove_dir_all(&self.temporary);
    }
}

/// Why a file was not written.
pub(super) enum WriteError {
    Io(std::io::Error),
    Other(ArtifactError),
}

impl From<std::io::Error> for WriteError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

fn parent(target: &Path) -> Option<PathBuf> {
    target.file_name()?;
    let parent = target.parent()?;
    Some(if parent.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        parent.to_owned()
    })
}

/// A hidden name next to the target, so that a rename stays on one file system.
fn beside(target: &Path, purpose: &str) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    target.with_file_name(format!(".{name}.{purpose}-{}-{number}", process::id()))
}

fn check_target(target: &Path, existing: Existing) -> Result<(), ArtifactError> {
    if fs::symlink_metadata(target).is_err() {
        return Ok(());
    }
    let exists = || ArtifactError::Exists {
        path: target.to_owned(),
    };
    // A link is somebody's arrangement; what it points to must not be moved away.
    if !fs::symlink_metadata(target).is_ok_and(|metadata| metadata.is_dir()) {
        return Err(exists());
    }
    let entries = fs::read_dir(target).map_err(|source| ArtifactError::io(target, source))?;
    for entry in entries {
        let entry = entry.map_err(|source| ArtifactError::io(target, source))?;
        if existing == Existing::Refuse {
            return Err(exists());
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        let file = entry.file_type().is_ok_and(|kind| kind.is_file());
        let ours = name.ends_with(".safetensors") || COPIED.contains(&&*name) || OTHERS.contains(&&*name);
        if !(file && ours) {
            return Err(ArtifactError::Foreign {
                path: target.to_owned(),
                found: name,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn fill(pending: &Pending, text: &str) {
        let write = |writer: &mut dyn Write| Ok(writer.write_all(text.as_bytes())?);
        pending.write("config.json", write).unwrap();
    }

    #[test]
    fn nothing_is_seen_before_the_commit_and_nothing_is_left_without_one() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("deep/out");
        let pending = Pending::begin(&target, Existing::Refuse).unwrap();
        fill(&pending, "{}");
        assert!(!target.exists());
        drop(pending);
        assert_eq!(names(&dir.path().join("deep")), Vec::<String>::new());

        let pending = Pending::begin(&target, Existing::Refuse).unwrap();
        fill(&pending, "{}");
        pending.commit().unwrap();
        assert_eq!(names(&dir.path().join("deep")), ["out"]);
        assert_eq!(names(&target), ["config.json"]);
    }

    #[test]
    fn what_exists_is_kept_or_replaced_as_told() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        fs::create_dir(&target).unwrap();
        let pending = Pending::begin(&target, Existing::Refuse).unwrap();
        fill(&pending, "old");
        pending.commit().unwrap();

        let refused = Pending::begin(&target, Existing::Refuse).unwrap_err();
        assert!(matches!(refused, ArtifactError::Exists { .. }));
        let pending = Pending::begin(&target, Existing::Replace).unwrap();
        fill(&pending, "new");
        pending.commit().unwrap();
        assert_eq!(fs::read_to_string(target.join("config.json")).unwrap(), "new");
        assert_eq!(names(dir.path()), ["out"]);

        fs::write(target.join("thesis.tex"), "years of work").unwrap();
        let refused = Pending::begin(&target, Existing::Replace).unwrap_err();
        assert!(matches!(refused, ArtifactError::Foreign { found, .. } if found == "thesis.tex"));
    }

    #[cfg(unix)]
    #[test]
    fn a_full_disk_is_told_apart() {
        let full = Path::new("/dev/full");
        if !full.exists() {
            eprintln!("skipped: no /dev/full here");
            return;
        }
        let error = fs::write(full, "x").unwrap_err();
        assert!(matches!(ArtifactError::io(full, error), ArtifactError::DiskFull { .. }));
        let error = fs::write("/dev/null/x", "x").unwrap_err();
        assert!(matches!(ArtifactError::io(full, error), ArtifactError::Io { .. }));
    }
}
