//! Where the tuned weights of a run on this machine go.
//!
//! While it goes on, the run lies beside the output folder, under `NAME.run`: the same command goes on with it after a crash.

use std::path::{Path, PathBuf};

use crate::args::{GlobalArgs, TrainArgs};
use crate::error::CliError;

/// An output folder that does not exist yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Output {
    folder: PathBuf,
}

impl Output {
    /// The output that was asked for.
    pub(super) fn of(args: &TrainArgs, global: &GlobalArgs) -> Result<Option<Self>, CliError> {
        let Some(folder) = &args.output else { return Ok(None) };
        let refused = |message: &str| Err(CliError::Usage(format!("--output {}: {message}", folder.display())));
        if global.endpoint.is_some() {
            return refused("the weights stay with the trainer behind --endpoint; artifact_uri says where");
        }
        if args.detach {
            return refused("a run on this machine cannot be detached from");
        }
        if folder.file_name().is_none() {
            return refused("is no name of a folder");
        }
        if folder.exists() {
            return refused("exists already");
        }
        Ok(Some(Self { folder: folder.clone() }))
    }

    /// Where the run lies until it is done.
    pub(super) fn state(&self) -> PathBuf {
        let mut name = self.folder.clone().into_os_string();
        name.push(".run");
        name.into()
    }

    /// Moves the tuned weights to their place, and tells it; empty where the run has none.
    pub(super) fn take(&self, artifact: &str) -> Result<String, CliError> {
        if artifact.is_empty() {
            return Ok(String::new());
        }
        let path = artifact.strip_prefix("file://").unwrap_or(artifact);
        std::fs::rename(Path::new(path), &self.folder).map_err(|error| CliError::Write {
            what: self.folder.display().to_string(),
            error,
        })?;
        Ok(self.folder.display().to_string())
    }

    /// An error of a run that an earlier command began.
    pub(super) fn explain(&self, error: CliError) -> CliError {
        match &error {
            CliError::Call(status) if status.code() == tonic::Code::AlreadyExists => CliError::Usage(format!(
                "{} holds a run with other settings: give its settings to go on with it, or remove the folder",
                self.state().display()
            )),
            _ => error,
        }
    }
}
