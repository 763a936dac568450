//! Tuned weights as files that the ecosystem reads, and adapters read back.
//!
//! | what was tuned | folder |
//! |---|---|
//! | all weights | a checkpoint like the source: its `config.json`, tokenizer and tensor names, new safetensors |
//! | low-rank adapters | PEFT's `adapter_config.json` and `adapter_model.safetensors` |
//! | a prompt | the same, of PEFT's prompt tuning |
//!
//! A folder appears under its name only when it is complete and on disk: everything is written next to it first.

mod adapter;
mod folder;
mod lora;
mod model;
mod prompt;
mod tensors;

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error as ThisError;

pub use self::adapter::{Adapter, read_adapter};
pub use self::folder::Existing;
pub use self::lora::save_lora;
pub use self::model::{SaveOptions, WeightType, save_model};
pub use self::prompt::save_prompt;
use crate::arch::{ArchError, ConfigError};
use crate::checkpoint::CheckpointError;
use crate::tensor::HostTensor;

/// Gives a weight by its name, f32: from device memory, usually. Each is asked for once, so that they need not all be in host
/// memory at the same time.
pub type Fetch<'a> = dyn FnMut(&str) -> Result<HostTensor, Box<dyn Error + Send + Sync>> + 'a;

/// Weights cannot be written, or an adapter cannot be read.
#[derive(Debug, ThisError)]
pub enum ArtifactError {
    /// There is already something of this name.
    #[error("{} exists already", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// There is something of this name that is to be replaced, but was not written by us.
    #[error("{} is not replaced: it holds {found}, which is no part of a model or adapter", path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// A file or folder inside.
        found: String,
    },
    /// There is no room left on the disk, or the user's quota is used up.
    #[error("{}: the disk is full: {source}", path.display())]
    DiskFull {
        /// The file that was written.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A weight cannot be had, or is not what it should be.
    #[error("{name}: {message}")]
    Weight {
        /// Its name.
        name: String,
        /// Why not.
        message: String,
    },
    /// The model's graph cannot be built.
    #[error(transparent)]
    Arch(#[from] ArchError),
    /// A file of an adapter or of the source cannot be read.
    #[error(transparent)]
    Read(#[from] CheckpointError),
    /// There is no adapter.
    #[error("{} holds no adapter_config.json: it is not an adapter as PEFT saves them", path.display())]
    NoAdapter {
        /// The folder.
        path: PathBuf,
    },
    /// An adapter has settings that are not supported.
    #[error("{}/adapter_config.json: {source}", path.display())]
    Config {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        source: ConfigError,
    },
    /// An adapter's tensors are not those that its settings or the model ask for.
    #[error("{}: {}", path.display(), problems.join("; "))]
    Tensors {
        /// The folder.
        path: PathBuf,
        /// All that is wrong.
        problems: Vec<String>,
    },
}

impl ArtifactError {
    /// A file that cannot be written.
    fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path, source },
            _ => Self::Io { path, source },
        }
    }
}
