//! The gateway over real sockets, in process, and as a process of its own.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a broken expectation is a failed test"
)]

#[path = "../../../svc-kit/tests/it/echo.rs"]
mod echo;

mod config;
mod forward;
mod health;
mod process;
mod trainers;

use gateway::Gateway;
use svc_kit::client::Transport;
use svc_kit::config::{EndpointConfig, ServerConfig};

use crate::echo::Running;

/// A gateway in front of the echo service at this address.
pub(crate) async fn gateway_to(url: &str) -> Running {
    gateway_with(&ServerConfig::default(), url).await
}

/// The same, with limits.
pub(crate) async fn gateway_with(config: &ServerConfig, url: &str) -> Running {
    let transport = Transport::remote(&EndpointConfig::to(url)).expect("URL");
    Running::start(config, |context| {
        Gateway::new()
            .remote(echo::NAME, transport)
            .expect("one route")
            .into_app(&[], context)
    })
    .await
}
