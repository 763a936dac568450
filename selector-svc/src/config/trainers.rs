//! `[trainers.NAME]`: who trains.

use serde::{Deserialize, Serialize};
use svc_kit::client::Transport;
use svc_kit::config::{ClientTls, ConfigError, EndpointConfig, HumanDuration};

/// Longest name of a trainer, bytes.
const MAX_NAME: usize = 64;

/// `[trainers.NAME]`: a trainer, or replicas of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainerEndpoint {
    /// `http://host:port`, or `https://host:port` for TLS.
    pub endpoint: String,
    /// URLs of further processes that are the same trainer; runs are spread over all.
    pub replicas: Option<Vec<String>>,
    /// The trainer's name at a gateway; unset: `endpoint` is the trainer itself.
    pub at_gateway: Option<String>,
    /// Several sizes of a checkpoint may be asked for in one run, where the trainer claims `nested_subsets`.
    pub nested_runs: bool,
    /// Time one attempt to connect may take.
    pub connect_timeout: HumanDuration,
    /// Idle time after which the connection is probed; 0 for never.
    pub keepalive_interval: HumanDuration,
    /// Time a probe may take.
    pub keepalive_timeout: HumanDuration,
    /// `[trainers.NAME.tls]`
    pub tls: ClientTls,
}

impl TrainerEndpoint {
    /// The trainer at this URL.
    #[must_use]
    pub fn to(endpoint: &str) -> Self {
        let EndpointConfig {
            endpoint,
            connect_timeout,
            keepalive_interval,
            keepalive_timeout,
            tls,
        } = EndpointConfig::to(endpoint);
        Self {
            endpoint,
            replicas: None,
            at_gateway: None,
            nested_runs: true,
            connect_timeout,
            keepalive_interval,
            keepalive_timeout,
            tls,
        }
    }

    /// All its endpoints.
    fn endpoints(&self) -> Vec<EndpointConfig> {
        let urls = std::iter::once(&self.endpoint).chain(self.replicas.iter().flatten());
        let endpoint = |url: &String| EndpointConfig {
            endpoint: url.clone(),
            connect_timeout: self.connect_timeout,
            keepalive_interval: self.keepalive_interval,
            keepalive_timeout: self.keepalive_timeout,
            tls: self.tls.clone(),
        };
        urls.map(endpoint).collect()
    }

    /// How many processes it is.
    #[must_use]
    pub fn processes(&self) -> u32 {
        u32::try_from(self.endpoints().len()).unwrap_or(u32::MAX)
    }

    /// The way to it. Connects nothing yet.
    ///
    /// # Errors
    /// An endpoint or a certificate cannot be used.
    pub fn transport(&self) -> Result<Transport, ConfigError> {
        Transport::replicas(&self.endpoints())
    }

    /// Checks the section of this name.
    ///
    /// # Errors
    /// A sentence that names the offending key.
    pub fn validate(&self, name: &str) -> Result<(), String> {
        if !is_name(name) {
            return Err(format!(
                "trainers.{name}: a trainer's name has 1 to {MAX_NAME} letters, digits, '-', '_' and '.'"
            ));
        }
        if self.at_gateway.as_deref().is_some_and(|name| !is_name(name)) {
            return Err(format!("trainers.{name}.at_gateway is no trainer's name"));
        }
        let mut endpoints = self.endpoints().into_iter();
        endpoints.try_for_each(|endpoint| endpoint.validate(&format!("trainers.{name}")))
    }
}

fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(plain)
}

impl Default for TrainerEndpoint {
    /// Nowhere: [`TrainerEndpoint::validate`] asks for an endpoint.
    fn default() -> Self {
        Self::to("")
    }
}
