//! Flags of `finepick up` and `finepick demo`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// A trainer that can be hosted in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HostedTrainer {
    /// Losses from a declared law, in no time and for nothing.
    Simulated,
    /// Fine-tuning on ONNX Runtime.
    Onnx,
}

/// `finepick up`.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// Host a trainer in this process, too.
    #[arg(long, value_name = "TRAINER", value_enum)]
    pub trainer: Option<HostedTrainer>,
    /// The usual flags of a server.
    #[command(flatten)]
    pub flags: svc_kit::config::Flags,
}

/// `finepick demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Folder of the checkpoints to choose from.
    #[arg(long, value_name = "DIR", default_value = "zoo")]
    pub models: PathBuf,
    /// The task (`python3 tools/fetch_texts.py` fetches it).
    #[arg(long, value_name = "FILE", default_value = ".deps/texts/tasks/graphs.jsonl")]
    pub data: PathBuf,
    /// Smaller sizes and fewer steps: done in a fraction of the time, and less to be learnt from it.
    #[arg(long)]
    pub quick: bool,
    /// Where selection and runs are kept. Absent: a passing folder.
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Write the plot to this SVG file.
    #[arg(long, value_name = "FILE.svg", default_value = "demo/selection.svg")]
    pub plot: PathBuf,
}
