//! The intermediate representation: a graph of operators over tensors whose shapes are all known.
//!
//! One graph is built for one batch size and one sequence length, so shapes are numbers, and every operator's output shape is
//! computed when its node is added: a wrong shape is an error where it is made, and reverse mode ([`crate::autodiff`]) needs no
//! shape arithmetic in the graph. Nodes are in topological order by construction.
//!
//! Parameters, optimizer state, batches and learning rates are *inputs*; constants are small (masks, rotary tables).

mod build;
mod infer;
mod lower;
pub mod onnx;
pub mod op;

use std::collections::BTreeMap;

use thiserror::Error;

pub(crate) use self::infer::broadcast;
pub use self::op::Op;
use crate::tensor::{ElementType, HostTensor};

/// A value in a graph: an input, a constant or the output of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub(crate) usize);

/// Name and type of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// Unique in the graph, not empty.
    pub name: String,
    /// Type of its elements.
    pub element: ElementType,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
}

/// An operator applied to values.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What it does.
    pub op: Op,
    /// What it reads.
    pub inputs: Vec<ValueId>,
    /// What it makes.
    pub outputs: Vec<ValueId>,
}

/// A graph.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Graph {
    values: Vec<Value>,
    nodes: Vec<Node>,
    constants: BTreeMap<ValueId, HostTensor>,
    inputs: Vec<ValueId>,
    outputs: Vec<ValueId>,
    names: BTreeMap<String, ValueId>,
}

/// A graph cannot be built like this.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GraphError {
    /// An operator cannot take these inputs.
    #[error("{op} of {inputs}: {message}")]
    Inputs {
        /// The operator.
        op: &'static str,
        /// Names, types and shapes of the inputs.
        inputs: String,
        /// What is wrong.
        message: String,
    },
    /// A name is taken.
    #[error("there is already a value named {0:?}")]
    DuplicateName(String),
}

impl Graph {
    /// An empty graph.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an input that the caller binds by name.
    ///
    /// # Errors
    /// The name is taken.
    pub fn input(
        &mut self,
        name: impl Into<String>,
        element: ElementType,
        shape: impl Into<Vec<usize>>,
    ) -> Result<ValueId, GraphError> {
        let id = self.named_value(name.into(), element, shape.into())?;
        self.inputs.push(id);
        Ok(id)
    }

    /// Adds a constant.
    pub fn constant(&mut self, tensor: HostTensor) -> ValueId {
        let id = self.fresh_value("constant", tensor.element_type(), tensor.shape().to_vec());
        self.constants.insert(id, tensor);
        id
    }

    /// Adds a node; its outputs' types follow from its inputs.
    ///
    /// # Errors
    /// The operator cannot take these inputs.
    pub fn apply(&mut self, op: Op, inputs: &[ValueId]) -> Result<Vec<ValueId>, GraphError> {
        let types = infer::outputs(&op, self, inputs)?;
        let outputs: Vec<ValueId> = types
            .into_iter()
            .map(|(element, shape)| self.fresh_value(op.name(), element, shape))
            .collect();
        self.nodes.push(Node {
            op,
            inputs: inputs.to_vec(),
            outputs: outputs.clone(),
        });
        Ok(outputs)
    }

    /// Gives a value another name, under which it can be bound as an output.
    ///
    /// # Errors
    /// The name is taken.
    pub fn rename(&mut self, value: ValueId, name: impl Into<String>) -> Result<(), GraphError> {
        let name = name.into();
        if self.names.contains_key(&name) {
            return Err(GraphError::DuplicateName(name));
        }
        let old = std::mem::replace(&mut self.values[value.0].name, name.clone());
        self.names.remove(&old);
        self.names.insert(name, value);
        Ok(())
    }

    /// Makes a value an output of the graph. The same value can be an output only once.
    pub fn output(&mut self, value: ValueId) {
        if !self.outputs.contains(&value) {
            self.outputs.push(value);
        }
    }

    /// Name and type of a value.
    #[must_use]
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.0]
    }

    /// Extents of a value.
    #[must_use]
    pub fn shape(&self, id: ValueId) -> &[usize] {
        &self.values[id.0].shape
    }

    /// Type of a value's elements.
    #[must_use]
    pub fn element(&self, id: ValueId) -> ElementType {
        self.values[id.0].element
    }

    /// The value of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<ValueId> {
        self.names.get(name).copied()
    }

    /// A constant's tensor.
    #[must_use]
    pub fn constant_value(&self, id: ValueId) -> Option<&HostTensor> {
        self.constants.get(&id)
    }

    /// Constants, by value.
    pub fn constants(&self) -> impl Iterator<Item = (ValueId, &HostTensor)> {
        self.constants.iter().map(|(&id, tensor)| (id, tensor))
    }

    /// Nodes, each after those whose outputs it reads.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Inputs, in the order in which they were added.
    #[must_use]
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// Outputs, in the order in which they were marked.
    #[must_use]
    pub fn outputs(&self) -> &[ValueId] {
        &self.outputs
    }

    /// How many values there are; ids are below it.
    #[must_use]
    pub fn value_count(&self) -> usize {
        self.values.len()
    }

    fn named_value(&mut self, name: String, element: ElementType, shape: Vec<usize>) -> Result<ValueId, GraphError> {
        if self.names.contains_key(&name) {
            return Err(GraphError::DuplicateName(name));
        }
        let id = ValueId(self.values.len());
        self.names.insert(name.clone(), id);
        self.values.push(Value { name, element, shape });
        Ok(id)
    }

    fn fresh_value(&mut self, stem: &str, element: ElementType, shape: Vec<usize>) -> ValueId {
        let id = ValueId(self.values.len());
        // '/' never begins a parameter's name, so that generated names meet none of them; an imported graph's might.
        let mut name = format!("/{stem}_{}", id.0);
        while self.names.contains_key(&name) {
            name.push('_');
        }
        self.names.insert(name.clone(), id);
        self.values.push(Value { name, element, shape });
        id
    }
}
