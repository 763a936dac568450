//! The simulated trainer from outside: the domain over random histories, and the service in process and on a socket.

mod calls;
mod determinism;
mod faults;
mod histories;
mod lies;
mod process;
mod requests;
mod support;
mod watches;
