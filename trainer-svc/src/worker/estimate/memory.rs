//! Memory that a run takes at its peak: weights, optimizer state and activations, by what was measured of whole runs on a CPU
//! (`docs/trainer.md` has the figures).

use super::super::failure;
use crate::arch::Model;
use crate::graph::Op;
use crate::method::{GraphShape, Method};
use crate::runs::RunFailure;
use crate::train::TrainError;

/// Bytes of the library, the process and its buffers.
const BASE_BYTES: u64 = 60 << 20;
/// Copies of a frozen weight: that of the device, and what reading and compiling take for a while.
const FROZEN: f64 = 1.5;
/// Copies of a trained weight: itself, its gradient, two moments, and what reading, compiling and saving take for a while.
const TRAINED: f64 = 6.5;
/// Of the forward pass's results, those that are in memory at the same time as their gradients and the evaluation's.
const KEPT: f64 = 0.6;
/// Copies of the logits: softmax, loss and their gradients, in training and in the evaluation.
const LOGITS: f64 = 6.0;
/// Batches of shorter texts have programs and memory of their own: half as much again.
const BUCKETS: f64 = 1.5;
/// Graphs are built up to this length; beyond it the results grow as they did.
const SURVEYED: usize = 128;

/// Bytes, for batches of so many rows and tokens. `weights`: how many are frozen and how many trained.
pub(super) fn of(model: &Model, method: &Method, weights: [u64; 2], rows: u64, length: u64) -> Result<u64, RunFailure> {
    let half = (usize::try_from(length).unwrap_or(usize::MAX).min(SURVEYED) / 2).max(1);
    let (short, long) = (results(model, method, half)?, results(model, method, 2 * half)?);
    let [frozen, trained] = weights.map(|count| count as f64);
    let (half, rows, length) = (half as f64, rows as f64, length as f64);
    // a·n + b·n²: attention scores grow with the square.
    let square = ((long - 2.0 * short) / (2.0 * half * half)).max(0.0);
    let linear = short / half - square * half;
    let activations = KEPT * (linear * length + square * length * length);
    let logits = LOGITS * length * model.decoder.vocabulary() as f64;
    let floats = FROZEN * frozen + TRAINED * trained + BUCKETS * rows * (activations + logits);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive; what is beyond the range is the largest number"
    )]
    Ok(BASE_BYTES.saturating_add((4.0 * floats) as u64))
}

/// Numbers that the forward pass of one sequence computes, the logits apart.
fn results(model: &Model, method: &Method, length: usize) -> Result<f64, RunFailure> {
    let shape = GraphShape {
        rows: 1,
        length,
        training: true,
    };
    let tuned = method.build(model.decoder.as_ref(), shape);
    let tuned = tuned.map_err(|error| failure::of(&TrainError::from(error)))?;
    let graph = &tuned.graph;
    // A reshaped result lies where it lay.
    let nodes = graph
        .nodes()
        .iter()
        .filter(|node| !matches!(node.op, Op::Reshape { .. }));
    let values = nodes
        .flat_map(|node| &node.outputs)
        .filter(|&&value| value != tuned.logits);
    Ok(values
        .map(|&value| graph.shape(value).iter().product::<usize>() as f64)
        .sum())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::arch;
    use crate::method::Lora;

    const MIB: u64 = 1 << 20;

    fn estimate(model: &Model, method: &Method, rows: u64, length: u64) -> u64 {
        let all = model.parameters.iter();
        let all: usize = all.map(|parameter| parameter.shape.iter().product::<usize>()).sum();
        let weights = match method {
            Method::Full => [0, all as u64],
            _ => [all as u64, 10_000],
        };
        of(model, method, weights, rows, length).unwrap()
    }

    #[test]
    fn it_grows_with_the_batch_and_with_what_is_trained_and_meets_what_was_measured() {
        let zoo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../zoo/gpt2-verse-xs");
        let model = arch::open(&zoo).unwrap();
        let lora = Method::Lora(Lora {
            rank: 2,
            alpha: 2.0,
            dropout: 0.0,
            targets: Vec::new(),
        });
        // The peaks of whole runs: 164 and 72 MiB.
        let usual = estimate(&model, &Method::Full, 8, 128);
        assert!((82 * MIB..328 * MIB).contains(&usual), "{usual}");
        let small = estimate(&model, &Method::Full, 1, 16);
        assert!((36 * MIB..144 * MIB).contains(&small), "{small}");
        assert!(estimate(&model, &lora, 8, 128) < usual);
        let base = BASE_BYTES;
        assert!(estimate(&model, &Method::Full, 16, 128) - base < 2 * (usual - base));
        // Attention grows faster than the sequence; what is extrapolated goes on from what was built.
        let [short, long] = [64, 128].map(|length| estimate(&model, &Method::Full, 64, length) - small);
        assert!(long > 2 * short, "{short} {long}");
        let beyond = estimate(&model, &Method::Full, 64, 256) - small;
        assert!(beyond > 2 * long && beyond < 4 * long, "{long} {beyond}");
        assert!(estimate(&model, &Method::Full, 1, 1) >= base);
        assert!(estimate(&model, &Method::Full, u64::MAX, u64::MAX) > 1 << 60);
    }
}
