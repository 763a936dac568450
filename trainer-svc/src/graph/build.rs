//! Shorthand for building graphs: one method per operator, and the few idioms that several builders share.

use super::op::Reduction;
use super::{Graph, GraphError, Op, ValueId};
use crate::tensor::{ElementType, Elements, HostTensor};

type Built = Result<ValueId, GraphError>;

impl Graph {
    /// Adds a node that has one output, or takes its first.
    ///
    /// # Errors
    /// The operator cannot take these inputs.
    pub fn one(&mut self, op: Op, inputs: &[ValueId]) -> Built {
        let name = op.name();
        self.apply(op, inputs)?.first().copied().ok_or(GraphError::Inputs {
            op: name,
            inputs: String::new(),
            message: "has no output".into(),
        })
    }

    /// A scalar constant of the element type of `like`.
    pub fn scalar_like(&mut self, like: ValueId, value: f64) -> ValueId {
        let elements = match self.element(like) {
            ElementType::F64 => Elements::F64(vec![value]),
            ElementType::I64 => Elements::I64(vec![truncated(value)]),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "constants of f32 graphs are rounded to f32"
            )]
            _ => Elements::F32(vec![value as f32]),
        };
        self.scalar(elements)
    }

    pub(super) fn scalar(&mut self, elements: Elements) -> ValueId {
        // One element always fits a scalar's shape; were there none, the vector says so when it is used.
        let tensor = HostTensor::new([], elements).unwrap_or_else(|_| HostTensor::vector(Vec::new()));
        self.constant(tensor)
    }

    /// a + b
    ///
    /// # Errors
    /// The operator cannot take these inputs; so for all below.
    pub fn add(&mut self, a: ValueId, b: ValueId) -> Built {
        self.one(Op::Add, &[a, b])
    }

    /// a − b
    ///
    /// # Errors
    /// As for [`Self::add`].
    pub fn sub(&mut self, a: ValueId, b: ValueId) -> Built {
        self.one(Op::Sub, &[a, b])
    }

    /// a · b, elementwise
    ///
    /// # Errors
    /// As for [`Self::add`].
    pub fn mul(&mut self, a: ValueId, b: ValueId) -> Built {
        self.one(Op::Mul, &[a, b])
    }

    /// a / b
    ///
    /// # Errors
    /// As for [`Self::add`].
    pub fn div(&mut self, a: ValueId, b: ValueId) -> Built {
        self.one(Op::Div, &[a, b])
    }

    /// x · factor
    ///
    /// # Errors
    /// As for [`Self::add`].
    pub fn scale(&mut self, x: ValueId, factor: f64) -> Built {
        let factor = self.scalar_like(x, factor);
        self.mul(x, factor)
    }

    /// Matrix product over the last two axes.
    ///
    /// # Errors
    /// As for [`Self::add`].
    pub fn matmul(&mut self, a: ValueId, b: ValueId) -> Built {
        self.one(Op::MatMul, &[a, b])
    }

    /// A'·B' of matrices, plus C if given.
    ///
    /// # Errors
    /// As for [`Self::add`].
    pub fn gemm(&mut self, a: ValueId, b: ValueId, c: Option<ValueId>, transpose_a: bool, transpose_b: bool) -> Built {
        let op = Op::Gemm {
            alpha: 1.0,
            beta: 1.0,
            transpose_a,
            transpose_b,
        };
        match c {
            Some(c) => self.one(op, &[a, b, c]),
            None => self.one(op, &[a, b]),
        }
    }

    /// The same elements in another shape; nothing is added if it is the same.
    ///
    /// # Errors
    /// As for [`Self::add`].
    pub fn reshape(&mut self, x: ValueId, shape: &[usize]) -> Built {
        if self.shape(x) == shape {
            return Ok(x);
        }
        self.one(Op::Reshape { shape: shape.to_vec() }, &[x])
    }

    /// Axis i of the result is axis `permutation[i]` of x.
    ///
    /// # Errors
    /// As for [`Self::add`].
    pub fn transpose(&mut self, x: ValueId, permutation: &[usize]) -> Built {
        if permutation.iter().copied().eq(0..permutation.len()) && permutation.len() == self.shape(x).len() {
            return Ok(x);
        }
        let permutation = permutation.to_vec();
        self.one(Op::Transpose { permutation }, &[x])
    }

    /// Σ over axes.
    ///
    /// # Errors
    /// As for [`Self::add`].
    pub fn reduce_sum(&mut self, x: ValueId, axes: &[usize], keep_dims: bool) -> Built {
        let axes = axes.to_vec();
        self.one(Op::ReduceSum { axes, keep_dims }, &[x])
    }

    /// Mean over axes.
    ///
    /// # Errors
    /// As for [`Self::add`].
    pub fn reduce_mean(&mut self, x: ValueId, axes: &[usize], keep_dims: bool) -> Built {
        let axes = axes.to_vec();
        self.one(Op::ReduceMean { axes, keep_dims }, &[x])
    }

    /// Maximum over axes.
    ///
    /// # Errors
    /// As for [`Self::add`].
    pub fn reduce_max(&mut self, x: ValueId, axes: &[usize], keep_dims: bool) -> Built {
        let axes = axes.to_vec();
        self.one(Op::ReduceMax { axes, keep_dims }, &[x])
    }

    /// x cut along an axis.
    ///
    /// # Errors
    /// As for [`Self::add`].
    pub fn split(&mut self, x: ValueId, axis: usize, sizes: &[usize]) -> Result<Vec<ValueId>, GraphError> {
        let sizes = sizes.to_vec();
        self.apply(Op::Split { axis, sizes }, &[x])
    }

    /// Values joined along an axis.
    ///
    /// # Errors
    /// As for [`Self::add`].
    pub fn concat(&mut self, values: &[ValueId], axis: usize) -> Built {
        self.one(Op::Concat { axis }, values)
    }

    /// Slices of data by index.
    ///
    /// # Errors
    /// As for [`Self::add`].
    pub fn gather(&mut self, data: ValueId, indices: ValueId, axis: usize) -> Built {
        self.one(Op::Gather { axis }, &[data, indices])
    }

    /// x where the condition holds, else y.
    ///
    /// # Errors
    /// As for [`Self::add`].
    pub fn choose(&mut self, condition: ValueId, x: ValueId, y: ValueId) -> Built {
        self.one(Op::Where, &[condition, x, y])
    }

    /// Data with updates added at single elements.
    ///
    /// # Errors
    /// As for [`Self::add`].
    pub fn scatter_add(&mut self, data: ValueId, indices: ValueId, updates: ValueId, axis: usize) -> Built {
        let reduction = Reduction::Add;
        self.one(Op::ScatterElements { axis, reduction }, &[data, indices, updates])
    }
}

/// A constant of an integer graph.
#[expect(clippy::cast_possible_truncation, reason = "integer graphs are given integers")]
fn truncated(value: f64) -> i64 {
    value as i64
}
