//! The simulated trainer as `trainer-kit` serves it, with what only a simulation has: streams that break, and lies.

use std::time::{Duration, SystemTime};

use finepick_proto::types::v1::ErrorReason;
use futures::{StreamExt, stream};
use svc_kit::BoxError;
use svc_kit::server::{App, Context};
use svc_kit::shutdown::Token;
use svc_kit::status;
use tonic::Status;
use trainer_kit::Refusal;
use trainer_kit::capability::{self, Info, SecondsRange};
use trainer_kit::grpc::{Batch, Source, events};

pub use trainer_kit::grpc::EventStream;

use crate::capability::Capabilities;
use crate::clock::Clock;
use crate::config::{Config, SimulationConfig};
use crate::engine::{Trainer, Watch, Woken};
use crate::lies::Liar;
use crate::plan::Estimate;
use crate::run::Run;
use crate::simulation::Simulation;
use crate::spec::{Reference, Spec};
use crate::state::RunState;

/// `finepick.trainer.v1.TrainerService`, told honestly.
pub type Service = trainer_kit::grpc::Service<Trainer>;

impl Trainer {
    /// Calls the simulation for a run's key and answers with the run as it stands then.
    fn answer_run(
        &self,
        call: impl FnOnce(&mut Simulation) -> Result<u64, Refusal>,
    ) -> Result<trainer_kit::run::Run, Refusal> {
        let answer = self.with(|simulation| {
            let key = call(simulation)?;
            let run = simulation.run(key).map(|run| self.shown(run, simulation));
            run.ok_or_else(|| Refusal::Internal("a run was found and is not there".to_owned()))
        });
        answer.map_err(|refusal| self.in_real_time(refusal))
    }

    /// What a caller is told to wait is real time.
    fn in_real_time(&self, refusal: Refusal) -> Refusal {
        match refusal {
            Refusal::NotReady(left) => Refusal::NotReady(self.clock().real(left)),
            other => other,
        }
    }

    fn shown(&self, run: &Run, simulation: &Simulation) -> trainer_kit::run::Run {
        let wall = |at| self.clock().wall(at);
        let device = run.device.and_then(|index| simulation.settings().devices.get(index));
        let digest = |reference: &Reference| run.started.map(|_| digest(reference)).unwrap_or_default();
        trainer_kit::run::Run {
            id: run.id.clone(),
            spec: run.spec.clone(),
            state: run.state,
            wait: run.wait,
            failure: run.failure,
            detail: run.detail.clone(),
            created: wall(run.created),
            started: run.started.map(wall),
            ended: run.ended.map(wall),
            progress: run.progress.clone(),
            evaluations: run.evaluations.clone(),
            cost: run.cost.clone(),
            checkpoints: run.checkpoints.clone(),
            last_sequence: run.log.last_sequence(),
            instance_id: self.instance_id().to_owned(),
            device: device.map(|device| device.name.clone()).unwrap_or_default(),
            artifact_uri: if run.state == RunState::Succeeded {
                format!("sim://artifacts/{}", run.id)
            } else {
                String::new()
            },
            queue_position: (run.state == RunState::Queued).then(|| simulation.queue_position(run).unwrap_or(0)),
            model_digest: digest(&run.spec.model),
            data_digest: digest(&run.spec.data),
        }
    }
}

/// Nothing is read: what was expected is what is found, and where nothing was, a hash of the name.
fn digest(reference: &Reference) -> String {
    if reference.digest.is_empty() {
        format!("sim:{:016x}", crate::law::fingerprint(&[reference.uri.as_bytes()]))
    } else {
        reference.digest.clone()
    }
}

/// The range is a quarter of the expected time either way.
fn shown_estimate(estimate: Estimate, spec: &Spec) -> capability::Estimate {
    let seconds = estimate.device_seconds;
    capability::Estimate {
        infeasible: estimate.infeasible,
        memory_bytes: Some(estimate.memory_bytes),
        device_seconds: Some(SecondsRange {
            lower: seconds * 0.75,
            expected: seconds,
            upper: seconds * 1.25,
        }),
        inputs: capability::Inputs {
            model_digest: digest(&spec.model),
            data_digest: digest(&spec.data),
            parameters: None,
            data_examples: estimate.examples,
        },
    }
}

impl trainer_kit::grpc::Trainer for Trainer {
    type Watch = Watched;

    fn info(&self) -> Info {
        self.with(|simulation| {
            let settings = simulation.settings();
            let devices = settings.devices.iter().map(|device| capability::Device {
                name: device.name.clone(),
                description: device.description.clone(),
                memory_bytes: Some(device.memory_bytes),
                slots: device.slots,
            });
            Info {
                name: self.config().name.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                instance_id: self.instance_id().to_owned(),
                devices: devices.collect(),
                unready: simulation.unready(),
                queued: simulation.queued(),
                active: usize::try_from(simulation.active()).unwrap_or(usize::MAX),
                queue_limit: settings.queue_limit,
            }
        })
    }

    fn capabilities(&self) -> Capabilities {
        self.with(|simulation| simulation.settings().capabilities.clone())
    }

    fn estimate(&self, spec: Spec) -> Result<capability::Estimate, Refusal> {
        let answer = self.with(|simulation| simulation.estimate(&spec));
        answer
            .map(|estimate| shown_estimate(estimate, &spec))
            .map_err(|refusal| self.in_real_time(refusal))
    }

    fn create(&self, id: &str, spec: Spec) -> Result<trainer_kit::run::Run, Refusal> {
        self.answer_run(|simulation| simulation.create(id, spec))
    }

    fn get(&self, id: &str) -> Result<trainer_kit::run::Run, Refusal> {
        self.answer_run(|simulation| simulation.find(id).map(|run| run.key))
    }

    fn list(&self, before: u64, states: &[RunState], show: &mut dyn FnMut(u64, trainer_kit::run::Run) -> bool) {
        self.with(|simulation| {
            for run in simulation.runs_before(before) {
                let wanted = states.is_empty() || states.contains(&run.state);
                if wanted && !show(run.key, self.shown(run, simulation)) {
                    return;
                }
            }
        });
    }

    fn delete(&self, id: &str) -> Result<(), Refusal> {
        self.with(|simulation| simulation.delete(id))
    }

    fn cancel(&self, id: &str) -> Result<trainer_kit::run::Run, Refusal> {
        self.answer_run(|simulation| simulation.cancel(id))
    }

    fn pause(&self, id: &str) -> Result<trainer_kit::run::Run, Refusal> {
        self.answer_run(|simulation| simulation.pause(id))
    }

    fn resume(&self, id: &str) -> Result<trainer_kit::run::Run, Refusal> {
        self.answer_run(|simulation| simulation.resume(id))
    }

    fn watch(&self, id: &str, after: i64) -> Result<Watched, Refusal> {
        // What is due by now happens first: the newest event is then really the newest.
        self.with(|_| ());
        let watch = Trainer::watch(self, id, after).map_err(|refusal| self.in_real_time(refusal))?;
        Ok(Watched { watch, frozen: false })
    }

    fn stream(&self, watch: Watched, after: i64, heartbeat_interval: Duration, shutdown: &Token) -> EventStream {
        let limit = watch.watch.stream_break();
        let whole = events(watch, after, heartbeat_interval, shutdown);
        match limit {
            Some(limit) => breaking(whole, limit),
            None => whole,
        }
    }
}

/// A watch of a simulated run.
#[derive(Debug)]
pub struct Watched {
    watch: Watch,
    frozen: bool,
}

impl Source for Watched {
    fn id(&self) -> &str {
        self.watch.id()
    }

    fn read(&mut self, cursor: i64) -> Option<Batch> {
        let found = self.watch.read(cursor)?;
        self.frozen = found.frozen;
        Some(Batch {
            events: found.events,
            last_sequence: found.last_sequence,
            ended: found.ended,
        })
    }

    async fn news(&mut self) -> Result<(), Status> {
        match self.watch.news().await {
            Woken::News => Ok(()),
            Woken::Break => Err(broken()),
        }
    }

    fn wall(&self, at: Duration) -> SystemTime {
        self.watch.trainer().clock().wall(at)
    }

    fn now(&self) -> SystemTime {
        let clock: &dyn Clock = self.watch.trainer().clock();
        clock.wall(clock.now())
    }

    fn beats(&self) -> bool {
        !self.frozen
    }
}

/// The stream breaks, on demand.
fn broken() -> Status {
    status::unavailable(
        ErrorReason::BackendUnavailable.as_reason(),
        "the stream broke, as the simulation was told",
        Duration::from_millis(10),
    )
}

/// The stream, until it breaks after so many messages.
fn breaking(whole: EventStream, limit: u32) -> EventStream {
    stream::unfold(Some((whole, limit)), |position| async move {
        let (mut whole, left) = position?;
        match left.checked_sub(1) {
            None => Some((Err(broken()), None)),
            Some(left) => whole.next().await.map(|item| (item, Some((whole, left)))),
        }
    })
    .boxed()
}

/// A trainer of its own, on the machine's clock, driven until the context's shutdown. Must be called within a tokio
/// runtime.
pub fn app(config: &SimulationConfig, context: &Context) -> App {
    serve(&Trainer::start(config, &context.shutdown), context)
}

/// An app that serves this trainer: what tests use that turn its clock or look behind the wire.
pub fn serve(trainer: &Trainer, context: &Context) -> App {
    let service = Service::new(trainer.clone(), context.shutdown.clone());
    let config = trainer.config();
    if config.lie.is_empty() && !config.allow_lies {
        return trainer_kit::grpc::app(service, context);
    }
    trainer_kit::grpc::app(Liar::new(service), context)
}

/// What the process serves.
///
/// # Errors
/// None today; the signature is what [`svc_kit::run`] takes.
#[expect(clippy::unused_async, reason = "svc_kit::run awaits what it starts")]
pub async fn assemble(config: Config, context: Context) -> Result<App, BoxError> {
    Ok(app(&config.simulation, &context))
}
