//! What a trainer in Rust needs to speak the plugin contract, `finepick.trainer.v1` (docs/plugin-contract.md).
//!
//! A trainer implements [`grpc::Trainer`] on its own runs; [`grpc::Service`] then serves it. What the contract fixes is here:
//! the state machine, the ranges of a spec, the event log, the refusals and their statuses. What is each trainer's own is not:
//! how work is done, queues and slots, and the defaults of a spec.
//!
//! | module | holds |
//! |---|---|
//! | [`state`] | the state machine: `transition(state, cause)` |
//! | [`spec`] | what is asked for, and every field's range |
//! | [`capability`] | identity, claims, estimates; which claims a spec needs |
//! | [`event`], [`run`] | the numbered log; a run as callers see it |
//! | [`cost`] | prices and money |
//! | [`refusal`] | what cannot be met, and why |
//! | [`grpc`] | all of it on the wire: conversions, statuses, pages, watches (feature `server`) |
//!
//! Without the feature `server` nothing of a transport is compiled. With the feature `serde` the types can be written to files.

pub mod capability;
pub mod cost;
pub mod event;
pub mod refusal;
pub mod run;
pub mod spec;
pub mod state;

#[cfg(feature = "server")]
pub mod grpc;

pub use refusal::Refusal;
