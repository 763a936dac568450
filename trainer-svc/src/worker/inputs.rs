//! What runs are made from, known before they are made: digests, and how many examples can be trained on.
//!
//! Reading a checkpoint or a data file once is what a digest costs. A selection asks for estimates of the same few files many
//! times, so what was found is kept for as long as the files look the same: lengths and times of change.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use trainer_kit::state::Failure;

use super::failure;
use crate::dataset::{Examples, ReadOptions, Split};
use crate::hub;
use crate::runs::RunFailure;
use crate::train::TrainError;

/// Larger data are not read for an estimate: a caller waits for it.
const DATA_BYTES_MAX: u64 = 1 << 30;
/// Larger checkpoints are not read for an estimate.
const MODEL_BYTES_MAX: u64 = 16 << 30;
/// Files and folders that are kept in mind; beyond, all is forgotten and read again.
const KEPT_MAX: usize = 4_096;

/// How files look: their lengths and times of change, in the order of their names.
type Look = Vec<(PathBuf, u64, Option<SystemTime>)>;

/// Training data as a run would take them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Data {
    /// As `TrainingRun.data_digest`.
    pub(super) digest: String,
    /// Examples that can be trained on.
    pub(super) examples: usize,
}

/// Findings with the look of the files that they were found in.
type Kept<K, V> = Mutex<BTreeMap<K, (Look, V)>>;

/// What was found, by files.
#[derive(Debug, Default)]
pub(super) struct Known {
    models: Kept<PathBuf, String>,
    /// By the training data and a held-out file.
    data: Kept<(PathBuf, Option<PathBuf>), Data>,
}

impl Known {
    /// The digest of a checkpoint's folder; `None` where it is too large to be read for an estimate.
    pub(super) fn model(&self, folder: &Path) -> Result<Option<String>, RunFailure> {
        let look = look(&[folder]).map_err(|message| RunFailure::new(Failure::ModelUnreadable, message))?;
        if bytes(&look) > MODEL_BYTES_MAX {
            return Ok(None);
        }
        if let Some(digest) = kept(&self.models, folder, &look) {
            return Ok(Some(digest));
        }
        let unreadable = |error: hub::HubError| RunFailure::new(Failure::ModelUnreadable, error.to_string());
        let digest = hub::digest_model(folder).map_err(unreadable)?;
        keep(&self.models, folder.to_owned(), look, digest.clone());
        Ok(Some(digest))
    }

    /// Digest and size of training data; `None` where they are too large to be read for an estimate.
    pub(super) fn data(&self, path: &Path, held_out: Option<&Path>) -> Result<Option<Data>, RunFailure> {
        let paths: Vec<&Path> = std::iter::once(path).chain(held_out).collect();
        let look = look(&paths).map_err(|message| RunFailure::new(Failure::DataUnreadable, message))?;
        if bytes(&look) > DATA_BYTES_MAX {
            return Ok(None);
        }
        let key = (path.to_owned(), held_out.map(Path::to_owned));
        if let Some(data) = kept(&self.data, &key, &look) {
            return Ok(Some(data));
        }
        let found = read(path, held_out).map_err(|error| failure::of(&error))?;
        keep(&self.data, key, look, found.clone());
        Ok(Some(found))
    }
}

fn read(path: &Path, held_out: Option<&Path>) -> Result<Data, TrainError> {
    let options = ReadOptions::default();
    let data = Examples::read(path, &options)?;
    let split = match held_out {
        Some(held_out) => Split::outside(&data, &Examples::read(held_out, &options)?),
        None => Split::inside(&data)?,
    };
    Ok(Data {
        digest: data.digest().to_owned(),
        examples: split.training.len(),
    })
}

fn kept<K, Q, V>(known: &Kept<K, V>, key: &Q, look: &Look) -> Option<V>
where
    K: Ord + std::borrow::Borrow<Q>,
    Q: Ord + ?Sized,
    V: Clone,
{
    let known = known.lock().unwrap_or_else(PoisonError::into_inner);
    let (then, value) = known.get(key)?;
    (then == look).then(|| value.clone())
}

fn keep<K: Ord, V>(known: &Kept<K, V>, key: K, look: Look, value: V) {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    if known.len() >= KEPT_MAX {
        known.clear();
    }
    known.insert(key, (look, value));
}

fn bytes(look: &Look) -> u64 {
    look.iter().fold(0, |sum, (_, length, _)| sum.saturating_add(*length))
}

/// Files as they are, those of folders one by one.
fn look(paths: &[&Path]) -> Result<Look, String> {
    let mut found = Look::new();
    for path in paths {
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        let metadata = std::fs::metadata(path).map_err(failed)?;
        if metadata.is_dir() {
            for entry in std::fs::read_dir(path).map_err(failed)? {
                let entry = entry.map_err(failed)?.path();
                let metadata = std::fs::metadata(&entry).map_err(failed)?;
                found.push((entry, metadata.len(), metadata.modified().ok()));
            }
        } else {
            found.push(((*path).to_owned(), metadata.len(), metadata.modified().ok()));
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_are_read_once_and_again_when_they_have_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.jsonl");
        let lines = |count: usize| {
            let line = |i: usize| format!("{{\"text\":\"line {i}\"}}");
            (0..count).map(line).collect::<Vec<String>>().join("\n")
        };
        std::fs::write(&path, lines(20)).unwrap();
        let known = Known::default();
        let first = known.data(&path, None).unwrap().unwrap();
        assert_eq!(first.examples, 18, "a tenth is held out");
        assert!(first.digest.starts_with("sha256:"));
        assert_eq!(known.data(&path, None).unwrap().unwrap(), first);
        assert_eq!(known.data.lock().unwrap().len(), 1);
        std::fs::write(&path, lines(40)).unwrap();
        let second = known.data(&path, None).unwrap().unwrap();
        assert_eq!(second.examples, 36);
        assert_ne!(first.digest, second.digest);
        let held_out = folder.path().join("h.jsonl");
        std::fs::write(&held_out, lines(4)).unwrap();
        assert_eq!(
            known.data(&path, Some(&held_out)).unwrap().unwrap().examples,
            36,
            "copies are left out"
        );
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let known = Known::default();
        let missing = Path::new("nowhere/at-all.jsonl");
        let failure = known.data(missing, None).unwrap_err();
        assert_eq!(failure.failure, Failure::DataUnreadable);
        assert!(failure.detail.contains("at-all.jsonl"), "{}", failure.detail);
        assert_eq!(known.model(missing).unwrap_err().failure, Failure::ModelUnreadable);
    }
}
