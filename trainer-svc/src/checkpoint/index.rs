//! Weights in shards: `model.safetensors.index.json` says which file holds which tensor.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{CheckpointError, Folder, INDEX, TensorFile, Weights, shown};

/// Longest index that is read.
const MAX_INDEX: u64 = 32 << 20;
/// Most files that weights are spread over.
const MAX_SHARDS: usize = 10_000;

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Files and tensors of a sharded checkpoint, `None` if there is no index.
pub(super) fn read(folder: &Folder) -> Result<Option<Weights>, CheckpointError> {
    let Some(bytes) = folder.read(INDEX, MAX_INDEX)? else {
        return Ok(None);
    };
    let refuse = |message: String| CheckpointError::File {
        path: folder.path().join(INDEX),
        message,
    };
    let index: Index = serde_json::from_slice(&bytes).map_err(|error| refuse(format!("is no index: {error}")))?;
    let mut shards: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (tensor, file) in &index.weight_map {
        shards.entry(file).or_default().push(tensor);
    }
    if shards.len() > MAX_SHARDS {
        return Err(refuse(format!("names {} files, more than {MAX_SHARDS}", shards.len())));
    }
    let (mut files, mut tensors) = (Vec::new(), BTreeMap::new());
    for (name, members) in shards {
        if !name.ends_with(".safetensors") {
            return Err(refuse(format!("names {}, which is no safetensors file", shown(name))));
        }
        let path = folder
            .file(name)?
            .ok_or_else(|| refuse(format!("names the file {}, which is not there", shown(name))))?;
        let mut shard = TensorFile::open(&path)?;
        for member in members {
            let tensor = shard
                .tensors
                .remove(member)
                .ok_or_else(|| refuse(format!("puts {} into {}, which lacks it", shown(member), shown(name))))?;
            tensors.insert(member.to_owned(), (files.len(), tensor));
        }
        files.push(path);
    }
    Ok(Some((files, tensors)))
}
