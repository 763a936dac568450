//! Bounds a model before it is decoded.
//!
//! A message of two bytes becomes a structure of hundreds, so a small file could ask for a great deal of memory. The messages in the
//! file are counted first, without decoding them: the walk knows only which fields hold messages.

use super::ImportError;

/// Messages that a model may have; a node has about ten.
const MESSAGES: usize = 1_000_000;
/// Depth of messages in messages: a graph within a node within a graph is 4 more.
const DEPTH: usize = 32;

/// Messages of `onnx/onnx.proto` that hold others.
#[derive(Clone, Copy)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    ValueInfo,
    Type,
    TensorType,
    Shape,
    Function,
    Leaf,
}

impl Kind {
    /// The kind of message that a field holds, if it holds one.
    fn of_field(self, field: u64) -> Option<Self> {
        match (self, field) {
            (Self::Model, 7) | (Self::Attribute, 6 | 11) => Some(Self::Graph),
            (Self::Model, 25) => Some(Self::Function),
            (Self::Graph, 1) | (Self::Function, 7) => Some(Self::Node),
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) => Some(Self::Tensor),
            (Self::Graph, 11..=13) | (Self::Function, 12) => Some(Self::ValueInfo),
            (Self::Node, 5) | (Self::Function, 11) => Some(Self::Attribute),
            (Self::ValueInfo, 2) => Some(Self::Type),
            (Self::Type, 1) => Some(Self::TensorType),
            (Self::TensorType, 2) => Some(Self::Shape),
            (Self::Model, 8 | 14)
            | (Self::Graph, 16)
            | (Self::Tensor, 13 | 16)
            | (Self::Function, 9 | 14)
            | (Self::ValueInfo, 4)
            | (Self::Shape, 1) => Some(Self::Leaf),
            // Strings and byte strings, each of which becomes a structure, too.
            (Self::Node, 1 | 2 | 9) | (Self::Attribute, 9) | (Self::Tensor, 6) | (Self::Function, 4..=6) => {
                Some(Self::Leaf)
            }
            _ => None,
        }
    }
}

/// Checks that the bytes are a bounded number of messages.
pub(super) fn check(bytes: &[u8]) -> Result<(), ImportError> {
    let mut count = 0;
    walk(bytes, Kind::Model, 0, &mut count)
}

fn walk(mut bytes: &[u8], kind: Kind, depth: usize, count: &mut usize) -> Result<(), ImportError> {
    *count += 1;
    if *count > MESSAGES {
        return Err(too_large("too many messages in the model", MESSAGES));
    }
    if depth > DEPTH {
        return Err(too_large("messages in the model are nested too deeply", DEPTH));
    }
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        match key & 7 {
            0 => {
                varint(&mut bytes)?;
            }
            1 => {
                take(&mut bytes, 8)?;
            }
            5 => {
                take(&mut bytes, 4)?;
            }
            2 => {
                let length = varint(&mut bytes)?;
                let inner = take(&mut bytes, length)?;
                match kind.of_field(key >> 3) {
                    Some(Kind::Leaf) => walk(&[], Kind::Leaf, depth + 1, count)?,
                    Some(kind) => walk(inner, kind, depth + 1, count)?,
                    None => {}
                }
            }
            wire_type => return Err(ImportError::Decode(format!("there is no wire type {wire_type}"))),
        }
    }
    Ok(())
}

fn varint(bytes: &mut &[u8]) -> Result<u64, ImportError> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or_else(truncated)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(ImportError::Decode("a number has more than 64 bits".into()))
}

fn take<'a>(bytes: &mut &'a [u8], length: u64) -> Result<&'a [u8], ImportError> {
    let length = usize::try_from(length).map_err(|_| truncated())?;
    let (taken, rest) = bytes.split_at_checked(length).ok_or_else(truncated)?;
    *bytes = rest;
    Ok(taken)
}

fn truncated() -> ImportError {
    ImportError::Decode("the file ends within a message".into())
}

fn too_large(what: &str, limit: usize) -> ImportError {
    let what = what.to_owned();
    ImportError::TooLarge { what, limit }
}
