//! A provider on a device: compiling for it, and moving tensors to and from it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ort::memory::Allocator;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::DynTensor;

use super::buffer::{Buffer, foreign};
use super::copier::Copier;
use super::provider::{DeviceInfo, DeviceOptions, Kind};
use super::runtime::Permit;
use super::{Program, Runtime, SessionError, in_place, plain};
use crate::graph::{Graph, onnx};
use crate::tensor::{ElementType, Elements, HostTensor, element_count};

/// A provider on a device, opened. Clones are the same device.
#[derive(Debug, Clone)]
pub struct Device(Arc<Opened>);

#[derive(Debug)]
struct Opened {
    runtime: Runtime,
    kind: Kind,
    info: DeviceInfo,
    options: DeviceOptions,
    /// For devices whose tensors do not lie in host memory.
    copier: Option<Copier>,
    /// Held by whoever uses a device that takes one thread at a time.
    turn: Mutex<()>,
    // Given back last.
    _permit: Option<Permit>,
}

impl Device {
    pub(super) fn open(
        runtime: Runtime,
        kind: Kind,
        info: DeviceInfo,
        options: DeviceOptions,
    ) -> Result<Self, SessionError> {
        let unavailable = |error: &ort::Error| SessionError::Unavailable {
            device: info.name.clone(),
            message: match plain(error.message()) {
                message if matches!(kind, Kind::Cuda(_)) && message.contains("not enabled") => {
                    format!("{message} `make setup ORT=gpu` fetches one that has it.")
                }
                message => message,
            },
        };
        let permit = runtime.permit(kind)?;
        let open = |model: &[u8]| session(&runtime, kind, &options, model);
        let copier = match kind
            .memory(runtime.environment())
            .map_err(|error| unavailable(&error))?
        {
            Some(memory) => Some(Copier::new(memory, open).map_err(|error| unavailable(&error))?),
            None if kind == Kind::Cpu => None,
            // Whether the provider works is seen when the first session is made.
            None => {
                open(&probe()).map_err(|error| unavailable(&error))?;
                None
            }
        };
        Ok(Self(Arc::new(Opened {
            runtime,
            kind,
            info,
            options,
            copier,
            turn: Mutex::default(),
            _permit: permit,
        })))
    }

    /// What it is. After `auto` this says which one was picked.
    #[must_use]
    pub fn info(&self) -> &DeviceInfo {
        &self.0.info
    }

    /// How it is used.
    #[must_use]
    pub fn options(&self) -> &DeviceOptions {
        &self.0.options
    }

    /// Can programs write outputs over inputs, see [`Self::compile_in_place`]?
    #[must_use]
    pub fn can_update_in_place(&self) -> bool {
        self.0.kind.can_update_in_place()
    }

    /// Compiles a graph.
    ///
    /// # Errors
    /// [`SessionError::Compile`] when the provider cannot run it as a whole.
    pub fn compile(&self, graph: &Graph) -> Result<Program, SessionError> {
        if !self.0.kind.is_openvino() {
            return self.compile_bytes(&onnx::export(graph));
        }
        let lowered = graph.for_openvino().map_err(|error| SessionError::Compile {
            device: self.info().name.clone(),
            message: error.to_string(),
        })?;
        self.compile_bytes(&onnx::export(&lowered))
    }

    /// Compiles a graph some of whose outputs may be written over inputs: pairs of an input and an output.
    ///
    /// # Errors
    /// As for [`Self::compile`]; [`SessionError::Binding`] when the graph does not read the input before it writes the output, and
    /// [`SessionError::Unavailable`] when the device cannot do it.
    pub fn compile_in_place(&self, graph: &Graph, pairs: &[(&str, &str)]) -> Result<Program, SessionError> {
        if !self.can_update_in_place() {
            return Err(SessionError::Unavailable {
                device: self.info().name.clone(),
                message: "outputs cannot be written over inputs here".into(),
            });
        }
        in_place::check(graph, pairs)?;
        let mut program = self.compile(graph)?;
        program.allow_in_place(pairs);
        Ok(program)
    }

    /// Compiles an ONNX model, serialised.
    ///
    /// # Errors
    /// As for [`Self::compile`].
    pub fn compile_bytes(&self, model: &[u8]) -> Result<Program, SessionError> {
        let opened = &self.0;
        let turn = self.turn();
        let session = session(&opened.runtime, opened.kind, &opened.options, model)
            .map_err(|error| SessionError::compile(&self.info().name, &error))?;
        drop(turn);
        Program::new(self.clone(), session)
    }

    /// Waits until no other thread uses the device, where that matters.
    pub(super) fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        let wait = || self.0.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.kind.is_exclusive().then(wait)
    }

    /// A tensor copied into device memory.
    ///
    /// # Errors
    /// [`SessionError::OutOfMemory`]
    pub fn upload(&self, tensor: &HostTensor) -> Result<Buffer, SessionError> {
        let buffer = self.allocate(tensor.element_type(), tensor.shape())?;
        self.write(&buffer, tensor)?;
        Ok(buffer)
    }

    /// Zeros in device memory.
    ///
    /// # Errors
    /// [`SessionError::OutOfMemory`]
    pub fn zeros(&self, element: ElementType, shape: &[usize]) -> Result<Buffer, SessionError> {
        let buffer = self.allocate(element, shape)?;
        if self.0.copier.is_some() {
            let zeros = self.in_host_memory(element, shape)?;
            self.copy(element, &zeros, &mut buffer.write())?;
        }
        Ok(buffer)
    }

    /// Overwrites a buffer, so that programs which have it bound see the new elements.
    ///
    /// # Errors
    /// [`SessionError::Binding`] when the types differ.
    pub fn write(&self, buffer: &Buffer, tensor: &HostTensor) -> Result<(), SessionError> {
        if buffer.element_type() != tensor.element_type() || buffer.shape() != tensor.shape() {
            let message = format!(
                "a buffer of {:?} {:?} cannot take {:?} {:?}",
                buffer.element_type(),
                buffer.shape(),
                tensor.element_type(),
                tensor.shape()
            );
            return Err(SessionError::binding("", message));
        }
        if self.0.copier.is_none() {
            return fill(&mut buffer.write(), tensor).map_err(|error| self.failed(&error));
        }
        let mut staged = self.in_host_memory(tensor.element_type(), tensor.shape())?;
        fill(&mut staged, tensor).map_err(|error| self.failed(&error))?;
        self.copy(tensor.element_type(), &staged, &mut buffer.write())
    }

    /// A buffer's elements.
    ///
    /// # Errors
    /// [`SessionError::Failed`]
    pub fn download(&self, buffer: &Buffer) -> Result<HostTensor, SessionError> {
        let element = buffer.element_type();
        let elements = if self.0.copier.is_some() {
            let mut staged = self.in_host_memory(element, buffer.shape())?;
            self.copy(element, &buffer.read(), &mut staged)?;
            elements(&staged, element)
        } else {
            elements(&buffer.read(), element)
        };
        let elements = elements.map_err(|error| self.failed(&error))?;
        HostTensor::new(buffer.shape(), elements).map_err(|error| SessionError::binding("", error.to_string()))
    }

    fn allocate(&self, element: ElementType, shape: &[usize]) -> Result<Buffer, SessionError> {
        let Some(copier) = &self.0.copier else {
            let tensor = self.in_host_memory(element, shape)?;
            return Ok(Buffer::new(tensor, element, shape, None));
        };
        self.bound_size(element, shape)?;
        let _turn = self.turn();
        let tensor = copier.allocate(element, shape).map_err(|error| self.failed(&error))?;
        Ok(Buffer::new(tensor, element, shape, Some(self.clone())))
    }

    fn in_host_memory(&self, element: ElementType, shape: &[usize]) -> Result<DynTensor, SessionError> {
        self.bound_size(element, shape)?;
        DynTensor::new(&Allocator::default(), foreign(element), shape).map_err(|error| self.failed(&error))
    }

    /// ONNX Runtime counts elements and bytes in signed numbers.
    fn bound_size(&self, element: ElementType, shape: &[usize]) -> Result<(), SessionError> {
        let bytes = element_count(shape).and_then(|count| count.checked_mul(element.size()));
        match bytes.map(isize::try_from) {
            Some(Ok(_)) => Ok(()),
            _ => Err(SessionError::OutOfMemory {
                device: self.info().name.clone(),
                message: format!("a tensor of shape {shape:?} is larger than any memory"),
            }),
        }
    }

    fn copy(&self, element: ElementType, from: &DynTensor, to: &mut DynTensor) -> Result<(), SessionError> {
        let Some(copier) = &self.0.copier else {
            return Ok(());
        };
        // Where the node runs that copies does not matter, and providers take few types there.
        let options = DeviceOptions {
            allow_cpu_fallback: true,
            profile: None,
            ..self.0.options.clone()
        };
        let open = |model: &[u8]| session(&self.0.runtime, self.0.kind, &options, model);
        let _turn = self.turn();
        copier
            .copy(element, from, to, open)
            .map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &ort::Error) -> SessionError {
        SessionError::failed(&self.info().name, error)
    }
}

/// A model that shows whether a provider works. `OpenVINO`'s does not take one that only copies.
fn probe() -> Vec<u8> {
    let mut graph = Graph::new();
    let squared = graph.input("x", ElementType::F32, [2]).and_then(|x| graph.mul(x, x));
    if let Ok(squared) = squared {
        graph.output(squared);
    }
    onnx::export(&graph)
}

/// A session for a model, with the provider and options of a device.
fn session(runtime: &Runtime, kind: Kind, options: &DeviceOptions, model: &[u8]) -> ort::Result<Session> {
    let environment = runtime.environment();
    let mut builder = Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_deterministic_compute(true)?
        .with_intra_op_spinning(options.spinning)?
        .with_memory_pattern(true)?;
    if let Some(threads) = options.threads {
        builder = builder.with_intra_threads(threads)?;
    }
    if let Some(profile) = &options.profile {
        builder = builder.with_profiling(profile)?;
    }
    if kind != Kind::Cpu && !options.allow_cpu_fallback {
        builder = builder.with_disable_cpu_fallback()?;
    }
    kind.add_to(builder, environment, options)?.commit_from_memory(model)
}

/// Copies a tensor into one in host memory.
fn fill(target: &mut DynTensor, tensor: &HostTensor) -> ort::Result<()> {
    match tensor.elements() {
        Elements::F32(elements) => target.try_extract_tensor_mut::<f32>()?.1.copy_from_slice(elements),
        Elements::F64(elements) => target.try_extract_tensor_mut::<f64>()?.1.copy_from_slice(elements),
        Elements::I64(elements) => target.try_extract_tensor_mut::<i64>()?.1.copy_from_slice(elements),
        Elements::I32(elements) => target.try_extract_tensor_mut::<i32>()?.1.copy_from_slice(elements),
        Elements::Bool(elements) => target.try_extract_tensor_mut::<bool>()?.1.copy_from_slice(elements),
    }
    Ok(())
}

/// Elements of a tensor in host memory.
fn elements(tensor: &DynTensor, element: ElementType) -> ort::Result<Elements> {
    Ok(match element {
        ElementType::F32 => Elements::F32(tensor.try_extract_tensor::<f32>()?.1.to_vec()),
        ElementType::F64 => Elements::F64(tensor.try_extract_tensor::<f64>()?.1.to_vec()),
        ElementType::I64 => Elements::I64(tensor.try_extract_tensor::<i64>()?.1.to_vec()),
        ElementType::I32 => Elements::I32(tensor.try_extract_tensor::<i32>()?.1.to_vec()),
        ElementType::Bool => Elements::Bool(tensor.try_extract_tensor::<bool>()?.1.to_vec()),
    })
}
