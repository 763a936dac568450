//! Architectures: forward graphs of decoder-only language models, built from a checkpoint's configuration.
//!
//! Parameters are graph inputs under the names of the checkpoint's `…ForCausalLM` state dictionary in transformers. Linear
//! layers go through [`Forward::linear`], where a tuning method may add to them.
//!
//! | file | `model_type` |
//! |---|---|
//! | `gpt2.rs` | `gpt2` |
//! | `llama.rs` | `llama`, `mistral`, `qwen2` |
//! | `gpt_neox.rs` | `gpt_neox` |
//! | `opt.rs` | `opt` |
//! | `imported.rs` | any, exported to ONNX |
//!
//! Dropout, which regularises pretraining, is not built: graphs are deterministic.

mod config;
mod gpt2;
mod gpt_neox;
mod imported;
mod layers;
mod llama;
mod open;
mod opt;
mod rotary;
#[cfg(test)]
mod tests;

use thiserror::Error;

pub use self::config::ConfigError;
pub(crate) use self::config::Fields;
pub use self::open::{Model, OpenError, Outline, decoder, open, outline};
use crate::graph::{Graph, GraphError, ValueId};
use crate::tensor::ElementType;

/// How the weight of a linear layer lies in the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WeightLayout {
    /// `[outputs, inputs]`: y = x·Wᵀ + b, as `nn.Linear` has it.
    OutputsByInputs,
    /// `[inputs, outputs]`: y = x·W + b, as GPT-2's `Conv1D` has it.
    InputsByOutputs,
}

/// A linear layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linear {
    /// Path of the module in transformers, e.g. `model.layers.0.self_attn.q_proj`; its parameters are `….weight` and `….bias`.
    pub module: String,
    /// Extent of its input.
    pub inputs: usize,
    /// Extent of its output.
    pub outputs: usize,
    /// Does it have a bias?
    pub bias: bool,
    /// How its weight lies.
    pub layout: WeightLayout,
}

/// A parameter that a graph reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Name in the state dictionary of transformers, and of the graph's input.
    pub name: String,
    /// Its extents.
    pub shape: Vec<usize>,
    /// The graph's input.
    pub value: ValueId,
}

/// What a tuning method adds to linear layers.
pub trait Adapt {
    /// The layer's output, with what the method adds. x: `[rows, inputs]`, y: `[rows, outputs]`.
    ///
    /// # Errors
    /// The graph cannot be built.
    fn linear(&mut self, graph: &mut Graph, layer: &Linear, x: ValueId, y: ValueId) -> Result<ValueId, GraphError>;
}

/// Adds nothing: the base model.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unadapted;

impl Adapt for Unadapted {
    fn linear(&mut self, _: &mut Graph, _: &Linear, _: ValueId, y: ValueId) -> Result<ValueId, GraphError> {
        Ok(y)
    }
}

/// A forward graph while it is built.
pub struct Forward<'a> {
    /// The graph.
    pub graph: &'a mut Graph,
    adapt: &'a mut dyn Adapt,
    parameters: Vec<Parameter>,
}

impl<'a> Forward<'a> {
    /// Begins a forward graph.
    pub fn new(graph: &'a mut Graph, adapt: &'a mut dyn Adapt) -> Self {
        Self {
            graph,
            adapt,
            parameters: Vec::new(),
        }
    }

    /// A parameter of the checkpoint, f32. Asked for twice (tied weights), it is the same value.
    ///
    /// # Errors
    /// The name is taken by something else, or the parameter was asked for with another shape.
    pub fn parameter(&mut self, name: &str, shape: &[usize]) -> Result<ValueId, GraphError> {
        if let Some(known) = self.parameters.iter().find(|parameter| parameter.name == name) {
            if known.shape == shape {
                return Ok(known.value);
            }
            return Err(GraphError::DuplicateName(name.to_owned()));
        }
        let value = self.graph.input(name, ElementType::F32, shape)?;
        self.parameters.push(Parameter {
            name: name.to_owned(),
            shape: shape.to_vec(),
            value,
        });
        Ok(value)
    }

    /// A linear layer on x `[rows, inputs]`, with what the tuning method adds: `[rows, outputs]`.
    ///
    /// # Errors
    /// The graph cannot be built.
    pub fn linear(&mut self, layer: &Linear, x: ValueId) -> Result<ValueId, GraphError> {
        let (shape, transposed) = match layer.layout {
            WeightLayout::OutputsByInputs => ([layer.outputs, layer.inputs], true),
            WeightLayout::InputsByOutputs => ([layer.inputs, layer.outputs], false),
        };
        let weight = self.parameter(&format!("{}.weight", layer.module), &shape)?;
        let bias = if layer.bias {
            Some(self.parameter(&format!("{}.bias", layer.module), &[layer.outputs])?)
        } else {
            None
        };
        let y = self.graph.gemm(x, weight, bias, false, transposed)?;
        self.adapt.linear(self.graph, layer, x, y)
    }

    /// The parameters that were asked for, in that order.
    #[must_use]
    pub fn into_parameters(self) -> Vec<Parameter> {
        self.parameters
    }
}

/// A forward graph cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ArchError {
    /// The graph refuses.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The model cannot take so many positions.
    #[error("{positions} positions are asked for, the model has {limit}")]
    TooManyPositions {
        /// Tokens of a sequence, prompt included.
        positions: usize,
        /// The model's own limit.
        limit: usize,
    },
    /// The architecture cannot do this.
    #[error("{0}")]
    Unsupported(String),
}

/// A decoder-only language model.
pub trait Decoder: Send + Sync + std::fmt::Debug {
    /// `model_type` of its configuration, e.g. `llama`.
    fn model_type(&self) -> &str;

    /// Extent of a token's embedding.
    fn embedding_width(&self) -> usize;

    /// Entries of the vocabulary: extent of the logits.
    fn vocabulary(&self) -> usize;

    /// Positions that it can take; absent: any number.
    fn max_positions(&self) -> Option<usize>;

    /// Name of the parameter that holds the token embeddings, `[vocabulary, embedding_width]`.
    fn embedding_parameter(&self) -> &str;

    /// Modules that get low-rank adapters where none are named, by the last part of their path (PEFT's defaults).
    fn default_lora_targets(&self) -> &'static [&'static str];

    /// Adds the forward graph. `ids`: i64 `[batch, sequence]`, right-padded; `prompt`: `[length, embedding_width]`, put before every
    /// sequence; the result: logits `[batch · sequence, vocabulary]` at the positions of `ids`.
    ///
    /// # Errors
    /// Too many positions, or the graph cannot be built.
    fn forward(&self, forward: &mut Forward<'_>, ids: ValueId, prompt: Option<ValueId>) -> Result<ValueId, ArchError>;
}
