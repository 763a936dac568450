//! An ONNX model as a graph of the operator core.
//!
//! Extents that the model leaves open are bound to numbers, so that all shapes are known: what exporters compute with shapes is
//! evaluated while the graph is built ([`fold`]), and what is left is rewritten in operators of the core ([`rewrite`]). Files are not
//! trusted: sizes are bounded before anything is allocated, and every number that is used as an index is checked.

mod build;
mod error;
mod fold;
mod node;
mod rewrite;
mod shape;
mod tensor;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;

pub use self::error::ImportError;
pub use self::tensor::{External, Weight};
use super::proto::{GraphProto, ModelProto, OperatorSetIdProto, TensorProto, ValueInfoProto};
use crate::graph::{Graph, ValueId};
use crate::tensor::{ElementType, HostTensor};

/// Versions of the standard's operators that are understood.
const OPSETS: std::ops::RangeInclusive<i64> = 9..=25;
/// Constants of floats with more elements than this are weights, even if they are not among the initializers.
const LARGE_CONSTANT: usize = 4096;

/// What a model's names stand for in one graph.
#[derive(Debug, Clone, Default)]
pub struct Bindings {
    /// Numbers for named extents, e.g. `batch_size`.
    pub extents: BTreeMap<String, usize>,
    /// Whole shapes of inputs, by input; they go before [`Self::extents`].
    pub shapes: BTreeMap<String, Vec<usize>>,
    /// Inputs that are always the same, e.g. an attention mask of ones: they are folded into the graph.
    pub constants: BTreeMap<String, HostTensor>,
    /// Inputs and weights that the graph already has.
    pub values: BTreeMap<String, ValueId>,
}

/// One extent of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extent {
    /// A number.
    Fixed(usize),
    /// A name that [`Bindings::extents`] gives a number to.
    Named(String),
    /// Neither: [`Bindings::shapes`] must say.
    Open,
}

/// An input as the model declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputInfo {
    /// Its name.
    pub name: String,
    /// Type of its elements; 16-bit floats are widened to f32.
    pub element: ElementType,
    /// Its extents; absent where the model does not even say how many there are.
    pub shape: Option<Vec<Extent>>,
}

/// An ONNX file that was read and whose parts are known to fit together; not yet a graph.
#[derive(Debug, Clone)]
pub struct Model {
    graph: GraphProto,
    opset: i64,
    inputs: Vec<InputInfo>,
    weights: BTreeMap<String, Weight>,
    constants: BTreeMap<String, HostTensor>,
}

/// What [`Model::build`] added to a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// Inputs that were not bound to constants, by name.
    pub inputs: BTreeMap<String, ValueId>,
    /// Weights that a node reads, by name: inputs of the graph.
    pub weights: BTreeMap<String, ValueId>,
    /// Outputs, by name. They are not marked as outputs of the graph.
    pub outputs: BTreeMap<String, ValueId>,
}

/// A model as a graph of its own.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The graph.
    pub graph: Graph,
    /// Weights that it reads, by the name of its input.
    pub weights: BTreeMap<String, Weight>,
    /// Inputs, by name, without the weights.
    pub inputs: BTreeMap<String, ValueId>,
    /// Outputs, by name; they are not marked as outputs.
    pub outputs: BTreeMap<String, ValueId>,
}

/// Reads a model and builds its graph.
///
/// # Errors
/// As for [`Model::decode`] and [`Model::build`].
pub fn import(bytes: &[u8], bindings: &Bindings) -> Result<Imported, ImportError> {
    let mut model = Model::decode(bytes)?;
    let mut graph = Graph::new();
    let built = model.build(&mut graph, bindings)?;
    model.weights.retain(|name, _| built.weights.contains_key(name));
    Ok(Imported {
        graph,
        weights: model.weights,
        inputs: built.inputs,
        outputs: built.outputs,
    })
}

/// The message, of bytes that nobody has checked.
pub(super) fn decode(bytes: &[u8]) -> Result<ModelProto, ImportError> {
    wire::check(bytes)?;
    ModelProto::decode(bytes).map_err(|error| ImportError::Decode(error.to_string()))
}

impl Model {
    /// Reads a model. Floats of more than one element among its initializers are weights; all other tensors are constants.
    ///
    /// # Errors
    /// The bytes are no such model, are of operators too old or new, or hold tensors whose sizes do not fit.
    pub fn decode(bytes: &[u8]) -> Result<Self, ImportError> {
        let mut model = decode(bytes)?;
        let opset = model
            .opset_import
            .iter()
            .find(|set| matches!(set.domain(), "" | "ai.onnx"))
            .map(OperatorSetIdProto::version);
        let opset = opset
            .filter(|version| OPSETS.contains(version))
            .ok_or(ImportError::Opset {
                found: opset,
                known: OPSETS,
            })?;
        let mut graph = model.graph.take().ok_or(ImportError::NoGraph)?;
        let mut weights = BTreeMap::new();
        let mut constants = BTreeMap::new();
        let initializers = std::mem::take(&mut graph.initializer);
        for proto in initializers.into_iter().chain(large_constants(&mut graph)) {
            let name = proto.name().to_owned();
            if name.is_empty() || weights.contains_key(&name) || constants.contains_key(&name) {
                return Err(ImportError::Duplicate(name));
            }
            if tensor::is_weight(&proto) {
                weights.insert(name, Weight::read(&proto)?);
            } else {
                constants.insert(name, tensor::read(&proto)?);
            }
        }
        let mut inputs = Vec::new();
        let mut seen = BTreeSet::new();
        for info in graph
            .input
            .iter()
            .filter(|info| !weights.contains_key(info.name()) && !constants.contains_key(info.name()))
        {
            if !seen.insert(info.name()) {
                return Err(ImportError::Duplicate(info.name().to_owned()));
            }
            inputs.push(input_info(info)?);
        }
        Ok(Self {
            graph,
            opset,
            inputs,
            weights,
            constants,
        })
    }

    /// Its inputs, in its order, without the initializers.
    #[must_use]
    pub fn inputs(&self) -> &[InputInfo] {
        &self.inputs
    }

    /// Names of its outputs, in its order.
    pub fn outputs(&self) -> impl Iterator<Item = &str> {
        self.graph.output.iter().map(ValueInfoProto::name)
    }

    /// All weights, read by a node or not.
    #[must_use]
    pub fn weights(&self) -> &BTreeMap<String, Weight> {
        &self.weights
    }

    /// Adds the model to a graph: its inputs and the weights that it reads as inputs (unless they are bound), then its nodes.
    ///
    /// # Errors
    /// [`ImportError::Unsupported`] lists all nodes that the operator core cannot express; the others say what does not fit together.
    pub fn build(&self, graph: &mut Graph, bindings: &Bindings) -> Result<Built, ImportError> {
        build::build(self, graph, bindings)
    }
}

/// Large float constants among the nodes, taken out and named by what they made.
fn large_constants(graph: &mut GraphProto) -> Vec<TensorProto> {
    let mut found = Vec::new();
    graph.node.retain_mut(|node| {
        let is_constant = node.op_type() == "Constant" && matches!(node.domain(), "" | "ai.onnx");
        let (true, [output], [attribute]) = (is_constant, node.output.as_slice(), node.attribute.as_mut_slice()) else {
            return true;
        };
        let large = attribute.t.as_ref().is_some_and(|proto| {
            tensor::is_weight(proto) && tensor::count(proto).is_none_or(|count| count > LARGE_CONSTANT)
        });
        if large && let Some(mut proto) = attribute.t.take() {
            proto.name = Some(output.clone());
            found.push(proto);
            return false;
        }
        true
    });
    found
}

fn input_info(info: &ValueInfoProto) -> Result<InputInfo, ImportError> {
    let wrong = |message: String| ImportError::Input {
        name: info.name().to_owned(),
        message,
    };
    let tensor_type = info.r#type.as_ref().and_then(|of| of.tensor_type.as_ref());
    let tensor_type = tensor_type.ok_or_else(|| wrong("is no tensor".into()))?;
    let number = tensor_type.elem_type();
    let element =
        tensor::element(number).ok_or_else(|| wrong(format!("has elements of type {number}, which are not known")))?;
    let mut shape = None;
    if let Some(declared) = &tensor_type.shape {
        let mut extents = Vec::new();
        for dimension in &declared.dim {
            extents.push(match (dimension.dim_value, &dimension.dim_param) {
                (Some(value), _) => {
                    let extent = usize::try_from(value).map_err(|_| wrong(format!("has the extent {value}")))?;
                    Extent::Fixed(extent)
                }
                (None, Some(name)) if !name.is_empty() => Extent::Named(name.clone()),
                _ => Extent::Open,
            });
        }
        shape = Some(extents);
    }
    Ok(InputInfo {
        name: info.name().to_owned(),
        element,
        shape,
    })
}
