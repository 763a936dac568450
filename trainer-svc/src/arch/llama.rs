//! The Llama family (Touvron et al. 2023, arXiv:2302.13971): rotary positions, RMS norm before each block, a gated inner layer,
//! several query heads per key head. `LlamaForCausalLM` (also `TinyLlama`, `SmolLM2`), `MistralForCausalLM` (sliding window) and
//! `Qwen2ForCausalLM` (biases on queries, keys and values) in transformers.

use serde_json::Value;

use super::config::{Fields, Heads, MAX_HEAD, MAX_HEADS, MAX_LAYERS, MAX_POSITIONS, MAX_VOCABULARY, MAX_WIDTH};
use super::layers::{
    Activation, Attention, Frame, attend, causal_mask, check_ids, embed, pieces, rms_norm, split_heads, tied_head,
    token_rows,
};
use super::rotary::{Keys, Rotary, Tables};
use super::{ArchError, ConfigError, Decoder, Forward, Linear, WeightLayout};
use crate::graph::{Graph, GraphError, ValueId};

/// The configuration, checked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Llama {
    model_type: String,
    vocabulary: usize,
    positions: usize,
    width: usize,
    inner: usize,
    heads: Heads,
    epsilon: f32,
    activation: Activation,
    rotary: Rotary,
    tied: bool,
    biases: Biases,
    /// One for each layer: how far back it sees, itself included; absent: to the beginning.
    windows: Vec<Option<usize>>,
}

/// Which linear layers have a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Biases {
    projections: bool,
    output: bool,
    inner: bool,
}

/// What the layers of one graph share.
struct Shared {
    frame: Frame,
    query_tables: Tables,
    key_tables: Tables,
    /// Masks by window.
    masks: Vec<(Option<usize>, ValueId)>,
}

const TABLE: &str = "model.embed_tokens.weight";

impl Llama {
    pub(super) fn read(fields: Fields<'_>, model_type: &str) -> Result<Self, ConfigError> {
        let positions = fields.count("max_position_embeddings", 1..=MAX_POSITIONS)?;
        let width = fields.count("hidden_size", 1..=MAX_WIDTH)?;
        let layers = fields.count("num_hidden_layers", 1..=MAX_LAYERS)?;
        let heads = read_heads(fields, width)?;
        let keys = Keys {
            base: "rope_theta",
            share: None,
        };
        Ok(Self {
            model_type: model_type.to_owned(),
            vocabulary: fields.count("vocab_size", 1..=MAX_VOCABULARY)?,
            positions,
            width,
            inner: fields.count("intermediate_size", 1..=MAX_WIDTH)?,
            heads,
            epsilon: fields.epsilon("rms_norm_eps", 1e-6)?,
            activation: Activation::read(fields, "hidden_act", Activation::Silu)?,
            rotary: Rotary::read(fields, keys, heads.width, positions)?,
            tied: fields.flag("tie_word_embeddings", false)?,
            biases: Biases::read(fields, model_type)?,
            windows: read_windows(fields, model_type, layers)?,
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

    /// x `[rows, heads · width]` as `[batch, heads, positions, width]`, turned by position.
    fn turned(
        &self,
        graph: &mut Graph,
        frame: Frame,
        tables: Tables,
        heads: usize,
        x: ValueId,
    ) -> Result<ValueId, GraphError> {
        let x = split_heads(graph, frame, x, heads, self.heads.width)?;
        let [a, b] = pieces(graph, x, 3, [self.rotary.pairs(); 2])?;
        let [a, b] = tables.turn(graph, a, b)?;
        graph.concat(&[a, b], 3)
    }

    fn attention(
        &self,
        forward: &mut Forward<'_>,
        shared: &Shared,
        layer: usize,
        normal: ValueId,
    ) -> Result<ValueId, ArchError> {
        let (path, heads, frame) = (format!("model.layers.{layer}.self_attn"), self.heads, shared.frame);
        let mut project = |name: &str, outputs: usize| {
            let layer = Self::linear(format!("{path}.{name}"), self.width, outputs, self.biases.projections);
            forward.linear(&layer, normal)
        };
        let queries = project("q_proj", heads.query_width())?;
        let keys = project("k_proj", heads.key_width())?;
        let values = project("v_proj", heads.key_width())?;
        let window = self.windows.get(layer).copied().flatten();
        let known = shared.masks.iter().find(|(of, _)| *of == window);
        let Some(&(_, mask)) = known else {
            return Err(ArchError::Unsupported(format!("layer {layer} has no mask")));
        };
        let graph = &mut *forward.graph;
        let attention = Attention {
            queries: self.turned(graph, frame, shared.query_tables, heads.queries, queries)?,
            keys: self.turned(graph, frame, shared.key_tables, heads.keys, keys)?,
            values: split_heads(graph, frame, values, heads.keys, heads.width)?,
            mask,
        };
        let context = attend(graph, frame, heads, attention)?;
        let output = Self::linear(
            format!("{path}.o_proj"),
            heads.query_width(),
            self.width,
            self.biases.output,
        );
        Ok(forward.linear(&output, context)?)
    }

    fn layer(
        &self,
        forward: &mut Forward<'_>,
        shared: &Shared,
        layer: usize,
        x: ValueId,
    ) -> Result<ValueId, ArchError> {
        let path = format!("model.layers.{layer}");
        let normal = rms_norm(forward, x, &format!("{path}.input_layernorm"), self.epsilon)?;
        let attended = self.attention(forward, shared, layer, normal)?;
        let x = forward.graph.add(x, attended)?;

        let normal = rms_norm(forward, x, &format!("{path}.post_attention_layernorm"), self.epsilon)?;
        let widening =
            |name: &str| Self::linear(format!("{path}.mlp.{name}"), self.width, self.inner, self.biases.inner);
        let gate = forward.linear(&widening("gate_proj"), normal)?;
        let up = forward.linear(&widening("up_proj"), normal)?;
        let gate = self.activation.apply(forward.graph, gate)?;
        let inner = forward.graph.mul(gate, up)?;
        let down = Self::linear(
            format!("{path}.mlp.down_proj"),
            self.inner,
            self.width,
            self.biases.inner,
        );
        let outer = forward.linear(&down, inner)?;
        Ok(forward.graph.add(x, outer)?)
    }

    fn shared(&self, graph: &mut Graph, frame: Frame) -> Result<Shared, ArchError> {
        let positions = frame.positions();
        let mut masks: Vec<(Option<usize>, ValueId)> = Vec::new();
        for &window in &self.windows {
            if masks.iter().all(|(of, _)| *of != window) {
                masks.push((window, causal_mask(graph, positions, window)?));
            }
        }
        Ok(Shared {
            frame,
            query_tables: self.rotary.tables(graph, positions, self.heads.scale())?,
            key_tables: self.rotary.tables(graph, positions, 1.0)?,
            masks,
        })
    }
}

impl Biases {
    fn read(fields: Fields<'_>, model_type: &str) -> Result<Self, ConfigError> {
        Ok(match model_type {
            "qwen2" => Self {
                projections: true,
                output: false,
                inner: false,
            },
            "mistral" => Self {
                projections: false,
                output: false,
                inner: false,
            },
            _ => {
                let attention = fields.flag("attention_bias", false)?;
                Self {
                    projections: attention,
                    output: attention,
                    inner: fields.flag("mlp_bias", false)?,
                }
            }
        })
    }
}

fn read_heads(fields: Fields<'_>, width: usize) -> Result<Heads, ConfigError> {
    let head = fields.count_if_any("head_dim", 1..=MAX_HEAD)?;
    let mut heads = match head {
        Some(head) => {
            let queries = fields.count("num_attention_heads", 1..=MAX_HEADS)?;
            Heads {
                queries,
                keys: queries,
                width: head,
            }
        }
        None => Heads::dividing(fields, ("hidden_size", width), "num_attention_heads")?,
    };
    if let Some(keys) = fields.count_if_any("num_key_value_heads", 1..=MAX_HEADS)? {
        if !heads.queries.is_multiple_of(keys) {
            let wanted = format!("a divisor of num_attention_heads, which is {}", heads.queries);
            return Err(fields.invalid("num_key_value_heads", &keys.into(), &wanted));
        }
        heads.keys = keys;
    }
    Ok(heads)
}

/// How far back each layer sees.
fn read_windows(fields: Fields<'_>, model_type: &str, layers: usize) -> Result<Vec<Option<usize>>, ConfigError> {
    let window = match model_type {
        "mistral" => fields.count_if_any("sliding_window", 1..=MAX_POSITIONS)?,
        "qwen2" if fields.flag("use_sliding_window", false)? => {
            // The default of the reference.
            Some(
                fields
                    .count_if_any("sliding_window", 1..=MAX_POSITIONS)?
                    .unwrap_or(4096),
            )
        }
        _ => None,
    };
    if let (Some(kinds), "qwen2" | "mistral") = (fields.get("layer_types"), model_type) {
        return listed_windows(fields, kinds, window, layers);
    }
    let first = match model_type {
        "qwen2" => fields
            .count_if_any("max_window_layers", 0..=MAX_POSITIONS)?
            .unwrap_or(28),
        _ => 0,
    };
    Ok((0..layers).map(|layer| window.filter(|_| layer >= first)).collect())
}

fn listed_windows(
    fields: Fields<'_>,
    kinds: &Value,
    window: Option<usize>,
    layers: usize,
) -> Result<Vec<Option<usize>>, ConfigError> {
    let field = "layer_types";
    let kinds = kinds
        .as_array()
        .filter(|kinds| kinds.len() == layers)
        .ok_or_else(|| fields.invalid(field, kinds, &format!("a list of {layers}")))?;
    let of = |kind: &Value| match kind.as_str() {
        Some("full_attention") => Ok(None),
        Some("sliding_attention") => match window {
            Some(window) => Ok(Some(window)),
            None => Err(fields.invalid(field, kind, "full_attention where there is no sliding_window")),
        },
        _ => Err(fields.unsupported(field, kind, "full_attention, sliding_attention")),
    };
    kinds.iter().map(of).collect()
}

impl Decoder for Llama {
    fn model_type(&self) -> &str {
        &self.model_type
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
        &["q_proj", "v_proj"]
    }

    fn forward(&self, forward: &mut Forward<'_>, ids: ValueId, prompt: Option<ValueId>) -> Result<ValueId, ArchError> {
        check_ids(forward.graph, ids)?;
        let frame = Frame::new(forward.graph, ids, prompt, Some(self.positions))?;
        let table = forward.parameter(TABLE, &[self.vocabulary, self.width])?;
        let x = embed(forward.graph, frame, table, ids, prompt)?;
        let mut x = forward.graph.reshape(x, &[frame.rows(), self.width])?;
        let shared = self.shared(forward.graph, frame)?;
        for layer in 0..self.windows.len() {
            x = self.layer(forward, &shared, layer, x)?;
        }
        let x = token_rows(forward.graph, frame, x)?;
        let x = rms_norm(forward, x, "model.norm", self.epsilon)?;
        if self.tied {
            return Ok(tied_head(forward.graph, x, table)?);
        }
        let head = Self::linear("lm_head".into(), self.width, self.vocabulary, false);
        Ok(forward.linear(&head, x)?)
    }
}
