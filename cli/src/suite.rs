//! The services of the suite, hosted in one process: for commands without `--endpoint`, and for `finepick up`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use fitter_svc::config::FitterConfig;
use gateway::Gateway;
use gateway::config::BackendConfig;
use selector_svc::config::{SelectorConfig, StoreConfig, TrainerEndpoint};
use selector_svc::ports::Trainer;
use selector_svc::trainers::RemoteTrainer;
use serde::{Deserialize, Serialize};
use svc_kit::BoxError;
use svc_kit::client::Transport;
use svc_kit::config::{ByteSize, HumanDuration, ServerConfig, ServiceConfig, TelemetryConfig};
use svc_kit::server::{App, Context};
use svc_kit::shutdown::Token;
use trainer_client::TrainerClient;
use trainer_sim::SimulationConfig;
use trainer_svc::grpc::Host;

/// The full name of the fitter's service.
const FITTER: &str = "finepick.fitter.v1.FitterService";
/// The full name of the selector's service.
const SELECTOR: &str = "finepick.selector.v1.SelectorService";
/// Name of the simulated trainer, when it is hosted.
pub(crate) const SIMULATED: &str = "simulated";
/// Name of the trainer on ONNX Runtime, when it is hosted.
pub(crate) const ONNX: &str = "onnx";
/// The device of a trainer that is hosted for one command.
const ONE_DEVICE: &str = "cpu";
/// The store's file within the state folder of a command.
const STORE_FILE: &str = "selector/selections.db";
/// How long a selection stays with a command that was killed.
const LOCAL_LEASE_MILLISECONDS: u64 = 3_000;
/// Largest message between the services of one process, in MiB.
const LOCAL_MESSAGE_MEBIBYTES: u64 = 64;

/// The configuration of `finepick up`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SuiteConfig {
    /// `[server]`: the one port.
    pub server: ServerConfig,
    /// `[telemetry]`
    pub telemetry: TelemetryConfig,
    /// `[fitter]`: limits of the fitter.
    pub fitter: FitterConfig,
    /// `[selector]`: limits of the selector.
    pub selector: SelectorConfig,
    /// `[store]`: where selections are kept.
    pub store: StoreConfig,
    /// `[trainer]`: the trainer that is hosted here, if any.
    pub trainer: TrainerConfig,
    /// `[trainers.NAME]`: who trains for selections, beside the one that is hosted here.
    pub trainers: BTreeMap<String, TrainerEndpoint>,
    /// `[backends.NAME]`: services in other processes, beside or instead of those hosted here.
    pub backends: BTreeMap<String, BackendConfig>,
}

/// `[trainer]`: a trainer in this process.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainerConfig {
    /// Which; the gateway knows it by this name.
    pub hosted: Hosted,
    /// Selections may ask it for several sizes of a checkpoint in one run, where it claims `nested_subsets`.
    pub nested_runs: bool,
    /// `[trainer.simulation]`, as in the configuration of trainer-sim.
    pub simulation: SimulationConfig,
    /// `[trainer.onnx]`, as `[trainer]` in the configuration of trainer-svc.
    pub onnx: trainer_svc::config::TrainerConfig,
}

impl Default for TrainerConfig {
    fn default() -> Self {
        Self {
            hosted: Hosted::default(),
            nested_runs: true,
            simulation: SimulationConfig::default(),
            onnx: trainer_svc::config::TrainerConfig::default(),
        }
    }
}

/// A trainer that can be hosted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hosted {
    /// No trainer here.
    #[default]
    None,
    /// The simulated one.
    Simulated,
    /// ONNX Runtime.
    Onnx,
}

impl Hosted {
    /// Its name.
    fn name(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Simulated => Some(SIMULATED),
            Self::Onnx => Some(ONNX),
        }
    }
}

impl Default for SuiteConfig {
    fn default() -> Self {
        Self {
            server: gateway::config::Config::default().server,
            telemetry: TelemetryConfig::default(),
            fitter: FitterConfig::default(),
            selector: SelectorConfig::default(),
            store: StoreConfig::default(),
            trainer: TrainerConfig::default(),
            trainers: BTreeMap::new(),
            backends: BTreeMap::new(),
        }
    }
}

impl SuiteConfig {
    /// The part that the gateway reads.
    fn gateway(&self) -> gateway::config::Config {
        gateway::config::Config {
            server: self.server.clone(),
            telemetry: self.telemetry.clone(),
            backends: self.backends.clone(),
        }
    }

    /// The other process that answers for a service, if one is configured.
    fn elsewhere(&self, service: &str) -> Result<Option<Transport>, BoxError> {
        let backend = self
            .backends
            .values()
            .find(|backend| backend.services.iter().any(|name| name == service));
        Ok(backend.map(BackendConfig::transport).transpose()?)
    }
}

impl ServiceConfig for SuiteConfig {
    // `backends` and `trainers` are empty by default and have no rows; docs/configuration.md tells of them in prose.
    const MEANINGS: &'static [(&'static str, &'static str)] = &[
        ("fitter.*", "As in the configuration of fitter-svc."),
        ("selector.*", "As in the configuration of selector-svc."),
        ("store.*", "As in the configuration of selector-svc."),
        (
            "trainer.hosted",
            "Trainer hosted here, known by this name to the gateway and to selections: `none`, `simulated`, `onnx`.",
        ),
        (
            "trainer.nested_runs",
            "Selections ask it for several sizes of a checkpoint in one run, where it claims that it can.",
        ),
        ("trainer.onnx.*", "As `[trainer]` in the configuration of trainer-svc."),
        ("trainer.onnx.hub.*", "As `[trainer.hub]` there."),
        ("trainer.onnx.plugins.*", "As `[trainer.plugins]` there."),
        ("trainer.onnx.devices.*.*", "As `[trainer.devices.NAME]` there."),
        ("trainer.simulation.*", "As in the configuration of trainer-sim."),
    ];

    fn server(&self) -> &ServerConfig {
        &self.server
    }

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }

    fn validate(&self) -> Result<(), String> {
        let fitter = fitter_svc::config::Config {
            fitter: self.fitter.clone(),
            ..fitter_svc::config::Config::default()
        };
        fitter.validate()?;
        let selector = selector_svc::config::Config {
            selector: self.selector.clone(),
            store: self.store.clone(),
            trainers: self.trainers.clone(),
            ..selector_svc::config::Config::default()
        };
        selector.validate()?;
        if let Some(name) = self
            .trainer
            .hosted
            .name()
            .filter(|name| self.trainers.contains_key(*name))
        {
            return Err(format!(
                "trainers.{name} has the name of the trainer that is hosted here"
            ));
        }
        let trainer = trainer_sim::config::Config {
            simulation: self.trainer.simulation.clone(),
            ..trainer_sim::config::Config::default()
        };
        trainer.validate().map_err(|problem| format!("trainer.{problem}"))?;
        if self.trainer.hosted == Hosted::Onnx {
            let onnx = trainer_svc::config::Config {
                server: self.server.clone(),
                trainer: self.trainer.onnx.clone(),
                ..trainer_svc::config::Config::default()
            };
            onnx.validate()
                .map_err(|problem| problem.replace("trainer.", "trainer.onnx."))?;
        }
        self.gateway().validate()
    }
}

/// What a stack inside this process is held to: the edge has the limits, a second set would only queue twice.
pub(crate) fn unlimited() -> ServerConfig {
    ServerConfig {
        max_message_bytes: ByteSize::mebibytes(LOCAL_MESSAGE_MEBIBYTES),
        request_timeout: HumanDuration::from_secs(0),
        ..ServerConfig::on_port(0)
    }
}

fn local_fitter(config: &FitterConfig, server: &ServerConfig, shutdown: &Token) -> Result<Transport, BoxError> {
    let context = Context::new(server, shutdown.clone());
    let stack = fitter_svc::grpc::app(config, &context).into_local(server, &context)?;
    Ok(Transport::local(stack))
}

fn local_selector(
    config: &SelectorConfig,
    fitter: Transport,
    server: &ServerConfig,
    shutdown: &Token,
) -> Result<Transport, BoxError> {
    let context = Context::new(server, shutdown.clone());
    let stack = selector_svc::grpc::app(fitter, config, &context).into_local(server, &context)?;
    Ok(Transport::local(stack))
}

/// The simulated trainer in this process.
pub(crate) fn simulated_trainer(
    config: &SimulationConfig,
    server: &ServerConfig,
    shutdown: &Token,
) -> Result<Transport, BoxError> {
    let context = Context::new(server, shutdown.clone());
    let stack = trainer_sim::grpc::app(config, &context).into_local(server, &context)?;
    Ok(Transport::local(stack))
}

/// The trainer on ONNX Runtime in this process. `host` holds it: it is to be waited for at the end.
pub(crate) async fn onnx_trainer(
    trainer: trainer_svc::config::TrainerConfig,
    server: &ServerConfig,
    context: &Context,
    host: &Host,
) -> Result<Transport, BoxError> {
    let own = trainer_svc::config::Config {
        server: server.clone(),
        trainer,
        ..trainer_svc::config::Config::default()
    };
    let inner = Context::new(server, context.shutdown.clone());
    let app = host.assemble(own, inner.clone(), trainer_svc::worker::open).await?;
    Ok(Transport::local(app.into_local(server, &inner)?))
}

/// A device with so many threads, or all cores.
pub(crate) fn one_device(threads: Option<usize>) -> BTreeMap<String, trainer_svc::config::DeviceConfig> {
    let settings = trainer_svc::config::DeviceConfig {
        threads: threads.unwrap_or(0),
        ..trainer_svc::config::DeviceConfig::default()
    };
    BTreeMap::from([(ONE_DEVICE.to_owned(), settings)])
}

/// The way of selections to a trainer that is hosted here.
fn hosted_trainer(name: &str, transport: Transport) -> RemoteTrainer {
    RemoteTrainer::new(name, TrainerClient::new(transport), 1)
}

/// A selector with durable selections in this process. `hosted`: a trainer here.
async fn selecting(
    config: (&SelectorConfig, &StoreConfig, &BTreeMap<String, TrainerEndpoint>),
    fitter: Transport,
    hosted: Option<RemoteTrainer>,
    server: &ServerConfig,
    context: &Context,
) -> Result<Transport, BoxError> {
    let (selector, store, endpoints) = config;
    let mut trainers = selector_svc::grpc::trainers(endpoints, selector)?;
    if let Some(trainer) = hosted {
        trainers.insert(trainer.name().to_owned(), Arc::new(trainer) as Arc<dyn Trainer>);
    }
    let parts = selector_svc::grpc::Parts {
        fitter,
        store: selector_svc::grpc::open_store(store).await?,
        trainers,
    };
    let inner = Context {
        background: context.background.clone(),
        ..Context::new(server, context.shutdown.clone())
    };
    let stack = selector_svc::grpc::host(parts, selector, &inner).into_local(server, &inner)?;
    Ok(Transport::local(stack))
}

/// Where a folder keeps its selections.
pub(crate) fn store_file(state_dir: &Path) -> std::path::PathBuf {
    state_dir.join(STORE_FILE)
}

/// A selector that keeps its selections in a folder, and goes on with them if it has a trainer.
pub(crate) async fn selector_of_one_command(
    state_dir: &Path,
    trainer: Option<(&str, Transport)>,
    server: &ServerConfig,
    context: &Context,
) -> Result<Transport, BoxError> {
    let fitter = local_fitter(&FitterConfig::default(), server, &context.shutdown)?;
    let selector = SelectorConfig {
        // Without a trainer nothing is taken up: it is only looked at.
        max_selections: if trainer.is_some() {
            SelectorConfig::default().max_selections
        } else {
            0
        },
        // Whoever has the folder's trainer is alone with its selections: what a killed command held is taken over soon.
        lease: HumanDuration::from_millis(LOCAL_LEASE_MILLISECONDS),
        poll_interval: HumanDuration::from_millis(LOCAL_LEASE_MILLISECONDS / 4),
        ..SelectorConfig::default()
    };
    let store = StoreConfig {
        path: store_file(state_dir),
        ..StoreConfig::default()
    };
    let hosted = trainer.map(|(name, transport)| hosted_trainer(name, transport));
    selecting((&selector, &store, &BTreeMap::new()), fitter, hosted, server, context).await
}

/// Fitter and selector in this process, for one command.
///
/// # Errors
/// The services cannot be put together.
pub fn local_services() -> Result<(Transport, Transport), BoxError> {
    let (server, shutdown) = (unlimited(), Token::new());
    let fitter = local_fitter(&FitterConfig::default(), &server, &shutdown)?;
    let selector = local_selector(&SelectorConfig::default(), fitter.clone(), &server, &shutdown)?;
    Ok((fitter, selector))
}

/// The suite behind one gateway. `host` holds the trainer on ONNX Runtime, if one is hosted: it is to be waited for at the end.
///
/// # Errors
/// An endpoint or a certificate of the configuration cannot be used, or the trainer cannot be opened.
pub async fn assemble(config: SuiteConfig, context: Context, host: &Host) -> Result<App, BoxError> {
    let server = ServerConfig {
        max_message_bytes: config.server.max_message_bytes,
        ..unlimited()
    };
    let fitter = match config.elsewhere(FITTER)? {
        Some(fitter) => fitter,
        None => local_fitter(&config.fitter, &server, &context.shutdown)?,
    };
    let hosted = match config.trainer.hosted {
        Hosted::None => None,
        Hosted::Simulated => {
            let trainer = simulated_trainer(&config.trainer.simulation, &server, &context.shutdown)?;
            Some((SIMULATED, trainer))
        }
        Hosted::Onnx => {
            let own = ServerConfig {
                drain_timeout: config.server.drain_timeout,
                ..server.clone()
            };
            let trainer = onnx_trainer(config.trainer.onnx.clone(), &own, &context, host).await?;
            Some((ONNX, trainer))
        }
    };
    let mut gateway = Gateway::from_config(&config.gateway())?;
    if config.elsewhere(SELECTOR)?.is_none() {
        let parts = (&config.selector, &config.store, &config.trainers);
        let nested = config.trainer.nested_runs;
        let trainer = hosted
            .clone()
            .map(|(name, transport)| hosted_trainer(name, transport).with_nested_runs(nested));
        let selector = selecting(parts, fitter.clone(), trainer, &server, &context).await?;
        gateway = gateway.remote(SELECTOR, selector)?;
    }
    if config.elsewhere(FITTER)?.is_none() {
        gateway = gateway.remote(FITTER, fitter)?;
    }
    if let Some((name, trainer)) = hosted {
        gateway = gateway.trainer(name, trainer)?;
    }
    Ok(gateway.into_app(finepick_proto::FILE_DESCRIPTOR_SET, &context))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_page_is_up_to_date() {
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
        let block = svc_kit::config::reference::<SuiteConfig>("finepick").unwrap();
        assert_eq!(svc_kit::config::check_golden(&page, &block), Ok(()));
    }

    #[test]
    fn the_parts_are_validated() {
        assert_eq!(SuiteConfig::default().validate(), Ok(()));
        let mut config = SuiteConfig::default();
        config.selector.max_candidates = 0;
        assert!(config.validate().unwrap_err().starts_with("selector."));
        let mut config = SuiteConfig::default();
        config.fitter.max_curves = 0;
        assert!(config.validate().unwrap_err().starts_with("fitter."));
        let mut config = SuiteConfig::default();
        config.trainer.simulation.speed = 0.0;
        assert!(config.validate().unwrap_err().starts_with("trainer.simulation."));
    }
}
