//! The driver on a clock that jumps from event to event: a store in memory, trainers that answer from a table, and every way to
//! lose one's head in between.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod certificates;
mod crash;
mod faults;
mod leaves;
mod life;
mod load;
mod paid;
mod together;
mod trainer;
mod unpaid;
mod world;
