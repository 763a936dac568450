//! Prompt tuning (Lester et al., arXiv 2104.08691): trained embeddings before every sequence; the model is frozen.
//!
//! They start from embeddings of the vocabulary, which the paper found better than random numbers: those of a text, repeated or cut to
//! the length (as PEFT does), or of tokens that the seed draws.

use rand::RngExt as _;

use super::{MethodError, Starts, Trainable, Tuned, assemble_plain, generator};
use crate::arch::Decoder;
use crate::graph::{Graph, ValueId};
use crate::tensor::{ElementType, Elements, HostTensor};

/// Name of the trained embeddings, `[length, embedding width]`; PEFT's.
pub const PROMPT_EMBEDDINGS: &str = "prompt_embeddings";

/// Settings of prompt tuning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Virtual tokens, ≥ 1.
    pub length: usize,
    /// Text whose embeddings it starts from; empty: tokens drawn by the seed.
    pub initial_text: String,
}

impl Prompt {
    pub(super) fn build(&self, decoder: &dyn Decoder, mut graph: Graph, ids: ValueId) -> Result<Tuned, MethodError> {
        let shape = vec![self.length, decoder.embedding_width()];
        let prompt = graph.input(PROMPT_EMBEDDINGS, ElementType::F32, shape.clone())?;
        let (graph, logits, frozen) = assemble_plain(decoder, graph, ids, Some(prompt))?;
        Ok(Tuned {
            graph,
            logits,
            frozen,
            trainable: vec![Trainable::new(PROMPT_EMBEDDINGS.to_owned(), shape, prompt)],
            masks: Vec::new(),
        })
    }

    /// Start values: rows of `embedding`, `[vocabulary, embedding width]`. `text` holds the tokens of the initial text.
    ///
    /// # Errors
    /// The initial text has no tokens, or the embedding is not what it should be.
    pub fn starts(&self, embedding: &HostTensor, text: &[u32], seed: u64) -> Result<Starts, MethodError> {
        let wrong = || MethodError::Start(format!("token embeddings of f32, not {:?}", embedding.shape()));
        let (&[vocabulary, width], Some(rows)) = (embedding.shape(), embedding.as_f32()) else {
            return Err(wrong());
        };
        if vocabulary == 0 || width == 0 {
            return Err(wrong());
        }
        if !self.initial_text.is_empty() && text.is_empty() {
            return Err(MethodError::EmptyInitialText);
        }
        let mut random = generator(seed, PROMPT_EMBEDDINGS, 0);
        let mut elements = Vec::with_capacity(self.length * width);
        for position in 0..self.length {
            let token = if text.is_empty() {
                random.random_range(0..vocabulary)
            } else {
                text[position % text.len()] as usize
            };
            let row = rows.chunks_exact(width).nth(token).ok_or_else(wrong)?;
            elements.extend_from_slice(row);
        }
        let tensor = HostTensor::new([self.length, width], Elements::F32(elements)).map_err(|_| wrong())?;
        Ok(Starts::from([(PROMPT_EMBEDDINGS.to_owned(), tensor)]))
    }
}
