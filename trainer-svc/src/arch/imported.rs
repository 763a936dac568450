//! Decoders that were exported to ONNX: `input_ids` in, logits out, within the operator core.
//!
//! The weights are the model's initializers, under their names there. Masks and positions that the model takes besides are constants:
//! sequences are padded on the right, and a causal model never looks there.
//!
//! A linear layer is a weight that only matrix products read. A tuning method adds to it by adding to the weight itself: for a low-rank
//! adapter W + (α/r)·(B·A) is the same as adding to the output, at the price of one small product per weight and step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::config::{Fields, MAX_POSITIONS};
use super::layers::{Frame, check_ids, constant};
use super::{ArchError, ConfigError, Decoder, Forward, Linear, WeightLayout};
use crate::graph::onnx::{Bindings, Built, ImportError, Model};
use crate::graph::{Graph, GraphError, Op, ValueId};
use crate::method::ALL_LINEAR;
use crate::tensor::{ElementType, Elements, HostTensor};

/// The input that must be there.
const IDS: &str = "input_ids";
/// Inputs that are constants: ones, and 0, 1, 2, …
const MASK: &str = "attention_mask";
const POSITIONS: &str = "position_ids";
/// Widest input of a layer that can be adapted: an identity of that size is needed.
const MAX_ADAPTED: usize = 8_192;

/// An exported decoder.
#[derive(Debug, Clone)]
pub(super) struct Imported {
    model: Arc<Model>,
    model_type: String,
    weights: Vec<Weight>,
    embedding: Option<usize>,
    positions: Option<usize>,
    vocabulary: usize,
    output: String,
    /// Type of `input_ids`.
    ids: ElementType,
}

/// A weight that the graph reads.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Weight {
    name: String,
    shape: Vec<usize>,
    /// Present where only matrix products read it.
    layer: Option<Linear>,
    /// It is a table that the exporter computed, not a parameter.
    fixed: bool,
}

fn refused(error: &ImportError) -> ArchError {
    ArchError::Unsupported(format!("the ONNX model cannot be used: {error}"))
}

impl Imported {
    /// Takes in a model; `config`: what `config.json` says, if there is one.
    pub(super) fn new(model: Arc<Model>, config: &Map<String, Value>) -> Result<Self, ArchError> {
        let info = model.inputs().iter().find(|info| info.name == IDS);
        let Some(info) = info else {
            return Err(ArchError::Unsupported(format!("the ONNX model has no input {IDS}")));
        };
        let unknown = |name: &&str| ![IDS, MASK, POSITIONS].contains(name);
        let mut others = model.inputs().iter().map(|info| info.name.as_str()).filter(unknown);
        if let Some(other) = others.next() {
            return Err(ArchError::Unsupported(format!(
                "the ONNX model takes {other}; it must be exported with {IDS}, {MASK} and {POSITIONS} at most, without a cache of keys"
            )));
        }
        let outputs: Vec<&str> = model.outputs().collect();
        let output = match outputs.as_slice() {
            [only] => (*only).to_owned(),
            several if several.contains(&"logits") => "logits".to_owned(),
            _ => return Err(ArchError::Unsupported("the ONNX model has no output logits".into())),
        };
        let (positions, model_type) =
            describe(config).map_err(|error| ArchError::Unsupported(format!("config.json: {error}")))?;
        let mut imported = Self {
            ids: info.element,
            model,
            model_type,
            weights: Vec::new(),
            embedding: None,
            positions,
            vocabulary: 0,
            output,
        };
        imported.survey()?;
        Ok(imported)
    }

    /// Builds it once, to see which weights are read, and by what.
    fn survey(&mut self) -> Result<(), ArchError> {
        let mut graph = Graph::new();
        let ids = graph.input("/ids", ElementType::I64, [1, 2])?;
        let built = self.build(&mut graph, ids, BTreeMap::new())?;
        let logits = self.logits(&graph, &built)?;
        self.vocabulary = graph.shape(logits).last().copied().unwrap_or_default();
        let mut found = Vec::new();
        for (name, &value) in &built.weights {
            let shape = graph.shape(value).to_vec();
            if graph.element(value) != ElementType::F32 {
                return Err(ArchError::Unsupported(format!(
                    "the weight {name:?} is no f32, f16 or bf16"
                )));
            }
            let layer = linear(&graph, name, value).filter(|layer| layer.outputs != self.vocabulary);
            let embeds = |node: &crate::graph::Node| {
                matches!(node.op, Op::Gather { axis: 0 }) && node.inputs.first() == Some(&value) && shape.len() == 2
            };
            if shape.first() == Some(&self.vocabulary) && graph.nodes().iter().any(embeds) {
                self.embedding = Some(found.len());
            }
            found.push(Weight {
                name: name.clone(),
                fixed: name.ends_with("inv_freq"),
                shape,
                layer,
            });
        }
        self.weights = found;
        Ok(())
    }

    /// Adds the model's nodes; `values`: weights by name, the rest become inputs.
    fn build(
        &self,
        graph: &mut Graph,
        ids: ValueId,
        mut values: BTreeMap<String, ValueId>,
    ) -> Result<Built, ArchError> {
        let shape = graph.shape(ids).to_vec();
        let ids = if self.ids == ElementType::I64 {
            ids
        } else {
            graph.one(Op::Cast { to: self.ids }, &[ids])?
        };
        values.insert(IDS.to_owned(), ids);
        let mut bindings = Bindings {
            values,
            ..Bindings::default()
        };
        for info in self.model.inputs().iter().filter(|info| info.name != IDS) {
            let tensor = filled(&shape, info.element, info.name == POSITIONS)?;
            bindings.constants.insert(info.name.clone(), tensor);
        }
        self.model.build(graph, &bindings).map_err(|error| refused(&error))
    }

    /// The output, which must be `[batch, sequence, vocabulary]`.
    fn logits(&self, graph: &Graph, built: &Built) -> Result<ValueId, ArchError> {
        let logits = built.outputs.get(&self.output).copied();
        let logits =
            logits.filter(|&logits| graph.shape(logits).len() == 3 && graph.element(logits) == ElementType::F32);
        logits.ok_or_else(|| {
            ArchError::Unsupported(format!(
                "the ONNX model's output {} is not [batch, sequence, vocabulary] of f32",
                self.output
            ))
        })
    }

    /// A weight as the nodes read it: with what the tuning method adds.
    fn weight(
        &self,
        forward: &mut Forward<'_>,
        weight: &Weight,
        identities: &mut Identities,
    ) -> Result<ValueId, ArchError> {
        if weight.fixed {
            let held = self.model.weights().get(&weight.name);
            return match held {
                Some(crate::graph::onnx::Weight::Held(tensor)) => Ok(forward.graph.constant(tensor.clone())),
                _ => Ok(forward.parameter(&weight.name, &weight.shape)?),
            };
        }
        let value = forward.parameter(&weight.name, &weight.shape)?;
        let Some(layer) = weight.layer.as_ref().filter(|layer| layer.inputs <= MAX_ADAPTED) else {
            return Ok(value);
        };
        // The output of the layer for each unit input: the weight as [inputs, outputs].
        let transposed = layer.layout == WeightLayout::OutputsByInputs;
        let identity = identities.of(forward.graph, layer.inputs)?;
        let plain = if transposed {
            forward.graph.transpose(value, &[1, 0])?
        } else {
            value
        };
        let adapted = forward.adapt.linear(forward.graph, layer, identity, plain)?;
        if adapted == plain {
            return Ok(value);
        }
        Ok(if transposed {
            forward.graph.transpose(adapted, &[1, 0])?
        } else {
            adapted
        })
    }
}

/// Identity matrices by size: constants that are left out of the exported graph where nothing reads them.
#[derive(Default)]
struct Identities(BTreeMap<usize, ValueId>);

impl Identities {
    fn of(&mut self, graph: &mut Graph, extent: usize) -> Result<ValueId, GraphError> {
        if let Some(known) = self.0.get(&extent) {
            return Ok(*known);
        }
        let mut elements = vec![0.0; extent * extent];
        elements
            .iter_mut()
            .step_by(extent + 1)
            .for_each(|element| *element = 1.0);
        let value = constant(graph, vec![extent, extent], elements)?;
        self.0.insert(extent, value);
        Ok(value)
    }
}

/// Positions and `model_type` of a configuration.
fn describe(config: &Map<String, Value>) -> Result<(Option<usize>, String), ConfigError> {
    let fields = Fields::new(config);
    let positions = match fields.count_if_any("n_positions", 1..=MAX_POSITIONS)? {
        Some(positions) => Some(positions),
        None => fields.count_if_any("max_position_embeddings", 1..=MAX_POSITIONS)?,
    };
    Ok((positions, fields.text("model_type")?.unwrap_or("onnx").to_owned()))
}

/// Ones, or positions counted along the last axis.
fn filled(shape: &[usize], element: ElementType, count: bool) -> Result<HostTensor, ArchError> {
    let length = shape.last().copied().unwrap_or_default().max(1);
    let elements: usize = shape.iter().product();
    let at = |i: usize| if count { i % length } else { 1 };
    let elements = match element {
        ElementType::I64 => Elements::I64((0..elements).filter_map(|i| i64::try_from(at(i)).ok()).collect()),
        ElementType::I32 => Elements::I32((0..elements).filter_map(|i| i32::try_from(at(i)).ok()).collect()),
        ElementType::F32 => Elements::F32((0..elements).map(|i| at(i) as f32).collect()),
        ElementType::F64 => Elements::F64((0..elements).map(|i| at(i) as f64).collect()),
        ElementType::Bool => Elements::Bool((0..elements).map(|i| at(i) != 0).collect()),
    };
    HostTensor::new(shape, elements).map_err(|error| ArchError::Unsupported(error.to_string()))
}

/// The layer whose weight this is, if it is a matrix that only matrix products read, all in one layout.
fn linear(graph: &Graph, name: &str, value: ValueId) -> Option<Linear> {
    let &[rows, columns] = graph.shape(value) else {
        return None;
    };
    let mut layouts = BTreeSet::new();
    for node in graph.nodes().iter().filter(|node| node.inputs.contains(&value)) {
        let weight = node.inputs.get(1) == Some(&value) && node.inputs.first() != Some(&value);
        layouts.insert(match &node.op {
            Op::MatMul if weight => false,
            Op::Gemm { transpose_b, .. } if weight && node.inputs.get(2) != Some(&value) => *transpose_b,
            Op::Transpose { .. } => {
                let output = node.outputs.first()?;
                let read = |node: &crate::graph::Node| node.inputs.contains(output);
                let multiplies =
                    |node: &crate::graph::Node| node.op == Op::MatMul && node.inputs.get(1) == Some(output);
                let readers = || graph.nodes().iter().filter(|node| read(node));
                if readers().count() == 0 || !readers().all(multiplies) {
                    return None;
                }
                true
            }
            _ => return None,
        });
    }
    let (transposed, 1) = (layouts.first().copied()?, layouts.len()) else {
        return None;
    };
    let (inputs, outputs) = if transposed { (columns, rows) } else { (rows, columns) };
    Some(Linear {
        module: name.strip_suffix(".weight").unwrap_or(name).to_owned(),
        inputs,
        outputs,
        bias: false,
        layout: if transposed {
            WeightLayout::OutputsByInputs
        } else {
            WeightLayout::InputsByOutputs
        },
    })
}

impl Decoder for Imported {
    fn model_type(&self) -> &str {
        &self.model_type
    }

    fn embedding_width(&self) -> usize {
        let embedding = self.embedding.and_then(|index| self.weights.get(index));
        embedding
            .and_then(|weight| weight.shape.last().copied())
            .unwrap_or_default()
    }

    fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    fn max_positions(&self) -> Option<usize> {
        self.positions
    }

    fn embedding_parameter(&self) -> &str {
        let embedding = self.embedding.and_then(|index| self.weights.get(index));
        embedding.map_or("", |weight| &weight.name)
    }

    fn default_lora_targets(&self) -> &'static [&'static str] {
        &[ALL_LINEAR]
    }

    fn forward(&self, forward: &mut Forward<'_>, ids: ValueId, prompt: Option<ValueId>) -> Result<ValueId, ArchError> {
        if prompt.is_some() {
            let message = "a model imported from ONNX takes no prompt; tune it whole or with low-rank adapters";
            return Err(ArchError::Unsupported(message.into()));
        }
        check_ids(forward.graph, ids)?;
        let frame = Frame::new(forward.graph, ids, None, self.positions)?;
        let (mut values, mut identities) = (BTreeMap::new(), Identities::default());
        for weight in &self.weights {
            values.insert(weight.name.clone(), self.weight(forward, weight, &mut identities)?);
        }
        let built = self.build(forward.graph, ids, values)?;
        let logits = self.logits(forward.graph, &built)?;
        Ok(forward.graph.reshape(logits, &[frame.rows(), self.vocabulary])?)
    }
}
