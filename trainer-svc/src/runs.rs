//! Runs: accepted, queued, done one per slot, paused, watched over, and kept through crashes.
//!
//! The work itself is behind [`Executor`]; this module knows no model and no transport. Everything that happens to a run is a line
//! in its journal before anybody sees it, and a run is the sum of its lines: after a crash it stands where its last line says.
//!
//! | type | is |
//! |---|---|
//! | [`Manager`] | all runs of one state folder |
//! | [`Executor`], [`Job`], [`Desk`], [`Report`] | the seam to the training |
//! | [`Stop`] | asks a running job to stop, and says why |
//! | [`Roots`] | folders that references may lie in |
//!
//! A run that was PREPARING or RUNNING when the process ended keeps its state, and goes on from its checkpoint at the next start. An
//! executor that does not return when it is told to stop loses its slot after [`Settings::stop_grace`]; its thread is left behind,
//! and nothing it reports counts any more.

mod alarm;
mod calls;
mod defaults;
mod disk;
mod executor;
mod journal;
mod log;
mod manager;
mod record;
mod recover;
mod report;
mod roots;
mod slots;
mod stop;
mod store;
mod watchdog;
mod world;

use std::path::PathBuf;
use std::time::Duration;

use trainer_kit::capability::Capabilities;
use trainer_kit::event::Severity;

pub use self::defaults::with_defaults;
pub use self::disk::{Permit, is_full};
pub use self::executor::{Desk, Done, Executor, Job, Prepared, Report, RunFailure};
pub use self::log::RunLog;
pub use self::manager::{Clock, Manager, system_clock};
pub use self::roots::Roots;
pub use self::stop::{Registered, Stop, StopReason};
pub use self::store::OpenError;

/// Name of the folder of the tuned weights, in the run's folder.
pub const ARTIFACT: &str = "artifact";

/// What a manager is set to.
#[derive(Clone)]
pub struct Settings {
    /// Where runs are kept; made if it is not there.
    pub state_dir: PathBuf,
    /// Reverse-DNS name of the trainer.
    pub name: String,
    /// What is claimed, prices included.
    pub capabilities: Capabilities,
    /// Runs that may wait.
    pub queue_limit: usize,
    /// A run that shows no sign of life for this long fails with STALLED.
    pub stall_timeout: Duration,
    /// Time that a run gets to stop when it is told to, before its slot is given away.
    pub stop_grace: Duration,
    /// Progress and log events kept of one run; other events are all kept.
    pub retained_events: usize,
    /// Where references may lie.
    pub roots: Roots,
    /// Asked before every write to the state folder: tests let the disk be full. `None`: the disk decides.
    pub permit: Option<Permit>,
}

/// Who is told of what happens. Called without a lock held, possibly from several threads at once.
pub trait Listener: Send + Sync + 'static {
    /// A run has new events.
    fn changed(&self, key: u64);

    /// A run was forgotten.
    fn gone(&self, key: u64);

    /// Something for the operator's log.
    fn tell(&self, severity: Severity, text: &str);
}
