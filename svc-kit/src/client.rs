//! Calling other services: channels that heal by themselves, replicas by least pending, retries with a budget, and one
//! transport type for remote and in process.

mod balance;
mod dice;
mod lent;
mod retry;
mod transport;

use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

pub use self::balance::AFFINITY_KEY;
pub use self::retry::{Backoff, Retry, RetryConfig, retry_delay};
pub use self::transport::Transport;

use crate::config::{ConfigError, EndpointConfig, read_file};

/// Bytes one answer may be ahead of its reader: what a call that nobody reads may occupy here.
const STREAM_WINDOW: u32 = 128 << 10;

/// Bytes all answers of a connection may be ahead of their readers: room for 2048 calls that nobody reads. With the
/// usual 5 MiB three of them stall everybody who shares the connection.
const CONNECTION_WINDOW: u32 = 2048 * STREAM_WINDOW;

/// A channel to this endpoint. It connects at the first call, and again whenever the connection is gone: a backend
/// that was restarted works without any action.
///
/// # Errors
/// When the URL or a certificate cannot be used. Never because the backend is away.
pub fn channel(config: &EndpointConfig) -> Result<Channel, ConfigError> {
    Ok(endpoint(config)?.connect_lazy())
}

/// How to connect to this endpoint.
fn endpoint(config: &EndpointConfig) -> Result<Endpoint, ConfigError> {
    let invalid = |error: &tonic::transport::Error| {
        ConfigError::Invalid(format!("endpoint {:?}: {}", config.endpoint, chain(error)))
    };
    let mut endpoint = Endpoint::from_shared(config.endpoint.clone())
        .map_err(|error| invalid(&error))?
        .connect_timeout(config.connect_timeout.get())
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    if let Some(interval) = config.keepalive_interval.non_zero() {
        endpoint = endpoint
            .http2_keep_alive_interval(interval)
            .keep_alive_timeout(config.keepalive_timeout.get());
    }
    if endpoint.uri().scheme_str() == Some("https") {
        endpoint = endpoint
            .tls_config(client_tls(config)?)
            .map_err(|error| invalid(&error))?;
    }
    Ok(endpoint)
}

fn client_tls(config: &EndpointConfig) -> Result<ClientTlsConfig, ConfigError> {
    let files = &config.tls;
    let mut tls = ClientTlsConfig::new().timeout(config.connect_timeout.get());
    if let Some(authority) = &files.ca {
        tls = tls.ca_certificate(Certificate::from_pem(read_file("tls.ca", authority)?));
    }
    if let (Some(cert), Some(key)) = (&files.cert, &files.key) {
        tls = tls.identity(Identity::from_pem(
            read_file("tls.cert", cert)?,
            read_file("tls.key", key)?,
        ));
    }
    if let Some(domain) = &files.domain {
        tls = tls.domain_name(domain);
    }
    Ok(tls)
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
