//! A suite of processes for selections, each of which can be killed and started again: what is kept outlives them, and their
//! addresses stay.

use std::collections::BTreeMap;

use serde_json::Value;
use tempfile::TempDir;

use crate::{Server, finepick, finepick_json};

/// The candidates, by the laws that the simulated trainer derives from their URIs.
pub const MODELS: [&str; 6] = [
    "a=sim://tiny-20m",
    "b=sim://small-60m",
    "c=sim://base-160m",
    "d=sim://other-70m",
    "e=sim://large-400m",
    "f=sim://wide-300m",
];

/// A process of a stage, in the order in which they are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// A simulated trainer, by its position.
    Trainer(usize),
    /// Fits laws.
    Fitter,
    /// Drives selections.
    Selector,
    /// The edge: in front of fitter and selector.
    Gateway,
}

/// A simulated trainer of a stage. A second of its time takes 10 ms.
#[derive(Debug, Clone)]
pub struct Simulated {
    name: &'static str,
    settings: Vec<String>,
    secured_by: Option<String>,
}

impl Simulated {
    /// Of this name in the selector's configuration; those of one name are replicas. One run at a time: what a kill costs is one run, and
    /// the budget has room for it. `prepare`: simulated time of a run's preparation.
    #[must_use]
    pub fn new(name: &'static str, prepare: &str) -> Self {
        Self {
            name,
            settings: vec![
                "simulation.speed=100".to_owned(),
                "simulation.devices=1".to_owned(),
                "simulation.slots_per_device=1".to_owned(),
                format!("simulation.prepare={prepare}"),
            ],
            secured_by: None,
        }
    }

    /// With further settings, `SECTION.KEY=VALUE`.
    #[must_use]
    pub fn with(mut self, settings: &[&str]) -> Self {
        self.settings.extend(settings.iter().map(|&setting| setting.to_owned()));
        self
    }

    /// It speaks TLS, with a certificate for `localhost` that this authority (a PEM file) has signed.
    #[must_use]
    pub fn secured_by(mut self, authority: &str) -> Self {
        self.secured_by = Some(authority.to_owned());
        self
    }
}

/// The processes.
#[derive(Debug)]
pub struct Stage {
    folder: TempDir,
    trainers: Vec<Simulated>,
    selector: Vec<String>,
    /// Where each listens, also while it is away.
    addresses: BTreeMap<Part, String>,
    servers: BTreeMap<Part, Server>,
}

impl Stage {
    /// With one trainer, `sim`.
    #[must_use]
    pub fn start(prepare: &str) -> Self {
        Self::of(vec![Simulated::new("sim", prepare)], &[])
    }

    /// With these trainers, and further settings of the selector.
    #[must_use]
    pub fn of(trainers: Vec<Simulated>, selector: &[&str]) -> Self {
        let mut stage = Self {
            folder: TempDir::new().expect("a folder"),
            trainers,
            selector: selector.iter().map(|&setting| setting.to_owned()).collect(),
            addresses: BTreeMap::new(),
            servers: BTreeMap::new(),
        };
        stage.begin();
        stage
    }

    fn begin(&mut self) {
        for index in 0..self.trainers.len() {
            self.set_up(Part::Trainer(index));
        }
        for part in [Part::Fitter, Part::Selector, Part::Gateway] {
            self.set_up(part);
        }
    }

    /// Starts a process that is away, where it was.
    pub fn set_up(&mut self, part: Part) {
        let (name, settings) = match part {
            Part::Trainer(index) => ("trainer-sim", self.trainers[index].settings.clone()),
            Part::Fitter => ("fitter-svc", Vec::new()),
            Part::Selector => ("selector-svc", self.settings_of_selector()),
            Part::Gateway => ("gateway", self.settings_of_gateway()),
        };
        let listen = self.addresses.get(&part).map_or("127.0.0.1:0", String::as_str);
        let server = Server::start_on(name, listen, &sets(&settings));
        self.addresses.insert(part, server.address().to_owned());
        let before = self.servers.insert(part, server);
        assert!(before.is_none(), "{part:?} was there already");
    }

    fn settings_of_selector(&self) -> Vec<String> {
        let mut settings = vec![
            format!("store.path={}", self.path("selections.db")),
            format!("fitter.endpoint={}", self.url_of(Part::Fitter)),
            "selector.lease=1s".to_owned(),
            "selector.poll_interval=100ms".to_owned(),
            "selector.backoff_min=50ms".to_owned(),
        ];
        let mut replicas: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (index, trainer) in self.trainers.iter().enumerate() {
            let url = self.url_of(Part::Trainer(index));
            replicas.entry(trainer.name).or_default().push(url);
            if let Some(authority) = &trainer.secured_by {
                settings.push(format!("trainers.{}.tls.ca={authority}", trainer.name));
                settings.push(format!("trainers.{}.tls.domain=localhost", trainer.name));
            }
        }
        for (name, urls) in replicas {
            settings.push(format!("trainers.{name}.endpoint={}", urls[0]));
            settings.push(format!("trainers.{name}.replicas={:?}", &urls[1..]));
        }
        settings.extend(self.selector.iter().cloned());
        settings
    }

    fn settings_of_gateway(&self) -> Vec<String> {
        vec![
            format!("backends.fitter.endpoint={}", self.url_of(Part::Fitter)),
            format!("backends.selector.endpoint={}", self.url_of(Part::Selector)),
        ]
    }

    /// Kills a process as `kill -9` does.
    pub fn kill(&mut self, part: Part) {
        self.servers.remove(&part).expect("it is there").kill();
    }

    /// Kills a process and starts it again.
    pub fn restart(&mut self, part: Part) {
        self.kill(part);
        self.set_up(part);
    }

    /// Kills all of them, and starts them again.
    pub fn restart_all(&mut self) {
        while let Some((_, server)) = self.servers.pop_first() {
            server.kill();
        }
        self.begin();
    }

    /// `host:port` of a process.
    #[must_use]
    pub fn address(&self, part: Part) -> &str {
        &self.addresses[&part]
    }

    /// URL of a process.
    #[must_use]
    pub fn url_of(&self, part: Part) -> String {
        let secured = matches!(part, Part::Trainer(index) if self.trainers[index].secured_by.is_some());
        let scheme = if secured { "https" } else { "http" };
        format!("{scheme}://{}", self.address(part))
    }

    /// URL of the gateway.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of(Part::Gateway)
    }

    /// A file in its folder.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// The command that selects among [`MODELS`] through the gateway: 8,192 examples, losses measured anew; `more`: the other flags.
    #[must_use]
    pub fn select_with(&self, id: &str, more: &[&str]) -> Vec<String> {
        let url = self.url();
        let models = MODELS.iter().flat_map(|model| ["--model", *model]);
        let common = ["--full-size", "8192", "--no-reuse", "--id", id];
        let all = ["select", "--endpoint", &url].into_iter().chain(models).chain(common);
        all.chain(more.iter().copied()).map(str::to_owned).collect()
    }

    /// The same on `sim://data` for a fifth of what trying all would cost.
    #[must_use]
    pub fn select(&self, id: &str, more: &[&str]) -> Vec<String> {
        let usual = ["--data", "sim://data", "--budget-share", "20%"];
        self.select_with(id, &[&usual[..], more].concat())
    }

    /// [`select`](Self::select) without a word until its report.
    #[must_use]
    pub fn selected(&self, id: &str, more: &[&str]) -> Value {
        let flags = self.select(id, &[&["--format", "json", "--quiet"], more].concat());
        finepick_json(&strs(&flags))
    }

    /// A command on selections, its answer as JSON.
    #[must_use]
    pub fn json(&self, arguments: &[&str]) -> Value {
        finepick_json(&[arguments, &["--endpoint", &self.url(), "--format", "json"]].concat())
    }

    /// A command, its standard output as text.
    #[must_use]
    pub fn text(&self, arguments: &[&str]) -> String {
        let output = finepick(&[arguments, &["--endpoint", &self.url()]].concat());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

fn sets(settings: &[String]) -> Vec<&str> {
    settings
        .iter()
        .flat_map(|setting| ["--set", setting.as_str()])
        .collect()
}

/// Flags as a command takes them.
#[must_use]
pub fn strs(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}

/// Names with their forecasts, best first.
#[must_use]
pub fn ranking(report: &Value) -> Vec<(String, f64)> {
    let contenders = report["contenders"].as_array().expect("contenders");
    contenders
        .iter()
        .map(|contender| {
            let name = contender["candidate"].as_str().expect("a name").to_owned();
            (name, contender["predicted_loss"].as_f64().expect("a forecast"))
        })
        .collect()
}

/// How many losses a report was made of.
#[must_use]
pub fn losses(report: &Value) -> usize {
    let contenders = report["contenders"].as_array().expect("contenders");
    let of = |contender: &Value| contender["observations"].as_array().map_or(0, Vec::len);
    contenders.iter().map(of).sum()
}

/// That a selection was answered as an undisturbed one: the same ranking, choice and losses, and not an example more was paid for.
pub fn assert_undisturbed(report: &Value, calm: &Value) {
    assert_eq!(report["state"], "succeeded", "{report}");
    assert_eq!(ranking(report), ranking(calm));
    assert_eq!(report["choice"], calm["choice"]);
    assert_eq!(losses(report), losses(calm));
    assert_eq!(report["failed_attempts"], 0, "{report}");
    assert_eq!(report["spent"]["examples"], calm["spent"]["examples"]);
    for unit in ["device_seconds", "money"] {
        let of = |report: &Value| report["spent"][unit].as_f64().expect("a number");
        // Sums in another order.
        assert!(
            (of(report) - of(calm)).abs() < 1e-6,
            "{unit}: {} {}",
            of(report),
            of(calm)
        );
    }
}
