//! Chat templates: Jinja, rendered as transformers does.
//!
//! From `transformers/utils/chat_template_utils.py`: `trim_blocks` and `lstrip_blocks`; loop controls; `raise_exception`;
//! `tojson` without escapes for HTML; `{% generation %}` blocks, which mark what the assistant writes and add nothing; the
//! variables `messages`, `add_generation_prompt`, `tools` and `documents` (none), and the special tokens.
//!
//! One thing differs on purpose: `strftime_now` tells a fixed day, 26 July 2024, which templates themselves name as their
//! default. With the day of the run the same example would have other tokens tomorrow.
//!
//! A template comes with the model and may be hostile: steps and output are bounded.

mod json;
mod python;

use std::collections::BTreeMap;
use std::io::{self, Write};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{Environment, Error, ErrorKind};

use super::TokenizerError;
use crate::dataset::Message;

/// Steps of the interpreter per conversation.
const FUEL: u64 = 20_000_000;
/// Bytes of a conversation as written.
const OUTPUT_LIMIT: usize = 64 << 20;
const NAME: &str = "chat_template";

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    special_tokens: BTreeMap<String, String>,
}

impl ChatTemplate {
    /// Compiles a template. `special_tokens`: by the names that templates know, e.g. `bos_token`.
    ///
    /// # Errors
    /// [`TokenizerError::Template`] with the line of the fault.
    pub fn new(source: &str, special_tokens: &BTreeMap<String, String>) -> Result<Self, TokenizerError> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| refuse(&error))?);
        environment.set_debug(false);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", json::tojson);
        environment.add_test("iterable", python::iterable);
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_function("strftime_now", |format: String| python::strftime(&format));
        environment
            .add_template_owned(NAME, python::prepared(source))
            .map_err(|error| refuse(&error))?;
        Ok(Self {
            environment,
            special_tokens: special_tokens.clone(),
        })
    }

    /// Writes a conversation.
    ///
    /// # Errors
    /// [`TokenizerError::Template`]: the template refuses it, fails on it, or takes too long.
    pub fn render(&self, messages: &[Message], generation_prompt: bool) -> Result<String, TokenizerError> {
        let messages: Vec<Value> = messages
            .iter()
            .map(|message| {
                Value::from_pairs([
                    ("role", Value::from(message.role.as_str())),
                    ("content", Value::from(message.content.as_str())),
                ])
            })
            .collect();
        let special = self
            .special_tokens
            .iter()
            .map(|(name, token)| (name.as_str(), Value::from(token.as_str())));
        let context = Value::from_pairs(special.chain([
            ("messages", Value::from(messages)),
            ("add_generation_prompt", Value::from(generation_prompt)),
            ("tools", Value::from(())),
            ("documents", Value::from(())),
        ]));
        let mut output = Bounded(Vec::new());
        let template = self.environment.get_template(NAME).map_err(|error| refuse(&error))?;
        template
            .render_captured_to(context, &mut output)
            .map_err(|error| refuse(&error))?;
        String::from_utf8(output.0).map_err(|error| TokenizerError::Template(error.to_string()))
    }
}

/// The fault, with its line, and what lies behind it.
fn refuse(error: &Error) -> TokenizerError {
    let mut text = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    if let Some(line) = error.line() {
        use std::fmt::Write as _;
        // Writing to a string cannot fail.
        let _ = write!(text, " (line {line})");
    }
    TokenizerError::Template(text)
}

/// Output up to a limit.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > OUTPUT_LIMIT {
            return Err(io::Error::other(format!("more than {OUTPUT_LIMIT} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
