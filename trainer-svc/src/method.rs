//! Tuning methods: what is trainable, and what that adds to the forward graph.
//!
//! Frozen weights are plain graph inputs: they get no gradient and no optimizer state.

mod full;
mod lora;
mod prompt;

use std::collections::BTreeMap;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

pub use self::lora::{ALL_LINEAR, DropoutMask, Lora, a_name, b_name};
pub use self::prompt::{PROMPT_EMBEDDINGS, Prompt};
use crate::arch::{Adapt, ArchError, Decoder, Forward, Parameter, Unadapted};
use crate::graph::{Graph, GraphError, ValueId};
use crate::tensor::{ElementType, HostTensor};

/// Name of the input that holds token ids: i64 `[batch, length]`.
pub const INPUT_IDS: &str = "input_ids";

/// How weights are tuned.
#[derive(Debug, Clone, PartialEq)]
pub enum Method {
    /// All weights.
    Full,
    /// Low-rank adapters beside linear layers (arXiv 2106.09685).
    Lora(Lora),
    /// Trained embeddings before every sequence (arXiv 2104.08691).
    Prompt(Prompt),
}

/// A tuning method does not fit the model.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MethodError {
    /// The forward graph cannot be built.
    #[error(transparent)]
    Arch(#[from] ArchError),
    /// A target module is not there.
    #[error("no linear module is named {target:?}; there are {known}")]
    NoSuchTarget {
        /// What was asked for.
        target: String,
        /// Last parts of the paths that there are.
        known: String,
    },
    /// The rank is larger than a module.
    #[error("rank {rank} exceeds the smaller side of {module}, {side}")]
    RankTooLarge {
        /// What was asked for.
        rank: usize,
        /// The module.
        module: String,
        /// Its smaller extent.
        side: usize,
    },
    /// The initial text has no tokens.
    #[error("the prompt's initial text has no tokens")]
    EmptyInitialText,
    /// A tensor that the start values come from is missing or of another shape.
    #[error("the start values need {0}")]
    Start(String),
}

impl From<GraphError> for MethodError {
    fn from(error: GraphError) -> Self {
        Self::Arch(ArchError::Graph(error))
    }
}

/// A weight that is trained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trainable {
    /// Name of the graph's input, and of the tensor in checkpoints.
    pub name: String,
    /// Its extents.
    pub shape: Vec<usize>,
    /// The graph's input.
    pub value: ValueId,
    /// Does weight decay apply? Not to biases and norms: nothing of rank below 2.
    pub decays: bool,
}

impl Trainable {
    fn new(name: String, shape: Vec<usize>, value: ValueId) -> Self {
        let decays = shape.len() >= 2;
        Self {
            name,
            shape,
            value,
            decays,
        }
    }
}

/// What a forward graph is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GraphShape {
    /// Sequences.
    pub rows: usize,
    /// Tokens of each.
    pub length: usize,
    /// With what only training has (dropout)?
    pub training: bool,
}

/// A model's forward graph with what the method adds.
#[derive(Debug)]
pub struct Tuned {
    /// The graph; inputs are [`INPUT_IDS`], parameters, trainables, dropout masks.
    pub graph: Graph,
    /// Logits, `[rows · length, vocabulary]`.
    pub logits: ValueId,
    /// The checkpoint's weights that are not trained.
    pub frozen: Vec<Parameter>,
    /// What is trained.
    pub trainable: Vec<Trainable>,
    /// Dropout masks to be fed at every step.
    pub masks: Vec<DropoutMask>,
}

impl Method {
    /// Builds the forward graph.
    ///
    /// # Errors
    /// The method does not fit the model, or the model cannot take so many positions.
    pub fn build(&self, decoder: &dyn Decoder, shape: GraphShape) -> Result<Tuned, MethodError> {
        let mut graph = Graph::new();
        let ids = graph.input(INPUT_IDS, ElementType::I64, [shape.rows, shape.length])?;
        match self {
            Self::Full => full::build(decoder, graph, ids),
            Self::Lora(lora) => lora.build(decoder, graph, ids, shape.training),
            Self::Prompt(prompt) => prompt.build(decoder, graph, ids),
        }
    }

    /// The method's name in contracts and on the command line.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Lora(_) => "lora",
            Self::Prompt(_) => "prompt",
        }
    }
}

/// Start values of what a method adds, by name. Pure: the same seed gives the same values.
pub type Starts = BTreeMap<String, HostTensor>;

/// A generator of its own for every purpose: values do not depend on the order in which they are drawn.
#[must_use]
pub fn generator(seed: u64, purpose: &str, index: u64) -> ChaCha8Rng {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(index.to_le_bytes());
    hash.update(purpose.as_bytes());
    ChaCha8Rng::from_seed(hash.finalize().into())
}

/// Runs the decoder's builder and sorts its parameters out.
fn assemble(
    decoder: &dyn Decoder,
    mut graph: Graph,
    adapt: &mut dyn Adapt,
    ids: ValueId,
    prompt: Option<ValueId>,
) -> Result<(Graph, ValueId, Vec<Parameter>), MethodError> {
    let mut forward = Forward::new(&mut graph, adapt);
    let logits = decoder.forward(&mut forward, ids, prompt)?;
    let parameters = forward.into_parameters();
    Ok((graph, logits, parameters))
}

/// As [`assemble`], with nothing added to linear layers.
fn assemble_plain(
    decoder: &dyn Decoder,
    graph: Graph,
    ids: ValueId,
    prompt: Option<ValueId>,
) -> Result<(Graph, ValueId, Vec<Parameter>), MethodError> {
    assemble(decoder, graph, &mut Unadapted, ids, prompt)
}
