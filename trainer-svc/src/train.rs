//! The training loop.

pub mod measure;
pub mod schedule;
pub mod state;
