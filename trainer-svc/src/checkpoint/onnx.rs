//! Models exported to ONNX: initializers as tensors, in the model's file or in files beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Map;

use super::{Checkpoint, CheckpointError, Folder, INDEX, StoredTensor, StoredType, WEIGHTS, shown};
use crate::graph::onnx::{ImportError, Model};
use crate::tensor::{ElementType, Elements, HostTensor};

/// Names of the model's file, in the order in which they are looked for.
const FILES: [&str; 4] = [
    "model.onnx",
    "decoder_model.onnx",
    "onnx/model.onnx",
    "onnx/decoder_model.onnx",
];
/// The format's own limit.
const MAX_FILE: u64 = 2 << 30;

/// A model, and the folder of the files beside it.
#[derive(Debug, Clone)]
pub(super) struct Exported {
    model: Arc<Model>,
    beside: PathBuf,
}

impl Checkpoint {
    /// Opens a folder that holds a model exported to ONNX; `None` if it holds none, or has safetensors, which are preferred. A
    /// `config.json` is welcome, but not needed.
    ///
    /// # Errors
    /// It is no folder, or the model cannot be decoded.
    pub fn open_onnx(dir: &Path) -> Result<Option<(Self, Arc<Model>)>, CheckpointError> {
        let folder = Folder::open(dir)?;
        if folder.file(WEIGHTS)?.is_some() || folder.file(INDEX)?.is_some() {
            return Ok(None);
        }
        let mut found = None;
        for name in FILES {
            if let Some(bytes) = folder.read(name, MAX_FILE)? {
                found = Some((dir.join(name), bytes));
                break;
            }
        }
        let Some((path, bytes)) = found else {
            return Ok(None);
        };
        let model = Model::decode(&bytes).map_err(|error| refused(&path, &error))?;
        let model = Arc::new(model);
        let config = match folder.file("config.json")? {
            Some(_) => super::read_config(&folder)?,
            None => Map::new(),
        };
        let beside = path.parent().map_or_else(PathBuf::new, PathBuf::from);
        let checkpoint = Self {
            folder,
            config,
            files: vec![path],
            tensors: tensors(&model),
            onnx: Some(Exported {
                model: Arc::clone(&model),
                beside,
            }),
        };
        Ok(Some((checkpoint, model)))
    }
}

fn refused(path: &Path, error: &ImportError) -> CheckpointError {
    CheckpointError::File {
        path: path.to_owned(),
        message: format!("cannot be used: {error}"),
    }
}

fn tensors(model: &Model) -> BTreeMap<String, (usize, StoredTensor)> {
    let stored = |element: ElementType| match element {
        ElementType::F32 => StoredType::F32,
        ElementType::F64 => StoredType::F64,
        ElementType::I64 => StoredType::Other("I64"),
        ElementType::I32 => StoredType::Other("I32"),
        ElementType::Bool => StoredType::Other("BOOL"),
    };
    let of = |(name, weight): (&String, &crate::graph::onnx::Weight)| {
        let tensor = StoredTensor {
            stored: stored(weight.element_type()),
            shape: weight.shape().to_vec(),
            begin: 0,
            bytes: 0,
        };
        (name.clone(), (0, tensor))
    };
    model.weights().iter().map(of).collect()
}

impl Exported {
    /// A weight as f32.
    pub(super) fn read(&self, path: &Path, name: &str) -> Result<HostTensor, CheckpointError> {
        let refuse = |message: String| CheckpointError::Tensor {
            path: path.to_owned(),
            tensor: shown(name),
            message,
        };
        let weight = self
            .model
            .weights()
            .get(name)
            .ok_or_else(|| refuse("is not there".into()))?;
        let tensor = weight.tensor(&self.beside).map_err(|error| refuse(error.to_string()))?;
        let shape = tensor.shape().to_vec();
        match tensor.into_elements() {
            Elements::F32(elements) => HostTensor::new(shape, Elements::F32(elements)),
            Elements::F64(elements) => {
                #[expect(clippy::cast_possible_truncation, reason = "graphs compute in f32")]
                let elements = elements.into_iter().map(|x| x as f32).collect();
                HostTensor::new(shape, Elements::F32(elements))
            }
            other => return Err(refuse(format!("holds {:?}, not floats", other.element_type()))),
        }
        .map_err(|error| refuse(error.to_string()))
    }
}
