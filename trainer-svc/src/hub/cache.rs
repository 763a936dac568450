//! The cache folder: `<kind>s--org--name/snapshots/<commit>/<file>` and `<kind>s--org--name/refs/<revision>`.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::digest::io_error;
use super::{HubError, HubReference, RepoKind};

/// A repository's place in the cache.
pub(super) struct Cache {
    repo: PathBuf,
}

impl Cache {
    /// The parts of a reference are safe as names: [`super::Reference::parse`] sees to it.
    pub(super) fn new(cache_dir: &Path, reference: &HubReference) -> Self {
        let prefix = match reference.kind() {
            RepoKind::Model => "models",
            RepoKind::Dataset => "datasets",
        };
        let name = reference.repo().replace('/', "--");
        Self {
            repo: cache_dir.join(format!("{prefix}--{name}")),
        }
    }

    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.repo.join("snapshots").join(commit)
    }

    /// The commit that a revision was when all of it was fetched last.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        let text = fs::read_to_string(self.reference(revision)).ok()?;
        is_commit(&text).then_some(text)
    }

    /// Notes that all of the revision is here.
    pub(super) fn note(&self, revision: &str, commit: &str) -> Result<(), HubError> {
        let path = self.reference(revision);
        let parent = path.parent().unwrap_or(&self.repo);
        fs::create_dir_all(parent).map_err(|error| io_error(parent, &error))?;
        let new = path.with_file_name(format!(".{commit}.part"));
        File::create(&new)
            .and_then(|mut file| file.write_all(commit.as_bytes()))
            .and_then(|()| fs::rename(&new, &path))
            .map_err(|error| io_error(&path, &error))
    }

    /// One process at a time writes into a repository's place. The lock goes with the file, also when the process dies.
    pub(super) fn lock(&self) -> Result<File, HubError> {
        fs::create_dir_all(&self.repo).map_err(|error| io_error(&self.repo, &error))?;
        let path = self.repo.join(".lock");
        let file = File::create(&path).map_err(|error| io_error(&path, &error))?;
        file.lock().map_err(|error| io_error(&path, &error))?;
        Ok(file)
    }

    fn reference(&self, revision: &str) -> PathBuf {
        self.repo.join("refs").join(revision)
    }
}

/// 40 lower-case hexadecimal digits.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
