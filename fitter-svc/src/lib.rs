//! Scaling-law fitting: from a learning curve to a law, a forecast and how far to trust it.
//!
//! | module | what it holds |
//! |---|---|
//! | [`curve`] | observations and curves, checked once |
//! | [`law`] | the laws as functions with named coefficients |
//! | [`objective`] | what fits minimise |
//! | [`fit`] | the global search and its report; joint laws; batches |
//! | [`uncertainty`] | bootstrap, delta method, intervals |
//! | [`phase`] | which phase a curve is in |
//! | [`compare`] | several laws on one curve |
//! | [`crossover`] | where two curves cross |
//! | [`suggest`] | which size to measure next |
//! | [`error`] | what a caller can get wrong |
//!
//! All of this is pure: no clock, no threads but rayon's in [`fit::fit_batch`], no transport, randomness by seed only.

pub mod compare;
pub mod crossover;
pub mod curve;
pub mod error;
pub mod fit;
pub mod law;
pub mod objective;
pub mod phase;
pub mod suggest;
pub mod uncertainty;
