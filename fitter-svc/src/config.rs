//! Configuration of fitter-svc. The limits can be lowered; the contract's own are their upper bounds.

use serde::{Deserialize, Serialize};
use svc_kit::config::{ServerConfig, ServiceConfig, TelemetryConfig};

/// Curves in one batch that the contract allows.
pub const MAX_CURVES: usize = 10_000;
/// Points of one curve that the contract allows.
pub const MAX_POINTS: usize = 1_000;
/// Bootstrap draws that the contract allows.
pub const MAX_DRAWS: usize = 10_000;
/// Requests computed at the same time at most.
const MAX_PARALLELISM: usize = 1024;

/// Everything that can be configured.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `[server]`
    pub server: ServerConfig,
    /// `[telemetry]`
    pub telemetry: TelemetryConfig,
    /// `[fitter]`
    pub fitter: FitterConfig,
}

/// `[fitter]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FitterConfig {
    /// Curves accepted in one batch.
    pub max_curves: usize,
    /// Points accepted in one curve.
    pub max_points: usize,
    /// Bootstrap draws accepted per curve.
    pub max_draws: usize,
    /// Draws times (points + predicted sizes), summed over the curves of one request: about 4 µs of one core each.
    pub max_bootstrap_work: usize,
    /// Points of all curves of a joint law: about 0.2 ms of one core each.
    pub max_joint_points: usize,
    /// Requests computed at the same time; 0 for one per core. A batch uses all cores by itself.
    pub parallelism: usize,
}

impl FitterConfig {
    /// Requests computed at the same time, at least 1.
    #[must_use]
    pub fn slots(&self) -> usize {
        match self.parallelism {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            slots => slots,
        }
    }
}

impl Default for FitterConfig {
    fn default() -> Self {
        Self {
            max_curves: MAX_CURVES,
            max_points: MAX_POINTS,
            max_draws: MAX_DRAWS,
            max_bootstrap_work: 10_000_000,
            max_joint_points: 20_000,
            parallelism: 0,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: ServerConfig::on_port(50_061),
            telemetry: TelemetryConfig::default(),
            fitter: FitterConfig::default(),
        }
    }
}

impl ServiceConfig for Config {
    const MEANINGS: &'static [(&'static str, &'static str)] = &[
        ("fitter.max_curves", "Curves accepted in one batch, at most 10000."),
        ("fitter.max_points", "Points accepted in one curve, at most 1000."),
        ("fitter.max_draws", "Bootstrap draws accepted per curve, at most 10000."),
        (
            "fitter.max_bootstrap_work",
            "Draws times (points + predicted sizes), summed over the curves of a request; about 4 µs of one core each.",
        ),
        (
            "fitter.max_joint_points",
            "Points of all curves of a joint law; about 0.2 ms of one core each.",
        ),
        (
            "fitter.parallelism",
            "Requests computed at the same time; 0 for one per core.",
        ),
    ];

    fn server(&self) -> &ServerConfig {
        &self.server
    }

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }

    fn validate(&self) -> Result<(), String> {
        let limits = &self.fitter;
        for (key, value, most) in [
            ("max_curves", limits.max_curves, MAX_CURVES),
            ("max_points", limits.max_points, MAX_POINTS),
            ("max_draws", limits.max_draws, MAX_DRAWS),
            ("max_bootstrap_work", limits.max_bootstrap_work, usize::MAX),
            ("max_joint_points", limits.max_joint_points, usize::MAX),
        ] {
            if !(1..=most).contains(&value) {
                return Err(format!("fitter.{key} must be within 1..={most}"));
            }
        }
        if limits.parallelism > MAX_PARALLELISM {
            return Err(format!("fitter.parallelism must be at most {MAX_PARALLELISM}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_limits_are_checked() {
        assert_eq!(Config::default().validate(), Ok(()));
        assert!(Config::default().fitter.slots() >= 1);
        let spoiled: [fn(&mut FitterConfig); 4] = [
            |c| c.max_curves = 0,
            |c| c.max_points = MAX_POINTS + 1,
            |c| c.max_joint_points = 0,
            |c| c.parallelism = 5000,
        ];
        for spoil in spoiled {
            let mut config = Config::default();
            spoil(&mut config.fitter);
            assert!(config.validate().unwrap_err().starts_with("fitter."));
        }
    }

    #[test]
    fn the_configuration_page_is_up_to_date() {
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
        let block = svc_kit::config::reference::<Config>("fitter-svc").unwrap();
        assert_eq!(svc_kit::config::check_golden(&page, &block), Ok(()));
    }
}
