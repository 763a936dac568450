//! The graphs that training runs: a step, a gradient to be added up, an update, an evaluation.
//!
//! Names of inputs and outputs are the seam between a graph and its driver ([`super::tuner`]).

use crate::arch::Decoder;
use crate::autodiff::{self, cross_entropy};
use crate::graph::{Graph, ValueId};
use crate::method::{DropoutMask, GraphShape, Method, Trainable, Tuned};
use crate::optimizer::{self, AdamW, Slot};
use crate::tensor::ElementType;

use super::TrainError;

/// Input: the token that follows, i64 `[rows · length]`.
pub(crate) const TARGETS: &str = "targets";
/// Input: how much each position counts in the loss, f32 `[rows · length]`.
pub(crate) const WEIGHTS: &str = "weights";
/// Output: Σ weight · negative log-likelihood, a scalar.
pub(crate) const LOSS: &str = "loss";
/// Output of an evaluation: each row's Σ weight · negative log-likelihood, `[rows]`.
pub(crate) const ROW_LOSSES: &str = "row_losses";

/// A graph, and what its driver must know of it.
#[derive(Debug)]
pub(crate) struct Blueprint {
    /// The graph.
    pub(crate) graph: Graph,
    /// Names of the frozen weights that it reads.
    pub(crate) frozen: Vec<String>,
    /// Masks to be fed.
    pub(crate) masks: Vec<DropoutMask>,
}

struct Loss {
    tuned: Tuned,
    targets: ValueId,
    weights: ValueId,
}

fn with_loss_inputs(decoder: &dyn Decoder, method: &Method, shape: GraphShape) -> Result<Loss, TrainError> {
    let mut tuned = method.build(decoder, shape)?;
    let positions = shape.rows * shape.length;
    let targets = tuned.graph.input(TARGETS, ElementType::I64, [positions])?;
    let weights = tuned.graph.input(WEIGHTS, ElementType::F32, [positions])?;
    Ok(Loss {
        tuned,
        targets,
        weights,
    })
}

fn blueprint(tuned: Tuned) -> Blueprint {
    Blueprint {
        graph: tuned.graph,
        frozen: tuned.frozen.into_iter().map(|parameter| parameter.name).collect(),
        masks: tuned.masks,
    }
}

/// Loss and gradients of a batch, as values of a graph.
fn with_gradients(
    decoder: &dyn Decoder,
    method: &Method,
    shape: GraphShape,
) -> Result<(Tuned, Vec<ValueId>), TrainError> {
    let Loss {
        mut tuned,
        targets,
        weights,
    } = with_loss_inputs(decoder, method, shape)?;
    let graph = &mut tuned.graph;
    let entropy = cross_entropy(graph, tuned.logits, targets, weights)?;
    graph.rename(entropy.loss, LOSS)?;
    graph.output(entropy.loss);
    let wrt: Vec<ValueId> = tuned.trainable.iter().map(|weight| weight.value).collect();
    let gradients = autodiff::gradients(graph, &[(tuned.logits, entropy.logits_cotangent)], &wrt)?;
    let missing = |weight: &Trainable| TrainError::Unused(weight.name.clone());
    let gradients = gradients
        .into_iter()
        .zip(&tuned.trainable)
        .map(|(gradient, weight)| gradient.ok_or_else(|| missing(weight)))
        .collect::<Result<Vec<_>, _>>()?;
    Ok((tuned, gradients))
}

fn slots(trainable: &[Trainable], gradients: &[ValueId]) -> Vec<Slot> {
    trainable
        .iter()
        .zip(gradients)
        .map(|(weight, &gradient)| Slot {
            name: weight.name.clone(),
            parameter: weight.value,
            gradient,
            decays: weight.decays,
        })
        .collect()
}

/// One whole step: forward, loss, backward, clip, `AdamW`.
pub(crate) fn step(
    decoder: &dyn Decoder,
    method: &Method,
    shape: GraphShape,
    adamw: &AdamW,
) -> Result<Blueprint, TrainError> {
    let (mut tuned, gradients) = with_gradients(decoder, method, shape)?;
    let slots = slots(&tuned.trainable, &gradients);
    optimizer::update(&mut tuned.graph, &slots, adamw, true)?;
    Ok(blueprint(tuned))
}

/// A batch's gradient, added to what is there.
pub(crate) fn accumulation(decoder: &dyn Decoder, method: &Method, shape: GraphShape) -> Result<Blueprint, TrainError> {
    let (mut tuned, gradients) = with_gradients(decoder, method, shape)?;
    let named: Vec<(String, ValueId)> = tuned
        .trainable
        .iter()
        .zip(&gradients)
        .map(|(weight, &gradient)| (weight.name.clone(), gradient))
        .collect();
    optimizer::accumulate(&mut tuned.graph, &named)?;
    Ok(blueprint(tuned))
}

/// An update from gradients that were added up: inputs `sum/<name>`.
pub(crate) fn update(trainable: &[Trainable], adamw: &AdamW) -> Result<Blueprint, TrainError> {
    let mut graph = Graph::new();
    let mut slots = Vec::new();
    for weight in trainable {
        let parameter = graph.input(weight.name.clone(), ElementType::F32, weight.shape.clone())?;
        let gradient = graph.input(sum_name(&weight.name), ElementType::F32, weight.shape.clone())?;
        slots.push(Slot {
            name: weight.name.clone(),
            parameter,
            gradient,
            decays: weight.decays,
        });
    }
    optimizer::update(&mut graph, &slots, adamw, true)?;
    Ok(Blueprint {
        graph,
        frozen: Vec::new(),
        masks: Vec::new(),
    })
}

/// Each row's loss, without gradients.
pub(crate) fn evaluation(decoder: &dyn Decoder, method: &Method, shape: GraphShape) -> Result<Blueprint, TrainError> {
    let Loss {
        mut tuned,
        targets,
        weights,
    } = with_loss_inputs(
        decoder,
        method,
        GraphShape {
            training: false,
            ..shape
        },
    )?;
    let graph = &mut tuned.graph;
    let entropy = cross_entropy(graph, tuned.logits, targets, weights)?;
    let weighted = graph.mul(entropy.nll, weights)?;
    let by_row = graph.reshape(weighted, &[shape.rows, shape.length])?;
    let rows = graph.reduce_sum(by_row, &[1], false)?;
    graph.rename(rows, ROW_LOSSES)?;
    graph.output(rows);
    Ok(blueprint(tuned))
}

/// Name of the input with a weight's gradients so far.
pub(crate) fn sum_name(name: &str) -> String {
    format!("sum/{name}")
}
