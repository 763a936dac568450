//! Safetensors files, written tensor by tensor. The format is described at [`crate::checkpoint`].

use std::io::Write;

use serde_json::{Map, Value, json};

use super::folder::WriteError;
use super::{ArtifactError, Fetch};
use crate::checkpoint::StoredType;
use crate::tensor::{ElementType, HostTensor, element_count};

/// Elements converted at once.
const CHUNK: usize = 1 << 18;

/// A tensor that is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Planned {
    /// Name by which it is fetched.
    pub(super) source: String,
    /// Name in the file.
    pub(super) name: String,
    /// Its extents.
    pub(super) shape: Vec<usize>,
    /// Type of its elements in the file: a float.
    pub(super) stored: StoredType,
}

impl Planned {
    /// Bytes in the file.
    pub(super) fn bytes(&self) -> Result<usize, ArtifactError> {
        let width = self.stored.float_bytes();
        let count = element_count(&self.shape);
        let bytes = width.zip(count).and_then(|(width, count)| width.checked_mul(count));
        bytes.ok_or_else(|| self.refuse(format!("{:?} of {} cannot be written", self.shape, self.stored.name())))
    }

    /// The tensor, which must be what was planned.
    pub(super) fn fetch(&self, fetch: &mut Fetch<'_>) -> Result<HostTensor, ArtifactError> {
        let tensor = fetch(&self.source).map_err(|error| self.refuse(error.to_string()))?;
        if tensor.element_type() == ElementType::F32 && tensor.shape() == self.shape {
            return Ok(tensor);
        }
        let (element, shape) = (tensor.element_type(), tensor.shape());
        Err(self.refuse(format!("is {element:?} {shape:?}, wanted F32 {:?}", self.shape)))
    }

    fn refuse(&self, message: String) -> ArtifactError {
        ArtifactError::Weight {
            name: self.source.clone(),
            message,
        }
    }
}

/// Writes a file of these tensors.
pub(super) fn write(writer: &mut dyn Write, tensors: &[Planned], fetch: &mut Fetch<'_>) -> Result<(), WriteError> {
    let header = header(tensors).map_err(WriteError::Other)?;
    writer.write_all(&(header.len() as u64).to_le_bytes())?;
    writer.write_all(&header)?;
    let mut bytes = Vec::new();
    for planned in tensors {
        let tensor = planned.fetch(fetch).map_err(WriteError::Other)?;
        let elements = tensor.as_f32().unwrap_or_default();
        for chunk in elements.chunks(CHUNK) {
            bytes.clear();
            planned.stored.store(chunk, &mut bytes);
            writer.write_all(&bytes)?;
        }
    }
    Ok(())
}

fn header(tensors: &[Planned]) -> Result<Vec<u8>, ArtifactError> {
    let mut entries = Map::new();
    // Some readers want to know which framework the names come from.
    entries.insert("__metadata__".into(), json!({"format": "pt"}));
    let mut begin = 0_usize;
    for planned in tensors {
        let end = begin.saturating_add(planned.bytes()?);
        let entry = json!({
            "dtype": planned.stored.name(),
            "shape": planned.shape,
            "data_offsets": [begin, end],
        });
        if entries.insert(planned.name.clone(), entry).is_some() {
            return Err(planned.refuse(format!("{} would be written twice", planned.name)));
        }
        begin = end;
    }
    let mut header = Value::Object(entries).to_string().into_bytes();
    // Tensors begin at a multiple of 8 bytes.
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(header)
}
