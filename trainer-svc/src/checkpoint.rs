//! Checkpoint folders as Hugging Face publishes them: `config.json` and safetensors, in one file or in shards.
//!
//! Opening reads the configuration and the headers; a tensor is read when it is asked for, so that a large model is never in
//! host memory as a whole. Pickled weights (`pytorch_model.bin`) are refused: reading a pickle can run any code.
//!
//! A model exported to ONNX is a checkpoint, too: its initializers are the tensors.
//!
//! A folder is somebody else's work. Every number in it is checked before it is used, and no name in it opens a file elsewhere.

mod error;
mod folder;
mod header;
mod index;
mod onnx;
mod storage;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

pub(crate) use self::error::shown;
pub use self::error::{CheckpointError, WrongShape};
pub(crate) use self::folder::Folder;
pub use self::header::StoredTensor;
pub(crate) use self::header::TensorFile;
pub use self::storage::StoredType;
use crate::arch::Parameter;
use crate::tensor::{Elements, HostTensor};

/// The weights in one file.
pub(crate) const WEIGHTS: &str = "model.safetensors";
/// Which shard holds which tensor.
pub(crate) const INDEX: &str = "model.safetensors.index.json";
/// Longest `config.json` that is read.
const MAX_CONFIG: u64 = 4 << 20;
/// Bytes read at once.
const CHUNK: usize = 1 << 20;

/// Prefixes of the base model inside `…ForCausalLM`, which files saved from the base model alone lack.
const BASE_PREFIXES: [&str; 3] = ["transformer.", "model.", "gpt_neox."];
/// The same parameter in different versions of transformers.
const ALIASES: [(&str, &str); 2] = [
    ("embed_out.weight", "lm_head.weight"),
    ("lm_head.weight", "embed_out.weight"),
];
/// Endings of tensors that are no parameters: masks and rotary tables that old versions saved.
const BUFFERS: [&str; 6] = [
    ".attn.bias",
    ".attn.masked_bias",
    ".attention.bias",
    ".attention.masked_bias",
    "rotary_emb.inv_freq",
    ".position_ids",
];

/// A checkpoint folder whose headers have been read.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    folder: Folder,
    config: Map<String, Value>,
    files: Vec<PathBuf>,
    tensors: BTreeMap<String, (usize, StoredTensor)>,
    onnx: Option<onnx::Exported>,
}

impl Checkpoint {
    /// Opens a folder: reads `config.json` and the headers of the weights.
    ///
    /// # Errors
    /// It is no folder, holds no configuration or no safetensors, or one of these files is broken.
    pub fn open(dir: &Path) -> Result<Self, CheckpointError> {
        let folder = Folder::open(dir)?;
        let config = read_config(&folder)?;
        let (files, tensors) = locate_weights(&folder)?;
        Ok(Self {
            folder,
            config,
            files,
            tensors,
            onnx: None,
        })
    }

    /// The folder, as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Its files.
    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The fields of `config.json`.
    #[must_use]
    pub fn config(&self) -> &Map<String, Value> {
        &self.config
    }

    /// Names, types and shapes of all tensors in the files, sorted by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &StoredTensor)> {
        self.tensors.iter().map(|(name, (_, tensor))| (name.as_str(), tensor))
    }

    /// The tensor that holds a parameter, and its name in the files, which may lack the base model's prefix.
    #[must_use]
    pub fn find(&self, parameter: &str) -> Option<(&str, &StoredTensor)> {
        self.locate(parameter).map(|(name, _, tensor)| (name, tensor))
    }

    fn locate(&self, parameter: &str) -> Option<(&str, &Path, &StoredTensor)> {
        let without_prefix = BASE_PREFIXES.iter().find_map(|prefix| parameter.strip_prefix(prefix));
        let alias = ALIASES
            .iter()
            .find_map(|(name, alias)| (*name == parameter).then_some(*alias));
        let (name, (file, tensor)) = [Some(parameter), without_prefix, alias]
            .into_iter()
            .flatten()
            .find_map(|name| self.tensors.get_key_value(name))?;
        Some((name, self.files.get(*file)?, tensor))
    }

    /// Reads a parameter, as f32.
    ///
    /// # Errors
    /// It is not there, has another shape, is not stored as floats, or the file cannot be read.
    pub fn read(&self, parameter: &str, shape: &[usize]) -> Result<HostTensor, CheckpointError> {
        let wrong = self.compare(parameter, shape);
        let (Some((name, path, tensor)), None) = (self.locate(parameter), &wrong) else {
            return Err(self.mismatch(wrong.into_iter()));
        };
        match &self.onnx {
            Some(exported) => exported.read(path, name),
            None => read_tensor(path, name, tensor),
        }
    }

    /// Was it exported to ONNX, in this file?
    #[must_use]
    pub fn onnx_file(&self) -> Option<&Path> {
        self.onnx.as_ref().and(self.files.first()).map(PathBuf::as_path)
    }

    /// Are all parameters of a model there, with the right shapes, stored as floats?
    ///
    /// # Errors
    /// [`CheckpointError::Mismatch`] with all that are not.
    pub fn check(&self, parameters: &[Parameter]) -> Result<(), CheckpointError> {
        let mut wrong = parameters
            .iter()
            .filter_map(|parameter| self.compare(&parameter.name, &parameter.shape))
            .peekable();
        if wrong.peek().is_none() {
            return Ok(());
        }
        Err(self.mismatch(wrong))
    }

    /// Tensors in the files that are none of these parameters, nor masks and tables that old versions of transformers saved:
    /// what the model will not use.
    #[must_use]
    pub fn unused(&self, parameters: &[Parameter]) -> Vec<&str> {
        let used: BTreeSet<&str> = parameters
            .iter()
            .filter_map(|parameter| Some(self.find(&parameter.name)?.0))
            .collect();
        self.tensors
            .keys()
            .map(String::as_str)
            .filter(|name| !used.contains(name) && !is_buffer(name))
            .collect()
    }

    fn mismatch(&self, wrong: impl Iterator<Item = Wrong>) -> CheckpointError {
        let (mut missing, mut shapes) = (Vec::new(), Vec::new());
        for wrong in wrong {
            match wrong {
                Wrong::Missing(name) => missing.push(name),
                Wrong::Shape(shape) => shapes.push(shape),
            }
        }
        CheckpointError::Mismatch {
            folder: self.path().to_owned(),
            missing,
            shapes,
        }
    }

    fn compare(&self, parameter: &str, shape: &[usize]) -> Option<Wrong> {
        let Some((_, tensor)) = self.find(parameter) else {
            return Some(Wrong::Missing(parameter.to_owned()));
        };
        let float = tensor.stored.float_bytes().is_some();
        (tensor.shape != shape || !float).then(|| {
            Wrong::Shape(WrongShape {
                name: parameter.to_owned(),
                stored: tensor.stored,
                found: tensor.shape.clone(),
                wanted: shape.to_vec(),
            })
        })
    }
}

enum Wrong {
    Missing(String),
    Shape(WrongShape),
}

/// Is it a buffer that old versions of transformers saved with the parameters?
fn is_buffer(name: &str) -> bool {
    BUFFERS
        .iter()
        .any(|ending| name.ends_with(ending) || name == ending.trim_start_matches('.'))
}

fn read_config(folder: &Folder) -> Result<Map<String, Value>, CheckpointError> {
    let path = folder.path().to_owned();
    let Some(bytes) = folder.read("config.json", MAX_CONFIG)? else {
        return Err(match folder.file("adapter_config.json")? {
            Some(_) => CheckpointError::AdapterOnly { folder: path },
            None => CheckpointError::NoConfig { folder: path },
        });
    };
    serde_json::from_slice(&bytes).map_err(|error| CheckpointError::File {
        path: path.join("config.json"),
        message: format!("is no JSON object: {error}"),
    })
}

type Weights = (Vec<PathBuf>, BTreeMap<String, (usize, StoredTensor)>);

fn locate_weights(folder: &Folder) -> Result<Weights, CheckpointError> {
    if let Some(path) = folder.file(WEIGHTS)? {
        let file = TensorFile::open(&path)?;
        let tensors = file.tensors.into_iter();
        return Ok((vec![path], tensors.map(|(name, tensor)| (name, (0, tensor))).collect()));
    }
    if let Some(weights) = index::read(folder)? {
        return Ok(weights);
    }
    let mut others = folder.ending_in(&[
        ".bin",
        ".bin.index.json",
        ".pt",
        ".pth",
        ".ckpt",
        ".h5",
        ".msgpack",
        ".gguf",
    ]);
    // What a training run leaves beside its weights.
    let besides = ["training_args", "optimizer", "scheduler", "rng_state"];
    others.retain(|name| !besides.iter().any(|stem| name.starts_with(stem)));
    others.sort_by_key(|name| !name.starts_with("pytorch_model"));
    let path = folder.path().to_owned();
    Err(match others.into_iter().next() {
        Some(found) => CheckpointError::OtherFormat { folder: path, found },
        None => CheckpointError::NoWeights { folder: path },
    })
}

/// Reads a tensor by seeking to it.
pub(crate) fn read_tensor(path: &Path, name: &str, tensor: &StoredTensor) -> Result<HostTensor, CheckpointError> {
    let refuse = |message: String| CheckpointError::Tensor {
        path: path.to_owned(),
        tensor: shown(name),
        message,
    };
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::UnexpectedEof => refuse("ends behind the end of the file: it was cut off meanwhile".into()),
        _ => CheckpointError::Io {
            path: path.to_owned(),
            source,
        },
    };
    let Some(width) = tensor.stored.float_bytes() else {
        return Err(refuse(format!("holds {}, not floats", tensor.stored.name())));
    };
    let mut file = File::open(path).map_err(failed)?;
    file.seek(SeekFrom::Start(tensor.begin)).map_err(failed)?;
    let mut left = usize::try_from(tensor.bytes).map_err(|_| refuse("is too large".into()))?;
    let mut elements = Vec::with_capacity(left / width);
    let mut chunk = vec![0; CHUNK.min(left)];
    while left > 0 {
        let part = chunk.get_mut(..left.min(CHUNK)).unwrap_or_default();
        file.read_exact(part).map_err(failed)?;
        tensor.stored.widen(part, &mut elements);
        left -= part.len();
    }
    HostTensor::new(tensor.shape.clone(), Elements::F32(elements)).map_err(|error| refuse(error.to_string()))
}
