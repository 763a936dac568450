//! Configuration of selector-svc.

mod trainers;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use svc_kit::config::{EndpointConfig, HumanDuration, ServerConfig, ServiceConfig, TelemetryConfig};

pub use self::trainers::TrainerEndpoint;
use crate::desk::DeskConfig;
use crate::driver::DriverConfig;
use crate::selection::spec::MAX_CONTENDERS;
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
    /// `[store]`: where selections are kept.
    pub store: StoreConfig,
    /// `[fitter]`: where laws are fitted.
    pub fitter: EndpointConfig,
    /// `[trainers.NAME]`: who trains.
    pub trainers: BTreeMap<String, TrainerEndpoint>,
}

/// `[selector]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SelectorConfig {
    /// Candidates accepted in one request.
    pub max_candidates: usize,
    /// Rankings and replays computed at the same time; 0 for one per core.
    pub parallelism: usize,
    /// Contenders accepted in one selection.
    pub max_contenders: usize,
    /// Selections driven at the same time.
    pub max_selections: u32,
    /// How long a creation waits for the trainers.
    pub create_wait: HumanDuration,
    /// How long a selection stays with a selector that gives no sign of life.
    pub lease: HumanDuration,
    /// How often it looks for selections that nobody drives.
    pub poll_interval: HumanDuration,
    /// How long a trainer may stay away before its runs are lost.
    pub trainer_patience: HumanDuration,
    /// Further attempts of one selection: so many in all, and
    pub retries: u32,
    /// so many for each of its trials.
    pub retries_per_trial: f64,
    /// First pause before something that failed is tried again; it doubles up to
    pub backoff_min: HumanDuration,
    /// this one.
    pub backoff_max: HumanDuration,
}

/// `[store]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// The file, or [`StoreConfig::IN_MEMORY`].
    pub path: PathBuf,
    /// How long a call waits while another process writes.
    pub busy_timeout: HumanDuration,
}

impl StoreConfig {
    /// The path of a store that forgets with its process.
    pub const IN_MEMORY: &'static str = ":memory:";

    /// Whether it forgets with its process.
    #[must_use]
    pub fn is_in_memory(&self) -> bool {
        self.path.as_os_str() == Self::IN_MEMORY
    }

    /// Checks the section.
    ///
    /// # Errors
    /// A sentence that names the offending key.
    pub fn validate(&self) -> Result<(), String> {
        if self.path.as_os_str().is_empty() {
            return Err("store.path must not be empty".to_owned());
        }
        if self.busy_timeout.get().is_zero() {
            return Err("store.busy_timeout must be longer than 0s".to_owned());
        }
        Ok(())
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            path: ".finepick/selector/selections.db".into(),
            busy_timeout: HumanDuration::from_secs(5),
        }
    }
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

    /// How selections are driven, by an owner of this name.
    #[must_use]
    pub fn driver(&self, owner: String) -> DriverConfig {
        DriverConfig {
            lease: self.lease.get(),
            poll_interval: self.poll_interval.get(),
            max_selections: self.max_selections,
            patience: self.trainer_patience.get(),
            retries: self.retries,
            retries_per_trial: self.retries_per_trial,
            backoff: (self.backoff_min.get(), self.backoff_max.get()),
            ..DriverConfig::of(owner)
        }
    }

    /// How callers are answered.
    #[must_use]
    pub fn desk(&self) -> DeskConfig {
        DeskConfig {
            max_contenders: self.max_contenders,
            create_wait: self.create_wait.get(),
            ..DeskConfig::default()
        }
    }

    /// Checks the section.
    ///
    /// # Errors
    /// A sentence that names the offending key.
    pub fn validate(&self) -> Result<(), String> {
        let wrong = |key: &str, what: &str| Err(format!("selector.{key} must be {what}"));
        if !(1..=MAX_CANDIDATES).contains(&self.max_candidates) {
            return wrong("max_candidates", &format!("within 1..={MAX_CANDIDATES}"));
        }
        if self.parallelism > 1024 {
            return wrong("parallelism", "at most 1024");
        }
        if !(1..=MAX_CONTENDERS).contains(&self.max_contenders) {
            return wrong("max_contenders", &format!("within 1..={MAX_CONTENDERS}"));
        }
        if !(1..=100_000).contains(&self.max_selections) {
            return wrong("max_selections", "within 1..=100000");
        }
        if self.create_wait.get() > Duration::from_mins(10) {
            return wrong("create_wait", "at most 10m");
        }
        // Below, a renewal that takes its time loses what it is for.
        if self.lease.get() < Duration::from_millis(500) {
            return wrong("lease", "at least 500ms");
        }
        for (key, value) in [
            ("poll_interval", self.poll_interval),
            ("trainer_patience", self.trainer_patience),
            ("backoff_min", self.backoff_min),
        ] {
            if value.get().is_zero() {
                return wrong(key, "longer than 0s");
            }
        }
        if self.backoff_max.get() < self.backoff_min.get() {
            return wrong("backoff_max", "at least selector.backoff_min");
        }
        if !(0.0..=15.0).contains(&self.retries_per_trial) {
            return wrong("retries_per_trial", "from 0 to 15");
        }
        Ok(())
    }
}

impl Default for SelectorConfig {
    fn default() -> Self {
        let driver = DriverConfig::of(String::new());
        let human = |time: Duration| HumanDuration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        Self {
            max_candidates: MAX_CANDIDATES,
            parallelism: 0,
            max_contenders: MAX_CONTENDERS,
            max_selections: driver.max_selections,
            create_wait: human(DeskConfig::default().create_wait),
            lease: human(driver.lease),
            poll_interval: human(driver.poll_interval),
            trainer_patience: human(driver.patience),
            retries: driver.retries,
            retries_per_trial: driver.retries_per_trial,
            backoff_min: human(driver.backoff.0),
            backoff_max: human(driver.backoff.1),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: ServerConfig::on_port(50_062),
            telemetry: TelemetryConfig::default(),
            selector: SelectorConfig::default(),
            store: StoreConfig::default(),
            fitter: EndpointConfig::to("http://127.0.0.1:50061"),
            trainers: BTreeMap::new(),
        }
    }
}

impl ServiceConfig for Config {
    // `trainers` is empty by default and has no rows; docs/configuration.md tells of it in prose.
    const MEANINGS: &'static [(&'static str, &'static str)] = &[
        (
            "selector.max_candidates",
            "Candidates accepted in one request, at most 10000.",
        ),
        (
            "selector.parallelism",
            "Rankings, replays and reports computed at the same time; 0 for one per core.",
        ),
        (
            "selector.max_contenders",
            "Contenders (candidates times methods) accepted in one selection, at most 1000.",
        ),
        (
            "selector.max_selections",
            "Selections driven at the same time; further ones wait for an owner.",
        ),
        (
            "selector.create_wait",
            "Time a creation waits for the trainers to say what it would cost, at most 10m: a budget that does not pay for the \
             smallest plan is refused then. `0s`: they are not asked, and such a selection fails once it is prepared.",
        ),
        (
            "selector.lease",
            "Time after which another selector takes over the selections of one that gives no sign of life.",
        ),
        (
            "selector.poll_interval",
            "Time between two looks for selections that nobody drives.",
        ),
        (
            "selector.trainer_patience",
            "Time that a trainer may stay away before its runs count as lost.",
        ),
        (
            "selector.retries",
            "Further attempts that one selection may make in all, beside `retries_per_trial`.",
        ),
        (
            "selector.retries_per_trial",
            "Further attempts that one selection may make for each of its trials, on average; 0 to 15.",
        ),
        (
            "selector.backoff_min",
            "First pause before something that failed is tried again; it doubles from one to the next.",
        ),
        (
            "selector.backoff_max",
            "Longest pause before something that failed is tried again.",
        ),
        (
            "store.path",
            "SQLite file in which selections are kept; several selectors of one machine may share it. `:memory:`: they are \
             forgotten with the process.",
        ),
        (
            "store.busy_timeout",
            "Time a call waits while another process writes to the file.",
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
        self.selector.validate()?;
        self.store.validate()?;
        for (name, trainer) in &self.trainers {
            trainer.validate(name)?;
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
    fn every_key_is_checked_and_named() {
        type Spoil = fn(&mut Config);
        let cases: [(&str, Spoil); 10] = [
            ("selector.create_wait", |c| {
                c.selector.create_wait = HumanDuration::from_secs(601);
            }),
            ("selector.max_contenders", |c| c.selector.max_contenders = 1_001),
            ("selector.max_selections", |c| c.selector.max_selections = 0),
            ("selector.lease", |c| c.selector.lease = HumanDuration::from_millis(1)),
            ("selector.poll_interval", |c| {
                c.selector.poll_interval = HumanDuration::from_secs(0);
            }),
            ("selector.backoff_max", |c| {
                c.selector.backoff_max = HumanDuration::from_millis(1);
            }),
            ("selector.retries_per_trial", |c| {
                c.selector.retries_per_trial = f64::NAN;
            }),
            ("store.path", |c| c.store.path = PathBuf::new()),
            ("trainers.a b", |c| {
                c.trainers
                    .insert("a b".to_owned(), TrainerEndpoint::to("http://127.0.0.1:1"));
            }),
            ("trainers.far.endpoint", |c| {
                c.trainers.insert("far".to_owned(), TrainerEndpoint::to("nowhere"));
            }),
        ];
        for (key, spoil) in cases {
            let mut config = Config::default();
            spoil(&mut config);
            let problem = config.validate().unwrap_err();
            assert!(problem.starts_with(key), "{key}: {problem}");
        }
    }

    #[test]
    fn the_configuration_page_is_up_to_date() {
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
        let block = svc_kit::config::reference::<Config>("selector-svc").unwrap();
        assert_eq!(svc_kit::config::check_golden(&page, &block), Ok(()));
    }
}
