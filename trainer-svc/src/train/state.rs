//! A training state as one file: trained weights, optimizer moments, and where the run stands.
//!
//! The file is safetensors with a JSON document in its metadata. It is written beside its place, synced and renamed: a crash
//! leaves the old state or the new one, never half of one.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::files;
use crate::tensor::{Elements, HostTensor};

/// Version of the file's meaning. A reader refuses others.
const FORMAT: u32 = 1;
/// The metadata entry that holds [`Position`].
const POSITION: &str = "finepick_position";
/// No state is larger: 1 TiB.
const MAX_BYTES: u64 = 1 << 40;

/// Where a run stands; everything else follows from its specification.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Version of this document.
    pub format: u32,
    /// Identifies the run's specification, model and data: a state is only for the run that wrote it.
    pub fingerprint: String,
    /// Index of the data size that is being tuned.
    pub stage: usize,
    /// Optimizer steps done in this stage.
    pub step: u64,
    /// Best held-out loss of this stage's epochs so far, and the epoch, counted from 1; with early stopping only.
    pub best: Option<(f64, u32)>,
    /// Losses of the stage's steps so far, nats per token.
    pub losses: Vec<f32>,
}

/// Weights and moments, by name.
pub type Tensors = BTreeMap<String, HostTensor>;

/// A state cannot be written or read.
#[derive(Debug, Error)]
pub enum StateError {
    /// The file system refuses.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it says.
        #[source]
        error: std::io::Error,
    },
    /// The file is not a state of this run.
    #[error("{}: {message}", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

impl StateError {
    /// Is the disk full (or the quota used up)?
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        use std::io::ErrorKind;
        matches!(self, Self::Io { error, .. }
            if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
    }
}

/// Writes a state, atomically.
///
/// # Errors
/// The file system refuses; nothing is left of the attempt.
pub fn save(path: &Path, position: &Position, tensors: &Tensors) -> Result<(), StateError> {
    let foreign = |message: String| StateError::Foreign {
        path: path.to_owned(),
        message,
    };
    let mut position = position.clone();
    position.format = FORMAT;
    let document = serde_json::to_string(&position).map_err(|error| foreign(error.to_string()))?;
    let bytes: Vec<(&str, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, tensor)| Ok((name.as_str(), tensor.shape().to_vec(), little_endian(tensor)?)))
        .collect::<Result<_, String>>()
        .map_err(foreign)?;
    let views = bytes
        .iter()
        .map(|(name, shape, bytes)| Ok((*name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(|error| foreign(error.to_string()))?;
    let metadata = std::iter::once((POSITION.to_owned(), document)).collect();
    let file = safetensors::serialize(views, Some(metadata)).map_err(|error| foreign(error.to_string()))?;
    files::replace(path, |beside| files::write_lasting(beside, &file)).map_err(|error| StateError::Io {
        path: path.to_owned(),
        error,
    })
}

/// Reads a state that a run with this fingerprint wrote. `None`: there is none.
///
/// # Errors
/// The file cannot be read, is broken, or belongs to another run.
pub fn load(path: &Path, fingerprint: &str) -> Result<Option<(Position, Tensors)>, StateError> {
    let foreign = |message: String| StateError::Foreign {
        path: path.to_owned(),
        message,
    };
    let io = |error| StateError::Io {
        path: path.to_owned(),
        error,
    };
    let mut file = match std::fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(io)?,
    };
    let length = file.metadata().map_err(io)?.len();
    if length > MAX_BYTES {
        return Err(foreign(format!("{length} bytes are no training state")));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(io)?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| foreign(error.to_string()))?;
    let document = header
        .metadata()
        .as_ref()
        .and_then(|metadata| metadata.get(POSITION))
        .ok_or_else(|| foreign("is no training state".to_owned()))?;
    let position: Position = serde_json::from_str(document).map_err(|error| foreign(error.to_string()))?;
    if position.format != FORMAT {
        return Err(foreign(format!("has format {}, this reads {FORMAT}", position.format)));
    }
    if position.fingerprint != fingerprint {
        return Err(foreign(
            "belongs to a run of another model, data or specification".to_owned(),
        ));
    }
    let tensors = SafeTensors::deserialize(&bytes).map_err(|error| foreign(error.to_string()))?;
    let tensors = tensors
        .tensors()
        .into_iter()
        .map(|(name, view)| Ok((name, host_tensor(&view)?)))
        .collect::<Result<Tensors, String>>()
        .map_err(foreign)?;
    Ok(Some((position, tensors)))
}

fn little_endian(tensor: &HostTensor) -> Result<Vec<u8>, String> {
    let elements = tensor.as_f32().ok_or("only f32 is saved")?;
    Ok(elements.iter().flat_map(|element| element.to_le_bytes()).collect())
}

fn host_tensor(view: &TensorView<'_>) -> Result<HostTensor, String> {
    if view.dtype() != Dtype::F32 {
        return Err(format!("holds {:?}, only f32 is saved", view.dtype()));
    }
    let elements = view
        .data()
        .as_chunks::<4>()
        .0
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect();
    HostTensor::new(view.shape(), Elements::F32(elements)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors() -> Tensors {
        let ramp = HostTensor::fill([2, 3], |i| f32::from(u8::try_from(i).unwrap()) / 7.0);
        Tensors::from([
            ("p/a".to_owned(), ramp),
            ("m/a".to_owned(), HostTensor::scalar(f32::MIN_POSITIVE)),
        ])
    }

    fn position() -> Position {
        Position {
            fingerprint: "abc".into(),
            stage: 1,
            step: 17,
            best: Some((0.1 + 0.2, 3)),
            losses: vec![0.1, 0.3],
            ..Position::default()
        }
    }

    #[test]
    fn a_state_comes_back_to_the_last_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.safetensors");
        assert!(load(&path, "abc").unwrap().is_none());
        save(&path, &Position::default(), &Tensors::new()).unwrap();
        save(&path, &position(), &tensors()).unwrap();
        let (read, read_tensors) = load(&path, "abc").unwrap().unwrap();
        assert_eq!(
            read,
            Position {
                format: FORMAT,
                ..position()
            }
        );
        assert_eq!(read_tensors, tensors());
        let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(files.len(), 1, "nothing is left beside it");
    }

    #[test]
    fn another_runs_state_and_broken_ones_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.safetensors");
        save(&path, &position(), &tensors()).unwrap();
        assert!(
            load(&path, "xyz")
                .unwrap_err()
                .to_string()
                .contains("another model, data")
        );
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(
                matches!(load(&path, "abc"), Err(StateError::Foreign { .. })),
                "{length}"
            );
        }
    }

    #[test]
    fn a_full_disk_is_known_as_such() {
        let full = Path::new("/dev/full");
        if !full.exists() {
            eprintln!("skipped: there is no /dev/full");
            return;
        }
        let error = std::fs::write(full, b"x").unwrap_err();
        let error = StateError::Io {
            path: full.into(),
            error,
        };
        assert!(error.is_disk_full());
    }
}
