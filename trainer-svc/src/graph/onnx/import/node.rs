//! A node of a model while it is translated: its attributes and inputs, and how a translation can end.

use std::rc::Rc;

use super::super::proto::{AttributeProto, NodeProto, TensorProto};
use super::ImportError;
use crate::graph::{GraphError, ValueId};
use crate::tensor::{Elements, HostTensor};

/// What is known of a value of the model.
#[derive(Debug, Clone)]
pub(super) enum Symbol {
    /// It is computed when the graph runs.
    Value(ValueId),
    /// It is known now.
    Constant(Rc<HostTensor>),
    /// A node that is not within the core makes it.
    Unknown,
}

/// Why a node was not translated.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It is outside the core. All such nodes are listed.
    Unsupported(String),
    /// It makes no sense.
    Malformed(String),
    /// Something is too large.
    Failed(ImportError),
}

impl From<GraphError> for Refusal {
    fn from(error: GraphError) -> Self {
        Self::Malformed(error.to_string())
    }
}

pub(super) fn unsupported<T>(message: &str) -> Result<T, Refusal> {
    Err(Refusal::Unsupported(message.to_owned()))
}

pub(super) fn malformed<T>(message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Malformed(message.into()))
}

/// A node with what is known of its inputs.
pub(super) struct Site<'a> {
    pub(super) proto: &'a NodeProto,
    pub(super) opset: i64,
    /// Absent: left out.
    pub(super) inputs: Vec<Option<Symbol>>,
}

impl Site<'_> {
    pub(super) fn op(&self) -> &str {
        self.proto.op_type()
    }

    fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.proto.attribute.iter().find(|attribute| attribute.name() == name)
    }

    pub(super) fn int(&self, name: &str) -> Option<i64> {
        self.attribute(name)?.i
    }

    pub(super) fn ints(&self, name: &str) -> Option<&[i64]> {
        self.attribute(name).map(|attribute| attribute.ints.as_slice())
    }

    pub(super) fn float(&self, name: &str) -> Option<f32> {
        self.attribute(name)?.f
    }

    pub(super) fn floats(&self, name: &str) -> Option<&[f32]> {
        self.attribute(name).map(|attribute| attribute.floats.as_slice())
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.attribute(name)?.s()).ok()
    }

    pub(super) fn tensor(&self, name: &str) -> Option<&TensorProto> {
        self.attribute(name)?.t.as_ref()
    }

    pub(super) fn symbol(&self, index: usize) -> Option<&Symbol> {
        self.inputs.get(index)?.as_ref()
    }

    /// An input that is known now.
    pub(super) fn constant(&self, index: usize) -> Option<&HostTensor> {
        match self.symbol(index)? {
            Symbol::Constant(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// Is there such an input at all?
    pub(super) fn has(&self, index: usize) -> bool {
        self.symbol(index).is_some()
    }

    /// A list that is an attribute in older operator sets and an input in newer ones. Absent if neither is there.
    pub(super) fn list(&self, attribute: &str, input: usize) -> Result<Option<Vec<i64>>, Refusal> {
        if self.has(input) {
            let Some(tensor) = self.constant(input) else {
                return Err(Refusal::Unsupported(format!(
                    "its {attribute} are known only when it runs"
                )));
            };
            return match integers(tensor) {
                Some(list) => Ok(Some(list)),
                None => malformed(format!("its {attribute} are no integers")),
            };
        }
        Ok(self.ints(attribute).map(<[i64]>::to_vec))
    }
}

/// The elements, if they are integers.
pub(super) fn integers(tensor: &HostTensor) -> Option<Vec<i64>> {
    match tensor.elements() {
        Elements::I64(elements) => Some(elements.clone()),
        Elements::I32(elements) => Some(elements.iter().map(|&x| i64::from(x)).collect()),
        _ => None,
    }
}

/// The only element, if it is a number.
pub(super) fn single(tensor: &HostTensor) -> Option<f64> {
    match tensor.elements() {
        Elements::F32(elements) => only(elements).map(f64::from),
        Elements::F64(elements) => only(elements),
        Elements::I64(elements) => only(elements).map(|x| x as f64),
        Elements::I32(elements) => only(elements).map(f64::from),
        Elements::Bool(_) => None,
    }
}

fn only<T: Copy>(elements: &[T]) -> Option<T> {
    match elements {
        [element] => Some(*element),
        _ => None,
    }
}

/// An axis counted from the front; negative ones count from the end.
pub(super) fn axis(axis: i64, rank: usize) -> Result<usize, Refusal> {
    let rank = i64::try_from(rank).unwrap_or(i64::MAX);
    let counted = if axis < 0 { axis.saturating_add(rank) } else { axis };
    match usize::try_from(counted) {
        Ok(index) if counted < rank => Ok(index),
        _ => malformed(format!("there is no axis {axis} in {rank}")),
    }
}

/// Different axes, ascending.
pub(super) fn axes(list: &[i64], rank: usize) -> Result<Vec<usize>, Refusal> {
    let mut axes = list
        .iter()
        .map(|&item| axis(item, rank))
        .collect::<Result<Vec<_>, _>>()?;
    axes.sort_unstable();
    if axes.windows(2).any(|pair| pair[0] == pair[1]) {
        return malformed(format!("an axis is named twice in {list:?}"));
    }
    Ok(axes)
}

/// Extents, none negative.
pub(super) fn extents(list: &[i64]) -> Result<Vec<usize>, Refusal> {
    let extent = |&item: &i64| usize::try_from(item).or_else(|_| malformed(format!("there is no extent {item}")));
    list.iter().map(extent).collect()
}
