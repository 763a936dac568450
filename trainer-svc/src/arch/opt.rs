//! OPT (Zhang et al. 2022, arXiv:2205.01068; `OPTForCausalLM` in transformers): learned positions that begin at row 2 of their
//! table, layer norm before the blocks or (350m) after them, embeddings that may be narrower than the model.

use super::config::{Fields, Heads, MAX_LAYERS, MAX_POSITIONS, MAX_VOCABULARY, MAX_WIDTH};
use super::layers::{
    Activation, Frame, attend_projected, causal_mask, check_ids, embed, feed_forward, layer_norm, learned_positions,
    tied_head, token_rows,
};
use super::{ArchError, ConfigError, Decoder, Forward, Linear, WeightLayout};
use crate::graph::{GraphError, ValueId};

/// Rows of the table of positions before that of the first token.
const POSITION_OFFSET: usize = 2;
/// Added to variances; the configuration has no field for it.
const EPSILON: f32 = 1e-5;

/// The configuration, checked.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "the configuration's own independent flags")]
pub(super) struct Opt {
    vocabulary: usize,
    positions: usize,
    width: usize,
    embedding_width: usize,
    inner: usize,
    layers: usize,
    heads: Heads,
    activation: Activation,
    norm_before: bool,
    final_norm: bool,
    affine: bool,
    bias: bool,
    tied: bool,
}

const TABLE: &str = "model.decoder.embed_tokens.weight";

impl Opt {
    pub(super) fn read(fields: Fields<'_>) -> Result<Self, ConfigError> {
        let width = fields.count("hidden_size", 1..=MAX_WIDTH)?;
        let embedding_width = fields.count_if_any("word_embed_proj_dim", 1..=MAX_WIDTH)?;
        let norm_before = fields.flag("do_layer_norm_before", true)?;
        Ok(Self {
            vocabulary: fields.count("vocab_size", 1..=MAX_VOCABULARY)?,
            positions: fields.count("max_position_embeddings", 1..=MAX_POSITIONS)?,
            width,
            embedding_width: embedding_width.unwrap_or(width),
            inner: fields.count("ffn_dim", 1..=MAX_WIDTH)?,
            layers: fields.count("num_hidden_layers", 1..=MAX_LAYERS)?,
            heads: Heads::dividing(fields, ("hidden_size", width), "num_attention_heads")?,
            activation: Activation::read(fields, "activation_function", Activation::Relu)?,
            norm_before,
            final_norm: norm_before && !fields.flag("_remove_final_layer_norm", false)?,
            affine: fields.flag("layer_norm_elementwise_affine", true)?,
            bias: fields.flag("enable_bias", true)?,
            tied: fields.flag("tie_word_embeddings", true)?,
        })
    }

    fn linear(module: String, inputs: usize, outputs: usize, bias: bool) -> Linear {
        Linear {
            module,
            inputs,
            outputs,
            bias,
            layout: WeightLayout::OutputsByInputs,
        }
    }

    fn norm(&self, forward: &mut Forward<'_>, x: ValueId, module: &str) -> Result<ValueId, GraphError> {
        layer_norm(forward, x, module, EPSILON, self.affine)
    }

    fn attention(
        &self,
        forward: &mut Forward<'_>,
        frame: Frame,
        mask: ValueId,
        path: &str,
        x: ValueId,
    ) -> Result<ValueId, GraphError> {
        let layer = |name: &str| Self::linear(format!("{path}.{name}"), self.width, self.width, self.bias);
        let projected = [
            forward.linear(&layer("q_proj"), x)?,
            forward.linear(&layer("k_proj"), x)?,
            forward.linear(&layer("v_proj"), x)?,
        ];
        let context = attend_projected(forward.graph, frame, self.heads, projected, self.heads.scale(), mask)?;
        forward.linear(&layer("out_proj"), context)
    }

    fn inner(&self, forward: &mut Forward<'_>, path: &str, x: ValueId) -> Result<ValueId, GraphError> {
        let inner = Self::linear(format!("{path}.fc1"), self.width, self.inner, self.bias);
        let outer = Self::linear(format!("{path}.fc2"), self.inner, self.width, self.bias);
        feed_forward(forward, &inner, self.activation, &outer, x)
    }

    fn layer(
        &self,
        forward: &mut Forward<'_>,
        frame: Frame,
        mask: ValueId,
        layer: usize,
        x: ValueId,
    ) -> Result<ValueId, GraphError> {
        let path = format!("model.decoder.layers.{layer}");
        let (attention_norm, inner_norm) = (
            format!("{path}.self_attn_layer_norm"),
            format!("{path}.final_layer_norm"),
        );
        let attention = format!("{path}.self_attn");
        if self.norm_before {
            let normal = self.norm(forward, x, &attention_norm)?;
            let attended = self.attention(forward, frame, mask, &attention, normal)?;
            let x = forward.graph.add(x, attended)?;
            let normal = self.norm(forward, x, &inner_norm)?;
            let outer = self.inner(forward, &path, normal)?;
            return forward.graph.add(x, outer);
        }
        let attended = self.attention(forward, frame, mask, &attention, x)?;
        let x = forward.graph.add(x, attended)?;
        let x = self.norm(forward, x, &attention_norm)?;
        let outer = self.inner(forward, &path, x)?;
        let x = forward.graph.add(x, outer)?;
        self.norm(forward, x, &inner_norm)
    }

    /// Embeddings of tokens and positions: `[rows, width]`.
    fn embedded(
        &self,
        forward: &mut Forward<'_>,
        frame: Frame,
        ids: ValueId,
        prompt: Option<ValueId>,
    ) -> Result<ValueId, ArchError> {
        let table = forward.parameter(TABLE, &[self.vocabulary, self.embedding_width])?;
        let rows = self.positions + POSITION_OFFSET;
        let positions = forward.parameter("model.decoder.embed_positions.weight", &[rows, self.width])?;
        let x = embed(forward.graph, frame, table, ids, prompt)?;
        let mut x = forward.graph.reshape(x, &[frame.rows(), self.embedding_width])?;
        if self.embedding_width != self.width {
            let module = "model.decoder.project_in".into();
            x = forward.linear(&Self::linear(module, self.embedding_width, self.width, false), x)?;
        }
        let graph = &mut *forward.graph;
        let positions = learned_positions(graph, frame, positions, POSITION_OFFSET)?;
        let x = graph.reshape(x, &[frame.batch, frame.positions(), self.width])?;
        let x = graph.add(x, positions)?;
        Ok(graph.reshape(x, &[frame.rows(), self.width])?)
    }
}

impl Decoder for Opt {
    fn model_type(&self) -> &'static str {
        "opt"
    }

    fn embedding_width(&self) -> usize {
        self.embedding_width
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
        &["q_proj", "v_proj"]
    }

    fn forward(&self, forward: &mut Forward<'_>, ids: ValueId, prompt: Option<ValueId>) -> Result<ValueId, ArchError> {
        check_ids(forward.graph, ids)?;
        let frame = Frame::new(forward.graph, ids, prompt, Some(self.positions))?;
        let mut x = self.embedded(forward, frame, ids, prompt)?;
        let mask = causal_mask(forward.graph, frame.positions(), None)?;
        for layer in 0..self.layers {
            x = self.layer(forward, frame, mask, layer, x)?;
        }
        let mut x = token_rows(forward.graph, frame, x)?;
        if self.final_norm {
            x = self.norm(forward, x, "model.decoder.final_layer_norm")?;
        }
        if self.embedding_width != self.width {
            let module = "model.decoder.project_out".into();
            x = forward.linear(&Self::linear(module, self.width, self.embedding_width, false), x)?;
        }
        if self.tied {
            let table = forward.parameter(TABLE, &[self.vocabulary, self.embedding_width])?;
            return Ok(tied_head(forward.graph, x, table)?);
        }
        let head = Self::linear("lm_head".into(), self.embedding_width, self.vocabulary, false);
        Ok(forward.linear(&head, x)?)
    }
}
