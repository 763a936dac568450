//! Moving tensors between host and device memory.
//!
//! ONNX Runtime copies a tensor between memories when a session reads it from one and writes it to the other; a session that does
//! nothing but copy is all that is needed, one per element type.

use std::sync::{Mutex, PoisonError};

use ort::memory::{Allocator, MemoryInfo};
use ort::session::Session;
use ort::value::DynTensor;

use super::buffer::foreign;
use crate::graph::onnx::{COPY_FROM, COPY_TO, copy};
use crate::tensor::ElementType;

/// Moves tensors to and from one device.
#[derive(Debug)]
pub(super) struct Copier {
    // Dropped in this order: the allocator needs its session.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    allocator: Allocator,
    sessions: Vec<(ElementType, Session)>,
}

impl Copier {
    /// Opens the device's memory. `open` makes a session with the device's provider from a model.
    pub(super) fn new(memory: MemoryInfo<'_>, open: impl Fn(&[u8]) -> ort::Result<Session>) -> ort::Result<Self> {
        let session = open(&copy(ElementType::F32))?;
        let allocator = Allocator::new(&session, memory)?;
        Ok(Self {
            state: Mutex::new(State {
                allocator,
                sessions: vec![(ElementType::F32, session)],
            }),
        })
    }

    /// A tensor in the device's memory, its elements undefined.
    pub(super) fn allocate(&self, element: ElementType, shape: &[usize]) -> ort::Result<DynTensor> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        DynTensor::new(&state.allocator, foreign(element), shape)
    }

    /// Copies a tensor into another of the same type, wherever they are.
    pub(super) fn copy(
        &self,
        element: ElementType,
        from: &DynTensor,
        to: &mut DynTensor,
        open: impl Fn(&[u8]) -> ort::Result<Session>,
    ) -> ort::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let known = state.sessions.iter().position(|(known, _)| *known == element);
        let index = if let Some(index) = known {
            index
        } else {
            state.sessions.push((element, open(&copy(element))?));
            state.sessions.len() - 1
        };
        let Some((_, session)) = state.sessions.get_mut(index) else {
            return Err(ort::Error::new("no session copies this"));
        };
        let mut binding = session.create_binding()?;
        binding.bind_input(COPY_FROM, from)?;
        binding.bind_output(COPY_TO, to)?;
        session.run_binding(&binding)?;
        Ok(())
    }
}
