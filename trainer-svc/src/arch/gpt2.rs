//! GPT-2 (Radford et al. 2019; `GPT2LMHeadModel` in transformers): learned positions, layer norm before each block, one fused
//! projection to queries, keys and values, weights stored as `[inputs, outputs]`.

use super::config::{Fields, Heads, MAX_LAYERS, MAX_POSITIONS, MAX_VOCABULARY, MAX_WIDTH};
use super::layers::{
    Activation, Frame, attend_projected, causal_mask, check_ids, embed, feed_forward, layer_norm, learned_positions,
    pieces, tied_head, token_rows,
};
use super::{ArchError, ConfigError, Decoder, Forward, Linear, WeightLayout};
use crate::graph::ValueId;

/// The configuration, checked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Gpt2 {
    vocabulary: usize,
    positions: usize,
    width: usize,
    inner: usize,
    layers: usize,
    heads: Heads,
    epsilon: f32,
    activation: Activation,
    scale_scores: bool,
    scale_by_layer: bool,
    tied: bool,
}

const TABLE: &str = "transformer.wte.weight";

impl Gpt2 {
    pub(super) fn read(fields: Fields<'_>) -> Result<Self, ConfigError> {
        let width = fields.count("n_embd", 1..=MAX_WIDTH)?;
        let inner = fields.count_if_any("n_inner", 1..=MAX_WIDTH)?;
        Ok(Self {
            vocabulary: fields.count("vocab_size", 1..=MAX_VOCABULARY)?,
            positions: fields.count("n_positions", 1..=MAX_POSITIONS)?,
            width,
            inner: inner.unwrap_or(4 * width),
            layers: fields.count("n_layer", 1..=MAX_LAYERS)?,
            heads: Heads::dividing(fields, ("n_embd", width), "n_head")?,
            epsilon: fields.epsilon("layer_norm_epsilon", 1e-5)?,
            activation: Activation::read(fields, "activation_function", Activation::GeluTanh)?,
            scale_scores: fields.flag("scale_attn_weights", true)?,
            scale_by_layer: fields.flag("scale_attn_by_inverse_layer_idx", false)?,
            tied: fields.flag("tie_word_embeddings", true)?,
        })
    }

    fn linear(module: String, inputs: usize, outputs: usize) -> Linear {
        Linear {
            module,
            inputs,
            outputs,
            bias: true,
            layout: WeightLayout::InputsByOutputs,
        }
    }

    /// The factor of a layer's scores.
    fn score_scale(&self, layer: usize) -> f64 {
        let scale = if self.scale_scores { self.heads.scale() } else { 1.0 };
        if self.scale_by_layer {
            scale / (layer + 1) as f64
        } else {
            scale
        }
    }

    fn layer(
        &self,
        forward: &mut Forward<'_>,
        frame: Frame,
        mask: ValueId,
        layer: usize,
        x: ValueId,
    ) -> Result<ValueId, ArchError> {
        let (path, width) = (format!("transformer.h.{layer}"), self.width);
        let normal = layer_norm(forward, x, &format!("{path}.ln_1"), self.epsilon, true)?;
        let fused = Self::linear(format!("{path}.attn.c_attn"), width, 3 * width);
        let fused = forward.linear(&fused, normal)?;
        let graph = &mut *forward.graph;
        let projected = pieces(graph, fused, 1, [width; 3])?;
        let context = attend_projected(graph, frame, self.heads, projected, self.score_scale(layer), mask)?;
        let attended = forward.linear(&Self::linear(format!("{path}.attn.c_proj"), width, width), context)?;
        let x = forward.graph.add(x, attended)?;

        let normal = layer_norm(forward, x, &format!("{path}.ln_2"), self.epsilon, true)?;
        let inner = Self::linear(format!("{path}.mlp.c_fc"), width, self.inner);
        let outer = Self::linear(format!("{path}.mlp.c_proj"), self.inner, width);
        let outer = feed_forward(forward, &inner, self.activation, &outer, normal)?;
        Ok(forward.graph.add(x, outer)?)
    }
}

impl Decoder for Gpt2 {
    fn model_type(&self) -> &'static str {
        "gpt2"
    }

    fn embedding_width(&self) -> usize {
        self.width
    }

    fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    fn max_positions(&self) -> Option<usize> {
        Some(self.positions)
    }

    fn embedding_parameter(&self) -> &'static str {
        TABLE
    }

    fn default_lora_targets(&self) -> &'static [&'static str] {
        &["c_attn"]
    }

    fn forward(&self, forward: &mut Forward<'_>, ids: ValueId, prompt: Option<ValueId>) -> Result<ValueId, ArchError> {
        check_ids(forward.graph, ids)?;
        let frame = Frame::new(forward.graph, ids, prompt, Some(self.positions))?;
        let table = forward.parameter(TABLE, &[self.vocabulary, self.width])?;
        let positions = forward.parameter("transformer.wpe.weight", &[self.positions, self.width])?;
        let graph = &mut *forward.graph;
        let tokens = embed(graph, frame, table, ids, prompt)?;
        let positions = learned_positions(graph, frame, positions, 0)?;
        let x = graph.add(tokens, positions)?;
        let mut x = graph.reshape(x, &[frame.rows(), self.width])?;
        let mask = causal_mask(graph, frame.positions(), None)?;
        for layer in 0..self.layers {
            x = self.layer(forward, frame, mask, layer, x)?;
        }
        let x = token_rows(forward.graph, frame, x)?;
        let x = layer_norm(forward, x, "transformer.ln_f", self.epsilon, true)?;
        if self.tied {
            return Ok(tied_head(forward.graph, x, table)?);
        }
        let head = Linear {
            bias: false,
            layout: WeightLayout::OutputsByInputs,
            ..Self::linear("lm_head".into(), self.width, self.vocabulary)
        };
        Ok(forward.linear(&head, x)?)
    }
}
