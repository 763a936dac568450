//! The sections every service has: `[server]`, `[telemetry]`; and the shape of an endpoint of another service.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{ByteSize, HumanDuration};

/// `[server]`: where to listen and what to bear.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Address and port to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Largest message, either way.
    pub max_message_bytes: ByteSize,
    /// Longest time to the first byte of an answer; 0 for no limit.
    pub request_timeout: HumanDuration,
    /// Calls worked on at the same time.
    pub concurrency_limit: usize,
    /// Calls that may wait for a slot.
    pub queue_limit: usize,
    /// Calls that may be open at the same time, streams included.
    pub open_calls_limit: usize,
    /// HTTP/2 streams of one connection.
    pub max_streams_per_connection: u32,
    /// Idle time after which a connection is probed; 0 for never.
    pub keepalive_interval: HumanDuration,
    /// Time a probe may take.
    pub keepalive_timeout: HumanDuration,
    /// Time calls in flight get to finish after a shutdown signal.
    pub drain_timeout: HumanDuration,
    /// Threads that serve; 0 for one per core, at most 8.
    pub worker_threads: usize,
    /// `[server.tls]`
    pub tls: ServerTls,
}

/// `[server.tls]`: plain text unless `cert` and `key` are set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerTls {
    /// Certificate chain, PEM.
    pub cert: Option<PathBuf>,
    /// Private key, PEM.
    pub key: Option<PathBuf>,
    /// Authority that must have signed the clients' certificates, PEM. Set: clients without one are refused.
    pub client_ca: Option<PathBuf>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// Readable lines.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[telemetry]`: what the process tells about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// A level, or directives as `info,tower=warn`.
    pub log_level: String,
    /// How log lines look.
    pub log_format: LogFormat,
    /// OTLP gRPC collector, e.g. `http://127.0.0.1:4317`; unset: nothing is exported.
    pub otlp_endpoint: Option<String>,
    /// `service.name` of everything exported; unset: the binary's name.
    pub service_name: Option<String>,
    /// Share of traces begun here that are recorded, 0 to 1; the caller's decision is kept.
    pub sample_ratio: f64,
    /// Time between two exports of metrics.
    pub metrics_interval: HumanDuration,
    /// Time the last export may take at shutdown.
    pub flush_timeout: HumanDuration,
}

/// An endpoint of another service; a service's own section holds as many as it needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EndpointConfig {
    /// `http://host:port`, or `https://host:port` for TLS.
    pub endpoint: String,
    /// Time one attempt to connect may take.
    pub connect_timeout: HumanDuration,
    /// Idle time after which the connection is probed; 0 for never.
    pub keepalive_interval: HumanDuration,
    /// Time a probe may take.
    pub keepalive_timeout: HumanDuration,
    /// `[….tls]`
    pub tls: ClientTls,
}

/// `[….tls]` of an endpoint; read with `https://` endpoints only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientTls {
    /// Authority that must have signed the server's certificate, PEM. Needed with `https://`.
    pub ca: Option<PathBuf>,
    /// Own certificate chain, PEM, for servers that ask for one.
    pub cert: Option<PathBuf>,
    /// Own private key, PEM.
    pub key: Option<PathBuf>,
    /// Name to expect in the server's certificate; unset: the endpoint's host.
    pub domain: Option<String>,
}

impl ServerConfig {
    /// The defaults, listening on this port of the loopback interface.
    #[must_use]
    pub fn on_port(port: u16) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            max_message_bytes: ByteSize::mebibytes(16),
            request_timeout: HumanDuration::from_secs(60),
            concurrency_limit: 256,
            queue_limit: 1024,
            open_calls_limit: 10_000,
            max_streams_per_connection: 2048,
            keepalive_interval: HumanDuration::from_secs(60),
            keepalive_timeout: HumanDuration::from_secs(20),
            drain_timeout: HumanDuration::from_secs(20),
            worker_threads: 0,
            tls: ServerTls::default(),
        }
    }

    /// Threads to serve with: the configured number, or one per core and at most 8.
    #[must_use]
    pub fn threads(&self) -> usize {
        match self.worker_threads {
            0 => std::thread::available_parallelism()
                .map_or(1, std::num::NonZero::get)
                .min(8),
            threads => threads,
        }
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        for (key, value) in [
            ("server.concurrency_limit", self.concurrency_limit),
            ("server.open_calls_limit", self.open_calls_limit),
            ("server.max_message_bytes", self.max_message_bytes.as_usize()),
            (
                "server.max_streams_per_connection",
                self.max_streams_per_connection as usize,
            ),
        ] {
            if value == 0 {
                return Err(format!("{key} must be at least 1"));
            }
        }
        if self.worker_threads > 1024 {
            return Err("server.worker_threads must be at most 1024".to_owned());
        }
        if self.tls.cert.is_some() != self.tls.key.is_some() {
            return Err("server.tls.cert and server.tls.key must be set together".to_owned());
        }
        if self.tls.client_ca.is_some() && self.tls.cert.is_none() {
            return Err("server.tls.client_ca needs server.tls.cert and server.tls.key".to_owned());
        }
        Ok(())
    }
}

impl Default for ServerConfig {
    /// Port 0: a service sets its own with [`ServerConfig::on_port`].
    fn default() -> Self {
        Self::on_port(0)
    }
}

impl TelemetryConfig {
    pub(super) fn validate(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.sample_ratio) {
            return Err(format!(
                "telemetry.sample_ratio must be between 0 and 1, not {}",
                self.sample_ratio
            ));
        }
        if self.metrics_interval.get().is_zero() {
            return Err("telemetry.metrics_interval must be longer than 0s".to_owned());
        }
        if let Some(endpoint) = &self.otlp_endpoint {
            check_url("telemetry.otlp_endpoint", endpoint)?;
            if endpoint.starts_with("https://") {
                return Err(
                    "telemetry.otlp_endpoint must be http://: use a collector nearby that speaks TLS".to_owned(),
                );
            }
        }
        crate::telemetry::parse_filter(&self.log_level).map_err(|error| format!("telemetry.log_level: {error}"))?;
        Ok(())
    }
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            log_level: "info".to_owned(),
            log_format: LogFormat::Auto,
            otlp_endpoint: None,
            service_name: None,
            sample_ratio: 1.0,
            metrics_interval: HumanDuration::from_secs(30),
            flush_timeout: HumanDuration::from_secs(3),
        }
    }
}

impl EndpointConfig {
    /// The defaults for this URL.
    #[must_use]
    pub fn to(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            connect_timeout: HumanDuration::from_secs(2),
            keepalive_interval: HumanDuration::from_secs(30),
            keepalive_timeout: HumanDuration::from_secs(10),
            tls: ClientTls::default(),
        }
    }

    /// Checks the endpoint; `key` is the path of its section, for the message.
    ///
    /// # Errors
    /// A sentence that names the offending key.
    pub fn validate(&self, key: &str) -> Result<(), String> {
        check_url(&format!("{key}.endpoint"), &self.endpoint)?;
        if self.connect_timeout.get().is_zero() {
            return Err(format!("{key}.connect_timeout must be longer than 0s"));
        }
        if self.tls.cert.is_some() != self.tls.key.is_some() {
            return Err(format!("{key}.tls.cert and {key}.tls.key must be set together"));
        }
        if self.endpoint.starts_with("https://") && self.tls.ca.is_none() {
            return Err(format!("{key}.tls.ca is needed with an https:// endpoint"));
        }
        Ok(())
    }
}

impl Default for EndpointConfig {
    /// No endpoint: [`EndpointConfig::validate`] asks for one.
    fn default() -> Self {
        Self::to("")
    }
}

fn check_url(key: &str, url: &str) -> Result<(), String> {
    let uri: http::Uri = url
        .parse()
        .map_err(|error| format!("{key}: {url:?} is not a URL: {error}"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
        return Err(format!("{key}: {url:?} is not a URL such as http://127.0.0.1:50061"));
    }
    Ok(())
}

/// What the keys of the common sections mean; `*` stands for a section of the service's own choosing.
pub(super) const MEANINGS: &[(&str, &str)] = &[
    (
        "server.listen",
        "Address and port to listen on; port 0 takes a free one (see `--port-file`).",
    ),
    ("server.max_message_bytes", "Largest message accepted or sent."),
    (
        "server.request_timeout",
        "Longest time until an answer begins; the caller's `grpc-timeout` counts where it is shorter. 0 for no limit.",
    ),
    ("server.concurrency_limit", "Calls worked on at the same time."),
    (
        "server.queue_limit",
        "Calls that may wait for a slot; beyond, calls are answered UNAVAILABLE with `RetryInfo`. 0 for no queue.",
    ),
    (
        "server.open_calls_limit",
        "Calls open at the same time, streams that are being read included.",
    ),
    (
        "server.max_streams_per_connection",
        "HTTP/2 streams open on one connection.",
    ),
    (
        "server.keepalive_interval",
        "Idle time after which a connection is probed; 0 for never.",
    ),
    (
        "server.keepalive_timeout",
        "Time a probe may take before the connection is closed.",
    ),
    (
        "server.drain_timeout",
        "Time calls in flight get to finish after SIGTERM or SIGINT.",
    ),
    (
        "server.worker_threads",
        "Threads that serve; 0 for one per core, at most 8.",
    ),
    (
        "server.tls.cert",
        "Certificate chain (PEM file); with `key`, the server speaks TLS.",
    ),
    ("server.tls.key", "Private key (PEM file)."),
    (
        "server.tls.client_ca",
        "Authority (PEM file) that must have signed the clients' certificates.",
    ),
    (
        "telemetry.log_level",
        "`error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,h2=warn`.",
    ),
    (
        "telemetry.log_format",
        "`text`, `json`, or `auto`: text on a terminal, JSON otherwise. Logs go to stderr.",
    ),
    (
        "telemetry.otlp_endpoint",
        "OTLP gRPC collector for traces, metrics and logs; unset: nothing is exported.",
    ),
    (
        "telemetry.service_name",
        "`service.name` of what is exported; unset: the binary's name.",
    ),
    (
        "telemetry.sample_ratio",
        "Share of traces begun here that are recorded, 0 to 1; a caller's decision is kept.",
    ),
    ("telemetry.metrics_interval", "Time between two exports of metrics."),
    (
        "telemetry.flush_timeout",
        "Time the last export may take at shutdown, also when the collector is gone.",
    ),
];

/// What the keys of an endpoint's section mean, relative to that section.
pub(super) const ENDPOINT_MEANINGS: &[(&str, &str)] = &[
    ("endpoint", "`http://host:port`, or `https://host:port` for TLS."),
    ("connect_timeout", "Time one attempt to connect may take."),
    (
        "keepalive_interval",
        "Idle time after which the connection is probed; 0 for never.",
    ),
    ("keepalive_timeout", "Time a probe may take."),
    (
        "tls.ca",
        "Authority (PEM file) that must have signed the server's certificate; needed with `https://`.",
    ),
    (
        "tls.cert",
        "Own certificate chain (PEM file), for servers that ask for one.",
    ),
    ("tls.key", "Own private key (PEM file)."),
    (
        "tls.domain",
        "Name to expect in the server's certificate; unset: the endpoint's host.",
    ),
];
