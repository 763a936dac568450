//! A whole model: a checkpoint like the one it was tuned from.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::folder::{COPIED, Existing, Pending};
use super::tensors::{self, Planned};
use super::{ArtifactError, Fetch};
use crate::arch::Parameter;
use crate::checkpoint::{Checkpoint, INDEX, StoredType, WEIGHTS};
use crate::graph::onnx::with_weights;

/// The file of a model that was exported to ONNX.
pub(super) const ONNX: &str = "model.onnx";

/// Type of written weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WeightType {
    /// f32, as they were tuned: the files give the loss that was reported.
    #[default]
    F32,
    /// As the source has them: rounded, if that is f16 or bf16.
    Source,
}

/// How a model is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaveOptions {
    /// Type of the weights.
    pub weights: WeightType,
    /// Most bytes of tensors in one file; more are spread over several.
    pub shard_bytes: usize,
    /// What is done with a folder of that name.
    pub existing: Existing,
}

impl Default for SaveOptions {
    fn default() -> Self {
        Self {
            weights: WeightType::F32,
            shard_bytes: 5_000_000_000,
            existing: Existing::Refuse,
        }
    }
}

/// Writes a model: weights under the names of the source's files, with its configuration and tokenizer. `parameters` are those of
/// the model's graph; masks and other buffers of old files are left out. A model that was exported to ONNX is written as such, in one file,
/// and its weights keep their types.
///
/// # Errors
/// The folder exists, the disk is full, a weight cannot be fetched or has another shape.
pub fn save_model(
    target: &Path,
    source: &Checkpoint,
    parameters: &[Parameter],
    fetch: &mut Fetch<'_>,
    options: SaveOptions,
) -> Result<(), ArtifactError> {
    let pending = Pending::begin(target, options.existing)?;
    let mut planned: Vec<Planned> = parameters
        .iter()
        .map(|parameter| plan(source, parameter, options.weights))
        .collect();
    planned.sort_by(|a, b| a.name.cmp(&b.name));

    // A model that was exported to ONNX may have none.
    if !source.config().is_empty() {
        let config = config(source, options.weights);
        pending.write("config.json", |writer| Ok(write_json(writer, config)?))?;
    }
    for name in COPIED {
        if let Some(path) = source.folder().file(name)? {
            pending.copy(name, &path)?;
        }
    }
    if let Some(path) = source.onnx_file() {
        write_onnx(&pending, path, &planned, fetch)?;
        return pending.commit();
    }
    let shards = shards(planned, options.shard_bytes)?;
    if let [tensors] = shards.as_slice() {
        pending.write(WEIGHTS, |writer| tensors::write(writer, tensors, fetch))?;
        return pending.commit();
    }
    let (mut map, mut total) = (Map::new(), 0);
    for (number, tensors) in shards.iter().enumerate() {
        let file = format!("model-{:05}-of-{:05}.safetensors", number + 1, shards.len());
        pending.write(&file, |writer| tensors::write(writer, tensors, fetch))?;
        for tensor in tensors {
            total += tensor.bytes()?;
            map.insert(tensor.name.clone(), Value::String(file.clone()));
        }
    }
    let index = json!({"metadata": {"total_size": total}, "weight_map": map});
    pending.write(INDEX, |writer| Ok(write_json(writer, index)?))?;
    pending.commit()
}

/// The exported model with other weights, which keep the types that they have there.
fn write_onnx(pending: &Pending, path: &Path, planned: &[Planned], fetch: &mut Fetch<'_>) -> Result<(), ArtifactError> {
    let bytes = fs::read(path).map_err(|source| ArtifactError::io(path, source))?;
    let mut weights = BTreeMap::new();
    for tensor in planned {
        weights.insert(tensor.source.clone(), tensor.fetch(fetch)?);
    }
    let beside = path.parent().unwrap_or(path);
    let model = with_weights(&bytes, beside, &weights).map_err(|error| ArtifactError::Weight {
        name: path.display().to_string(),
        message: error.to_string(),
    })?;
    pending.write(ONNX, |writer| Ok(writer.write_all(&model)?))
}

pub(super) fn write_json(writer: &mut dyn Write, value: impl Into<Value>) -> std::io::Result<()> {
    serde_json::to_writer_pretty(&mut *writer, &value.into())?;
    writer.write_all(b"\n")
}

fn plan(source: &Checkpoint, parameter: &Parameter, weights: WeightType) -> Planned {
    let (name, stored) = match source.find(&parameter.name) {
        Some((name, tensor)) => (name, tensor.stored),
        None => (parameter.name.as_str(), StoredType::F32),
    };
    Planned {
        source: parameter.name.clone(),
        name: name.to_owned(),
        shape: parameter.shape.clone(),
        stored: match weights {
            WeightType::F32 => StoredType::F32,
            WeightType::Source => stored,
        },
    }
}

/// The source's configuration, with the type of the weights that are written: readers take it for theirs.
fn config(source: &Checkpoint, weights: WeightType) -> Map<String, Value> {
    let mut config = source.config().clone();
    let known = ["dtype", "torch_dtype"]
        .into_iter()
        .filter(|key| config.contains_key(*key));
    let keys: Vec<&str> = known.collect();
    if weights == WeightType::F32 {
        for key in keys {
            config.insert(key.into(), StoredType::F32.config_name().into());
        }
    }
    config
}

/// Tensors file by file; one that is larger than the limit has a file of its own.
fn shards(planned: Vec<Planned>, limit: usize) -> Result<Vec<Vec<Planned>>, ArtifactError> {
    let mut shards: Vec<Vec<Planned>> = vec![Vec::new()];
    let mut filled = 0_usize;
    for tensor in planned {
        let bytes = tensor.bytes()?;
        if filled > 0 && filled.saturating_add(bytes) > limit {
            shards.push(Vec::new());
            filled = 0;
        }
        filled = filled.saturating_add(bytes);
        if let Some(last) = shards.last_mut() {
            last.push(tensor);
        }
    }
    Ok(shards)
}
