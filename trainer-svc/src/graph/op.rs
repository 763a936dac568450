//! The portable operator core: what every execution provider of interest runs, with the attributes that we use.

use crate::tensor::ElementType;

/// How [`Op::ScatterElements`] combines an update with what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// The update replaces it.
    None,
    /// The update is added; several updates of one place are all added.
    Add,
}

/// An operator with its attributes, as in ONNX opset 21. Axes are counted from 0.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// Elementwise with broadcasting.
    Add,
    /// Elementwise with broadcasting.
    Sub,
    /// Elementwise with broadcasting.
    Mul,
    /// Elementwise with broadcasting; of floats.
    Div,
    /// Elementwise.
    Sqrt,
    /// Elementwise.
    Exp,
    /// Elementwise natural logarithm.
    Log,
    /// Elementwise.
    Tanh,
    /// Elementwise error function.
    Erf,
    /// Elementwise logistic function.
    Sigmoid,
    /// Elementwise max(x, 0).
    Relu,
    /// Elementwise cosine.
    Cos,
    /// Elementwise sine.
    Sin,
    /// Along an axis: exp(x) / Σ exp(x).
    Softmax {
        /// The axis.
        axis: usize,
    },
    /// Inputs X, scale, bias; outputs Y, mean, 1/standard deviation over the axes from `axis` on.
    LayerNormalization {
        /// First normalised axis.
        axis: usize,
        /// Added to the variance.
        epsilon: f32,
    },
    /// α·A'·B' + β·C of matrices; C is optional and broadcast.
    Gemm {
        /// α
        alpha: f32,
        /// β
        beta: f32,
        /// A' = Aᵀ
        transpose_a: bool,
        /// B' = Bᵀ
        transpose_b: bool,
    },
    /// Matrix product over the last two axes, the others broadcast; both of rank ≥ 2.
    MatMul,
    /// Sum over axes.
    ReduceSum {
        /// Ascending, not empty.
        axes: Vec<usize>,
        /// Keep reduced axes with extent 1.
        keep_dims: bool,
    },
    /// Mean over axes.
    ReduceMean {
        /// Ascending, not empty.
        axes: Vec<usize>,
        /// Keep reduced axes with extent 1.
        keep_dims: bool,
    },
    /// Maximum over axes.
    ReduceMax {
        /// Ascending, not empty.
        axes: Vec<usize>,
        /// Keep reduced axes with extent 1.
        keep_dims: bool,
    },
    /// Root of the sum of squares over axes.
    ReduceL2 {
        /// Ascending, not empty.
        axes: Vec<usize>,
        /// Keep reduced axes with extent 1.
        keep_dims: bool,
    },
    /// Axis i of the output is axis `permutation[i]` of the input.
    Transpose {
        /// A permutation of all axes.
        permutation: Vec<usize>,
    },
    /// The same elements in another shape.
    Reshape {
        /// The new shape.
        shape: Vec<usize>,
    },
    /// Broadcast to a shape.
    Expand {
        /// The new shape; every extent of the input is the same there or 1.
        shape: Vec<usize>,
    },
    /// Cut along an axis into pieces, one output each.
    Split {
        /// The axis.
        axis: usize,
        /// Extents of the pieces, which add up to the axis's.
        sizes: Vec<usize>,
    },
    /// Join along an axis.
    Concat {
        /// The axis.
        axis: usize,
    },
    /// Inputs condition, x, y with broadcasting: x where the condition holds, else y.
    Where,
    /// Another element type.
    Cast {
        /// Which.
        to: ElementType,
    },
    /// Elementwise with broadcasting; gives booleans.
    Equal,
    /// Elementwise with broadcasting; gives booleans.
    Greater,
    /// Inputs data, indices: slices of data along an axis, by index.
    Gather {
        /// The axis.
        axis: usize,
    },
    /// Inputs data, indices of the same rank: single elements along an axis.
    GatherElements {
        /// The axis.
        axis: usize,
    },
    /// Inputs data, indices, updates: data with single elements along an axis updated.
    ScatterElements {
        /// The axis.
        axis: usize,
        /// How an update combines with what is there.
        reduction: Reduction,
    },
}

impl Op {
    /// The name in ONNX.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Add => "Add",
            Self::Sub => "Sub",
            Self::Mul => "Mul",
            Self::Div => "Div",
            Self::Sqrt => "Sqrt",
            Self::Exp => "Exp",
            Self::Log => "Log",
            Self::Tanh => "Tanh",
            Self::Erf => "Erf",
            Self::Sigmoid => "Sigmoid",
            Self::Relu => "Relu",
            Self::Cos => "Cos",
            Self::Sin => "Sin",
            Self::Softmax { .. } => "Softmax",
            Self::LayerNormalization { .. } => "LayerNormalization",
            Self::Gemm { .. } => "Gemm",
            Self::MatMul => "MatMul",
            Self::ReduceSum { .. } => "ReduceSum",
            Self::ReduceMean { .. } => "ReduceMean",
            Self::ReduceMax { .. } => "ReduceMax",
            Self::ReduceL2 { .. } => "ReduceL2",
            Self::Transpose { .. } => "Transpose",
            Self::Reshape { .. } => "Reshape",
            Self::Expand { .. } => "Expand",
            Self::Split { .. } => "Split",
            Self::Concat { .. } => "Concat",
            Self::Where => "Where",
            Self::Cast { .. } => "Cast",
            Self::Equal => "Equal",
            Self::Greater => "Greater",
            Self::Gather { .. } => "Gather",
            Self::GatherElements { .. } => "GatherElements",
            Self::ScatterElements { .. } => "ScatterElements",
        }
    }
}
