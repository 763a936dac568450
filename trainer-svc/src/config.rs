//! Configuration of trainer-svc.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use svc_kit::config::{HumanDuration, ServerConfig, ServiceConfig, TelemetryConfig};
use trainer_kit::capability::Capabilities;
use trainer_kit::cost::PriceTable;
use trainer_kit::spec::MethodKind;

use crate::runs::{Roots, Settings};

/// Precisions of matrix products, by name; the first is the default.
pub const PRECISIONS: [&str; 3] = ["fp32", "bf16", "fp16"];

/// The longest `stop_grace`: a run that is cancelled must have ended within 10 seconds.
const MAX_STOP_GRACE: Duration = Duration::from_secs(9);

/// Everything that can be configured.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `[server]`
    pub server: ServerConfig,
    /// `[telemetry]`
    pub telemetry: TelemetryConfig,
    /// `[trainer]`
    pub trainer: TrainerConfig,
}

/// `[trainer]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainerConfig {
    /// Reverse-DNS name.
    pub name: String,
    /// Where runs are kept.
    pub state_dir: PathBuf,
    /// The ONNX Runtime library; unset: the one that set-up fetched.
    pub runtime_library: Option<PathBuf>,
    /// `[trainer.plugins]`
    pub plugins: PluginsConfig,
    /// `[trainer.devices.NAME]`: `auto`, `cpu`, `cuda`, `cuda:1`, `openvino`, `webgpu`.
    pub devices: BTreeMap<String, DeviceConfig>,
    /// Folders that models may lie in; absent: anywhere.
    pub model_roots: Option<Vec<PathBuf>>,
    /// Folders that data may lie in; absent: anywhere.
    pub data_roots: Option<Vec<PathBuf>>,
    /// Runs that may wait.
    pub queue_limit: usize,
    /// Claimed; heartbeats come somewhat sooner.
    pub heartbeat_interval: HumanDuration,
    /// A run without a sign of life fails after this time.
    pub stall_timeout: HumanDuration,
    /// Time that a run gets to stop.
    pub stop_grace: HumanDuration,
    /// Time between two checkpoints of a run.
    pub checkpoint_interval: HumanDuration,
    /// Time between two reports of progress at least; 0: every step is told.
    pub progress_interval: HumanDuration,
    /// Progress and log events kept of a run.
    pub retained_events: usize,
    /// Currency of the prices; empty: no money.
    pub currency: String,
    /// Price of a device-second.
    pub price_per_device_second: f64,
    /// Price of a run.
    pub price_per_run: f64,
    /// `[trainer.hub]`
    pub hub: HubSection,
}

/// `[trainer.plugins]`: libraries of plugin providers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PluginsConfig {
    /// Of the device `openvino`.
    pub openvino: Option<PathBuf>,
    /// Of the device `webgpu`.
    pub webgpu: Option<PathBuf>,
}

/// `[trainer.devices.NAME]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeviceConfig {
    /// Runs at the same time; 0: the device is not used.
    pub slots: u32,
    /// Threads of each; 0: as many as there are cores.
    pub threads: usize,
    /// One of [`PRECISIONS`].
    pub precision: String,
}

/// `[trainer.hub]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HubSection {
    /// Where `hf://` references are fetched from.
    pub endpoint: String,
    /// File that holds the token.
    pub token_file: Option<PathBuf>,
    /// Where what was fetched lies.
    pub cache_dir: PathBuf,
}

impl Default for DeviceConfig {
    fn default() -> Self {
        Self {
            slots: 1,
            threads: 0,
            precision: PRECISIONS[0].to_owned(),
        }
    }
}

impl Default for HubSection {
    fn default() -> Self {
        Self {
            endpoint: "https://huggingface.co".to_owned(),
            token_file: None,
            cache_dir: ".finepick/hub".into(),
        }
    }
}

impl Default for TrainerConfig {
    fn default() -> Self {
        Self {
            name: "dev.finepick.onnx".to_owned(),
            state_dir: ".finepick/trainer".into(),
            runtime_library: None,
            plugins: PluginsConfig::default(),
            devices: BTreeMap::from([("cpu".to_owned(), DeviceConfig::default())]),
            model_roots: None,
            data_roots: None,
            queue_limit: 64,
            heartbeat_interval: HumanDuration::from_secs(5),
            stall_timeout: HumanDuration::from_secs(600),
            stop_grace: HumanDuration::from_secs(5),
            checkpoint_interval: HumanDuration::from_secs(60),
            progress_interval: HumanDuration::from_millis(500),
            retained_events: 1_024,
            currency: String::new(),
            price_per_device_second: 0.0,
            price_per_run: 0.0,
            hub: HubSection::default(),
        }
    }
}

impl TrainerConfig {
    /// Devices that are used, by name.
    pub fn devices_in_use(&self) -> impl Iterator<Item = (&str, &DeviceConfig)> {
        let devices = self.devices.iter().filter(|(_, device)| device.slots > 0);
        devices.map(|(name, device)| (name.as_str(), device))
    }

    /// Precisions of the devices in use; the first is the default.
    #[must_use]
    pub fn precisions(&self) -> Vec<String> {
        let has = |precision: &&str| self.devices_in_use().any(|(_, device)| device.precision == **precision);
        PRECISIONS
            .iter()
            .filter(|precision| has(precision))
            .map(|precision| (*precision).to_owned())
            .collect()
    }

    /// What the run manager is set to.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings {
            state_dir: self.state_dir.clone(),
            name: self.name.clone(),
            capabilities: self.capabilities(),
            queue_limit: self.queue_limit,
            stall_timeout: self.stall_timeout.get(),
            stop_grace: self.stop_grace.get(),
            retained_events: self.retained_events,
            roots: Roots {
                model: self.model_roots.clone(),
                data: self.data_roots.clone(),
            },
            permit: None,
        }
    }

    fn capabilities(&self) -> Capabilities {
        let prices = PriceTable {
            currency: self.currency.clone(),
            per_device_second: self.price_per_device_second,
            per_run: self.price_per_run,
        };
        Capabilities {
            methods: vec![MethodKind::Full, MethodKind::Lora, MethodKind::Prompt],
            model_formats: vec!["huggingface".to_owned(), "onnx".to_owned()],
            uri_schemes: vec!["hf".to_owned()],
            precisions: self.precisions(),
            pause: true,
            checkpoint_resume: true,
            nested_subsets: true,
            deterministic_seeds: true,
            estimate: true,
            retention_sets: true,
            prices: (!self.currency.is_empty()).then_some(prices),
            heartbeat_interval: self.heartbeat_interval.get(),
            data_size_max: None,
        }
    }

    /// Checks every key.
    ///
    /// # Errors
    /// A sentence that names the offending key.
    pub fn validate(&self) -> Result<(), String> {
        let wrong = |key: &str, what: &str| Err(format!("trainer.{key} {what}"));
        if self.name.is_empty() || self.name.len() > 256 {
            return wrong("name", "must be 1 to 256 bytes long");
        }
        if self.state_dir.as_os_str().is_empty() {
            return wrong("state_dir", "must not be empty");
        }
        self.validate_devices()?;
        if self.heartbeat_interval.get() < Duration::from_millis(10) {
            return wrong("heartbeat_interval", "must be at least 10ms");
        }
        if self.stall_timeout.get() < Duration::from_secs(1) {
            return wrong("stall_timeout", "must be at least 1s");
        }
        if self.stop_grace.get().is_zero() || self.stop_grace.get() > MAX_STOP_GRACE {
            return wrong("stop_grace", "must be longer than 0s and at most 9s");
        }
        if self.checkpoint_interval.get().is_zero() {
            return wrong("checkpoint_interval", "must be longer than 0s");
        }
        if self.retained_events == 0 || self.retained_events > 1_000_000 {
            return wrong("retained_events", "must be 1 to 1000000");
        }
        let is_code = self.currency.len() == 3 && self.currency.bytes().all(|byte| byte.is_ascii_uppercase());
        if !self.currency.is_empty() && !is_code {
            return wrong("currency", "must be three capital letters (ISO 4217), or empty");
        }
        for (key, price) in [
            ("price_per_device_second", self.price_per_device_second),
            ("price_per_run", self.price_per_run),
        ] {
            if !(0.0..=1e9).contains(&price) {
                return wrong(key, "must be from 0 to 1000000000");
            }
        }
        Ok(())
    }

    fn validate_devices(&self) -> Result<(), String> {
        for (name, device) in &self.devices {
            let wrong = |key: &str, what: &str| Err(format!("trainer.devices.{name}.{key} {what}"));
            let index = name.strip_prefix("cuda:");
            let known = ["auto", "cpu", "cuda", "openvino", "webgpu"].contains(&name.as_str());
            if !known && index.is_none_or(|index| index.parse::<u16>().is_err()) {
                let names = "auto, cpu, cuda, cuda:N, openvino, webgpu";
                return Err(format!(
                    "trainer.devices.{name}: there is no such device; devices are {names}"
                ));
            }
            if device.slots > 1_024 {
                return wrong("slots", "must be at most 1024");
            }
            if device.threads > 1_024 {
                return wrong("threads", "must be at most 1024");
            }
            if !PRECISIONS.contains(&device.precision.as_str()) {
                return wrong("precision", "must be \"fp32\", \"bf16\" or \"fp16\"");
            }
        }
        if self.devices_in_use().next().is_none() {
            return Err("trainer.devices must hold a device with a slot".to_owned());
        }
        Ok(())
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: ServerConfig::on_port(50_063),
            telemetry: TelemetryConfig::default(),
            trainer: TrainerConfig::default(),
        }
    }
}

impl ServiceConfig for Config {
    const MEANINGS: &'static [(&'static str, &'static str)] = &[
        ("trainer.name", "Reverse-DNS name of the trainer."),
        (
            "trainer.state_dir",
            "Folder in which runs are kept, with checkpoints and tuned weights; one process at a time uses it.",
        ),
        (
            "trainer.runtime_library",
            "The ONNX Runtime library (file); unset: the one that `make setup` fetched.",
        ),
        (
            "trainer.plugins.openvino",
            "Library of the plugin provider of the device `openvino`.",
        ),
        (
            "trainer.plugins.webgpu",
            "Library of the plugin provider of the device `webgpu`.",
        ),
        (
            "trainer.devices.*.slots",
            "Runs at the same time on the device `cpu`; 0: it is not used. Further `[trainer.devices.NAME]` may be added: `auto`, `cuda`, `cuda:1`, `openvino`, `webgpu`.",
        ),
        (
            "trainer.devices.*.threads",
            "Threads of each of its runs; 0 for one per core.",
        ),
        (
            "trainer.devices.*.precision",
            "Precision of matrix products there: `fp32`, `bf16` or `fp16`. Runs that ask for a precision wait for a device that has it.",
        ),
        (
            "trainer.model_roots",
            "Folders that models and adapters may lie in, links followed. Unset: anywhere; only where `server.listen` is a loopback address.",
        ),
        ("trainer.data_roots", "Folders that data may lie in, as `model_roots`."),
        ("trainer.queue_limit", "Runs that may wait; one more is refused."),
        (
            "trainer.heartbeat_interval",
            "The longest time between two messages of a watch.",
        ),
        (
            "trainer.stall_timeout",
            "A run that shows no sign of life for this time fails with STALLED.",
        ),
        (
            "trainer.stop_grace",
            "Time that a run gets to stop when it is told to, before its slot is given away; at most 9s.",
        ),
        ("trainer.checkpoint_interval", "Time between two checkpoints of a run."),
        (
            "trainer.progress_interval",
            "Time between two reports of progress at least; 0: every step is told.",
        ),
        (
            "trainer.retained_events",
            "Progress and log events kept of each run; other events are all kept.",
        ),
        (
            "trainer.currency",
            "Currency of the prices (ISO 4217); empty for no prices.",
        ),
        ("trainer.price_per_device_second", "Price of a second of a slot."),
        (
            "trainer.price_per_run",
            "Price of a run that got a slot, whatever its length.",
        ),
        ("trainer.hub.endpoint", "Where `hf://` references are fetched from."),
        (
            "trainer.hub.token_file",
            "File that holds the token for what is not open to all; unset: none is sent.",
        ),
        ("trainer.hub.cache_dir", "Folder for what was fetched."),
    ];

    fn server(&self) -> &ServerConfig {
        &self.server
    }

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }

    fn validate(&self) -> Result<(), String> {
        self.trainer.validate()?;
        // Whoever can reach the trainer can have it read files: strangers only where they were told to look.
        if !self.server.listen.ip().is_loopback() {
            for (key, roots) in [
                ("model_roots", &self.trainer.model_roots),
                ("data_roots", &self.trainer.data_roots),
            ] {
                if roots.is_none() {
                    return Err(format!(
                        "trainer.{key} must be set when server.listen is no loopback address: callers could read any file"
                    ));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_page_is_up_to_date_and_the_defaults_are_valid() {
        assert_eq!(Config::default().validate(), Ok(()));
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
        let block = svc_kit::config::reference::<Config>("trainer-svc").unwrap();
        assert_eq!(svc_kit::config::check_golden(&page, &block), Ok(()));
    }

    #[test]
    fn wrong_values_are_named() {
        let wrong = |set: fn(&mut Config)| {
            let mut config = Config::default();
            set(&mut config);
            config.validate().unwrap_err()
        };
        let cpu = |config: &mut Config| config.trainer.devices.remove("cpu").unwrap_or_default();
        assert!(wrong(|c| drop(c.trainer.devices.remove("cpu"))).contains("trainer.devices"));
        assert!(wrong(|c| drop(c.trainer.devices.insert("tpu".into(), DeviceConfig::default()))).contains("tpu"));
        assert!(wrong(|c| drop(c.trainer.devices.insert("cuda:x".into(), DeviceConfig::default()))).contains("cuda:x"));
        assert!(wrong(|c| c.trainer.stop_grace = HumanDuration::from_secs(10)).contains("trainer.stop_grace"));
        assert!(wrong(|c| c.trainer.currency = "euro".into()).contains("trainer.currency"));
        assert!(wrong(|c| c.trainer.price_per_run = f64::NAN).contains("trainer.price_per_run"));
        assert!(wrong(|c| c.server.listen = "0.0.0.0:1".parse().unwrap()).contains("trainer.model_roots"));
        let mut config = Config::default();
        let device = DeviceConfig {
            precision: "fp8".to_owned(),
            ..cpu(&mut config)
        };
        config.trainer.devices.insert("cpu".to_owned(), device);
        assert!(config.validate().unwrap_err().contains("trainer.devices.cpu.precision"));
    }

    #[test]
    fn precisions_are_those_of_the_devices_in_use() {
        let mut config = TrainerConfig::default();
        assert_eq!(config.precisions(), ["fp32"]);
        let with = |precision: &str, slots| DeviceConfig {
            precision: precision.to_owned(),
            slots,
            ..DeviceConfig::default()
        };
        config.devices.insert("openvino".to_owned(), with("bf16", 1));
        config.devices.insert("cuda".to_owned(), with("fp16", 0));
        assert_eq!(config.precisions(), ["fp32", "bf16"]);
    }
}
