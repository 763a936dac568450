//! Scaling-law fitting: from a learning curve to a law, a forecast and how far to trust it.
//!
//! | module | what it holds |
//! |---|---|
//! | [`curve`] | observations and curves, checked once |
//! | [`law`] | the laws as functions with named coefficients |
//! | [`objective`] | what fits minimise |
//! | [`fit`] | the global search and its report; joint laws; batches |
//! | [`uncertainty`] | bootstrap, delta method, intervals |
//! | [`forecast`] | a fit with its predictions, for one curve or a batch |
//! | [`phase`] | which phase a curve is in |
//! | [`compare`] | several laws on one curve |
//! | [`crossover`] | where two curves cross |
//! | [`suggest`] | which size to measure next |
//! | [`error`] | what a caller can get wrong |
//!
//! All of this is pure: no clock, no threads but rayon's in batches, no transport, randomness by seed only. The
//! adapters `grpc` and `config` come with the feature `server`.

pub mod compare;
#[cfg(feature = "server")]
pub mod config;
pub mod crossover;
pub mod curve;
pub mod error;
pub mod fit;
pub mod forecast;
#[cfg(feature = "server")]
pub mod grpc;
pub mod law;
pub mod objective;
pub mod phase;
pub mod suggest;
pub mod uncertainty;
