//! The simulated trainer from outside: the domain over random histories, and the service in process and on a socket.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::unnecessary_wraps,
    reason = "helpers of tests fail as the tests themselves do, and make messages, which are optional in messages"
)]

mod calls;
mod determinism;
mod faults;
mod histories;
mod lies;
mod process;
mod requests;
mod support;
mod watches;
