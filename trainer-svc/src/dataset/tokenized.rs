//! Token ids of examples, and which of them count in the loss.
//!
//! | example | counts |
//! |---|---|
//! | text | every token but the first, which nothing predicts |
//! | prompt, completion | of the tokens of both together, those that end beyond the prompt |
//! | messages | of the conversation as the chat template writes it, what each assistant turn adds to what stands before it: content, end marker, and what the template writes after that |
//!
//! No special tokens are added: what a template writes (`<|im_end|>`) is text, and text that spells a special token is that token.
//! Where a turn begins is found by writing the conversation before it with the template's generation prompt (without it where the
//! template has none), where it ends by writing the conversation up to it; both must be beginnings of the whole.
//!
//! Sequences longer than the limit keep their beginning.

use rayon::prelude::*;

use super::error::DataError;
use super::example::{Example, Message};
use super::read::Examples;
use crate::tokenizer::{Tokenizer, TokenizerError};

/// Unusable examples that are kept with their reason; more are only counted.
const UNUSABLE_KEPT: usize = 20;
/// Tokens of a sequence at most.
const SEQUENCE_LIMIT: usize = 1 << 20;

/// An example that has no token to predict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// Its place among those that were tokenized.
    pub index: usize,
    /// Why.
    pub reason: UnusableReason,
}

/// Why an example has no token to predict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnusableReason {
    /// It has fewer than two tokens.
    #[error("fewer than two tokens")]
    TooShort,
    /// What counts lies beyond the sequence length.
    #[error("what is to be predicted lies beyond the sequence length")]
    Truncated,
    /// There is no assistant turn, or the completion adds no token.
    #[error("nothing in it is to be predicted")]
    NothingCounts,
    /// The chat template or the tokenizer refuses it.
    #[error(transparent)]
    Refused(#[from] TokenizerError),
}

/// Examples as tokens. Example i is the i-th that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokenized {
    ids: Vec<u32>,
    /// Per token: is it predicted, and does it count? Never at the beginning of an example.
    counts: Vec<bool>,
    /// Where each example begins, and the end of the last.
    starts: Vec<usize>,
    predicted: Vec<usize>,
    sequence_length: usize,
    truncated: usize,
    truncated_tokens: u64,
    unusable: usize,
    first_unusable: Vec<Unusable>,
}

/// One example's tokens.
struct Sequence {
    ids: Vec<u32>,
    counts: Vec<bool>,
    dropped: usize,
    unusable: Option<UnusableReason>,
}

impl Tokenized {
    /// Tokenizes all examples, in parallel; the result does not depend on the number of threads.
    ///
    /// # Errors
    /// As [`Tokenized::of`].
    pub fn new(examples: &Examples, tokenizer: &Tokenizer, sequence_length: usize) -> Result<Self, DataError> {
        let all: Vec<usize> = (0..examples.len()).collect();
        Self::of(examples, &all, tokenizer, sequence_length)
    }

    /// Tokenizes some examples: index i of the result is `which[i]` of the examples.
    ///
    /// # Errors
    /// The sequence length is below 2; conversations without a chat template; an index too high; not one token to predict
    /// (no error where nothing is asked for).
    pub fn of(
        examples: &Examples,
        which: &[usize],
        tokenizer: &Tokenizer,
        sequence_length: usize,
    ) -> Result<Self, DataError> {
        if !(2..=SEQUENCE_LIMIT).contains(&sequence_length) {
            return Err(DataError::SequenceLength(sequence_length));
        }
        let chosen = which
            .iter()
            .map(|&index| examples.examples().get(index).ok_or(index))
            .collect::<Result<Vec<&Example>, usize>>()
            .map_err(|index| DataError::NoSuchExample {
                index,
                examples: examples.len(),
            })?;
        if chosen.iter().any(|example| matches!(example, Example::Messages(_))) && !tokenizer.has_chat_template() {
            return Err(TokenizerError::NoChatTemplate.into());
        }
        let sequences: Vec<Sequence> = chosen
            .par_iter()
            .map(|example| sequence(example, tokenizer, sequence_length))
            .collect();
        Self::gather(sequences, sequence_length)
    }

    fn gather(sequences: Vec<Sequence>, sequence_length: usize) -> Result<Self, DataError> {
        let tokens = sequences.iter().map(|sequence| sequence.ids.len()).sum();
        let mut all = Self {
            ids: Vec::with_capacity(tokens),
            counts: Vec::with_capacity(tokens),
            starts: Vec::with_capacity(sequences.len() + 1),
            predicted: Vec::with_capacity(sequences.len()),
            sequence_length,
            truncated: 0,
            truncated_tokens: 0,
            unusable: 0,
            first_unusable: Vec::new(),
        };
        all.starts.push(0);
        for (index, sequence) in sequences.into_iter().enumerate() {
            all.truncated += usize::from(sequence.dropped > 0);
            all.truncated_tokens += sequence.dropped as u64;
            all.predicted
                .push(sequence.counts.iter().filter(|&&counts| counts).count());
            all.ids.extend(sequence.ids);
            all.counts.extend(sequence.counts);
            all.starts.push(all.ids.len());
            if let Some(reason) = sequence.unusable {
                all.unusable += 1;
                if all.first_unusable.len() < UNUSABLE_KEPT {
                    all.first_unusable.push(Unusable { index, reason });
                }
            }
        }
        if !all.is_empty() && all.unusable == all.len() {
            return Err(DataError::NothingToPredict {
                examples: all.len(),
                first: all.first_unusable.first().map(|unusable| unusable.reason.to_string()),
            });
        }
        Ok(all)
    }

    /// How many examples, usable or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.predicted.len()
    }

    /// None at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.predicted.is_empty()
    }

    /// Token ids of an example, at most the sequence length; empty for an index too high.
    #[must_use]
    pub fn ids(&self, index: usize) -> &[u32] {
        self.range(index)
            .and_then(|range| self.ids.get(range))
            .unwrap_or_default()
    }

    /// Per token of an example: is it predicted, and does it count? The first never.
    #[must_use]
    pub fn counts(&self, index: usize) -> &[bool] {
        self.range(index)
            .and_then(|range| self.counts.get(range))
            .unwrap_or_default()
    }

    /// Tokens of an example that count; 0 for an unusable one.
    #[must_use]
    pub fn predicted(&self, index: usize) -> usize {
        self.predicted.get(index).copied().unwrap_or(0)
    }

    /// Tokens of all examples that count.
    #[must_use]
    pub fn predicted_total(&self) -> u64 {
        self.predicted.iter().map(|&count| count as u64).sum()
    }

    /// Tokens of all examples.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// The largest id: the model's vocabulary must be larger.
    #[must_use]
    pub fn largest_id(&self) -> Option<u32> {
        self.ids.iter().copied().max()
    }

    /// The length to which sequences were cut.
    #[must_use]
    pub fn sequence_length(&self) -> usize {
        self.sequence_length
    }

    /// Examples that were cut.
    #[must_use]
    pub fn truncated(&self) -> usize {
        self.truncated
    }

    /// Tokens that were cut off.
    #[must_use]
    pub fn truncated_tokens(&self) -> u64 {
        self.truncated_tokens
    }

    /// Examples without a token to predict. Batches leave them out.
    #[must_use]
    pub fn unusable(&self) -> usize {
        self.unusable
    }

    /// The first 20 of them.
    #[must_use]
    pub fn first_unusable(&self) -> &[Unusable] {
        &self.first_unusable
    }

    fn range(&self, index: usize) -> Option<std::ops::Range<usize>> {
        Some(*self.starts.get(index)?..*self.starts.get(index.checked_add(1)?)?)
    }
}

fn sequence(example: &Example, tokenizer: &Tokenizer, limit: usize) -> Sequence {
    match tokens(example, tokenizer) {
        Err(error) => Sequence {
            ids: Vec::new(),
            counts: Vec::new(),
            dropped: 0,
            unusable: Some(error.into()),
        },
        Ok((mut ids, mut counts)) => {
            if let Some(first) = counts.first_mut() {
                *first = false;
            }
            let dropped = ids.len().saturating_sub(limit);
            let counted = counts.contains(&true);
            let short = ids.len() < 2;
            ids.truncate(limit);
            counts.truncate(limit);
            let unusable = match (short, counted, counts.contains(&true)) {
                (_, _, true) => None,
                (true, ..) => Some(UnusableReason::TooShort),
                (_, true, _) => Some(UnusableReason::Truncated),
                _ => Some(UnusableReason::NothingCounts),
            };
            Sequence {
                ids,
                counts,
                dropped,
                unusable,
            }
        }
    }
}

fn tokens(example: &Example, tokenizer: &Tokenizer) -> Result<(Vec<u32>, Vec<bool>), TokenizerError> {
    match example {
        Example::Text(text) => {
            let ids = tokenizer.encode(text)?;
            let counts = vec![true; ids.len()];
            Ok((ids, counts))
        }
        Example::Completion { prompt, completion } => {
            let whole = format!("{prompt}{completion}");
            let encoding = tokenizer.encode_with_offsets(&whole)?;
            let counts = encoding.offsets.iter().map(|offset| offset.1 > prompt.len()).collect();
            Ok((encoding.ids, counts))
        }
        Example::Messages(messages) => {
            let whole = tokenizer.render(messages, false)?;
            let turns = turns(messages, tokenizer, &whole)?;
            let encoding = tokenizer.encode_with_offsets(&whole)?;
            let counts = encoding
                .offsets
                .iter()
                .map(|offset| turns.iter().any(|turn| offset.1 > turn.start && offset.0 < turn.end))
                .collect();
            Ok((encoding.ids, counts))
        }
    }
}

/// Byte ranges of the assistant's turns in the conversation as written.
fn turns(
    messages: &[Message],
    tokenizer: &Tokenizer,
    whole: &str,
) -> Result<Vec<std::ops::Range<usize>>, TokenizerError> {
    let mut turns = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        if message.role != "assistant" {
            continue;
        }
        let (before, after) = (&messages[..index], &messages[..=index]);
        let start = beginning(tokenizer, before, whole, true)
            .or_else(|_| beginning(tokenizer, before, whole, false))
            .map_err(|reason| reason.unwrap_or(TokenizerError::TemplateRewrites { message: index }))?;
        let end = beginning(tokenizer, after, whole, false)
            .map_err(|reason| reason.unwrap_or(TokenizerError::TemplateRewrites { message: index }))?;
        if start < end {
            turns.push(start..end);
        }
    }
    Ok(turns)
}

/// Length of these messages as written, if the whole begins with it.
fn beginning(
    tokenizer: &Tokenizer,
    messages: &[Message],
    whole: &str,
    generation_prompt: bool,
) -> Result<usize, Option<TokenizerError>> {
    let text = tokenizer.render(messages, generation_prompt).map_err(Some)?;
    if whole.starts_with(&text) {
        Ok(text.len())
    } else {
        Err(None)
    }
}

#[cfg(test)]
mod tests;
