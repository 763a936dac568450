//! Selection of the checkpoint to fine-tune.
//!
//! The domain is pure: tables of measured losses in, rankings and replays out. It knows no transport and no clock, and
//! compiles without them (`--no-default-features`).
//!
//! - [`curve`], [`table`]: what was measured, parsed once into types that cannot be wrong afterwards.
//! - [`schedule`]: ladders of data sizes.
//! - [`policy`]: one file each; flat policies order candidates from equally long curves, adaptive ones spend step by step.
//! - [`constraint`]: who may be chosen. [`metrics`]: how good a choice was.
//! - [`ranking`], [`simulate`]: the two questions and their answers. [`conclude`]: what follows from decisions and forecasts.
//! - [`selection`]: a selection as a durable state machine. [`plan`]: its preparation. [`race`]: its policy on its events.
//! - [`report`], [`crossover`], [`what_if`], [`certificate`], [`regret`]: what came of it, how sure it is, and how to check it;
//!   [`explain`] has the words.
//! - [`ports`]: what adapters provide. [`order`]: what a trial is to its trainer.
//!
//! With the feature `server` (the default) come the driver, the desk for callers, the trainers' adapter, the configuration and the gRPC service.

pub mod certificate;
pub mod conclude;
pub mod constraint;
pub mod crossover;
pub mod curve;
pub mod diagnostics;
mod digest;
pub mod error;
pub mod explain;
mod field;
#[cfg(test)]
mod fixture;
pub mod metrics;
pub mod order;
pub mod plan;
pub mod policy;
pub mod ports;
pub mod race;
pub mod ranking;
mod regression;
pub mod regret;
pub mod report;
pub mod schedule;
pub mod selection;
pub mod simulate;
pub mod store;
pub mod table;
pub mod trend;
pub mod what_if;
pub mod win_share;

#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod desk;
#[cfg(feature = "server")]
pub mod driver;
#[cfg(feature = "server")]
pub mod grpc;
#[cfg(feature = "server")]
pub mod trainers;
