//! From a checkpoint folder to a model whose graph can be built and whose weights are all there.

use std::path::Path;

use serde_json::{Map, Value};
use thiserror::Error;

use super::config::Fields;
use super::gpt_neox::GptNeoX;
use super::gpt2::Gpt2;
use super::imported::Imported;
use super::llama::Llama;
use super::opt::Opt;
use super::{Adapt, ArchError, ConfigError, Decoder, Forward, Linear, Parameter};
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::graph::{Graph, GraphError, ValueId};
use crate::tensor::ElementType;

/// What `model_type` can be.
const KNOWN: &str = "gpt2, gpt_neox, llama, mistral, opt, qwen2";

/// A checkpoint whose architecture is known.
#[derive(Debug)]
pub struct Model {
    /// Builds the forward graphs.
    pub decoder: Box<dyn Decoder>,
    /// Holds the weights.
    pub checkpoint: Checkpoint,
    /// What the forward graphs read: all of it is in the checkpoint.
    pub parameters: Vec<Parameter>,
}

/// A checkpoint folder cannot be trained from.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The folder or its weights.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The configuration.
    #[error("{folder}/config.json: {source}")]
    Config {
        /// The folder.
        folder: String,
        /// What is wrong.
        source: ConfigError,
    },
    /// The graph that the configuration describes.
    #[error("{folder}: {source}")]
    Arch {
        /// The folder.
        folder: String,
        /// What is wrong.
        source: ArchError,
    },
}

/// Opens a checkpoint folder and checks that all weights of its architecture are there.
///
/// # Errors
/// The folder is broken, the architecture is unknown or asks for something that is not built, or weights are missing or have
/// other shapes than the configuration says: all of them are listed.
pub fn open(dir: &Path) -> Result<Model, OpenError> {
    let folder = || dir.display().to_string();
    let arch = |source| OpenError::Arch {
        folder: folder(),
        source,
    };
    let (checkpoint, decoder): (_, Box<dyn Decoder>) = if let Some((checkpoint, exported)) = Checkpoint::open_onnx(dir)?
    {
        let decoder = Imported::new(exported, checkpoint.config()).map_err(arch)?;
        (checkpoint, Box::new(decoder))
    } else {
        let checkpoint = Checkpoint::open(dir)?;
        let decoder = decoder(checkpoint.config()).map_err(|source| OpenError::Config {
            folder: folder(),
            source,
        })?;
        (checkpoint, decoder)
    };
    let Outline { parameters, .. } = outline(decoder.as_ref()).map_err(arch)?;
    checkpoint.check(&parameters)?;
    Ok(Model {
        decoder,
        checkpoint,
        parameters,
    })
}

/// The architecture of a `config.json`.
///
/// # Errors
/// The architecture is unknown, or the configuration asks for something that is not built.
pub fn decoder(config: &Map<String, Value>) -> Result<Box<dyn Decoder>, ConfigError> {
    let fields = Fields::new(config);
    let Some(model_type) = fields.text("model_type")? else {
        return Err(ConfigError::Missing {
            field: "model_type".into(),
        });
    };
    // Quantised weights have other names, shapes and types; pruned heads and encoder-decoders other graphs.
    for field in [
        "quantization_config",
        "pruned_heads",
        "is_encoder_decoder",
        "add_cross_attention",
    ] {
        fields.refuse(field)?;
    }
    Ok(match model_type {
        "gpt2" => Box::new(Gpt2::read(fields)?),
        "gpt_neox" => Box::new(GptNeoX::read(fields)?),
        "llama" | "mistral" | "qwen2" => Box::new(Llama::read(fields, model_type)?),
        "opt" => Box::new(Opt::read(fields)?),
        other => return Err(fields.unsupported("model_type", &other.into(), KNOWN)),
    })
}

/// What a decoder's graphs are made of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outline {
    /// Parameters in the order in which they are read. The values belong to no graph that still exists.
    pub parameters: Vec<Parameter>,
    /// Linear layers in the order in which they are applied.
    pub layers: Vec<Linear>,
}

/// Parameters and linear layers of a decoder, found by building its graph for a single token.
///
/// # Errors
/// The graph cannot be built.
pub fn outline(decoder: &dyn Decoder) -> Result<Outline, ArchError> {
    let mut recorder = Recorder::default();
    let mut graph = Graph::new();
    let ids = graph.input("/ids", ElementType::I64, [1, 1])?;
    let mut forward = Forward::new(&mut graph, &mut recorder);
    decoder.forward(&mut forward, ids, None)?;
    let parameters = forward.into_parameters();
    Ok(Outline {
        parameters,
        layers: recorder.layers,
    })
}

#[derive(Default)]
struct Recorder {
    layers: Vec<Linear>,
}

impl Adapt for Recorder {
    fn linear(&mut self, _: &mut Graph, layer: &Linear, _: ValueId, y: ValueId) -> Result<ValueId, GraphError> {
        self.layers.push(layer.clone());
        Ok(y)
    }
}
