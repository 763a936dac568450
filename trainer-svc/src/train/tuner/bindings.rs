//! What a program's inputs and outputs are bound to: batches, weights with their moments, and the scalars of an update.

use std::collections::BTreeMap;

use super::super::TrainError;
use super::super::programs::{TARGETS, WEIGHTS, sum_name};
use super::StepSettings;
use crate::dataset::Batch;
use crate::method::{DropoutMask, INPUT_IDS, Trainable};
use crate::optimizer::{self, AdamW};
use crate::session::{Buffer, Device};
use crate::tensor::{ElementType, Elements, HostTensor};

/// A trained weight with its moments.
pub(super) struct Weight {
    pub(super) trainable: Trainable,
    pub(super) value: Buffer,
    /// First and second moment; absent while nothing is trained.
    pub(super) moments: Option<[Buffer; 2]>,
    /// Where the next generation of value and moments goes; absent where it is written in place.
    pub(super) next: Option<[Buffer; 3]>,
    /// Gradients added up; absent where a step has one batch.
    pub(super) sum: Option<[Buffer; 2]>,
}

/// What belongs to one program: its batch, its result, and which frozen weights it reads.
pub(super) struct Own {
    pub(super) frozen: Vec<String>,
    pub(super) masks: Vec<(DropoutMask, Buffer)>,
    pub(super) ids: Buffer,
    pub(super) targets: Buffer,
    pub(super) weights: Buffer,
    pub(super) result: Buffer,
}

/// The scalars of an update.
pub(super) struct Scalars {
    pub(super) learning_rate: Buffer,
    pub(super) weight_decay: Buffer,
    pub(super) bias_correction_1: Buffer,
    pub(super) bias_correction_2: Buffer,
    pub(super) clip_norm: Buffer,
    pub(super) gradient_norm: Buffer,
}

impl Weight {
    /// Zeros, without moments.
    pub(super) fn new(device: &Device, trainable: &Trainable) -> Result<Self, TrainError> {
        Ok(Self {
            trainable: trainable.clone(),
            value: device.zeros(ElementType::F32, &trainable.shape)?,
            moments: None,
            next: None,
            sum: None,
        })
    }
}

impl Scalars {
    pub(super) fn new(device: &Device) -> Result<Self, TrainError> {
        let scalar = || device.zeros(ElementType::F32, &[]);
        Ok(Self {
            learning_rate: scalar()?,
            weight_decay: scalar()?,
            bias_correction_1: scalar()?,
            bias_correction_2: scalar()?,
            clip_norm: scalar()?,
            gradient_norm: scalar()?,
        })
    }

    /// Sets what a step is done with.
    pub(super) fn write(&self, device: &Device, settings: &StepSettings, adamw: &AdamW) -> Result<(), TrainError> {
        // Steps are far below 2^31: a bias correction of 1 is reached long before.
        let exponent = i32::try_from(settings.step + 1).unwrap_or(i32::MAX);
        let values = [
            (&self.learning_rate, settings.learning_rate),
            (&self.weight_decay, settings.weight_decay),
            (&self.bias_correction_1, 1.0 - adamw.beta1.powi(exponent)),
            (&self.bias_correction_2, 1.0 - adamw.beta2.powi(exponent)),
            (&self.clip_norm, settings.clip_norm.unwrap_or(f64::from(f32::MAX))),
        ];
        for (buffer, value) in values {
            #[expect(clippy::cast_possible_truncation, reason = "graphs are f32")]
            device.write(buffer, &HostTensor::scalar(value as f32))?;
        }
        Ok(())
    }
}

pub(super) fn frozen_inputs<'b>(
    names: &'b [String],
    frozen: &'b BTreeMap<String, Buffer>,
) -> impl Iterator<Item = (&'b str, &'b Buffer)> {
    names
        .iter()
        .filter_map(|name| frozen.get(name).map(|buffer| (name.as_str(), buffer)))
}

/// The next generation is the present one from now on.
pub(super) fn advance(weights: &mut [Weight]) {
    for weight in weights {
        if let (Some([value, first, second]), Some([m, v])) = (&mut weight.next, &mut weight.moments) {
            std::mem::swap(&mut weight.value, value);
            std::mem::swap(m, first);
            std::mem::swap(v, second);
        }
    }
}

/// Names of a weight's inputs and outputs in an update.
pub(super) struct UpdateNames {
    pub(super) value: String,
    pub(super) m: String,
    pub(super) v: String,
    pub(super) sum: String,
    pub(super) next_value: String,
    pub(super) next_m: String,
    pub(super) next_v: String,
    pub(super) next_sum: String,
}

pub(super) fn update_names(weights: &[Weight]) -> Vec<UpdateNames> {
    weights
        .iter()
        .map(|weight| {
            let name = &weight.trainable.name;
            let (m, v, sum) = (format!("m/{name}"), format!("v/{name}"), sum_name(name));
            UpdateNames {
                value: name.clone(),
                next_value: format!("next/{name}"),
                next_m: format!("next/{m}"),
                next_v: format!("next/{v}"),
                next_sum: format!("next/{sum}"),
                m,
                v,
                sum,
            }
        })
        .collect()
}

pub(super) struct UpdateBindings<'b> {
    pub(super) inputs: Vec<(&'b str, &'b Buffer)>,
    pub(super) outputs: Vec<(&'b str, &'b Buffer)>,
}

pub(super) fn update_bindings<'b>(
    weights: &'b [Weight],
    names: &'b [UpdateNames],
    scalars: &'b Scalars,
) -> UpdateBindings<'b> {
    let mut inputs: Vec<(&str, &Buffer)> = vec![
        (optimizer::LEARNING_RATE, &scalars.learning_rate),
        (optimizer::WEIGHT_DECAY, &scalars.weight_decay),
        (optimizer::BIAS_CORRECTION_1, &scalars.bias_correction_1),
        (optimizer::BIAS_CORRECTION_2, &scalars.bias_correction_2),
        (optimizer::CLIP_NORM, &scalars.clip_norm),
    ];
    let mut outputs: Vec<(&str, &Buffer)> = vec![(optimizer::GRADIENT_NORM, &scalars.gradient_norm)];
    for (weight, names) in weights.iter().zip(names) {
        let Some([m, v]) = &weight.moments else { continue };
        inputs.extend([(names.value.as_str(), &weight.value), (&names.m, m), (&names.v, v)]);
        let [next_value, next_m, next_v] = weight.next.as_ref().map_or([&weight.value, m, v], |next| {
            let [value, m, v] = next;
            [value, m, v]
        });
        outputs.extend([
            (names.next_value.as_str(), next_value),
            (&names.next_m, next_m),
            (&names.next_v, next_v),
        ]);
    }
    UpdateBindings { inputs, outputs }
}

impl Own {
    pub(super) fn fill(&self, device: &Device, batch: &Batch, tokens: usize) -> Result<(), TrainError> {
        let positions = batch.rows * batch.length;
        let tensor = |shape: &[usize], elements| {
            HostTensor::new(shape, elements).map_err(|error| TrainError::Unused(error.to_string()))
        };
        // The mean over the predicted tokens of the whole step is a weighted sum.
        #[expect(clippy::cast_possible_truncation, reason = "graphs are f32")]
        let share = (1.0 / tokens.max(1) as f64) as f32;
        let weights = batch.weights.iter().map(|weight| weight * share).collect();
        device.write(
            &self.ids,
            &tensor(&[batch.rows, batch.length], Elements::I64(batch.ids.clone()))?,
        )?;
        device.write(
            &self.targets,
            &tensor(&[positions], Elements::I64(batch.targets.clone()))?,
        )?;
        device.write(&self.weights, &tensor(&[positions], Elements::F32(weights))?)?;
        Ok(())
    }

    pub(super) fn draw(&self, device: &Device, seed: u64, step: u64) -> Result<(), TrainError> {
        for (mask, buffer) in &self.masks {
            device.write(buffer, &mask.draw(seed, step))?;
        }
        Ok(())
    }

    pub(super) fn batch_inputs(&self) -> Vec<(&str, &Buffer)> {
        let mut inputs: Vec<(&str, &Buffer)> = vec![
            (INPUT_IDS, &self.ids),
            (TARGETS, &self.targets),
            (WEIGHTS, &self.weights),
        ];
        inputs.extend(self.masks.iter().map(|(mask, buffer)| (mask.name.as_str(), buffer)));
        inputs
    }
}
