//! Data: files to examples, held-out split and nested subsets, tokens, batches of static shapes.
//!
//! | module | holds |
//! |---|---|
//! | [`example`] | what one example is, and when two are the same |
//! | [`read`] | files and folders to [`Examples`]; what was skipped and why |
//! | [`split`] | the held-out part and the nested training subsets |
//! | [`order`] | seeded permutations, stable for ever |
//! | [`tokenized`] | token ids, and which of them count in the loss |
//! | [`batch`] | buckets of sequence lengths; batches for training and for evaluation |
//!
//! Everything here is a function of the bytes read, the options and the seeds: no clock, no global state.

pub mod batch;
mod columns;
mod error;
pub mod example;
mod json;
mod lines;
pub mod order;
pub mod read;
mod record;
mod source;
pub mod split;
pub mod tokenized;

pub use self::batch::{Batch, Batches, Buckets};
pub use self::error::{BrokenRow, DataError, Unit};
pub use self::example::{Example, Message};
pub use self::order::{EpochOrder, order};
pub use self::read::{DataFile, Examples, ReadOptions, Skipped};
pub(crate) use self::source::digest_text;
pub use self::split::{HeldOut, Split};
pub use self::tokenized::{Tokenized, Unusable, UnusableReason};
