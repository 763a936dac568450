//! Tensors of a model file.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Component, Path, PathBuf};

use half::{bf16, f16};

use super::super::data_type;
use super::super::proto::TensorProto;
use super::ImportError;
use crate::tensor::{ElementType, Elements, HostTensor, element_count};

/// A weight: its elements, or where they are.
#[derive(Debug, Clone, PartialEq)]
pub enum Weight {
    /// In the model file.
    Held(HostTensor),
    /// In a file beside it.
    External(External),
}

impl Weight {
    pub(in crate::graph::onnx) fn read(proto: &TensorProto) -> Result<Self, ImportError> {
        if proto.data_location() == EXTERNAL {
            External::new(proto).map(Self::External)
        } else {
            read(proto).map(Self::Held)
        }
    }

    /// Its extents.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::Held(tensor) => tensor.shape(),
            Self::External(external) => &external.shape,
        }
    }

    /// Type of its elements; 16-bit floats are widened to f32.
    #[must_use]
    pub fn element_type(&self) -> ElementType {
        match self {
            Self::Held(tensor) => tensor.element_type(),
            Self::External(external) => element(external.stored).unwrap_or(ElementType::F32),
        }
    }

    /// Its elements; `folder` is the model file's.
    ///
    /// # Errors
    /// The file beside the model cannot be read, lies outside the folder, or is too short.
    pub fn tensor(&self, folder: &Path) -> Result<HostTensor, ImportError> {
        match self {
            Self::Held(tensor) => Ok(tensor.clone()),
            Self::External(external) => external.read(folder),
        }
    }
}

/// Elements in a file beside the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct External {
    name: String,
    location: PathBuf,
    offset: u64,
    shape: Vec<usize>,
    /// `TensorProto.DataType`
    stored: i32,
    bytes: usize,
}

/// `TensorProto.DataLocation`
const EXTERNAL: i32 = 1;

impl External {
    fn new(proto: &TensorProto) -> Result<Self, ImportError> {
        let wrong = |message: String| malformed(proto, message);
        let entry = |key: &str| {
            let found = proto.external_data.iter().find(|entry| entry.key() == key);
            found.map(|entry| entry.value().to_owned())
        };
        let number = |key: &str| {
            let text = entry(key);
            text.map(|text| {
                text.parse::<u64>()
                    .map_err(|_| wrong(format!("has the {key} {text:?}")))
            })
            .transpose()
        };
        let location = entry("location").ok_or_else(|| wrong("does not say in which file it is".into()))?;
        let plain = |component: Component<'_>| matches!(component, Component::Normal(_) | Component::CurDir);
        let path = PathBuf::from(&location);
        if location.is_empty() || location.contains(['\\', ':', '\0']) || !path.components().all(plain) {
            return Err(wrong(format!(
                "is said to be at {location:?}, which is not below the model's folder"
            )));
        }
        let bytes = byte_count(proto)?;
        if number("length")?.is_some_and(|length| length != bytes as u64) {
            return Err(wrong(format!(
                "needs {bytes} bytes and is said to have {:?}",
                entry("length")
            )));
        }
        Ok(Self {
            name: proto.name().to_owned(),
            location: path,
            offset: number("offset")?.unwrap_or(0),
            shape: shape(proto)?,
            stored: proto.data_type(),
            bytes,
        })
    }

    /// The file, relative to the model's folder.
    #[must_use]
    pub fn location(&self) -> &Path {
        &self.location
    }

    fn read(&self, folder: &Path) -> Result<HostTensor, ImportError> {
        let wrong = |message: String| ImportError::Tensor {
            name: self.name.clone(),
            message,
        };
        let failed = |error: std::io::Error| wrong(format!("cannot be read from {}: {error}", self.location.display()));
        // A link could lead out of the folder.
        let root = folder.canonicalize().map_err(failed)?;
        let path = root.join(&self.location).canonicalize().map_err(failed)?;
        if !path.starts_with(&root) {
            return Err(wrong(format!(
                "is at {}, which leads out of the model's folder",
                self.location.display()
            )));
        }
        let mut file = File::open(path).map_err(failed)?;
        let available = file.metadata().map_err(failed)?.len();
        if self
            .offset
            .checked_add(self.bytes as u64)
            .is_none_or(|end| end > available)
        {
            let name = self.location.display();
            return Err(wrong(format!(
                "needs {} bytes from {} on, {name} has {available}",
                self.bytes, self.offset
            )));
        }
        file.seek(SeekFrom::Start(self.offset)).map_err(failed)?;
        let mut bytes = vec![0; self.bytes];
        file.read_exact(&mut bytes).map_err(failed)?;
        let elements =
            from_bytes(self.stored, &bytes).ok_or_else(|| wrong("has elements of an unknown type".into()))?;
        HostTensor::new(self.shape.clone(), elements).map_err(|error| wrong(error.to_string()))
    }
}

/// Our type for a `TensorProto.DataType`; 16-bit floats are widened, 8-bit integers, too.
pub(super) fn element(number: i32) -> Option<ElementType> {
    match number {
        data_type::FLOAT | data_type::FLOAT16 | data_type::BFLOAT16 => Some(ElementType::F32),
        data_type::DOUBLE => Some(ElementType::F64),
        data_type::INT64 => Some(ElementType::I64),
        data_type::INT32 | data_type::INT8 | data_type::UINT8 => Some(ElementType::I32),
        data_type::BOOL => Some(ElementType::Bool),
        _ => None,
    }
}

/// Floats of more than one element.
pub(super) fn is_weight(proto: &TensorProto) -> bool {
    element(proto.data_type()).is_some_and(ElementType::is_float) && count(proto) != Some(1)
}

/// How many elements it says it has.
pub(super) fn count(proto: &TensorProto) -> Option<usize> {
    shape(proto).ok().and_then(|shape| element_count(&shape))
}

/// A tensor held in the model file. Its elements are there: what it says of itself cannot make it larger than the file.
pub(super) fn read(proto: &TensorProto) -> Result<HostTensor, ImportError> {
    if proto.data_location() == EXTERNAL {
        return Err(malformed(proto, "is a constant, and must be in the model file".into()));
    }
    let shape = shape(proto)?;
    let wanted = byte_count(proto)?;
    let elements = match &proto.raw_data {
        Some(bytes) if bytes.len() == wanted => from_bytes(proto.data_type(), bytes),
        Some(bytes) => {
            let message = format!("has the shape {shape:?} and {} bytes, not {wanted}", bytes.len());
            return Err(malformed(proto, message));
        }
        None => typed(proto),
    };
    let elements = elements.ok_or_else(|| malformed(proto, "has elements that are not of its type".into()))?;
    if elements.is_empty() && volume(&shape).is_none_or(|volume| volume > EMPTY_VOLUME) {
        return Err(malformed(proto, format!("has no elements and the extents {shape:?}")));
    }
    HostTensor::new(shape, elements).map_err(|error| malformed(proto, error.to_string()))
}

fn shape(proto: &TensorProto) -> Result<Vec<usize>, ImportError> {
    let extent =
        |&extent: &i64| usize::try_from(extent).map_err(|_| malformed(proto, format!("has the extent {extent}")));
    let shape = proto.dims.iter().map(extent).collect::<Result<Vec<_>, _>>()?;
    match volume(&shape) {
        Some(volume) if volume <= VOLUME => Ok(shape),
        _ => Err(malformed(
            proto,
            format!("has the extents {shape:?}, the limit is {VOLUME} elements"),
        )),
    }
}

/// Largest volume of a tensor without elements.
const EMPTY_VOLUME: usize = 1 << 20;
/// Largest volume of any tensor.
pub(super) const VOLUME: usize = 1 << 40;

/// The product of the extents where zeros count as ones: it bounds every product of some of them.
pub(super) fn volume(shape: &[usize]) -> Option<usize> {
    shape
        .iter()
        .try_fold(1_usize, |volume, &extent| volume.checked_mul(extent.max(1)))
}

/// Bytes of its elements as they are stored.
fn byte_count(proto: &TensorProto) -> Result<usize, ImportError> {
    let size = match proto.data_type() {
        data_type::BOOL | data_type::INT8 | data_type::UINT8 => 1,
        data_type::FLOAT16 | data_type::BFLOAT16 => 2,
        data_type::FLOAT | data_type::INT32 => 4,
        data_type::DOUBLE | data_type::INT64 => 8,
        other => {
            return Err(malformed(
                proto,
                format!("has elements of type {other}, which are not known"),
            ));
        }
    };
    let bytes = count(proto)
        .and_then(|count| count.checked_mul(size))
        .filter(|&bytes| isize::try_from(bytes).is_ok());
    bytes.ok_or_else(|| {
        malformed(
            proto,
            format!("has the extents {:?}, more than memory holds", proto.dims),
        )
    })
}

fn malformed(proto: &TensorProto, message: String) -> ImportError {
    ImportError::Tensor {
        name: proto.name().to_owned(),
        message,
    }
}

fn from_bytes(number: i32, bytes: &[u8]) -> Option<Elements> {
    fn each<const N: usize, T>(bytes: &[u8], of: impl Fn([u8; N]) -> T) -> Vec<T> {
        bytes.as_chunks::<N>().0.iter().map(|&chunk| of(chunk)).collect()
    }
    Some(match number {
        data_type::FLOAT => Elements::F32(each(bytes, f32::from_le_bytes)),
        data_type::FLOAT16 => Elements::F32(each(bytes, |chunk| f16::from_le_bytes(chunk).to_f32())),
        data_type::BFLOAT16 => Elements::F32(each(bytes, |chunk| bf16::from_le_bytes(chunk).to_f32())),
        data_type::DOUBLE => Elements::F64(each(bytes, f64::from_le_bytes)),
        data_type::INT64 => Elements::I64(each(bytes, i64::from_le_bytes)),
        data_type::INT32 => Elements::I32(each(bytes, i32::from_le_bytes)),
        data_type::INT8 => Elements::I32(each(bytes, |[byte]: [u8; 1]| i32::from(i8::from_le_bytes([byte])))),
        data_type::UINT8 => Elements::I32(each(bytes, |[byte]: [u8; 1]| i32::from(byte))),
        data_type::BOOL => Elements::Bool(each(bytes, |[byte]: [u8; 1]| byte != 0)),
        _ => return None,
    })
}

/// Elements in the typed fields. 16-bit floats lie as bits in `int32_data`, as small integers and booleans do.
fn typed(proto: &TensorProto) -> Option<Elements> {
    let ints = &proto.int32_data;
    let bits = |of: fn(u16) -> f32| -> Option<Vec<f32>> {
        ints.iter().map(|&bits| u16::try_from(bits).ok().map(of)).collect()
    };
    Some(match proto.data_type() {
        data_type::FLOAT => Elements::F32(proto.float_data.clone()),
        data_type::FLOAT16 => Elements::F32(bits(|bits| f16::from_bits(bits).to_f32())?),
        data_type::BFLOAT16 => Elements::F32(bits(|bits| bf16::from_bits(bits).to_f32())?),
        data_type::DOUBLE => Elements::F64(proto.double_data.clone()),
        data_type::INT64 => Elements::I64(proto.int64_data.clone()),
        data_type::INT32 | data_type::INT8 | data_type::UINT8 => Elements::I32(ints.clone()),
        data_type::BOOL => Elements::Bool(ints.iter().map(|&bit| bit != 0).collect()),
        _ => return None,
    })
}
