//! Whole transformer blocks, from token ids to the loss.

use super::{Model, Outcome, compare};
use crate::graph::{Op, ValueId};

impl Model {
    /// x · ½(1 + erf(x/√2))
    fn gelu(&mut self, x: ValueId) -> ValueId {
        let graph = &mut self.graph;
        let scaled = graph.scale(x, std::f64::consts::FRAC_1_SQRT_2).unwrap();
        let erf = graph.one(Op::Erf, &[scaled]).unwrap();
        let one = graph.scalar_like(x, 1.0);
        let sum = graph.add(erf, one).unwrap();
        let half = graph.scale(sum, 0.5).unwrap();
        graph.mul(x, half).unwrap()
    }

    /// x / √(mean(x²) + ε) · scale
    fn rms_norm(&mut self, x: ValueId, scale: &str) -> ValueId {
        let scale = self.get(scale);
        let graph = &mut self.graph;
        let square = graph.mul(x, x).unwrap();
        let mean = graph.reduce_mean(square, &[1], true).unwrap();
        let epsilon = graph.scalar_like(x, 1e-6);
        let sum = graph.add(mean, epsilon).unwrap();
        let root = graph.one(Op::Sqrt, &[sum]).unwrap();
        let normal = graph.div(x, root).unwrap();
        graph.mul(normal, scale).unwrap()
    }

    /// Rotary positions of `[batch, heads, 6, 8]`, half-rotated layout.
    fn rotate(&mut self, x: ValueId) -> ValueId {
        let (cos, sin) = (self.get("cos"), self.get("sin"));
        let graph = &mut self.graph;
        let halves = graph.split(x, 3, &[4, 4]).unwrap();
        let negative = graph.scale(halves[1], -1.0).unwrap();
        let turned = graph.concat(&[negative, halves[0]], 3).unwrap();
        let (straight, turned) = (graph.mul(x, cos).unwrap(), graph.mul(turned, sin).unwrap());
        graph.add(straight, turned).unwrap()
    }

    fn swish(&mut self, x: ValueId) -> ValueId {
        let sigmoid = self.graph.one(Op::Sigmoid, &[x]).unwrap();
        self.graph.mul(x, sigmoid).unwrap()
    }
}

/// The loss does not weigh its own weights' gradient: they are data.
const DATA: [&str; 1] = ["weights"];

#[test]
fn gpt2_block() {
    compare("gpt2", &DATA, |model| {
        let (table, ids, positions) = (model.get("embedding"), model.get("ids"), model.get("positions"));
        let x = model.graph.gather(table, ids, 0).unwrap();
        let x = model.graph.reshape(x, &[2, 6, 16]).unwrap();
        let x = model.graph.add(x, positions).unwrap();
        let x = model.graph.reshape(x, &[12, 16]).unwrap();
        let h = model.layer_norm(x, "ln1_scale", "ln1_bias");
        let h = model.layer(h, "qkv", "qkv_bias");
        let parts = model.graph.split(h, 1, &[16, 16, 16]).unwrap();
        let parts: Vec<ValueId> = parts.into_iter().map(|part| model.heads(part, [2, 2, 6, 8])).collect();
        let mixed = model.attention(parts[0], parts[1], parts[2]);
        let mixed = model.layer(mixed, "out", "out_bias");
        let x = model.graph.add(x, mixed).unwrap();
        let h = model.layer_norm(x, "ln2_scale", "ln2_bias");
        let h = model.layer(h, "up", "up_bias");
        let h = model.gelu(h);
        let h = model.layer(h, "down", "down_bias");
        let x = model.graph.add(x, h).unwrap();
        let logits = model.project(x, "embedding");
        let loss = model.loss(logits);
        Outcome {
            value: loss.loss,
            seed: (logits, loss.logits_cotangent),
        }
    });
}

#[test]
fn llama_block() {
    compare("llama", &DATA, |model| {
        let (table, ids) = (model.get("embedding"), model.get("ids"));
        let x = model.graph.gather(table, ids, 0).unwrap();
        let h = model.rms_norm(x, "norm1");
        let q = model.project(h, "q");
        let low = model.project(h, "lora_a");
        let adapted = model.project(low, "lora_b");
        let adapted = model.graph.scale(adapted, 2.0).unwrap();
        let q = model.graph.add(q, adapted).unwrap();
        let (k, v) = (model.project(h, "k"), model.project(h, "v"));
        let q = model.heads(q, [2, 2, 6, 8]);
        let (k, v) = (model.heads(k, [2, 1, 6, 8]), model.heads(v, [2, 1, 6, 8]));
        let (q, k) = (model.rotate(q), model.rotate(k));
        let mixed = model.attention(q, k, v);
        let mixed = model.project(mixed, "out");
        let x = model.graph.add(x, mixed).unwrap();
        let h = model.rms_norm(x, "norm2");
        let gate = model.project(h, "gate");
        let (gate, up) = (model.swish(gate), model.project(h, "up"));
        let h = model.graph.mul(gate, up).unwrap();
        let h = model.project(h, "down");
        let x = model.graph.add(x, h).unwrap();
        let logits = model.project(x, "head");
        let loss = model.loss(logits);
        Outcome {
            value: loss.loss,
            seed: (logits, loss.logits_cotangent),
        }
    });
}
