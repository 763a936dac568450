//! A model file with other weights.

use std::collections::BTreeMap;
use std::path::Path;

use prost::Message as _;

use super::import::{ImportError, Weight};
use super::proto::{ModelProto, TensorProto};
use super::{data_type, import};
use crate::checkpoint::StoredType;
use crate::tensor::HostTensor;

/// The format's own limit.
const MAX_FILE: usize = (2 << 30) - 1;

/// The same model with these weights, f32, which keep the types that they have in the file. All weights are in the new file, also those
/// that were in files of `folder`, beside the old one.
///
/// # Errors
/// The model cannot be decoded, a weight has another shape, a file beside the model cannot be read, or the result would be larger than
/// the format allows.
pub fn with_weights(
    bytes: &[u8],
    folder: &Path,
    weights: &BTreeMap<String, HostTensor>,
) -> Result<Vec<u8>, ImportError> {
    let mut model = import::decode(bytes)?;
    let graph = model.graph.as_mut().ok_or(ImportError::NoGraph)?;
    let constants = graph.node.iter_mut().flat_map(|node| {
        let name = node.output.first().cloned().unwrap_or_default();
        let held = node.attribute.iter_mut().filter_map(|attribute| attribute.t.as_mut());
        held.map(move |tensor| (name.clone(), tensor))
    });
    let initializers = graph
        .initializer
        .iter_mut()
        .map(|tensor| (tensor.name().to_owned(), tensor));
    for (name, proto) in initializers.chain(constants) {
        if let Some(tensor) = weights.get(&name) {
            write(proto, tensor)?;
        } else if proto.data_location() != 0 {
            let tensor = Weight::read(proto)?.tensor(folder)?;
            write(proto, &tensor)?;
        }
    }
    encode(&model)
}

fn encode(model: &ModelProto) -> Result<Vec<u8>, ImportError> {
    if model.encoded_len() > MAX_FILE {
        let what = "the bytes of the model with its weights".to_owned();
        return Err(ImportError::TooLarge { what, limit: MAX_FILE });
    }
    Ok(model.encode_to_vec())
}

fn write(proto: &mut TensorProto, tensor: &HostTensor) -> Result<(), ImportError> {
    let wrong = |message: String| ImportError::Tensor {
        name: proto.name().to_owned(),
        message,
    };
    let extents = |shape: &[usize]| -> Vec<i64> { shape.iter().filter_map(|&x| i64::try_from(x).ok()).collect() };
    let stored = match proto.data_type() {
        data_type::FLOAT => StoredType::F32,
        data_type::DOUBLE => StoredType::F64,
        data_type::FLOAT16 => StoredType::F16,
        data_type::BFLOAT16 => StoredType::Bf16,
        other => return Err(wrong(format!("has elements of type {other}, no floats"))),
    };
    let Some(elements) = tensor.as_f32().filter(|_| extents(tensor.shape()) == proto.dims) else {
        let found = tensor.shape();
        return Err(wrong(format!(
            "has the extents {:?}, it cannot become {found:?} of f32",
            proto.dims
        )));
    };
    let mut bytes = Vec::new();
    stored.store(elements, &mut bytes);
    *proto = TensorProto {
        dims: std::mem::take(&mut proto.dims),
        data_type: proto.data_type,
        name: proto.name.take(),
        raw_data: Some(bytes),
        ..TensorProto::default()
    };
    Ok(())
}
