//! Drives trainers: whatever speaks `finepick.trainer.v1`, behind a gateway or not, in this process or another.
//!
//! - [`TrainerClient`]: every call with its deadline, tried again where that is safe ([`svc_kit::client::Retry`]), errors
//!   as types. Calls about a run carry its id as [`svc_kit::client::AFFINITY_KEY`]: over a replica set they reach the
//!   replica that has the run, also when a call is repeated.
//! - [`RunWatch`]: the events of a run, each once and in order, over any number of broken streams.
//!
//! ```no_run
//! # async fn example(transport: svc_kit::client::Transport, spec: finepick_proto::trainer::v1::TrainingRunSpec)
//! # -> Result<(), trainer_client::TrainerError> {
//! let trainer = trainer_client::TrainerClient::new(transport);
//! trainer.create("run-1", spec).await?;
//! let mut watch = trainer.watch("run-1", 0);
//! while let Some(event) = watch.next().await {
//!     println!("{:?}", event?.kind);
//! }
//! # Ok(())
//! # }
//! ```

mod client;
mod error;
mod run;
mod watch;

pub use self::client::{Limits, TRAINER_KEY, TRAINERS_KEY, TrainerClient, names};
pub use self::error::{Problem, TrainerError};
pub use self::run::{has_ended, state_name};
pub use self::watch::{RunWatch, WatchLimits, WatchStats};
