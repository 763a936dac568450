//! What can be wrong with a checkpoint folder.

use std::fmt::Write;
use std::path::PathBuf;

use thiserror::Error;

use super::StoredType;

/// Names that a message lists before it only counts.
const LISTED: usize = 40;

/// A tensor that is there, but is not what the model needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongShape {
    /// The parameter.
    pub name: String,
    /// Type of the stored elements.
    pub stored: StoredType,
    /// Shape in the file.
    pub found: Vec<usize>,
    /// Shape that the configuration asks for.
    pub wanted: Vec<usize>,
}

/// A checkpoint folder cannot be used.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// A file or folder cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// There is no `config.json`.
    #[error("{} holds no config.json: it is not a model folder in Hugging Face layout", folder.display())]
    NoConfig {
        /// The folder.
        folder: PathBuf,
    },
    /// It is the folder of an adapter.
    #[error("{} holds an adapter, not a model: name its base model's folder, and this one as the adapter to start from", folder.display())]
    AdapterOnly {
        /// The folder.
        folder: PathBuf,
    },
    /// There are no weights.
    #[error("{} holds no model.safetensors and no model.safetensors.index.json", folder.display())]
    NoWeights {
        /// The folder.
        folder: PathBuf,
    },
    /// There are weights, but not as safetensors.
    #[error(
        "{} holds its weights as {found}, which is not read (a pickle can run any code when it is loaded): convert them to safetensors, for \
         example in Python with AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new_folder)",
        folder.display()
    )]
    OtherFormat {
        /// The folder.
        folder: PathBuf,
        /// A file with weights.
        found: String,
    },
    /// A file is broken.
    #[error("{} {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A tensor is broken.
    #[error("{}: tensor {tensor} {message}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// Its name, shortened if it is very long.
        tensor: String,
        /// What is wrong with it.
        message: String,
    },
    /// A name leads out of the folder.
    #[error("{}: the file name {name} leads out of the folder", folder.display())]
    Leaves {
        /// The folder.
        folder: PathBuf,
        /// The name, shortened if it is very long.
        name: String,
    },
    /// The tensors are not those of the configuration.
    #[error("{}: {}", folder.display(), describe(missing, shapes))]
    Mismatch {
        /// The folder.
        folder: PathBuf,
        /// All parameters without a tensor.
        missing: Vec<String>,
        /// All tensors that do not fit.
        shapes: Vec<WrongShape>,
    },
}

fn describe(missing: &[String], shapes: &[WrongShape]) -> String {
    let mut text = String::from("the weights do not fit config.json;");
    if !missing.is_empty() {
        let _ = write!(text, " {} missing: {}", missing.len(), listed(missing.iter().cloned()));
    }
    if !shapes.is_empty() {
        let described = shapes.iter().map(|wrong| {
            format!(
                "{} is {} {:?}, wanted {:?}",
                wrong.name,
                wrong.stored.name(),
                wrong.found,
                wrong.wanted
            )
        });
        let separator = if missing.is_empty() { "" } else { ";" };
        let _ = write!(
            text,
            "{separator} {} of another shape or type: {}",
            shapes.len(),
            listed(described)
        );
    }
    text
}

fn listed(items: impl ExactSizeIterator<Item = String>) -> String {
    let rest = items.len().saturating_sub(LISTED);
    let mut text = items.take(LISTED).collect::<Vec<_>>().join(", ");
    if rest > 0 {
        let _ = write!(text, ", and {rest} more");
    }
    text
}

/// A name from a file, as messages have it: without control characters, and not endless.
pub(crate) fn shown(name: &str) -> String {
    let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut text: String = name.chars().take(120).map(plain).collect();
    if text.len() < name.len() && name.chars().nth(120).is_some() {
        text.push('…');
    }
    text
}
