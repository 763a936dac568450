//! Adapters as PEFT saves them: `adapter_config.json` and `adapter_model.safetensors`.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{ArtifactError, lora, prompt};
use crate::arch::{ConfigError, Fields};
use crate::checkpoint::{CheckpointError, Folder, TensorFile};
use crate::method::{Method, Starts, Trainable};

/// The settings.
pub(super) const CONFIG: &str = "adapter_config.json";
/// The weights.
pub(super) const WEIGHTS: &str = "adapter_model.safetensors";
/// Longest `adapter_config.json` that is read.
const MAX_CONFIG: u64 = 4 << 20;

/// An adapter that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    /// Its settings: low-rank adapters, whose targets are full paths of modules, or a prompt.
    pub method: Method,
    /// The model that it was tuned from, as its maker named it.
    pub base_model: Option<String>,
    /// Its weights under the names of [`Trainable`]s.
    pub weights: Starts,
    path: PathBuf,
}

impl Adapter {
    /// Are the weights those that the method adds to a model?
    ///
    /// # Errors
    /// [`ArtifactError::Tensors`] with all that are missing, have other shapes, or belong to no module of the model.
    pub fn check(&self, trainable: &[Trainable]) -> Result<(), ArtifactError> {
        let mut problems = Vec::new();
        for wanted in trainable {
            match self.weights.get(&wanted.name) {
                None => problems.push(format!("{} is missing", wanted.name)),
                Some(tensor) if tensor.shape() != wanted.shape => problems.push(format!(
                    "{} is {:?}, the model needs {:?}",
                    wanted.name,
                    tensor.shape(),
                    wanted.shape
                )),
                Some(_) => {}
            }
        }
        let known = |name: &String| trainable.iter().any(|wanted| wanted.name == *name);
        let foreign = self.weights.keys().filter(|name| !known(name));
        problems.extend(foreign.map(|name| format!("{name} belongs to no module of the model")));
        refuse(&self.path, problems)
    }
}

/// Fails if there are problems.
pub(super) fn refuse(path: &Path, problems: Vec<String>) -> Result<(), ArtifactError> {
    if problems.is_empty() {
        return Ok(());
    }
    Err(ArtifactError::Tensors {
        path: path.to_owned(),
        problems,
    })
}

/// What both kinds of adapters are read from.
pub(super) struct Source<'a> {
    pub(super) path: &'a Path,
    pub(super) fields: Fields<'a>,
    pub(super) weights: TensorFile,
}

/// Reads a low-rank adapter or a prompt.
///
/// # Errors
/// The folder or a file is broken, its kind or one of its settings is not supported, or its tensors are not those that its
/// settings ask for.
pub fn read_adapter(dir: &Path) -> Result<Adapter, ArtifactError> {
    let folder = Folder::open(dir)?;
    let Some(bytes) = folder.read(CONFIG, MAX_CONFIG)? else {
        return Err(ArtifactError::NoAdapter { path: dir.to_owned() });
    };
    let config: Map<String, Value> = serde_json::from_slice(&bytes).map_err(|error| CheckpointError::File {
        path: dir.join(CONFIG),
        message: format!("is no JSON object: {error}"),
    })?;
    let fields = Fields::new(&config);
    let failed = |source| ArtifactError::Config {
        path: dir.to_owned(),
        source,
    };
    let kind = fields.text("peft_type").map_err(failed)?.unwrap_or_default();
    let base_model = fields.text("base_model_name_or_path").map_err(failed)?;
    let source = Source {
        path: dir,
        fields,
        weights: weights(&folder)?,
    };
    let (method, weights) = match kind {
        "LORA" => lora::read(&source)?,
        "PROMPT_TUNING" => prompt::read(&source)?,
        other => {
            return Err(failed(ConfigError::Unsupported {
                field: "peft_type".into(),
                found: crate::checkpoint::shown(other),
                supported: "LORA, PROMPT_TUNING".into(),
            }));
        }
    };
    Ok(Adapter {
        method,
        base_model: base_model.map(str::to_owned),
        weights,
        path: dir.to_owned(),
    })
}

fn weights(folder: &Folder) -> Result<TensorFile, ArtifactError> {
    if let Some(path) = folder.file(WEIGHTS)? {
        return Ok(TensorFile::open(&path)?);
    }
    let found = folder.ending_in(&[".bin", ".pt"]).into_iter().next();
    let folder = folder.path().to_owned();
    Err(match found {
        Some(found) => CheckpointError::OtherFormat { folder, found },
        None => CheckpointError::File {
            path: folder.join(WEIGHTS),
            message: "is not there".into(),
        },
    }
    .into())
}
