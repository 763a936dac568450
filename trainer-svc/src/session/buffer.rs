//! Tensors in device memory.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use ort::value::{DynTensor, TensorElementType};

use super::Device;
use crate::tensor::{ElementType, element_count};

/// A tensor in device memory. Clones are the same memory; it is given back when the last one, and the last program that has it
/// bound, are gone.
#[derive(Debug, Clone)]
pub struct Buffer {
    tensor: Arc<RwLock<DynTensor>>,
    element: ElementType,
    shape: Arc<[usize]>,
    /// Keeps alive what the memory belongs to, for devices that have their own.
    _device: Option<Device>,
}

impl Buffer {
    pub(super) fn new(tensor: DynTensor, element: ElementType, shape: &[usize], device: Option<Device>) -> Self {
        Self {
            tensor: Arc::new(RwLock::new(tensor)),
            element,
            shape: shape.into(),
            _device: device,
        }
    }

    /// Extents, outermost first; empty for a scalar.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Type of its elements.
    #[must_use]
    pub fn element_type(&self) -> ElementType {
        self.element
    }

    /// Bytes of its elements.
    #[must_use]
    pub fn bytes(&self) -> usize {
        element_count(&self.shape)
            .unwrap_or(usize::MAX)
            .saturating_mul(self.element.size())
    }

    /// Is it the same memory?
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.tensor, &other.tensor)
    }

    /// What tells buffers apart, as long as both live.
    pub(super) fn address(&self) -> usize {
        Arc::as_ptr(&self.tensor).addr()
    }

    // Whoever panicked while it held the lock did not leave the tensor itself half made.
    pub(super) fn read(&self) -> RwLockReadGuard<'_, DynTensor> {
        self.tensor.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, DynTensor> {
        self.tensor.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The type in ONNX Runtime's terms.
pub(super) fn foreign(element: ElementType) -> TensorElementType {
    match element {
        ElementType::F32 => TensorElementType::Float32,
        ElementType::F64 => TensorElementType::Float64,
        ElementType::I64 => TensorElementType::Int64,
        ElementType::I32 => TensorElementType::Int32,
        ElementType::Bool => TensorElementType::Bool,
    }
}

/// The type in our terms, if we have it.
pub(super) fn ours(element: TensorElementType) -> Option<ElementType> {
    match element {
        TensorElementType::Float32 => Some(ElementType::F32),
        TensorElementType::Float64 => Some(ElementType::F64),
        TensorElementType::Int64 => Some(ElementType::I64),
        TensorElementType::Int32 => Some(ElementType::I32),
        TensorElementType::Bool => Some(ElementType::Bool),
        _ => None,
    }
}
