//! A model on a device while it is tuned: weights and optimizer state in device memory, programs by batch shape.

mod bindings;

use std::collections::BTreeMap;

use self::bindings::{Own, Scalars, Weight, advance, frozen_inputs, update_bindings, update_names};
use super::measure::{ExampleLoss, Measurement};
use super::programs::{self, Blueprint, LOSS, ROW_LOSSES};
use super::state::Tensors;
use super::{Observer, TrainError};
use crate::arch::Decoder;
use crate::dataset::{Batch, Batches};
use crate::method::{DropoutMask, GraphShape, Method, Trainable};
use crate::optimizer::AdamW;
use crate::session::{Buffer, Device, Program, StopToken};
use crate::tensor::{ElementType, HostTensor};

/// Rows and length of a batch.
type Shape = (usize, usize);

/// What one step is done with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct StepSettings {
    /// Steps done before it.
    pub(crate) step: u64,
    pub(crate) learning_rate: f64,
    pub(crate) weight_decay: f64,
    /// Absent: gradients are not clipped.
    pub(crate) clip_norm: Option<f64>,
    /// Draws dropout masks.
    pub(crate) seed: u64,
}

/// What a step gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct StepOutcome {
    /// Mean over its predicted tokens, before the update, nats per token.
    pub(crate) loss: f64,
    /// Global norm of its gradient before it was clipped.
    pub(crate) gradient_norm: f64,
}

/// A program for a batch shape.
struct Compiled {
    program: Program,
    own: Own,
}

/// A model that is tuned, or only evaluated.
pub(crate) struct Tuner<'a> {
    device: Device,
    decoder: &'a dyn Decoder,
    method: &'a Method,
    adamw: AdamW,
    frozen: BTreeMap<String, Buffer>,
    weights: Vec<Weight>,
    scalars: Scalars,
    steps: BTreeMap<Shape, Compiled>,
    accumulations: BTreeMap<Shape, Compiled>,
    update: Option<Program>,
    evaluations: BTreeMap<Shape, Compiled>,
    stop: StopToken,
}

impl<'a> Tuner<'a> {
    /// Puts a model on a device. `frozen` and `starts` hold every weight of the method's forward graph.
    pub(crate) fn new(
        device: &Device,
        decoder: &'a dyn Decoder,
        method: &'a Method,
        trainable: &[Trainable],
        stop: StopToken,
    ) -> Result<Self, TrainError> {
        Ok(Self {
            device: device.clone(),
            decoder,
            method,
            adamw: AdamW::default(),
            frozen: BTreeMap::new(),
            weights: trainable
                .iter()
                .map(|weight| Weight::new(device, weight))
                .collect::<Result<_, _>>()?,
            scalars: Scalars::new(device)?,
            steps: BTreeMap::new(),
            accumulations: BTreeMap::new(),
            update: None,
            evaluations: BTreeMap::new(),
            stop,
        })
    }

    /// Puts a frozen weight there.
    pub(crate) fn freeze(&mut self, name: &str, tensor: &HostTensor) -> Result<(), TrainError> {
        let buffer = self.device.upload(tensor)?;
        self.frozen.insert(name.to_owned(), buffer);
        Ok(())
    }

    /// Overwrites a trained weight.
    pub(crate) fn set(&mut self, name: &str, tensor: &HostTensor) -> Result<(), TrainError> {
        let weight = self.weights.iter().find(|weight| weight.trainable.name == name);
        let weight = weight.ok_or_else(|| TrainError::Unused(name.to_owned()))?;
        Ok(self.device.write(&weight.value, tensor)?)
    }

    /// One trained weight as it is now.
    pub(crate) fn weight(&self, name: &str) -> Result<HostTensor, TrainError> {
        let weight = self.weights.iter().find(|weight| weight.trainable.name == name);
        let weight = weight.ok_or_else(|| TrainError::Unused(name.to_owned()))?;
        Ok(self.device.download(&weight.value)?)
    }

    /// Trained weights as they are now.
    pub(crate) fn weights(&self) -> Result<Tensors, TrainError> {
        self.weights
            .iter()
            .map(|weight| Ok((weight.trainable.name.clone(), self.device.download(&weight.value)?)))
            .collect()
    }

    /// Makes optimizer state of zeros: the next step is the first.
    pub(crate) fn begin(&mut self, accumulates: bool) -> Result<(), TrainError> {
        let device = &self.device;
        let in_place = device.can_update_in_place();
        for weight in &mut self.weights {
            let zeros = || device.zeros(ElementType::F32, &weight.trainable.shape);
            match &weight.moments {
                None => weight.moments = Some([zeros()?, zeros()?]),
                Some(moments) => {
                    for moment in moments {
                        device.write(moment, &HostTensor::zeros(weight.trainable.shape.clone()))?;
                    }
                }
            }
            if weight.next.is_none() && !in_place {
                weight.next = Some([zeros()?, zeros()?, zeros()?]);
            }
            if weight.sum.is_none() && accumulates {
                weight.sum = Some([zeros()?, zeros()?]);
            }
        }
        Ok(())
    }

    /// Everything that a resumed run needs, by name.
    pub(crate) fn state(&self) -> Result<Tensors, TrainError> {
        let mut tensors = Tensors::new();
        for weight in &self.weights {
            let name = &weight.trainable.name;
            tensors.insert(format!("p/{name}"), self.device.download(&weight.value)?);
            if let Some([first, second]) = &weight.moments {
                tensors.insert(format!("m/{name}"), self.device.download(first)?);
                tensors.insert(format!("v/{name}"), self.device.download(second)?);
            }
        }
        Ok(tensors)
    }

    /// Puts back what [`Self::state`] gave; the optimizer state must have been made.
    pub(crate) fn restore(&mut self, tensors: &Tensors) -> Result<(), TrainError> {
        let find = |prefix: &str, name: &str| {
            let key = format!("{prefix}/{name}");
            tensors.get(&key).ok_or(TrainError::Unused(key))
        };
        for weight in &self.weights {
            let name = &weight.trainable.name;
            self.device.write(&weight.value, find("p", name)?)?;
            if let Some([first, second]) = &weight.moments {
                self.device.write(first, find("m", name)?)?;
                self.device.write(second, find("v", name)?)?;
            }
        }
        Ok(())
    }

    /// One optimizer step on one batch, or on several whose gradients are added up: then it is alive after each.
    pub(crate) fn step(
        &mut self,
        batches: &[Batch],
        settings: &StepSettings,
        observer: &mut dyn Observer,
    ) -> Result<StepOutcome, TrainError> {
        let tokens: usize = batches.iter().map(|batch| batch.tokens).sum();
        self.scalars.write(&self.device, settings, &self.adamw)?;
        let loss = match batches {
            [batch] => self.step_at_once(batch, tokens, settings)?,
            _ => self.step_by_parts(batches, tokens, settings, observer)?,
        };
        Ok(StepOutcome {
            loss,
            gradient_norm: self.scalar(&self.scalars.gradient_norm)?,
        })
    }

    fn step_at_once(&mut self, batch: &Batch, tokens: usize, settings: &StepSettings) -> Result<f64, TrainError> {
        let shape = (batch.rows, batch.length);
        if !self.steps.contains_key(&shape) {
            let graph_shape = training_shape(batch);
            let blueprint = programs::step(self.decoder, self.method, graph_shape, &self.adamw)?;
            let pairs = self.update_pairs();
            let compiled = self.compile(blueprint, batch, LOSS, &[], &pairs)?;
            self.steps.insert(shape, compiled);
        }
        let compiled = self
            .steps
            .get_mut(&shape)
            .ok_or_else(|| TrainError::Unused(LOSS.to_owned()))?;
        compiled.own.fill(&self.device, batch, tokens)?;
        compiled.own.draw(&self.device, settings.seed, settings.step)?;
        let mut inputs = compiled.own.batch_inputs();
        inputs.extend(frozen_inputs(&compiled.own.frozen, &self.frozen));
        let names = update_names(&self.weights);
        let update = update_bindings(&self.weights, &names, &self.scalars);
        inputs.extend(update.inputs.iter().copied());
        let mut outputs = update.outputs;
        outputs.push((LOSS, &compiled.own.result));
        compiled.program.run(&inputs, &outputs, &self.stop)?;
        let loss = download_scalar(&self.device, &compiled.own.result)?;
        advance(&mut self.weights);
        Ok(loss)
    }

    fn step_by_parts(
        &mut self,
        batches: &[Batch],
        tokens: usize,
        settings: &StepSettings,
        observer: &mut dyn Observer,
    ) -> Result<f64, TrainError> {
        for weight in &self.weights {
            if let Some([sum, _]) = &weight.sum {
                self.device
                    .write(sum, &HostTensor::zeros(weight.trainable.shape.clone()))?;
            }
        }
        let mut loss = 0.0;
        for (part, batch) in batches.iter().enumerate() {
            loss += self.accumulate(batch, tokens, settings, part)?;
            observer.alive();
        }
        if self.update.is_none() {
            let trainable: Vec<Trainable> = self.weights.iter().map(|weight| weight.trainable.clone()).collect();
            let blueprint = programs::update(&trainable, &self.adamw)?;
            let pairs = self.update_pairs();
            self.update = Some(compile_pairs(&self.device, &blueprint, &pairs)?);
        }
        let names = update_names(&self.weights);
        let update = update_bindings(&self.weights, &names, &self.scalars);
        let mut inputs = update.inputs;
        for (weight, names) in self.weights.iter().zip(&names) {
            if let Some([sum, _]) = &weight.sum {
                inputs.push((names.sum.as_str(), sum));
            }
        }
        if let Some(program) = &mut self.update {
            program.run(&inputs, &update.outputs, &self.stop)?;
        }
        advance(&mut self.weights);
        Ok(loss)
    }

    /// Adds a batch's gradients up; gives its part of the loss.
    fn accumulate(
        &mut self,
        batch: &Batch,
        tokens: usize,
        settings: &StepSettings,
        part: usize,
    ) -> Result<f64, TrainError> {
        let shape = (batch.rows, batch.length);
        if !self.accumulations.contains_key(&shape) {
            let blueprint = programs::accumulation(self.decoder, self.method, training_shape(batch))?;
            let compiled = self.compile(blueprint, batch, LOSS, &[], &[])?;
            self.accumulations.insert(shape, compiled);
        }
        let compiled = self.accumulations.get_mut(&shape);
        let compiled = compiled.ok_or_else(|| TrainError::Unused(LOSS.to_owned()))?;
        compiled.own.fill(&self.device, batch, tokens)?;
        // Every part of a step has masks of its own: parts are numbered above the steps.
        compiled
            .own
            .draw(&self.device, settings.seed, settings.step | (part as u64) << 40)?;
        let names = update_names(&self.weights);
        let mut inputs = compiled.own.batch_inputs();
        inputs.extend(frozen_inputs(&compiled.own.frozen, &self.frozen));
        let mut outputs: Vec<(&str, &Buffer)> = vec![(LOSS, &compiled.own.result)];
        for (weight, names) in self.weights.iter().zip(&names) {
            inputs.push((names.value.as_str(), &weight.value));
            if let Some([sum, next]) = &weight.sum {
                inputs.push((names.sum.as_str(), sum));
                outputs.push((names.next_sum.as_str(), next));
            }
        }
        compiled.program.run(&inputs, &outputs, &self.stop)?;
        let loss = download_scalar(&self.device, &compiled.own.result)?;
        for weight in &mut self.weights {
            if let Some(sums) = &mut weight.sum {
                sums.swap(0, 1);
            }
        }
        Ok(loss)
    }

    /// Measures the loss on all examples of these batches, with the weights as they are. `None`: nothing is predicted.
    /// Alive after each batch.
    pub(crate) fn evaluate(
        &mut self,
        batches: Batches<'_>,
        truncated: u64,
        observer: &mut dyn Observer,
    ) -> Result<Option<Measurement>, TrainError> {
        let mut examples = Vec::with_capacity(batches.examples());
        for batch in batches {
            self.evaluate_batch(&batch, &mut examples)?;
            observer.alive();
        }
        Ok(Measurement::of(&examples, truncated))
    }

    fn evaluate_batch(&mut self, batch: &Batch, examples: &mut Vec<ExampleLoss>) -> Result<(), TrainError> {
        let shape = (batch.rows, batch.length);
        if !self.evaluations.contains_key(&shape) {
            let blueprint = programs::evaluation(self.decoder, self.method, training_shape(batch))?;
            let compiled = self.compile(blueprint, batch, ROW_LOSSES, &[batch.rows], &[])?;
            self.evaluations.insert(shape, compiled);
        }
        let compiled = self.evaluations.get_mut(&shape);
        let compiled = compiled.ok_or_else(|| TrainError::Unused(ROW_LOSSES.to_owned()))?;
        compiled.own.fill(&self.device, batch, 1)?;
        let mut inputs = compiled.own.batch_inputs();
        inputs.extend(frozen_inputs(&compiled.own.frozen, &self.frozen));
        inputs.extend(
            self.weights
                .iter()
                .map(|weight| (weight.trainable.name.as_str(), &weight.value)),
        );
        compiled
            .program
            .run(&inputs, &[(ROW_LOSSES, &compiled.own.result)], &self.stop)?;
        let sums = self.device.download(&compiled.own.result)?;
        let sums = sums.as_f32().unwrap_or_default();
        let counts = batch.weights.chunks_exact(batch.length);
        for (&sum, counts) in sums.iter().zip(counts).take(batch.examples) {
            examples.push(ExampleLoss {
                sum: f64::from(sum),
                tokens: counts.iter().filter(|&&weight| weight > 0.0).count() as u64,
            });
        }
        Ok(())
    }

    fn compile(
        &self,
        blueprint: Blueprint,
        batch: &Batch,
        result: &str,
        result_shape: &[usize],
        pairs: &[(String, String)],
    ) -> Result<Compiled, TrainError> {
        debug_assert!(blueprint.graph.find(result).is_some());
        let program = compile_pairs(&self.device, &blueprint, pairs)?;
        let (device, positions) = (&self.device, batch.rows * batch.length);
        let mask = |mask: DropoutMask| -> Result<(DropoutMask, Buffer), TrainError> {
            let buffer = device.zeros(ElementType::F32, &mask.shape)?;
            Ok((mask, buffer))
        };
        Ok(Compiled {
            program,
            own: Own {
                frozen: blueprint.frozen,
                masks: blueprint.masks.into_iter().map(mask).collect::<Result<_, _>>()?,
                ids: device.zeros(ElementType::I64, &[batch.rows, batch.length])?,
                targets: device.zeros(ElementType::I64, &[positions])?,
                weights: device.zeros(ElementType::F32, &[positions])?,
                result: device.zeros(ElementType::F32, result_shape)?,
            },
        })
    }

    /// Which outputs of an update are written over which inputs.
    fn update_pairs(&self) -> Vec<(String, String)> {
        if !self.device.can_update_in_place() {
            return Vec::new();
        }
        update_names(&self.weights)
            .into_iter()
            .flat_map(|names| {
                [
                    (names.value, names.next_value),
                    (names.m, names.next_m),
                    (names.v, names.next_v),
                ]
            })
            .collect()
    }

    fn scalar(&self, buffer: &Buffer) -> Result<f64, TrainError> {
        download_scalar(&self.device, buffer)
    }
}

fn training_shape(batch: &Batch) -> GraphShape {
    GraphShape {
        rows: batch.rows,
        length: batch.length,
        training: true,
    }
}

fn compile_pairs(device: &Device, blueprint: &Blueprint, pairs: &[(String, String)]) -> Result<Program, TrainError> {
    let pairs: Vec<(&str, &str)> = pairs
        .iter()
        .map(|(input, output)| (input.as_str(), output.as_str()))
        .collect();
    let program = if pairs.is_empty() {
        device.compile(&blueprint.graph)
    } else {
        device.compile_in_place(&blueprint.graph, &pairs)
    };
    Ok(program?)
}

fn download_scalar(device: &Device, buffer: &Buffer) -> Result<f64, TrainError> {
    let tensor = device.download(buffer)?;
    let value = tensor.as_f32().and_then(<[f32]>::first).copied();
    Ok(value.map_or(f64::NAN, f64::from))
}
