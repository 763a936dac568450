use std::ops::RangeInclusive;

use thiserror::Error;

/// An ONNX model cannot be made a graph.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ImportError {
    /// The bytes are no ONNX model.
    #[error("no ONNX model: {0}")]
    Decode(String),
    /// It has no graph.
    #[error("the model has no graph")]
    NoGraph,
    /// Its operators are of another time.
    #[error("the model's operator set is {}, versions {} to {} are understood", .found.map_or("absent".into(), |found| found.to_string()), .known.start(), .known.end())]
    Opset {
        /// Its version, if it says one.
        found: Option<i64>,
        /// The versions that are understood.
        known: RangeInclusive<i64>,
    },
    /// It is too large to be taken in safely.
    #[error("{what}: the limit is {limit}")]
    TooLarge {
        /// What is.
        what: String,
        /// The limit.
        limit: usize,
    },
    /// An input is not what the model or the binding says.
    #[error("input {name:?} {message}")]
    Input {
        /// Its name.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// A tensor in the file is malformed.
    #[error("tensor {name:?} {message}")]
    Tensor {
        /// Its name.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// Two values have one name, or one has none.
    #[error("the name {0:?} is empty or given twice")]
    Duplicate(String),
    /// A node reads what nothing has made before it: it is missing, or the graph has a cycle.
    #[error("{node} reads {value:?}, which nothing before it makes")]
    Undefined {
        /// The node.
        node: String,
        /// What it reads.
        value: String,
    },
    /// A node contradicts itself or its inputs.
    #[error("{node}: {message}")]
    Node {
        /// The node.
        node: String,
        /// What is wrong.
        message: String,
    },
    /// The operator core cannot express these nodes.
    #[error("not within the operator core: {}", .nodes.join("; "))]
    Unsupported {
        /// Operator, name and, where the operator as such is known, the reason.
        nodes: Vec<String>,
    },
}
