//! The gateway's configuration.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use svc_kit::client::Transport;
use svc_kit::config::{
    ClientTls, ConfigError, EndpointConfig, HumanDuration, ServerConfig, ServiceConfig, TelemetryConfig,
};

use crate::route::{TRAINER_SERVICE, is_trainer_name};

/// The configuration of the gateway.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `[server]`
    pub server: ServerConfig,
    /// `[telemetry]`
    pub telemetry: TelemetryConfig,
    /// `[backends.NAME]`: the name is free; `fitter` and `selector` are there by default.
    pub backends: BTreeMap<String, BackendConfig>,
}

/// `[backends.NAME]`: one process, and what it serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackendConfig {
    /// Full names of the services behind this endpoint; none: the backend is switched off.
    pub services: Vec<String>,
    /// `http://host:port`, or `https://host:port` for TLS.
    pub endpoint: String,
    /// URLs of further processes that serve the same; calls are spread over all.
    pub replicas: Option<Vec<String>>,
    /// Time one attempt to connect may take.
    pub connect_timeout: HumanDuration,
    /// Idle time after which the connection is probed; 0 for never.
    pub keepalive_interval: HumanDuration,
    /// Time a probe may take.
    pub keepalive_timeout: HumanDuration,
    /// `[backends.NAME.tls]`
    pub tls: ClientTls,
}

impl BackendConfig {
    /// One service at one endpoint.
    #[must_use]
    pub fn new(service: &str, endpoint: &str) -> Self {
        let EndpointConfig {
            endpoint,
            connect_timeout,
            keepalive_interval,
            keepalive_timeout,
            tls,
        } = EndpointConfig::to(endpoint);
        Self {
            services: vec![service.to_owned()],
            endpoint,
            replicas: None,
            connect_timeout,
            keepalive_interval,
            keepalive_timeout,
            tls,
        }
    }

    /// The endpoint and its replicas, as the client takes them.
    #[must_use]
    pub fn endpoint_configs(&self) -> Vec<EndpointConfig> {
        let first = self.endpoint_config();
        let others = self.replicas.iter().flatten().map(|url| EndpointConfig {
            endpoint: url.clone(),
            ..first.clone()
        });
        let others: Vec<_> = others.collect();
        [vec![first], others].concat()
    }

    /// The way to this backend. Connects nothing yet.
    ///
    /// # Errors
    /// When an endpoint or a certificate cannot be used.
    pub fn transport(&self) -> Result<Transport, ConfigError> {
        Transport::replicas(&self.endpoint_configs())
    }

    /// The endpoint as the client takes it.
    #[must_use]
    pub fn endpoint_config(&self) -> EndpointConfig {
        EndpointConfig {
            endpoint: self.endpoint.clone(),
            connect_timeout: self.connect_timeout,
            keepalive_interval: self.keepalive_interval,
            keepalive_timeout: self.keepalive_timeout,
            tls: self.tls.clone(),
        }
    }
}

impl Default for BackendConfig {
    /// Nothing at nowhere, with the client's usual patience.
    fn default() -> Self {
        let mut backend = Self::new("", "");
        backend.services.clear();
        backend
    }
}

impl Default for Config {
    fn default() -> Self {
        let backends = [
            (
                "fitter",
                BackendConfig::new("finepick.fitter.v1.FitterService", "http://127.0.0.1:50061"),
            ),
            (
                "selector",
                BackendConfig::new("finepick.selector.v1.SelectorService", "http://127.0.0.1:50062"),
            ),
        ];
        Self {
            server: ServerConfig {
                // Longer than the backends' own limit, so that theirs speaks first.
                request_timeout: HumanDuration::from_secs(90),
                // A call waits here for its backend and costs next to nothing meanwhile.
                concurrency_limit: 1024,
                ..ServerConfig::on_port(50060)
            },
            telemetry: TelemetryConfig::default(),
            backends: backends.map(|(name, backend)| (name.to_owned(), backend)).into(),
        }
    }
}

impl ServiceConfig for Config {
    const MEANINGS: &'static [(&'static str, &'static str)] = &[
        (
            "backends.*.services",
            "Full names of the services behind this endpoint; `[]` switches the backend off. \
             Any further `[backends.NAME]` may be added. Several may serve finepick.trainer.v1.TrainerService: callers pick \
             one by its NAME.",
        ),
        (
            "backends.*.replicas",
            "URLs of further processes that serve the same as `endpoint`: calls go to the one with the fewest pending, \
             calls about one training run always to the same.",
        ),
        ("backends.*.@endpoint", ""),
    ];

    fn server(&self) -> &ServerConfig {
        &self.server
    }

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }

    fn validate(&self) -> Result<(), String> {
        let mut owner: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, backend) in self.backends.iter().filter(|(_, backend)| !backend.services.is_empty()) {
            for endpoint in backend.endpoint_configs() {
                endpoint.validate(&format!("backends.{name}"))?;
            }
            for service in &backend.services {
                if service.is_empty()
                    || service.contains(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '_'))
                {
                    return Err(format!(
                        "backends.{name}.services: {service:?} is not a service such as \"package.Service\""
                    ));
                }
                if service == TRAINER_SERVICE {
                    if !is_trainer_name(name) {
                        return Err(format!(
                            "backends.{name}: a trainer's name has 1 to 64 letters, digits, '-', '_' and '.'"
                        ));
                    }
                    continue;
                }
                if let Some(other) = owner.insert(service, name) {
                    return Err(format!(
                        "backends.{name}.services: {service} is routed to backends.{other} already"
                    ));
                }
            }
        }
        Ok(())
    }
}
