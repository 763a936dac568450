//! The server stack and the client over real sockets and in process.

mod client;
mod echo;
mod limits;
mod server;
mod tls;
