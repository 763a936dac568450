//! The run manager as `trainer-kit` serves it, and the process around it.

mod bells;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use svc_kit::BoxError;
use svc_kit::server::{App, Context};
use tokio::sync::watch;
use tonic::Status;
use trainer_kit::Refusal;
use trainer_kit::capability::{Capabilities, Estimate, Info};
use trainer_kit::grpc::{Batch, Service, Source};
use trainer_kit::run::Run;
use trainer_kit::spec::Spec;
use trainer_kit::state::RunState;

use self::bells::Bells;
use crate::config::{Config, TrainerConfig};
use crate::runs::{Clock, Executor, Manager, OpenError, RunLog, Settings, system_clock};

/// Events that a watch reads at once.
const BATCH: usize = 64;

/// A trainer: a run manager, and bells for those who watch. Clones are the same one.
#[derive(Clone)]
pub struct Trainer {
    manager: Manager,
    bells: Arc<Bells>,
    clock: Clock,
    capabilities: Arc<Capabilities>,
}

impl Trainer {
    /// Opens the state folder and goes on with its runs. Waits for the disk.
    ///
    /// # Errors
    /// The folder cannot be used.
    pub fn open(settings: Settings, executor: Arc<dyn Executor>) -> Result<Self, OpenError> {
        let (bells, clock) = (Arc::new(Bells::default()), system_clock());
        let capabilities = Arc::new(settings.capabilities.clone());
        let version = env!("CARGO_PKG_VERSION");
        let manager = Manager::open(settings, version, executor, bells.clone(), Arc::clone(&clock))?;
        Ok(Self {
            manager,
            bells,
            clock,
            capabilities,
        })
    }

    /// Its runs.
    #[must_use]
    pub fn manager(&self) -> &Manager {
        &self.manager
    }

    /// An app that serves it. When the shutdown begins, runs are told to save a checkpoint and stop; [`Manager::drain`] waits for
    /// them. Must be called within a tokio runtime.
    pub fn serve(&self, context: &Context) -> App {
        let (manager, shutdown) = (self.manager.clone(), context.shutdown.triggered());
        tokio::spawn(async move {
            shutdown.await;
            // How many are still busy is asked again by whoever waits for them.
            let told = tokio::task::spawn_blocking(move || manager.drain(Duration::ZERO)).await;
            tracing::info!(busy = told.unwrap_or(0), "runs are told to save a checkpoint");
        });
        let service = Service::new(self.clone(), context.shutdown.clone());
        trainer_kit::grpc::app(service, context)
    }
}

impl trainer_kit::grpc::Trainer for Trainer {
    type Watch = Watched;

    const BLOCKS: bool = true;

    fn info(&self) -> Info {
        self.manager.info()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::clone(&self.capabilities)
    }

    fn estimate(&self, spec: Spec) -> Result<Estimate, Refusal> {
        self.manager.estimate(&spec)
    }

    fn create(&self, id: &str, spec: Spec) -> Result<Run, Refusal> {
        self.manager.create(id, spec)
    }

    fn get(&self, id: &str) -> Result<Run, Refusal> {
        self.manager.get(id)
    }

    fn list(&self, before: u64, states: &[RunState], show: &mut dyn FnMut(u64, Run) -> bool) {
        self.manager.list(before, states, show);
    }

    fn delete(&self, id: &str) -> Result<(), Refusal> {
        self.manager.delete(id)
    }

    fn cancel(&self, id: &str) -> Result<Run, Refusal> {
        self.manager.cancel(id)
    }

    fn pause(&self, id: &str) -> Result<Run, Refusal> {
        self.manager.pause(id)
    }

    fn resume(&self, id: &str) -> Result<Run, Refusal> {
        self.manager.resume(id)
    }

    fn watch(&self, id: &str, after: i64) -> Result<Watched, Refusal> {
        let log = self.manager.watch(id, after)?;
        Ok(Watched {
            id: id.to_owned(),
            bell: self.bells.listen(log.key()),
            log,
            clock: Arc::clone(&self.clock),
        })
    }
}

/// A watch of a run.
pub struct Watched {
    id: String,
    log: RunLog,
    bell: watch::Receiver<()>,
    clock: Clock,
}

impl Source for Watched {
    fn id(&self) -> &str {
        &self.id
    }

    fn read(&mut self, cursor: i64) -> Option<Batch> {
        self.bell.mark_unchanged();
        let (events, last_sequence, ended) = self.log.read(cursor, BATCH)?;
        Some(Batch {
            events,
            last_sequence,
            ended,
        })
    }

    async fn news(&mut self) -> Result<(), Status> {
        // An error means that the run is gone, or the trainer: reading says so.
        if self.bell.changed().await.is_err() && self.log.read(0, 0).is_some() {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    fn wall(&self, at: Duration) -> SystemTime {
        UNIX_EPOCH.checked_add(at).unwrap_or(UNIX_EPOCH)
    }

    fn now(&self) -> SystemTime {
        self.wall((self.clock)())
    }
}

/// The trainer of a process: opened once its address is bound, waited for when the serving is over.
#[derive(Default)]
pub struct Host {
    trainer: OnceLock<(Trainer, Duration)>,
}

impl Host {
    /// What the process serves. `open`: what does the work, by the configuration.
    ///
    /// # Errors
    /// The executor or the state folder cannot be opened.
    pub async fn assemble<F>(&self, config: Config, context: Context, open: F) -> Result<App, BoxError>
    where
        F: FnOnce(&TrainerConfig) -> Result<Arc<dyn Executor>, BoxError> + Send + 'static,
    {
        let drain_timeout = config.server.drain_timeout.get();
        let opening = tokio::task::spawn_blocking(move || {
            let executor = open(&config.trainer)?;
            Ok::<_, BoxError>(Trainer::open(config.trainer.settings(), executor)?)
        });
        let trainer = opening.await??;
        let app = trainer.serve(&context);
        let _ = self.trainer.set((trainer, drain_timeout));
        Ok(app)
    }

    /// Waits, at most for the configured time, until all runs have saved a checkpoint. They go on at the next start.
    pub fn finish(self) {
        if let Some((trainer, timeout)) = self.trainer.into_inner() {
            let busy = trainer.manager.drain(timeout);
            if busy > 0 {
                tracing::warn!(busy, "runs did not stop in time; they go on from their last checkpoint");
            }
        }
    }
}
