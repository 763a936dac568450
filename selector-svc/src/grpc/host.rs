//! What a process serves: store, trainers, driver and desk, put together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use finepick_proto::selector::v1::selector_service_server::SelectorServiceServer;
use svc_kit::BoxError;
use svc_kit::client::Transport;

use svc_kit::server::{App, Context};
use svc_kit::status::{self, reason};
use tonic::Status;
use trainer_client::{Limits, TrainerClient, WatchLimits};

use super::{FitterClient, Service};
use crate::config::{Config, SelectorConfig, StoreConfig, TrainerEndpoint};
use crate::desk::{Desk, draw};
use crate::driver::{self, Driver};
use crate::ports::{Fitter, Trainer};
use crate::selection::Millis;
use crate::store::memory::MemoryStore;
use crate::store::sqlite::{SqliteOptions, SqliteStore};
use crate::store::{Store, StoreError};
use crate::trainers::RemoteTrainer;

/// What durable selections are made with.
#[derive(Clone)]
pub struct Parts {
    /// Where laws are fitted.
    pub fitter: Transport,
    /// Where selections are kept.
    pub store: Arc<dyn Store>,
    /// By name.
    pub trainers: BTreeMap<String, Arc<dyn Trainer>>,
}

fn serve(service: Service, context: &Context) -> App {
    let server = SelectorServiceServer::new(service)
        .max_decoding_message_size(context.max_message_bytes)
        .max_encoding_message_size(context.max_message_bytes);
    App::new()
        .service(server)
        .descriptor_set(finepick_proto::FILE_DESCRIPTOR_SET)
}

fn fitter(transport: Transport, context: &Context) -> Arc<dyn Fitter> {
    Arc::new(FitterClient::new(transport, context.max_message_bytes))
}

/// The selector without durable selections, with a fitter over any transport: another process, or a service in this one.
pub fn app(transport: Transport, config: &SelectorConfig, context: &Context) -> App {
    serve(Service::new(fitter(transport, context), config), context)
}

/// The selector whole. Its driver works beside the calls until the shutdown, and is waited for then
/// ([`Context::background`]). Must be called within a tokio runtime.
pub fn host(parts: Parts, config: &SelectorConfig, context: &Context) -> App {
    let fitter = fitter(parts.fitter, context);
    // Another one for every start: what an earlier process held is not taken for its own.
    let owner = format!("selector-{}", draw(16));
    let driven = driver::Parts {
        store: Arc::clone(&parts.store),
        trainers: parts.trainers,
        fitter: Arc::clone(&fitter),
    };
    let driver = Driver::new(driven, config.driver(owner));
    let (working, shutdown) = (driver.clone(), context.shutdown.clone());
    context.background.spawn(async move { working.run(shutdown).await });
    let desk = Desk::new(parts.store, driver, config.desk());
    let service = Service::new(fitter, config).with_selections(desk, context.shutdown.clone());
    serve(service, context)
}

/// What the process serves.
///
/// # Errors
/// An endpoint is no URL, certificates cannot be read, or the store cannot be opened.
pub async fn assemble(config: Config, context: Context) -> Result<App, BoxError> {
    let parts = Parts {
        fitter: Transport::remote(&config.fitter)?,
        store: open_store(&config.store).await?,
        trainers: trainers(&config.trainers, &config.selector)?,
    };
    Ok(host(parts, &config.selector, &context))
}

/// Opens the store of a configuration.
///
/// # Errors
/// It cannot be reached, is damaged, or of a newer version.
pub async fn open_store(config: &StoreConfig) -> Result<Arc<dyn Store>, StoreError> {
    if config.is_in_memory() {
        return Ok(Arc::new(MemoryStore::new(wall_clock)));
    }
    let options = SqliteOptions {
        busy_timeout: config.busy_timeout.get(),
        ..SqliteOptions::default()
    };
    Ok(Arc::new(SqliteStore::open(&config.path, options).await?))
}

/// Milliseconds since 1970: the clock of a store in memory.
#[expect(
    clippy::disallowed_methods,
    reason = "a store has one clock; the store in memory has none of its own"
)]
fn wall_clock() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX)
}

/// The trainers of a configuration. Connects nothing yet.
///
/// # Errors
/// An endpoint is no URL, or certificates cannot be read.
pub fn trainers(
    endpoints: &BTreeMap<String, TrainerEndpoint>,
    config: &SelectorConfig,
) -> Result<BTreeMap<String, Arc<dyn Trainer>>, BoxError> {
    let mut found: BTreeMap<String, Arc<dyn Trainer>> = BTreeMap::new();
    for (name, endpoint) in endpoints {
        let client = client(endpoint, config.trainer_patience.get())?;
        let trainer =
            RemoteTrainer::new(name.clone(), client, endpoint.processes()).with_nested_runs(endpoint.nested_runs);
        found.insert(name.clone(), Arc::new(trainer));
    }
    Ok(found)
}

fn client(endpoint: &TrainerEndpoint, patience: Duration) -> Result<TrainerClient, BoxError> {
    let usual = Limits::default();
    let limits = Limits {
        watch: WatchLimits {
            patience,
            ..usual.watch
        },
        ..usual
    };
    let client = TrainerClient::new(endpoint.transport()?).with_limits(limits);
    match &endpoint.at_gateway {
        Some(name) => Ok(client.for_trainer(name)?),
        None => Ok(client),
    }
}

/// This selector has no store.
pub(super) fn no_store() -> Status {
    status::unimplemented(
        reason::UNKNOWN_SERVICE,
        "this selector ranks and replays only: it was started without a store for selections",
    )
}
