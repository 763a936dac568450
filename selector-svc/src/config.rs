//! Configuration of selector-svc.

use serde::{Deserialize, Serialize};
use svc_kit::config::{EndpointConfig, ServerConfig, ServiceConfig, TelemetryConfig};

use crate::table::MAX_CANDIDATES;

/// Everything that can be configured.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `[server]`
    pub server: ServerConfig,
    /// `[telemetry]`
    pub telemetry: TelemetryConfig,
    /// `[selector]`
    pub selector: SelectorConfig,
    /// `[fitter]`: where laws are fitted.
    pub fitter: EndpointConfig,
}

/// `[selector]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SelectorConfig {
    /// Candidates accepted in one request.
    pub max_candidates: usize,
    /// Rankings and replays computed at the same time; 0 for one per core.
    pub parallelism: usize,
}

impl SelectorConfig {
    /// Rankings and replays computed at the same time, at least 1.
    #[must_use]
    pub fn slots(&self) -> usize {
        match self.parallelism {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            slots => slots,
        }
    }
}

impl Default for SelectorConfig {
    fn default() -> Self {
        Self {
            max_candidates: MAX_CANDIDATES,
            parallelism: 0,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: ServerConfig::on_port(50_062),
            telemetry: TelemetryConfig::default(),
            selector: SelectorConfig::default(),
            fitter: EndpointConfig::to("http://127.0.0.1:50061"),
        }
    }
}

impl ServiceConfig for Config {
    const MEANINGS: &'static [(&'static str, &'static str)] = &[
        (
            "selector.max_candidates",
            "Candidates accepted in one request, at most 10000.",
        ),
        (
            "selector.parallelism",
            "Rankings and replays computed at the same time; 0 for one per core.",
        ),
        (
            "fitter.@endpoint",
            "The fitter, asked by the policies `rectified_fit` and `vanilla_fit` only.",
        ),
    ];

    fn server(&self) -> &ServerConfig {
        &self.server
    }

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }

    fn validate(&self) -> Result<(), String> {
        if !(1..=MAX_CANDIDATES).contains(&self.selector.max_candidates) {
            return Err(format!("selector.max_candidates must be within 1..={MAX_CANDIDATES}"));
        }
        if self.selector.parallelism > 1024 {
            return Err("selector.parallelism must be at most 1024".to_owned());
        }
        self.fitter.validate("fitter")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_limits_are_checked() {
        assert_eq!(Config::default().validate(), Ok(()));
        let mut config = Config::default();
        config.selector.max_candidates = 0;
        assert!(config.validate().unwrap_err().contains("selector.max_candidates"));
        assert!(Config::default().selector.slots() >= 1);
    }

    #[test]
    fn the_configuration_page_is_up_to_date() {
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
        let block = svc_kit::config::reference::<Config>("selector-svc").unwrap();
        assert_eq!(svc_kit::config::check_golden(&page, &block), Ok(()));
    }
}
