//! Scaling-law fitting.
pub mod curve;
pub mod error;
pub mod fit;
pub mod law;
pub mod objective;
pub mod phase;
pub mod uncertainty;
