//! Single layers, and numbers that are hard to get right.

use super::{Model, Outcome, compare};
use crate::graph::{Op, ValueId};

fn outcome(model: &mut Model, y: ValueId) -> Outcome {
    let (value, y, seed) = model.seeded(y);
    Outcome { value, seed: (y, seed) }
}

const SEED: [&str; 1] = ["seed"];

#[test]
fn embedding_with_duplicate_ids() {
    compare("embedding", &SEED, |model| {
        let (table, ids) = (model.get("table"), model.get("ids"));
        let rows = model.graph.gather(table, ids, 0).unwrap();
        outcome(model, rows)
    });
}

#[test]
fn approximate_gelu() {
    compare("tanh_gelu", &SEED, |model| {
        let x = model.get("x");
        let graph = &mut model.graph;
        let square = graph.mul(x, x).unwrap();
        let cube = graph.mul(square, x).unwrap();
        let cube = graph.scale(cube, 0.044_715).unwrap();
        let sum = graph.add(x, cube).unwrap();
        let sum = graph.scale(sum, (2.0 / std::f64::consts::PI).sqrt()).unwrap();
        let tanh = graph.one(Op::Tanh, &[sum]).unwrap();
        let one = graph.scalar_like(x, 1.0);
        let sum = graph.add(tanh, one).unwrap();
        let half = graph.scale(x, 0.5).unwrap();
        let y = graph.mul(half, sum).unwrap();
        outcome(model, y)
    });
}

#[test]
fn relu_layer() {
    compare("relu_layer", &SEED, |model| {
        let (x, weight, bias) = (model.get("x"), model.get("w"), model.get("bias"));
        let y = model.graph.gemm(x, weight, Some(bias), false, true).unwrap();
        let y = model.graph.one(Op::Relu, &[y]).unwrap();
        outcome(model, y)
    });
}

#[test]
fn layer_norm_far_from_zero() {
    compare("far_layer_norm", &SEED, |model| {
        let x = model.get("x");
        let y = model.layer_norm(x, "scale", "bias");
        outcome(model, y)
    });
}

#[test]
fn peaked_cross_entropy() {
    compare("peaked_cross_entropy", &["weights"], |model| {
        let logits = model.get("x");
        let loss = model.loss(logits);
        Outcome {
            value: loss.loss,
            seed: (logits, loss.logits_cotangent),
        }
    });
}

#[test]
fn broadcast_products() {
    compare("broadcast_products", &SEED, |model| {
        let (a, b, c, seed) = (model.get("a"), model.get("b"), model.get("c"), model.get("seed"));
        let graph = &mut model.graph;
        let y = graph.matmul(a, b).unwrap();
        let y = graph.add(y, c).unwrap();
        let square = graph.mul(y, y).unwrap();
        let one = graph.scalar_like(y, 1.0);
        let sum = graph.add(square, one).unwrap();
        let root = graph.one(Op::Sqrt, &[sum]).unwrap();
        let sine = graph.one(Op::Sin, &[y]).unwrap();
        let quotient = graph.div(sine, root).unwrap();
        let first = graph.mul(quotient, seed).unwrap();
        let cosine = graph.one(Op::Cos, &[y]).unwrap();
        let negative = graph.scale(square, -1.0).unwrap();
        let bell = graph.one(Op::Exp, &[negative]).unwrap();
        let second = graph.mul(cosine, bell).unwrap();
        let sum = graph.add(first, second).unwrap();
        let value = graph.reduce_sum(sum, &[0, 1, 2, 3], false).unwrap();
        let one = graph.scalar_like(value, 1.0);
        Outcome {
            value,
            seed: (value, one),
        }
    });
}
