//! A graph compiled for a device.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use ort::session::{IoBinding, RunOptions, Session};
use ort::value::{Outlet, ValueType};

use super::buffer::{Buffer, ours};
use super::{Device, SessionError, StopToken};
use crate::tensor::ElementType;

/// Bindings that are kept. With two sets of state, read and written in turns, each step finds its own ready.
const KEPT: usize = 2;

/// Type of an input or output of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Its name.
    pub name: String,
    /// Type of its elements.
    pub element: ElementType,
    /// Extents, outermost first; absent where the model leaves one open.
    pub shape: Vec<Option<usize>>,
}

/// A graph compiled for a device.
pub struct Program {
    // Dropped in this order: what is bound, the session, the device.
    bound: Vec<Bound>,
    session: Session,
    device: Device,
    inputs: Vec<Signature>,
    outputs: Vec<Signature>,
    input_index: BTreeMap<String, usize>,
    output_index: BTreeMap<String, usize>,
    in_place: BTreeSet<(usize, usize)>,
    options: Arc<RunOptions>,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program")
            .field("device", &self.device.info().name)
            .field("inputs", &self.inputs)
            .field("outputs", &self.outputs)
            .finish_non_exhaustive()
    }
}

/// Buffers as they are bound, by index of the program's inputs and outputs.
#[derive(Debug)]
struct Bound {
    binding: IoBinding,
    inputs: Vec<Option<Buffer>>,
    outputs: Vec<Option<Buffer>>,
}

/// What a run is given, by index.
struct Given<'a> {
    inputs: Vec<Option<&'a Buffer>>,
    outputs: Vec<Option<&'a Buffer>>,
}

impl Program {
    pub(super) fn new(device: Device, session: Session) -> Result<Self, SessionError> {
        let inputs = signatures(session.inputs())?;
        let outputs = signatures(session.outputs())?;
        let options = run_options(&device)?;
        Ok(Self {
            bound: Vec::new(),
            session,
            device,
            input_index: index(&inputs),
            output_index: index(&outputs),
            inputs,
            outputs,
            in_place: BTreeSet::new(),
            options,
        })
    }

    /// The device it was compiled for.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What it takes.
    #[must_use]
    pub fn inputs(&self) -> &[Signature] {
        &self.inputs
    }

    /// What it gives.
    #[must_use]
    pub fn outputs(&self) -> &[Signature] {
        &self.outputs
    }

    pub(super) fn allow_in_place(&mut self, pairs: &[(&str, &str)]) {
        for (input, output) in pairs {
            if let (Some(&input), Some(&output)) = (self.input_index.get(*input), self.output_index.get(*output)) {
                self.in_place.insert((input, output));
            }
        }
    }

    /// Runs it once: every input must be given, outputs as wanted; these are written into the buffers. A buffer may be both only where
    /// the program was compiled for that. Buffers that were bound last time cost nothing; the last two sets are held.
    ///
    /// # Errors
    /// [`SessionError::Stopped`] when the token says so, before or during the run (outputs are then partly written),
    /// [`SessionError::Binding`], [`SessionError::OutOfMemory`] or [`SessionError::Failed`].
    pub fn run(
        &mut self,
        inputs: &[(&str, &Buffer)],
        outputs: &[(&str, &Buffer)],
        stop: &StopToken,
    ) -> Result<(), SessionError> {
        let given = self.check(inputs, outputs)?;
        let name = &self.device.info().name;
        let failed = |error: ort::Error| SessionError::failed(name, &error);
        // Nobody else may write what is read here, nor touch what is written. Locks are taken in the order of their addresses.
        let written: BTreeMap<usize, &Buffer> = given.outputs.iter().flatten().map(|b| (b.address(), *b)).collect();
        let mut touched: BTreeMap<usize, &Buffer> = given.inputs.iter().flatten().map(|b| (b.address(), *b)).collect();
        touched.extend(&written);
        let bound = bind(&mut self.bound, &self.session, &self.inputs, &self.outputs, &given).map_err(failed)?;
        let (mut reading, mut writing) = (Vec::new(), Vec::new());
        for (address, buffer) in touched {
            if written.contains_key(&address) {
                writing.push(buffer.write());
            } else {
                reading.push(buffer.read());
            }
        }

        let turn = self.device.turn();
        let Some(running) = stop.enter(&self.options) else {
            return Err(SessionError::Stopped);
        };
        let outcome = self.session.run_binding_with_options(&bound.binding, &self.options);
        let outcome = outcome.map(drop).map_err(failed);
        drop(running);
        drop(turn);
        if stop.is_stopped() {
            // These options end every later run, too. A stop that came too late to be noticed leaves a complete run.
            self.options = run_options(&self.device)?;
            return outcome.map_err(|_| SessionError::Stopped);
        }
        outcome
    }

    /// Lets go of the buffers that are still bound.
    pub fn unbind(&mut self) {
        self.bound.clear();
    }

    /// Ends the trace that [`super::DeviceOptions::profile`] asked for, and gives its path.
    ///
    /// # Errors
    /// [`SessionError::Failed`]
    pub fn end_profile(&mut self) -> Result<String, SessionError> {
        let ended = self.session.end_profiling();
        ended.map_err(|error| SessionError::failed(&self.device.info().name, &error))
    }

    fn check<'a>(
        &self,
        inputs: &[(&str, &'a Buffer)],
        outputs: &[(&str, &'a Buffer)],
    ) -> Result<Given<'a>, SessionError> {
        let given = Given {
            inputs: place(inputs, &self.input_index, &self.inputs)?,
            outputs: place(outputs, &self.output_index, &self.outputs)?,
        };
        if outputs.is_empty() {
            return Err(SessionError::binding("", "no output is asked for"));
        }
        for (signature, buffer) in self.inputs.iter().zip(&given.inputs) {
            if buffer.is_none() {
                return Err(SessionError::binding(&signature.name, "is not given"));
            }
        }
        let mut written = BTreeMap::new();
        for (output, buffer) in given.outputs.iter().enumerate() {
            if let Some(buffer) = buffer
                && written.insert(buffer.address(), output).is_some()
            {
                let name = self.outputs.get(output).map_or("", |signature| &signature.name);
                return Err(SessionError::binding(name, "shares its buffer with another output"));
            }
        }
        for (input, buffer) in given.inputs.iter().enumerate() {
            if let Some(buffer) = buffer
                && let Some(&output) = written.get(&buffer.address())
                && !self.in_place.contains(&(input, output))
            {
                let name = self.outputs.get(output).map_or("", |signature| &signature.name);
                return Err(SessionError::binding(name, "would overwrite an input while it is read"));
            }
        }
        Ok(given)
    }
}

fn run_options(device: &Device) -> Result<Arc<RunOptions>, SessionError> {
    RunOptions::new()
        .map(Arc::new)
        .map_err(|error| SessionError::failed(&device.info().name, &error))
}

/// Names and types from ONNX Runtime.
fn signatures(outlets: &[Outlet]) -> Result<Vec<Signature>, SessionError> {
    outlets
        .iter()
        .map(|outlet| {
            let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else {
                return Err(SessionError::binding(outlet.name(), "is no tensor"));
            };
            let element = ours(*ty).ok_or_else(|| {
                SessionError::binding(outlet.name(), format!("has elements of type {ty}, which we do not use"))
            })?;
            Ok(Signature {
                name: outlet.name().to_owned(),
                element,
                shape: shape.iter().map(|&extent| usize::try_from(extent).ok()).collect(),
            })
        })
        .collect()
}

fn index(signatures: &[Signature]) -> BTreeMap<String, usize> {
    let numbered = signatures.iter().enumerate();
    numbered
        .map(|(index, signature)| (signature.name.clone(), index))
        .collect()
}

/// Buffers by index, each once and of the right type.
fn place<'a>(
    named: &[(&str, &'a Buffer)],
    index: &BTreeMap<String, usize>,
    signatures: &[Signature],
) -> Result<Vec<Option<&'a Buffer>>, SessionError> {
    let mut placed = vec![None; signatures.len()];
    for &(name, buffer) in named {
        let slot = index.get(name).copied();
        let (Some(signature), Some(slot)) = (
            slot.and_then(|slot| signatures.get(slot)),
            slot.and_then(|slot| placed.get_mut(slot)),
        ) else {
            return Err(SessionError::binding(name, "is unknown to this program"));
        };
        if !signature.takes(buffer) {
            let (found, wanted) = (buffer.element_type(), signature.element);
            let message = format!(
                "a buffer of {found:?} {:?} is given for {wanted:?} {}",
                buffer.shape(),
                signature.extents()
            );
            return Err(SessionError::binding(name, message));
        }
        if slot.replace(buffer).is_some() {
            return Err(SessionError::binding(name, "is given twice"));
        }
    }
    Ok(placed)
}

impl Signature {
    fn takes(&self, buffer: &Buffer) -> bool {
        let fits = |(wanted, found): (&Option<usize>, &usize)| wanted.is_none_or(|wanted| wanted == *found);
        self.element == buffer.element_type()
            && self.shape.len() == buffer.shape().len()
            && self.shape.iter().zip(buffer.shape()).all(fits)
    }

    fn extents(&self) -> String {
        let extents: Vec<String> = self
            .shape
            .iter()
            .map(|extent| extent.map_or_else(|| "?".to_owned(), |extent| extent.to_string()))
            .collect();
        format!("[{}]", extents.join(", "))
    }
}

/// The kept binding that needs the fewest changes, changed; it is moved to the front.
fn bind<'b>(
    kept: &'b mut Vec<Bound>,
    session: &Session,
    inputs: &[Signature],
    outputs: &[Signature],
    given: &Given<'_>,
) -> ort::Result<&'b Bound> {
    let nearest = kept
        .iter()
        .map(|bound| bound.changes(given))
        .enumerate()
        .min_by_key(|&(_, changes)| changes);
    let total = inputs.len() + outputs.len();
    let mut bound = match nearest {
        Some((index, changes)) if kept.len() == KEPT || changes * 2 <= total => kept.remove(index),
        _ => Bound {
            binding: session.create_binding()?,
            inputs: vec![None; inputs.len()],
            outputs: vec![None; outputs.len()],
        },
    };
    bound.rebind(inputs, outputs, given)?;
    kept.insert(0, bound);
    // There is one: it was put there above.
    kept.first().ok_or_else(|| ort::Error::new("nothing is bound"))
}

impl Bound {
    fn changes(&self, given: &Given<'_>) -> usize {
        let pairs = self
            .inputs
            .iter()
            .zip(&given.inputs)
            .chain(self.outputs.iter().zip(&given.outputs));
        pairs.filter(|(old, new)| !is_same(old.as_ref(), **new)).count()
    }

    fn rebind(&mut self, inputs: &[Signature], outputs: &[Signature], given: &Given<'_>) -> ort::Result<()> {
        for ((old, new), signature) in self.inputs.iter_mut().zip(&given.inputs).zip(inputs) {
            if let Some(buffer) = new
                && !is_same(old.as_ref(), *new)
            {
                self.binding.bind_input(signature.name.as_str(), &*buffer.read())?;
                *old = Some((*buffer).clone());
            }
        }
        // A single output cannot be let go of.
        if self
            .outputs
            .iter()
            .zip(&given.outputs)
            .any(|(old, new)| old.is_some() && new.is_none())
        {
            self.binding.clear_outputs();
            self.outputs.fill(None);
        }
        for ((old, new), signature) in self.outputs.iter_mut().zip(&given.outputs).zip(outputs) {
            if let Some(buffer) = new
                && !is_same(old.as_ref(), *new)
            {
                self.binding
                    .bind_output(signature.name.as_str(), &mut *buffer.write())?;
                *old = Some((*buffer).clone());
            }
        }
        Ok(())
    }
}

fn is_same(old: Option<&Buffer>, new: Option<&Buffer>) -> bool {
    match (old, new) {
        (Some(old), Some(new)) => old.is_same(new),
        (None, None) => true,
        _ => false,
    }
}
