//! GPT-NeoX (Black et al. 2022, arXiv:2204.06745; `GPTNeoXForCausalLM` in transformers), the architecture of Pythia: rotary
//! positions on a part of each head, attention and inner layer side by side or one after the other, one fused projection in
//! which queries, keys and values of a head lie together.

use super::config::{Fields, Heads, MAX_LAYERS, MAX_POSITIONS, MAX_VOCABULARY, MAX_WIDTH};
use super::layers::{
    Activation, Attention, Frame, attend, causal_mask, check_ids, embed, feed_forward, layer_norm, pieces, split_heads,
    tied_head, token_rows,
};
use super::rotary::{Keys, Rotary, Tables};
use super::{ArchError, ConfigError, Decoder, Forward, Linear, WeightLayout};
use crate::graph::{Graph, GraphError, ValueId};

/// The configuration, checked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct GptNeoX {
    vocabulary: usize,
    positions: usize,
    width: usize,
    inner: usize,
    layers: usize,
    heads: Heads,
    epsilon: f32,
    activation: Activation,
    rotary: Rotary,
    parallel: bool,
    attention_bias: bool,
    tied: bool,
}

/// What the layers of one graph share.
#[derive(Clone, Copy)]
struct Shared {
    frame: Frame,
    query_tables: Tables,
    key_tables: Tables,
    mask: ValueId,
}

const TABLE: &str = "gpt_neox.embed_in.weight";

impl GptNeoX {
    pub(super) fn read(fields: Fields<'_>) -> Result<Self, ConfigError> {
        let positions = fields.count("max_position_embeddings", 1..=MAX_POSITIONS)?;
        let width = fields.count("hidden_size", 1..=MAX_WIDTH)?;
        let heads = Heads::dividing(fields, ("hidden_size", width), "num_attention_heads")?;
        let keys = Keys {
            base: "rotary_emb_base",
            share: Some(("rotary_pct", 0.25)),
        };
        Ok(Self {
            vocabulary: fields.count("vocab_size", 1..=MAX_VOCABULARY)?,
            positions,
            width,
            inner: fields.count("intermediate_size", 1..=MAX_WIDTH)?,
            layers: fields.count("num_hidden_layers", 1..=MAX_LAYERS)?,
            heads,
            epsilon: fields.epsilon("layer_norm_eps", 1e-5)?,
            activation: Activation::read(fields, "hidden_act", Activation::Gelu)?,
            rotary: Rotary::read(fields, keys, heads.width, positions)?,
            parallel: fields.flag("use_parallel_residual", true)?,
            attention_bias: fields.flag("attention_bias", true)?,
            tied: fields.flag("tie_word_embeddings", false)?,
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

    /// Queries, keys and values from the fused projection `[rows, heads · 3 · head width]`.
    fn heads_apart(&self, graph: &mut Graph, shared: Shared, fused: ValueId) -> Result<Attention, GraphError> {
        let (head, pairs) = (self.heads.width, self.rotary.pairs());
        let rest = head - 2 * pairs;
        let fused = split_heads(graph, shared.frame, fused, self.heads.queries, 3 * head)?;
        let scale = self.heads.scale();
        if rest == 0 {
            let [qa, qb, ka, kb, values] = pieces(graph, fused, 3, [pairs, pairs, pairs, pairs, head])?;
            let queries = shared.query_tables.turn(graph, qa, qb)?;
            let keys = shared.key_tables.turn(graph, ka, kb)?;
            return Ok(Attention {
                queries: graph.concat(&queries, 3)?,
                keys: graph.concat(&keys, 3)?,
                values,
                mask: shared.mask,
            });
        }
        let sizes = [pairs, pairs, rest, pairs, pairs, rest, head];
        let [qa, qb, q_rest, ka, kb, k_rest, values] = pieces(graph, fused, 3, sizes)?;
        let [qa, qb] = shared.query_tables.turn(graph, qa, qb)?;
        let [ka, kb] = shared.key_tables.turn(graph, ka, kb)?;
        let q_rest = graph.scale(q_rest, scale)?;
        Ok(Attention {
            queries: graph.concat(&[qa, qb, q_rest], 3)?,
            keys: graph.concat(&[ka, kb, k_rest], 3)?,
            values,
            mask: shared.mask,
        })
    }

    fn attention(
        &self,
        forward: &mut Forward<'_>,
        shared: Shared,
        path: &str,
        normal: ValueId,
    ) -> Result<ValueId, GraphError> {
        let (width, bias) = (self.width, self.attention_bias);
        let fused = Self::linear(format!("{path}.query_key_value"), width, 3 * width, bias);
        let fused = forward.linear(&fused, normal)?;
        let attention = self.heads_apart(forward.graph, shared, fused)?;
        let context = attend(forward.graph, shared.frame, self.heads, attention)?;
        forward.linear(&Self::linear(format!("{path}.dense"), width, width, bias), context)
    }

    fn inner(&self, forward: &mut Forward<'_>, path: &str, normal: ValueId) -> Result<ValueId, GraphError> {
        let inner = Self::linear(format!("{path}.dense_h_to_4h"), self.width, self.inner, true);
        let outer = Self::linear(format!("{path}.dense_4h_to_h"), self.inner, self.width, true);
        feed_forward(forward, &inner, self.activation, &outer, normal)
    }

    fn layer(
        &self,
        forward: &mut Forward<'_>,
        shared: Shared,
        layer: usize,
        x: ValueId,
    ) -> Result<ValueId, GraphError> {
        let path = format!("gpt_neox.layers.{layer}");
        let normal = layer_norm(forward, x, &format!("{path}.input_layernorm"), self.epsilon, true)?;
        let attended = self.attention(forward, shared, &format!("{path}.attention"), normal)?;
        let after_attention = forward.graph.add(x, attended)?;

        let seen = if self.parallel { x } else { after_attention };
        let normal = layer_norm(
            forward,
            seen,
            &format!("{path}.post_attention_layernorm"),
            self.epsilon,
            true,
        )?;
        let outer = self.inner(forward, &format!("{path}.mlp"), normal)?;
        forward.graph.add(after_attention, outer)
    }
}

impl Decoder for GptNeoX {
    fn model_type(&self) -> &'static str {
        "gpt_neox"
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
        &["query_key_value"]
    }

    fn forward(&self, forward: &mut Forward<'_>, ids: ValueId, prompt: Option<ValueId>) -> Result<ValueId, ArchError> {
        check_ids(forward.graph, ids)?;
        let frame = Frame::new(forward.graph, ids, prompt, Some(self.positions))?;
        let table = forward.parameter(TABLE, &[self.vocabulary, self.width])?;
        let graph = &mut *forward.graph;
        let x = embed(graph, frame, table, ids, prompt)?;
        let mut x = graph.reshape(x, &[frame.rows(), self.width])?;
        let positions = frame.positions();
        let shared = Shared {
            frame,
            query_tables: self.rotary.tables(graph, positions, self.heads.scale())?,
            key_tables: self.rotary.tables(graph, positions, 1.0)?,
            mask: causal_mask(graph, positions, None)?,
        };
        for layer in 0..self.layers {
            x = self.layer(forward, shared, layer, x)?;
        }
        let x = token_rows(forward.graph, frame, x)?;
        let x = layer_norm(forward, x, "gpt_neox.final_layer_norm", self.epsilon, true)?;
        if self.tied {
            return Ok(tied_head(forward.graph, x, table)?);
        }
        let head = Self::linear("embed_out".into(), self.width, self.vocabulary, false);
        Ok(forward.linear(&head, x)?)
    }
}
