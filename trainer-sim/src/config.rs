//! Configuration of trainer-sim.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use svc_kit::config::{ByteSize, HumanDuration, ServerConfig, ServiceConfig, TelemetryConfig};

use crate::capability::Capabilities;
use crate::cost::PriceTable;
use crate::lie::Lie;
use crate::overrides::{Fault, Permissions};
use crate::settings::{DeclaredLaw, Device, Settings};
use crate::spec::MethodKind;

/// Everything that can be configured.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `[server]`
    pub server: ServerConfig,
    /// `[telemetry]`
    pub telemetry: TelemetryConfig,
    /// `[simulation]`
    pub simulation: SimulationConfig,
}

/// `[simulation]`. Durations are simulated time unless they say otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "switches that people set one by one")]
pub struct SimulationConfig {
    /// Simulated seconds in a second.
    pub speed: f64,
    /// Reverse-DNS name.
    pub name: String,
    /// As in `GetTrainerInfo`; empty: another one each time.
    pub instance_id: String,
    /// Devices, named `sim:0`, `sim:1`, …
    pub devices: u32,
    /// Runs at the same time on each.
    pub slots_per_device: u32,
    /// Memory of each.
    pub device_memory: ByteSize,
    /// Floating-point operations that each gets done, 10^12 a second.
    pub device_teraflops: f64,
    /// Runs that may wait.
    pub queue_limit: usize,
    /// Time until the trainer is ready, real time.
    pub start_delay: HumanDuration,
    /// Time to prepare a run.
    pub prepare: HumanDuration,
    /// Time between two progress events.
    pub progress_interval: HumanDuration,
    /// A run that hangs fails after this time; 0 for never.
    pub watchdog: HumanDuration,
    /// Claimed, real time; heartbeats come somewhat sooner.
    pub heartbeat_interval: HumanDuration,
    /// Relative standard deviation of the losses.
    pub noise: f64,
    /// Laws, separated by `;`: `MODEL_URI=B,D_l,beta,E` or `MODEL_URI|METHOD=B,D_l,beta,E`.
    pub laws: String,
    /// Claimed methods.
    pub methods: Vec<String>,
    /// Claimed precisions; the first is the default.
    pub precisions: Vec<String>,
    /// Claimed schemes of references.
    pub uri_schemes: Vec<String>,
    /// Claimed formats of checkpoints.
    pub model_formats: Vec<String>,
    /// Claimed.
    pub pause: bool,
    /// Claimed.
    pub checkpoint_resume: bool,
    /// Claimed.
    pub nested_subsets: bool,
    /// Claimed.
    pub deterministic_seeds: bool,
    /// Claimed.
    pub estimate: bool,
    /// Claimed.
    pub retention_sets: bool,
    /// The largest size; 0 for no bound.
    pub data_size_max: i64,
    /// Currency of the prices; empty: no money.
    pub currency: String,
    /// Price of a simulated device-second.
    pub price_per_device_second: f64,
    /// Price of a run.
    pub price_per_run: f64,
    /// Progress and log events kept of a run.
    pub retained_events: usize,
    /// Ended runs kept.
    pub retained_runs: usize,
    /// A fault that befalls runs by chance; empty: none.
    pub fault: String,
    /// Share of runs that it befalls.
    pub fault_probability: f64,
    /// Share of its work after which it befalls a run.
    pub fault_at: f64,
    /// Every watch breaks after so many events; 0 for never.
    pub stream_break: u32,
    /// Faults may end the process.
    pub allow_crash: bool,
    /// Labels may make the trainer lie.
    pub allow_lies: bool,
    /// What the trainer always lies about; empty: nothing.
    pub lie: String,
}

impl Default for SimulationConfig {
    fn default() -> Self {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Self {
            speed: 60.0,
            name: "dev.finepick.simulated".to_owned(),
            instance_id: String::new(),
            devices: 2,
            slots_per_device: 2,
            device_memory: ByteSize::mebibytes(80 << 10),
            device_teraflops: 40.0,
            queue_limit: 64,
            start_delay: HumanDuration::default(),
            prepare: HumanDuration::from_secs(5),
            progress_interval: HumanDuration::from_secs(10),
            watchdog: HumanDuration::from_secs(600),
            heartbeat_interval: HumanDuration::from_secs(5),
            noise: 0.003,
            laws: String::new(),
            methods: texts(&["full", "lora", "prompt"]),
            precisions: texts(&["bf16", "fp32"]),
            uri_schemes: texts(&["sim", "hf", "s3", "https"]),
            model_formats: texts(&["huggingface", "onnx"]),
            pause: true,
            checkpoint_resume: false,
            nested_subsets: true,
            deterministic_seeds: true,
            estimate: true,
            retention_sets: true,
            data_size_max: 1_000_000_000,
            currency: "EUR".to_owned(),
            price_per_device_second: 0.0006,
            price_per_run: 0.0,
            retained_events: 256,
            retained_runs: 10_000,
            fault: String::new(),
            fault_probability: 1.0,
            fault_at: 0.5,
            stream_break: 0,
            allow_crash: false,
            allow_lies: false,
            lie: String::new(),
        }
    }
}

impl SimulationConfig {
    /// In the domain's types. What [`validate`](Self::validate) refuses is left out or brought into range.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let device = |index: u32| Device {
            name: format!("sim:{index}"),
            description: "a device that exists in the simulation only".to_owned(),
            memory_bytes: i64::try_from(self.device_memory.get()).unwrap_or(i64::MAX).max(1),
            slots: self.slots_per_device.max(1),
        };
        Settings {
            devices: (0..self.devices.max(1)).map(device).collect(),
            queue_limit: self.queue_limit,
            start_delay: crate::plan::seconds(self.start_delay.get().as_secs_f64() * self.speed),
            capabilities: self.capabilities(),
            laws: self.declared_laws().filter_map(Result::ok).collect(),
            noise: self.noise,
            flops: self.device_teraflops * 1e12,
            prepare: self.prepare.get(),
            progress_interval: self.progress_interval.get(),
            watchdog: self.watchdog.non_zero(),
            retained_events: self.retained_events,
            retained_runs: self.retained_runs,
            permissions: Permissions {
                crash: self.allow_crash,
                lies: self.allow_lies,
            },
            fault: Fault::from_name(&self.fault).filter(|fault| self.allow_crash || !fault.ends_process()),
            fault_probability: self.fault_probability,
            fault_at: self.fault_at,
        }
    }

    fn declared_laws(&self) -> impl Iterator<Item = Result<DeclaredLaw, String>> {
        let texts = self.laws.split(';').map(str::trim);
        texts.filter(|text| !text.is_empty()).map(declared_law)
    }

    fn capabilities(&self) -> Capabilities {
        let mut methods: Vec<MethodKind> = self
            .methods
            .iter()
            .filter_map(|name| MethodKind::from_name(name))
            .collect();
        methods.dedup();
        Capabilities {
            methods,
            model_formats: self.model_formats.clone(),
            uri_schemes: self.uri_schemes.clone(),
            precisions: self.precisions.clone(),
            pause: self.pause,
            checkpoint_resume: self.checkpoint_resume,
            nested_subsets: self.nested_subsets,
            deterministic_seeds: self.deterministic_seeds,
            estimate: self.estimate,
            retention_sets: self.retention_sets,
            prices: (!self.currency.is_empty()).then(|| PriceTable {
                currency: self.currency.clone(),
                per_device_second: self.price_per_device_second,
                per_run: self.price_per_run,
            }),
            heartbeat_interval: self.heartbeat_interval.get(),
            data_size_max: (self.data_size_max > 0).then_some(self.data_size_max),
        }
    }

    /// Checks every key.
    ///
    /// # Errors
    /// A sentence that names the offending key.
    pub fn validate(&self) -> Result<(), String> {
        let within = |key: &str, value: f64, min: f64, max: f64| {
            if (min..=max).contains(&value) {
                return Ok(());
            }
            Err(format!("simulation.{key} must be from {min} to {max}, not {value}"))
        };
        within("speed", self.speed, 1e-3, 1e9)?;
        within("devices", f64::from(self.devices), 1.0, 1024.0)?;
        within("slots_per_device", f64::from(self.slots_per_device), 1.0, 65_536.0)?;
        within("device_teraflops", self.device_teraflops, 1e-9, 1e9)?;
        within("noise", self.noise, 0.0, 1.0)?;
        within("fault_probability", self.fault_probability, 0.0, 1.0)?;
        within("fault_at", self.fault_at, 0.0, 1.0)?;
        within("price_per_device_second", self.price_per_device_second, 0.0, 1e6)?;
        within("price_per_run", self.price_per_run, 0.0, 1e9)?;
        let wrong = |key: &str, what: &str| Err(format!("simulation.{key} {what}"));
        if self.heartbeat_interval.get() < Duration::from_millis(10) {
            return wrong("heartbeat_interval", "must be at least 10ms");
        }
        if self.progress_interval.get().is_zero() {
            return wrong("progress_interval", "must be longer than 0s");
        }
        if self.device_memory.get() == 0 {
            return wrong("device_memory", "must be at least 1B");
        }
        if self.name.is_empty() || self.name.len() > 256 || self.instance_id.len() > 256 {
            return wrong(
                "name",
                "and instance_id must be at most 256 bytes long, and name not empty",
            );
        }
        if self.methods.is_empty() || self.methods.iter().any(|name| MethodKind::from_name(name).is_none()) {
            return wrong("methods", "must be some of \"full\", \"lora\", \"prompt\"");
        }
        if self.precisions.iter().any(String::is_empty) {
            return wrong("precisions", "must not hold an empty name");
        }
        if self.data_size_max < 0 {
            return wrong("data_size_max", "must not be negative");
        }
        let currency = self.currency.as_bytes();
        if !currency.is_empty() && (currency.len() != 3 || !currency.iter().all(u8::is_ascii_uppercase)) {
            return wrong("currency", "must be three capital letters, or empty");
        }
        self.declared_laws().try_for_each(|law| law.map(drop))?;
        self.validate_mischief()
    }

    fn validate_mischief(&self) -> Result<(), String> {
        if !self.fault.is_empty() {
            let fault = Fault::from_name(&self.fault).ok_or_else(|| {
                let names: Vec<&str> = Fault::NAMED.iter().map(|(name, _)| *name).collect();
                format!("simulation.fault must be one of {}", names.join(", "))
            })?;
            if fault.ends_process() && !self.allow_crash {
                return Err("simulation.fault ends the process: simulation.allow_crash must be true".to_owned());
            }
        }
        if !self.lie.is_empty() && Lie::from_name(&self.lie).is_none() {
            let names: Vec<&str> = Lie::ALL.iter().map(|lie| lie.name()).collect();
            return Err(format!("simulation.lie must be one of {}", names.join(", ")));
        }
        Ok(())
    }
}

fn declared_law(text: &str) -> Result<DeclaredLaw, String> {
    let wrong = |what: String| format!("simulation.laws: {text:?} {what}");
    let (whose, law) = text
        .rsplit_once('=')
        .ok_or_else(|| wrong("is not MODEL_URI=B,D_l,beta,E".to_owned()))?;
    let law = law
        .parse()
        .map_err(|error: crate::law::ParseLawError| wrong(error.to_string()))?;
    let (model_uri, method) = match whose.rsplit_once('|') {
        None => (whose, None),
        Some((model_uri, name)) => {
            let method = MethodKind::from_name(name).ok_or_else(|| wrong(format!("knows no method {name:?}")))?;
            (model_uri, Some(method))
        }
    };
    Ok(DeclaredLaw {
        model_uri: model_uri.to_owned(),
        method,
        law,
    })
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: ServerConfig::on_port(50_063),
            telemetry: TelemetryConfig::default(),
            simulation: SimulationConfig::default(),
        }
    }
}

impl ServiceConfig for Config {
    const MEANINGS: &'static [(&'static str, &'static str)] = &[
        ("simulation.speed", "Simulated seconds in a second."),
        ("simulation.name", "Reverse-DNS name of the trainer."),
        (
            "simulation.instance_id",
            "Id of this instance; empty for another one each time.",
        ),
        ("simulation.devices", "Devices, named `sim:0`, `sim:1`, and so on."),
        ("simulation.slots_per_device", "Runs at the same time on each device."),
        (
            "simulation.device_memory",
            "Memory of each device; runs that need more fail.",
        ),
        (
            "simulation.device_teraflops",
            "Floating-point operations that a device gets done, 10^12 a second.",
        ),
        ("simulation.queue_limit", "Runs that may wait; one more is refused."),
        ("simulation.start_delay", "Time until new runs are accepted, real time."),
        ("simulation.prepare", "Time to prepare a run, simulated."),
        (
            "simulation.progress_interval",
            "Time between two progress events of a run, simulated.",
        ),
        (
            "simulation.watchdog",
            "A run that hangs for this time fails with STALLED, simulated; 0 for never.",
        ),
        (
            "simulation.heartbeat_interval",
            "The longest time between two messages of a watch, real time.",
        ),
        ("simulation.noise", "Relative standard deviation of the losses, 0 to 1."),
        (
            "simulation.laws",
            "Declared laws, separated by `;`: `MODEL_URI=B,D_l,beta,E` or `MODEL_URI|METHOD=B,D_l,beta,E`; others follow from the model's URI.",
        ),
        ("simulation.methods", "Claimed tuning methods."),
        ("simulation.precisions", "Claimed precisions; the first is the default."),
        (
            "simulation.uri_schemes",
            "Claimed schemes of references; nothing is read from them.",
        ),
        ("simulation.model_formats", "Claimed formats of checkpoints."),
        ("simulation.pause", "Claim that runs can be paused."),
        (
            "simulation.checkpoint_resume",
            "Claim that runs outlive a restart; they do not, so it is for tests of callers only.",
        ),
        ("simulation.nested_subsets", "Claim that one run reports several sizes."),
        (
            "simulation.deterministic_seeds",
            "Claim that losses depend on spec and seed alone.",
        ),
        ("simulation.estimate", "Claim that estimates are given."),
        ("simulation.retention_sets", "Claim that retention sets are evaluated."),
        (
            "simulation.data_size_max",
            "The largest size of a run, examples; 0 for no bound.",
        ),
        (
            "simulation.currency",
            "Currency of the prices (ISO 4217); empty for no prices.",
        ),
        (
            "simulation.price_per_device_second",
            "Price of a simulated second of a device.",
        ),
        ("simulation.price_per_run", "Price of a run, whatever its length."),
        (
            "simulation.retained_events",
            "Progress and log events kept of each run; other events are all kept.",
        ),
        (
            "simulation.retained_runs",
            "Ended runs kept; beyond, the oldest are forgotten.",
        ),
        (
            "simulation.fault",
            "A fault that befalls runs by chance, e.g. `preempted`; empty for none.",
        ),
        ("simulation.fault_probability", "Share of runs that the fault befalls."),
        (
            "simulation.fault_at",
            "Share of its work after which the fault befalls a run.",
        ),
        (
            "simulation.stream_break",
            "Every watch breaks after so many events; 0 for never.",
        ),
        ("simulation.allow_crash", "Faults may end the process."),
        (
            "simulation.allow_lies",
            "Labels of runs may make the trainer break its contract, for tests of those who must notice.",
        ),
        (
            "simulation.lie",
            "A way to break the contract always, e.g. `nan_loss`; empty for none.",
        ),
    ];

    fn server(&self) -> &ServerConfig {
        &self.server
    }

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }

    fn validate(&self) -> Result<(), String> {
        self.simulation.validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_page_is_up_to_date_and_the_defaults_are_valid() {
        assert_eq!(Config::default().validate(), Ok(()));
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
        let block = svc_kit::config::reference::<Config>("trainer-sim").unwrap();
        assert_eq!(svc_kit::config::check_golden(&page, &block), Ok(()));
    }

    #[test]
    fn laws_are_declared_by_model_and_method() {
        let law = declared_law("hf://a/b?x=1|lora=12,4,0.5,2").unwrap();
        assert_eq!(
            (law.model_uri.as_str(), law.method),
            ("hf://a/b?x=1", Some(MethodKind::Lora))
        );
        assert_eq!(declared_law("m=12,4,0.5,2").unwrap().method, None);
        assert!(declared_law("m").is_err() && declared_law("m|x=1,1,1,1").is_err() && declared_law("m=1").is_err());
    }

    #[test]
    fn wrong_values_are_named() {
        let wrong = |set: fn(&mut SimulationConfig)| {
            let mut config = SimulationConfig::default();
            set(&mut config);
            config.validate().unwrap_err()
        };
        assert!(wrong(|c| c.speed = f64::NAN).contains("simulation.speed"));
        assert!(wrong(|c| c.devices = 0).contains("simulation.devices"));
        assert!(wrong(|c| c.currency = "eur".into()).contains("simulation.currency"));
        assert!(wrong(|c| c.fault = "oops".into()).contains("simulation.fault"));
        assert!(wrong(|c| c.fault = "crash".into()).contains("simulation.allow_crash"));
        assert!(wrong(|c| c.lie = "truth".into()).contains("simulation.lie"));
        assert!(wrong(|c| c.methods = vec!["magic".into()]).contains("simulation.methods"));
        assert!(wrong(|c| c.laws = "m=1,1,1,1; x".into()).contains("simulation.laws"));
    }
}
