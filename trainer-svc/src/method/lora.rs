//! Low-rank adapters (Hu et al., arXiv 2106.09685): y + (α/r)·B·A·x beside frozen linear layers.
//!
//! Names, layout and start values are PEFT's: A `[r, inputs]` uniform in ±1/√inputs (Kaiming with a = √5), B `[outputs, r]` zero.
//! Dropout acts on the adapter's input only. Its masks are inputs, made on the host from the seed and the step: every device gets
//! the same ones, also those that cannot draw random numbers.

use std::collections::BTreeSet;

use rand::RngExt as _;

use super::{MethodError, Starts, Trainable, Tuned, assemble, generator};
use crate::arch::{Adapt, Decoder, Linear};
use crate::graph::{Graph, GraphError, Op, ValueId};
use crate::tensor::{ElementType, HostTensor};

/// As the only target: every linear module but the output layer.
pub const ALL_LINEAR: &str = "all-linear";

/// Modules that [`ALL_LINEAR`] leaves out: they make the logits.
const OUTPUT_LAYERS: [&str; 2] = ["lm_head", "embed_out"];

/// Settings of low-rank adapters.
#[derive(Debug, Clone, PartialEq)]
pub struct Lora {
    /// Rank r, ≥ 1.
    pub rank: usize,
    /// α: the update is scaled by α/r; > 0.
    pub alpha: f64,
    /// Share of the adapter's inputs that are dropped in training, in [0, 1).
    pub dropout: f64,
    /// Last parts of module paths; empty: the architecture's defaults.
    pub targets: Vec<String>,
}

/// A mask that training feeds: 0 where an input is dropped, 1/(1 − dropout) elsewhere.
#[derive(Debug, Clone, PartialEq)]
pub struct DropoutMask {
    /// Name of the graph's input.
    pub name: String,
    /// Its extents.
    pub shape: Vec<usize>,
    /// Share that is dropped.
    pub dropout: f64,
}

impl DropoutMask {
    /// The mask of a step.
    #[must_use]
    pub fn draw(&self, seed: u64, step: u64) -> HostTensor {
        let mut random = generator(seed, &self.name, step);
        #[expect(clippy::cast_possible_truncation, reason = "masks are f32")]
        let kept = (1.0 / (1.0 - self.dropout)) as f32;
        HostTensor::fill(self.shape.clone(), |_| {
            if random.random::<f64>() < self.dropout {
                0.0
            } else {
                kept
            }
        })
    }
}

/// Name of a module's A.
#[must_use]
pub fn a_name(module: &str) -> String {
    format!("{module}.lora_A.weight")
}

/// Name of a module's B.
#[must_use]
pub fn b_name(module: &str) -> String {
    format!("{module}.lora_B.weight")
}

/// Does a target name this module? As in PEFT: the whole path, or its end after a dot.
fn names(target: &str, module: &str) -> bool {
    module == target || module.strip_suffix(target).is_some_and(|rest| rest.ends_with('.'))
}

fn last_part(module: &str) -> &str {
    module.rsplit('.').next().unwrap_or(module)
}

/// Adds adapters while the forward graph is built, and remembers what it met.
struct Adapters<'a> {
    lora: &'a Lora,
    targets: Vec<&'a str>,
    training: bool,
    trainable: Vec<Trainable>,
    masks: Vec<DropoutMask>,
    met: BTreeSet<String>,
    used: BTreeSet<&'a str>,
    too_small: Option<(String, usize)>,
}

impl Adapters<'_> {
    fn wants(&mut self, module: &str) -> bool {
        self.met.insert(last_part(module).to_owned());
        if self.targets == [ALL_LINEAR] {
            self.used.insert(ALL_LINEAR);
            return !OUTPUT_LAYERS.contains(&last_part(module));
        }
        let mut wanted = false;
        for &target in &self.targets {
            if names(target, module) {
                self.used.insert(target);
                wanted = true;
            }
        }
        wanted
    }

    fn weight(&mut self, graph: &mut Graph, name: String, shape: [usize; 2]) -> Result<ValueId, GraphError> {
        let value = graph.input(name.clone(), ElementType::F32, shape)?;
        self.trainable.push(Trainable::new(name, shape.to_vec(), value));
        Ok(value)
    }
}

impl Adapt for Adapters<'_> {
    fn linear(&mut self, graph: &mut Graph, layer: &Linear, x: ValueId, y: ValueId) -> Result<ValueId, GraphError> {
        if !self.wants(&layer.module) {
            return Ok(y);
        }
        let rank = self.lora.rank;
        let side = layer.inputs.min(layer.outputs);
        if rank > side {
            self.too_small.get_or_insert((layer.module.clone(), side));
        }
        let a = self.weight(graph, a_name(&layer.module), [rank, layer.inputs])?;
        let b = self.weight(graph, b_name(&layer.module), [layer.outputs, rank])?;
        let mut input = x;
        if self.training && self.lora.dropout > 0.0 {
            let mask = DropoutMask {
                name: format!("dropout/{}", layer.module),
                shape: graph.shape(x).to_vec(),
                dropout: self.lora.dropout,
            };
            let value = graph.input(mask.name.clone(), ElementType::F32, mask.shape.clone())?;
            self.masks.push(mask);
            input = graph.mul(x, value)?;
        }
        let down = graph.gemm(input, a, None, false, true)?;
        // The scaling and the sum are part of the product: no pass of their own over [rows, outputs].
        #[expect(clippy::cast_possible_truncation, reason = "Gemm's alpha is f32")]
        let alpha = (self.lora.alpha / rank as f64) as f32;
        let up = Op::Gemm {
            alpha,
            beta: 1.0,
            transpose_a: false,
            transpose_b: true,
        };
        graph.one(up, &[down, b, y])
    }
}

impl Lora {
    pub(super) fn build(
        &self,
        decoder: &dyn Decoder,
        graph: Graph,
        ids: ValueId,
        training: bool,
    ) -> Result<Tuned, MethodError> {
        let targets = if self.targets.is_empty() {
            decoder.default_lora_targets().to_vec()
        } else {
            self.targets.iter().map(String::as_str).collect()
        };
        let mut adapters = Adapters {
            lora: self,
            targets,
            training,
            trainable: Vec::new(),
            masks: Vec::new(),
            met: BTreeSet::new(),
            used: BTreeSet::new(),
            too_small: None,
        };
        let (graph, logits, frozen) = assemble(decoder, graph, &mut adapters, ids, None)?;
        if let Some(target) = adapters.targets.iter().find(|target| !adapters.used.contains(*target)) {
            return Err(MethodError::NoSuchTarget {
                target: (*target).to_owned(),
                known: adapters.met.iter().cloned().collect::<Vec<_>>().join(", "),
            });
        }
        if let Some((module, side)) = adapters.too_small {
            let rank = self.rank;
            return Err(MethodError::RankTooLarge { rank, module, side });
        }
        Ok(Tuned {
            graph,
            logits,
            frozen,
            trainable: adapters.trainable,
            masks: adapters.masks,
        })
    }

    /// Start values of the adapters: A random, B zero, so that tuning starts from the base model.
    #[must_use]
    pub fn starts(trainable: &[Trainable], seed: u64) -> Starts {
        trainable
            .iter()
            .map(|weight| {
                let tensor = if weight.name.ends_with(".lora_A.weight") {
                    uniform(weight, seed)
                } else {
                    HostTensor::zeros(weight.shape.clone())
                };
                (weight.name.clone(), tensor)
            })
            .collect()
    }
}

fn uniform(weight: &Trainable, seed: u64) -> HostTensor {
    let inputs = weight.shape.last().copied().unwrap_or(1).max(1);
    let bound = 1.0 / (inputs as f64).sqrt();
    let mut random = generator(seed, &weight.name, 0);
    #[expect(clippy::cast_possible_truncation, reason = "weights are f32")]
    HostTensor::fill(weight.shape.clone(), |_| {
        ((random.random::<f64>() * 2.0 - 1.0) * bound) as f32
    })
}
