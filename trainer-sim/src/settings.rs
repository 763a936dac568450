//! What the simulation is set to, in the domain's own types. `config.rs` reads it from a configuration.

use std::time::Duration;

use crate::capability::Capabilities;
use crate::law::Law;
use crate::overrides::{Fault, Permissions};
use crate::spec::MethodKind;

/// A law declared for a model, with one method or all.
#[derive(Debug, Clone, PartialEq)]
pub struct DeclaredLaw {
    /// `TrainingRunSpec.model.uri`, to the letter.
    pub model_uri: String,
    /// With this method only; absent: with all.
    pub method: Option<MethodKind>,
    /// The law.
    pub law: Law,
}

/// A device that exists in the simulation only.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    /// Unique name.
    pub name: String,
    /// For people.
    pub description: String,
    /// Bytes, > 0.
    pub memory_bytes: i64,
    /// Runs at the same time, ≥ 1.
    pub slots: u32,
}

/// Everything the simulation depends on but requests and time.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// At least one.
    pub devices: Vec<Device>,
    /// Runs that may wait.
    pub queue_limit: usize,
    /// Not ready before this moment.
    pub start_delay: Duration,
    /// What is claimed.
    pub capabilities: Capabilities,
    /// Laws that are declared; the others are derived.
    pub laws: Vec<DeclaredLaw>,
    /// Relative standard deviation of the losses.
    pub noise: f64,
    /// Floating-point operations a second that a device gets done.
    pub flops: f64,
    /// Time to prepare a run.
    pub prepare: Duration,
    /// Time between two progress events.
    pub progress_interval: Duration,
    /// A run that hangs fails with STALLED after this time; absent: never.
    pub watchdog: Option<Duration>,
    /// Progress and log events kept of one run.
    pub retained_events: usize,
    /// Ended runs kept; beyond, the oldest are forgotten.
    pub retained_runs: usize,
    /// What labels may do.
    pub permissions: Permissions,
    /// A fault that befalls runs by chance.
    pub fault: Option<Fault>,
    /// Share of runs that it befalls.
    pub fault_probability: f64,
    /// Share of its work after which it befalls a run.
    pub fault_at: f64,
}
