//! Where models and data are taken from: folders and files of this machine, or a hub with the interface of Hugging Face's.
//!
//! | reference | is |
//! |---|---|
//! | `path`, `file:///path` | a file or folder here |
//! | `hf://org/name@revision` | a model; without `@revision`: `main` |
//! | `hf://datasets/org/name@revision/path/file` | a file of a data set |
//!
//! Of a model only what is needed is fetched: configuration, tokenizer, and weights as safetensors; never pickles, which run code
//! when they are read. What is fetched lies under the cache folder as plain files, `models--org--name/snapshots/<commit>/…`, and
//! `refs/<revision>` says which commit a revision was last.
//!
//! The client is a small one of our own over `ureq`: the published clients either bring an asynchronous stack and their own
//! storage protocol, or have no timeouts and use names from the server's answers as paths unchecked.

#[cfg(feature = "hub")]
mod cache;
#[cfg(feature = "hub")]
mod client;
mod digest;
#[cfg(feature = "hub")]
mod download;
mod files;
mod reference;

use std::path::PathBuf;

use thiserror::Error;

#[cfg(feature = "hub")]
pub use self::client::{Fetched, Hub, HubConfig, Progress};
pub use self::digest::digest_model;
pub use self::reference::{HubReference, Reference, RepoKind};

/// A reference cannot be resolved, or what it names cannot be fetched.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HubError {
    /// The reference is none.
    #[error("{reference:?}: {message}")]
    Reference {
        /// As given.
        reference: String,
        /// What is wrong, and what is wanted.
        message: String,
    },
    /// The endpoint or the token cannot be used.
    #[error("hub: {0}")]
    Config(String),
    /// The hub does not have it.
    #[error("{what}: the hub has no such repository, revision or file{hint}")]
    NotFound {
        /// Repository, revision and file.
        what: String,
        /// What the hub says, after ": "; may be empty.
        hint: String,
    },
    /// The hub does not let us.
    #[error("{what}: the hub refuses access {}{hint}", if *.token { "with this token" } else { "without a token" })]
    Unauthorised {
        /// Repository, revision and file.
        what: String,
        /// Was a token sent?
        token: bool,
        /// What the hub says, after ": "; may be empty.
        hint: String,
    },
    /// The hub cannot be reached, or the connection broke, and trying again did not help.
    #[error("{what}: {message}")]
    Network {
        /// Repository, revision and file.
        what: String,
        /// What happened.
        message: String,
    },
    /// The hub answers what it should not.
    #[error("{what}: unexpected answer of the hub: {message}")]
    Answer {
        /// Repository, revision and file.
        what: String,
        /// What is wrong with it.
        message: String,
    },
    /// A name leads out of its folder.
    #[error("{what}: the file name {name:?} is refused")]
    Path {
        /// Repository or folder.
        what: String,
        /// The name.
        name: String,
    },
    /// What came is not what the hub announced.
    #[error("{what}: {found}, announced is {wanted}")]
    Corrupt {
        /// Repository, revision and file.
        what: String,
        /// Announced size or digest.
        wanted: String,
        /// The one that came.
        found: String,
    },
    /// There are no weights that we read.
    #[error("{what}: no safetensors{}", if .pickles.is_empty() { String::new() } else { format!("; {} is not read, because reading it runs code", .pickles) })]
    NoWeights {
        /// Repository or folder.
        what: String,
        /// Weights in other forms, if there are any.
        pickles: String,
    },
    /// A file here cannot be read or written.
    #[error("{}: {message}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        message: String,
    },
    /// The caller stopped it. What was fetched stays, and is gone on with next time.
    #[error("{what}: stopped")]
    Stopped {
        /// Repository, revision and file.
        what: String,
    },
}

#[cfg(feature = "hub")]
#[cfg(test)]
mod tests;
