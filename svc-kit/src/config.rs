//! Configuration in layers: defaults → file → environment → flags. Later layers win; unknown keys are errors.
//!
//! - **Defaults** are the `Default` of the service's typed config.
//! - **File**: TOML, `--config FILE`.
//! - **Environment**: `FINEPICK_<SECTION>__<KEY>`, two underscores between levels: `FINEPICK_SERVER__TLS__CERT` is
//!   `server.tls.cert`. Variables without a double underscore are not read, on purpose: Kubernetes injects
//!   `FINEPICK_…_PORT` for every service it knows.
//! - **Flags**: `--listen`, `--log-level`, and `--set section.key=value` for every other key.
//!
//! Every error names the key and where it was written: the file, the variable or the flag.

mod layers;
mod reference;
mod sections;
mod values;

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::reference::{Block, check_document, check_golden, common_reference, reference};
pub use self::sections::{ClientTls, EndpointConfig, LogFormat, ServerConfig, ServerTls, TelemetryConfig};
pub use self::values::{ByteSize, HumanDuration, ParseValueError};

/// A service's whole configuration: the common sections and its own.
///
/// Implementors derive `Serialize` and `Deserialize` with `#[serde(default, deny_unknown_fields)]` on every struct;
/// without `deny_unknown_fields` a misspelt key would be ignored.
pub trait ServiceConfig: Serialize + DeserializeOwned + Default + Clone + Send + Sync + 'static {
    /// What each key of the service's own sections means: `("fitter.max_points", "…")`. `*` matches any one level:
    /// `backends.*.endpoint`. A key ending in `.@endpoint` stands for all keys of an [`EndpointConfig`] there.
    const MEANINGS: &'static [(&'static str, &'static str)];

    /// The `[server]` section.
    fn server(&self) -> &ServerConfig;

    /// The `[telemetry]` section.
    fn telemetry(&self) -> &TelemetryConfig;

    /// Checks what the types cannot say. The common sections are checked already.
    ///
    /// # Errors
    /// A sentence that names the offending key.
    fn validate(&self) -> Result<(), String> {
        Ok(())
    }
}

/// The flags every service has; flatten it into the service's own `clap` struct.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Flags {
    /// Read configuration from this TOML file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Listen on this address and port (server.listen)
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,

    /// Log at this level or by these directives (`telemetry.log_level`)
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,

    /// Set any configuration key
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,

    /// Print the effective configuration as TOML and exit
    #[arg(long)]
    pub print_config: bool,

    /// Write the address that was bound to this file, once the server accepts connections
    #[arg(long, value_name = "FILE")]
    pub port_file: Option<PathBuf>,
}

/// The configuration cannot be used. Displays as one line.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{}, line {line}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// A key is unknown or its value does not fit.
    #[error("{origin}: {key}: {message}")]
    Key {
        /// Where it was written: the file, `environment variable NAME` or the flag.
        origin: String,
        /// Its path.
        key: String,
        /// What is wrong.
        message: String,
    },
    /// A flag cannot be read at all.
    #[error("{flag} {text:?}: {message}")]
    Flag {
        /// The flag.
        flag: &'static str,
        /// Its value.
        text: String,
        /// What is expected.
        message: String,
    },
    /// The values do not go together.
    #[error("{0}")]
    Invalid(String),
    /// The defaults themselves cannot be represented: a bug in the service's config type.
    #[error("the default configuration is broken: {0}")]
    Defaults(String),
}

/// Loads a configuration from its layers. Pure in its inputs but for reading the file: `env` is passed in.
///
/// # Errors
/// [`ConfigError`], which names the key and the layer at fault.
pub fn load<C: ServiceConfig>(
    flags: &Flags,
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<C, ConfigError> {
    let mut assignments = Vec::new();
    if let Some(path) = &flags.config {
        assignments.extend(layers::from_file(path)?);
    }
    assignments.extend(layers::from_env(env));
    assignments.extend(layers::from_flags(flags)?);
    let config: C = layers::apply(&C::default(), &assignments)?;
    config.server().validate().map_err(ConfigError::Invalid)?;
    config.telemetry().validate().map_err(ConfigError::Invalid)?;
    config.validate().map_err(ConfigError::Invalid)?;
    Ok(config)
}

/// The process's environment, as [`load`] takes it. The one place where the environment is read; names and values
/// that are not Unicode are left out.
#[allow(
    clippy::disallowed_methods,
    reason = "this crate is the one place where the environment is read"
)]
pub fn process_env() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// The configuration as TOML, for `--print-config`.
///
/// # Errors
/// [`ConfigError::Defaults`] when the type cannot be written as TOML.
pub fn to_toml<C: ServiceConfig>(config: &C) -> Result<String, ConfigError> {
    toml::to_string_pretty(config).map_err(|error| ConfigError::Defaults(error.to_string()))
}

/// Reads a file named by the configuration, e.g. a certificate.
pub(crate) fn read_file(key: &str, path: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path).map_err(|error| ConfigError::Invalid(format!("{key}: cannot read {}: {error}", path.display())))
}

#[cfg(test)]
mod tests;
