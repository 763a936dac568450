//! Text to token ids and back, and conversations to text.
//!
//! A folder's `tokenizer.json` is read by the `tokenizers` crate; older folders of byte-level models (GPT-2, OPT) have
//! `vocab.json` and `merges.txt` instead. The chat template ([`template`]) comes from `chat_template.jinja` or from
//! `tokenizer_config.json`.
//!
//! Special tokens are never added: the post-processor is taken out, and with it its trimming of offsets. Truncation and padding,
//! which some files ask for, are taken out as well.

mod config;
pub mod template;

use std::fmt;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use thiserror::Error;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, PostProcessorWrapper};

use self::config::Config;
use self::template::ChatTemplate;
use crate::dataset::Message;

/// Bytes of `tokenizer.json`, `vocab.json` or `merges.txt`; the largest published ones have some 40 MiB.
const TOKENIZER_LIMIT: u64 = 256 << 20;
/// Bytes of the configuration and of a template.
const CONFIG_LIMIT: u64 = 16 << 20;

/// A tokenizer cannot be read or used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TokenizerError {
    /// A file cannot be read.
    #[error("{}: {message}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        message: String,
    },
    /// The folder has none.
    #[error("{}: neither tokenizer.json nor vocab.json with merges.txt", .0.display())]
    Missing(PathBuf),
    /// A file is larger than it may be.
    #[error("{}: more than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// In bytes.
        limit: u64,
    },
    /// A file is not what its name says.
    #[error("{}: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A text cannot be turned into tokens.
    #[error("the tokenizer refuses a text of {bytes} bytes: {message}")]
    Encode {
        /// Its length.
        bytes: usize,
        /// What the tokenizer says.
        message: String,
    },
    /// Tokens cannot be turned into text.
    #[error("{tokens} tokens cannot be decoded: {message}")]
    Decode {
        /// How many.
        tokens: usize,
        /// What the tokenizer says.
        message: String,
    },
    /// There is no chat template to write conversations with.
    #[error(
        "conversations need a chat template; the model has none (chat_template.jinja, or chat_template in tokenizer_config.json)"
    )]
    NoChatTemplate,
    /// The chat template has a fault, or refuses the conversation.
    #[error("chat template: {0}")]
    Template(String),
    /// What the template writes for the beginning of a conversation is not how it begins the whole, so turns cannot be found.
    #[error("the chat template writes what stands before or up to message {message} differently when more follows")]
    TemplateRewrites {
        /// The assistant's message whose place cannot be found, from 0.
        message: usize,
    },
}

/// Token ids and where they lie in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoding {
    /// The ids.
    pub ids: Vec<u32>,
    /// Per id: first byte and the one after the last. Tokens that share a character have the same.
    pub offsets: Vec<(usize, usize)>,
}

/// A tokenizer.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    vocabulary: usize,
    template: Option<Result<ChatTemplate, TokenizerError>>,
    config: Config,
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocabulary", &self.vocabulary)
            .field("chat_template", &self.has_chat_template())
            .finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Reads the tokenizer of a checkpoint folder.
    ///
    /// # Errors
    /// There is none, or a file is too large or malformed. A faulty chat template is an error only where it is used.
    pub fn open(model_dir: &Path) -> Result<Self, TokenizerError> {
        let config = Config::read(model_dir)?;
        let inner = match read_bounded(&model_dir.join("tokenizer.json"), TOKENIZER_LIMIT)? {
            Some(bytes) => parse(&model_dir.join("tokenizer.json"), || {
                tokenizers::Tokenizer::from_bytes(&bytes)
            })?,
            None => byte_level(model_dir, &config)?,
        };
        let template = config
            .template
            .as_ref()
            .map(|source| ChatTemplate::new(source, &config.special_tokens));
        Ok(Self {
            vocabulary: vocabulary(&inner),
            inner: plain(inner, model_dir)?,
            template,
            config,
        })
    }

    /// One more than the largest token id: the model's embedding must have at least so many rows.
    #[must_use]
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// The token ids of a text.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`]
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        Ok(self.encode_with_offsets(text)?.ids)
    }

    /// The token ids of a text, and where they lie in it.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`]
    pub fn encode_with_offsets(&self, text: &str) -> Result<Encoding, TokenizerError> {
        let refuse = |message: String| TokenizerError::Encode {
            bytes: text.len(),
            message,
        };
        // Files may hold expressions and tables on which the crate panics only when it meets a text.
        match catch_unwind(AssertUnwindSafe(|| self.inner.encode(text, false))) {
            Ok(Ok(encoding)) => Ok(Encoding {
                ids: encoding.get_ids().to_vec(),
                offsets: encoding.get_offsets().to_vec(),
            }),
            Ok(Err(error)) => Err(refuse(error.to_string())),
            Err(_) => Err(refuse("tokenizer.json is inconsistent".to_owned())),
        }
    }

    /// The text of tokens, special ones included.
    ///
    /// # Errors
    /// [`TokenizerError::Decode`]
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        let refuse = |message: String| TokenizerError::Decode {
            tokens: ids.len(),
            message,
        };
        match catch_unwind(AssertUnwindSafe(|| self.inner.decode(ids, false))) {
            Ok(Ok(text)) => Ok(text),
            Ok(Err(error)) => Err(refuse(error.to_string())),
            Err(_) => Err(refuse("tokenizer.json is inconsistent".to_owned())),
        }
    }

    /// The id of a token, e.g. `<|endoftext|>`.
    #[must_use]
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The token that begins texts, where the configuration names one.
    #[must_use]
    pub fn bos_token(&self) -> Option<&str> {
        self.config.special("bos_token")
    }

    /// The token that ends texts, where the configuration names one.
    #[must_use]
    pub fn eos_token(&self) -> Option<&str> {
        self.config.special("eos_token")
    }

    /// Is there a chat template (sound or not)?
    #[must_use]
    pub fn has_chat_template(&self) -> bool {
        self.template.is_some()
    }

    /// Writes a conversation; with the generation prompt, up to where the assistant's next answer begins.
    ///
    /// # Errors
    /// There is no template, it has a fault, or it refuses the conversation.
    pub fn render(&self, messages: &[Message], generation_prompt: bool) -> Result<String, TokenizerError> {
        match &self.template {
            None => Err(TokenizerError::NoChatTemplate),
            Some(Err(error)) => Err(error.clone()),
            Some(Ok(template)) => template.render(messages, generation_prompt),
        }
    }
}

fn vocabulary(inner: &tokenizers::Tokenizer) -> usize {
    let largest = inner.get_vocab(true).into_values().max();
    largest.map_or(0, |id| id as usize + 1)
}

/// Takes out what adds, cuts or pads.
fn plain(mut inner: tokenizers::Tokenizer, model_dir: &Path) -> Result<tokenizers::Tokenizer, TokenizerError> {
    inner.with_post_processor(None::<PostProcessorWrapper>);
    inner.with_padding(None);
    inner.with_truncation(None).map_err(|error| TokenizerError::Malformed {
        path: model_dir.join("tokenizer.json"),
        message: error.to_string(),
    })?;
    Ok(inner)
}

/// The tokenizer of GPT-2 and its kin: bytes as characters, split by GPT-2's expression, merged by rank.
fn byte_level(model_dir: &Path, config: &Config) -> Result<tokenizers::Tokenizer, TokenizerError> {
    let (vocab, merges) = (model_dir.join("vocab.json"), model_dir.join("merges.txt"));
    if read_bounded(&vocab, TOKENIZER_LIMIT)?.is_none() || read_bounded(&merges, TOKENIZER_LIMIT)?.is_none() {
        return Err(TokenizerError::Missing(model_dir.to_owned()));
    }
    parse(&vocab, || {
        let model = BPE::from_file(&vocab.to_string_lossy(), &merges.to_string_lossy()).build()?;
        let mut inner = tokenizers::Tokenizer::new(model);
        let bytes = ByteLevel::new(config.add_prefix_space, false, true);
        inner.with_pre_tokenizer(Some(bytes));
        inner.with_decoder(Some(bytes));
        let known: Vec<AddedToken> = config
            .special_tokens
            .values()
            .filter(|token| inner.token_to_id(token).is_some())
            .map(|token| AddedToken::from(token.clone(), true))
            .collect();
        inner.add_special_tokens(known)?;
        Ok(inner)
    })
}

/// Runs a parser of the crate: its errors, and its panics on malformed files, become ours.
fn parse<T>(path: &Path, parser: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, TokenizerError> {
    let refuse = |message: String| TokenizerError::Malformed {
        path: path.to_owned(),
        message,
    };
    match catch_unwind(AssertUnwindSafe(parser)) {
        Ok(Ok(parsed)) => Ok(parsed),
        Ok(Err(error)) => Err(refuse(error.to_string())),
        Err(_) => Err(refuse("malformed".to_owned())),
    }
}

/// A file's bytes; `None` if it is not there.
fn read_bounded(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, TokenizerError> {
    let refuse = |message: String| TokenizerError::Io {
        path: path.to_owned(),
        message,
    };
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refuse(error.to_string())),
        // A pipe would be waited for.
        Ok(metadata) if !metadata.is_file() => return Err(refuse("not a regular file".to_owned())),
        Ok(_) => {}
    }
    let file = std::fs::File::open(path).map_err(|error| refuse(error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| refuse(error.to_string()))?;
    if bytes.len() as u64 > limit {
        return Err(TokenizerError::TooLarge {
            path: path.to_owned(),
            limit,
        });
    }
    Ok(Some(bytes))
}

#[cfg(test)]
pub(crate) mod tests;
