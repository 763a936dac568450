//! Tensors in host memory: what is read from files, put into graphs as constants, and moved to and from devices.

use thiserror::Error;

/// Type of a tensor's elements inside graphs. Storage types of checkpoints (f16, bf16) are widened when they are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ElementType {
    /// IEEE 754 binary32: weights, activations, gradients.
    F32,
    /// IEEE 754 binary64: finite-difference checks.
    F64,
    /// Token ids, indices, shapes.
    I64,
    /// Indices of imported graphs.
    I32,
    /// Masks.
    Bool,
}

impl ElementType {
    /// Bytes of one element.
    #[must_use]
    pub fn size(self) -> usize {
        match self {
            Self::F32 | Self::I32 => 4,
            Self::F64 | Self::I64 => 8,
            Self::Bool => 1,
        }
    }

    /// Is it a floating-point type, one that has gradients?
    #[must_use]
    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64)
    }
}

/// Elements in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub enum Elements {
    /// [`ElementType::F32`]
    F32(Vec<f32>),
    /// [`ElementType::F64`]
    F64(Vec<f64>),
    /// [`ElementType::I64`]
    I64(Vec<i64>),
    /// [`ElementType::I32`]
    I32(Vec<i32>),
    /// [`ElementType::Bool`]
    Bool(Vec<bool>),
}

impl Elements {
    /// Their type.
    #[must_use]
    pub fn element_type(&self) -> ElementType {
        match self {
            Self::F32(_) => ElementType::F32,
            Self::F64(_) => ElementType::F64,
            Self::I64(_) => ElementType::I64,
            Self::I32(_) => ElementType::I32,
            Self::Bool(_) => ElementType::Bool,
        }
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::F32(elements) => elements.len(),
            Self::F64(elements) => elements.len(),
            Self::I64(elements) => elements.len(),
            Self::I32(elements) => elements.len(),
            Self::Bool(elements) => elements.len(),
        }
    }

    /// None at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A dense tensor. The number of elements always agrees with the shape.
#[derive(Debug, Clone, PartialEq)]
pub struct HostTensor {
    shape: Vec<usize>,
    elements: Elements,
}

/// The number of elements does not agree with the shape.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a tensor of shape {shape:?} cannot have {elements} elements")]
pub struct ShapeMismatch {
    /// The shape.
    pub shape: Vec<usize>,
    /// The elements that were given.
    pub elements: usize,
}

/// Elements of a tensor of this shape; `None` on overflow.
#[must_use]
pub fn element_count(shape: &[usize]) -> Option<usize> {
    shape
        .iter()
        .try_fold(1_usize, |count, &extent| count.checked_mul(extent))
}

impl HostTensor {
    /// A tensor of these elements, in row-major order.
    ///
    /// # Errors
    /// [`ShapeMismatch`] when their number is not the product of the shape's extents.
    pub fn new(shape: impl Into<Vec<usize>>, elements: Elements) -> Result<Self, ShapeMismatch> {
        let shape = shape.into();
        if element_count(&shape) == Some(elements.len()) {
            Ok(Self { shape, elements })
        } else {
            Err(ShapeMismatch {
                shape,
                elements: elements.len(),
            })
        }
    }

    /// A scalar (shape `[]`) of f32.
    #[must_use]
    pub fn scalar(value: f32) -> Self {
        Self {
            shape: Vec::new(),
            elements: Elements::F32(vec![value]),
        }
    }

    /// A vector of f32.
    #[must_use]
    pub fn vector(elements: Vec<f32>) -> Self {
        Self {
            shape: vec![elements.len()],
            elements: Elements::F32(elements),
        }
    }

    /// A vector of i64.
    #[must_use]
    pub fn indices(elements: Vec<i64>) -> Self {
        Self {
            shape: vec![elements.len()],
            elements: Elements::I64(elements),
        }
    }

    /// Zeros of f32.
    #[must_use]
    pub fn zeros(shape: impl Into<Vec<usize>>) -> Self {
        let shape = shape.into();
        let count = shape.iter().product();
        Self {
            shape,
            elements: Elements::F32(vec![0.0; count]),
        }
    }

    /// A tensor of f32 whose elements a function makes, in row-major order.
    #[must_use]
    pub fn fill(shape: impl Into<Vec<usize>>, element: impl FnMut(usize) -> f32) -> Self {
        let shape = shape.into();
        let count = shape.iter().product();
        Self {
            shape,
            elements: Elements::F32((0..count).map(element).collect()),
        }
    }

    /// Extents, outermost first; empty for a scalar.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements.
    #[must_use]
    pub fn elements(&self) -> &Elements {
        &self.elements
    }

    /// The elements, taken out.
    #[must_use]
    pub fn into_elements(self) -> Elements {
        self.elements
    }

    /// Type of the elements.
    #[must_use]
    pub fn element_type(&self) -> ElementType {
        self.elements.element_type()
    }

    /// The elements, if they are f32.
    #[must_use]
    pub fn as_f32(&self) -> Option<&[f32]> {
        match &self.elements {
            Elements::F32(elements) => Some(elements),
            _ => None,
        }
    }

    /// The elements, if they are i64.
    #[must_use]
    pub fn as_i64(&self) -> Option<&[i64]> {
        match &self.elements {
            Elements::I64(elements) => Some(elements),
            _ => None,
        }
    }
}
