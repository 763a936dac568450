//! The trainer under test, as the cases see it: typed calls with deadlines, specs that it can do, and the runs of a case,
//! which are removed when the case is over.

use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use finepick_proto::trainer::v1 as pb;
use finepick_proto::trainer::v1::trainer_service_client::TrainerServiceClient;
use futures::{StreamExt as _, stream};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::options::Options;
use crate::verdict::{Verdict, describe, fail, succeed};
use crate::watch::Record;

/// Calls that the kit makes at the same time at most, where it makes many.
pub(crate) const CALLS_AT_ONCE: usize = 16;

/// Bounds of the pause between two attempts to create a run: a suite of a minute does not wait for minutes.
const MIN_DELAY: Duration = Duration::from_millis(20);
const MAX_DELAY: Duration = Duration::from_millis(250);

/// The trainer under test.
#[derive(Debug)]
pub(crate) struct Kit {
    pub(crate) options: Options,
    pub(crate) info: pb::GetTrainerInfoResponse,
    pub(crate) capabilities: pb::ListCapabilitiesResponse,
    pub(crate) channel: Channel,
    /// Begins every id of this run of the kit.
    prefix: String,
    counter: AtomicU64,
    /// A run of all sizes that many cases look at, and what removes it.
    finished: OnceCell<(Verdict<Record>, Scope)>,
}

/// The kit cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The target or a flag cannot be used.
    #[error("{0}")]
    Usage(String),
    /// The trainer does not answer.
    #[error("{target} does not answer as a trainer: {answer}")]
    Unreachable {
        /// The target.
        target: String,
        /// What came instead.
        answer: String,
    },
}

impl Kit {
    /// Asks the trainer who it is.
    pub(crate) async fn connect(options: Options) -> Result<Arc<Self>, StartError> {
        let mut endpoint = svc_kit::config::EndpointConfig::to(options.target.clone());
        endpoint.tls.ca.clone_from(&options.tls_ca);
        // Every call has its own deadline; some servers close connections that ping them.
        endpoint.keepalive_interval = Duration::ZERO.into();
        endpoint.validate("target").map_err(StartError::Usage)?;
        let channel = svc_kit::client::channel(&endpoint).map_err(|error| StartError::Usage(error.to_string()))?;
        let unreachable = |status: Status| StartError::Unreachable {
            target: options.target.clone(),
            answer: describe(&status),
        };
        let mut stub = TrainerServiceClient::new(channel.clone());
        let mut info = Request::new(pb::GetTrainerInfoRequest {});
        info.set_timeout(options.call_timeout);
        let info = stub.get_trainer_info(info).await.map_err(unreachable)?.into_inner();
        let mut capabilities = Request::new(pb::ListCapabilitiesRequest {});
        capabilities.set_timeout(options.call_timeout);
        let capabilities = stub.list_capabilities(capabilities).await.map_err(unreachable)?;
        let nonce = std::collections::hash_map::RandomState::new().build_hasher().finish();
        Ok(Arc::new(Self {
            options,
            info,
            capabilities: capabilities.into_inner(),
            channel,
            prefix: format!("conformance-{:08x}", nonce >> 32),
            counter: AtomicU64::new(0),
            finished: OnceCell::new(),
        }))
    }

    /// The runs of one case.
    pub(crate) fn scope(self: &Arc<Self>) -> Scope {
        Scope {
            kit: Arc::clone(self),
            runs: Arc::default(),
        }
    }

    /// Slots of all devices together.
    pub(crate) fn slots(&self) -> usize {
        let slots = self.info.devices.iter().map(|device| i64::from(device.slots.max(0)));
        usize::try_from(slots.sum::<i64>()).unwrap_or(0)
    }

    /// Removes what the kit itself created.
    pub(crate) async fn close(&self) {
        if let Some((_, scope)) = self.finished.get() {
            scope.clean().await;
        }
    }
}

/// A case's view of the trainer.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    kit: Arc<Kit>,
    runs: Arc<Mutex<Vec<String>>>,
}

impl std::ops::Deref for Scope {
    type Target = Kit;

    fn deref(&self) -> &Kit {
        &self.kit
    }
}

/// A unary call with the kit's deadline.
macro_rules! call {
    ($name:ident, $request:ident => $answer:ident) => {
        /// The call of this name, with the kit's deadline.
        pub(crate) async fn $name(&self, request: pb::$request) -> Result<pb::$answer, Status> {
            let limit = self.options.call_timeout;
            let mut stub = self.stub();
            match tokio::time::timeout(limit, stub.$name(request)).await {
                Ok(answer) => answer.map(tonic::Response::into_inner),
                Err(_) => Err(Status::deadline_exceeded(format!(
                    "no answer within {limit:?} (C-14.4)"
                ))),
            }
        }
    };
}

/// The run in an answer.
fn run(answer: Result<Option<pb::TrainingRun>, Status>) -> Result<pb::TrainingRun, Status> {
    answer?.ok_or_else(|| Status::data_loss("the answer holds no run"))
}

impl Scope {
    call!(get_trainer_info, GetTrainerInfoRequest => GetTrainerInfoResponse);
    call!(list_capabilities, ListCapabilitiesRequest => ListCapabilitiesResponse);
    call!(estimate_training_run, EstimateTrainingRunRequest => EstimateTrainingRunResponse);
    call!(create_training_run, CreateTrainingRunRequest => CreateTrainingRunResponse);
    call!(get_training_run, GetTrainingRunRequest => GetTrainingRunResponse);
    call!(list_training_runs, ListTrainingRunsRequest => ListTrainingRunsResponse);
    call!(delete_training_run, DeleteTrainingRunRequest => DeleteTrainingRunResponse);
    call!(cancel_training_run, CancelTrainingRunRequest => CancelTrainingRunResponse);
    call!(pause_training_run, PauseTrainingRunRequest => PauseTrainingRunResponse);
    call!(resume_training_run, ResumeTrainingRunRequest => ResumeTrainingRunResponse);

    /// A client without deadlines.
    pub(crate) fn stub(&self) -> TrainerServiceClient<Channel> {
        TrainerServiceClient::new(self.channel.clone())
    }

    /// A new id, and the promise to remove its run.
    pub(crate) fn new_id(&self, name: &str) -> String {
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}-{name}-{number}", self.prefix);
        self.own(id.clone());
        id
    }

    /// Promises to remove the run of this id.
    pub(crate) fn own(&self, id: String) {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).push(id);
    }

    /// `CreateTrainingRun`.
    pub(crate) async fn create(&self, id: &str, spec: &pb::TrainingRunSpec) -> Result<pb::TrainingRun, Status> {
        let request = pb::CreateTrainingRunRequest {
            training_run_id: id.to_owned(),
            spec: Some(spec.clone()),
            request_id: String::new(),
        };
        run(self.create_training_run(request).await.map(|answer| answer.run))
    }

    /// Creates a run, as a caller does: what is UNAVAILABLE with `RetryInfo` is repeated.
    pub(crate) async fn start(&self, name: &str, spec: &pb::TrainingRunSpec) -> Verdict<pb::TrainingRun> {
        let id = self.new_id(name);
        succeed("C-3.1", "CreateTrainingRun", self.create_patiently(&id, spec).await)
    }

    /// [`Scope::create`], repeated while the queue is full.
    pub(crate) async fn create_patiently(
        &self,
        id: &str,
        spec: &pb::TrainingRunSpec,
    ) -> Result<pb::TrainingRun, Status> {
        self.patiently(|| self.create(id, spec)).await
    }

    /// Repeats a create while the queue is full, as the trainer asks for it.
    pub(crate) async fn patiently<T, F>(&self, create: impl Fn() -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let until = Instant::now() + self.options.run_timeout;
        loop {
            match create().await {
                Err(status) if status.code() == Code::Unavailable && Instant::now() < until => {
                    let asked = status.get_details_retry_info().and_then(|info| info.retry_delay);
                    sleep(asked.unwrap_or_default().clamp(MIN_DELAY, MAX_DELAY)).await;
                }
                answer => return answer,
            }
        }
    }

    /// `GetTrainingRun`.
    pub(crate) async fn get(&self, id: &str) -> Result<pb::TrainingRun, Status> {
        let training_run_id = id.to_owned();
        let answer = self
            .get_training_run(pb::GetTrainingRunRequest { training_run_id })
            .await;
        run(answer.map(|answer| answer.run))
    }

    /// `CancelTrainingRun`.
    pub(crate) async fn cancel(&self, id: &str) -> Result<pb::TrainingRun, Status> {
        let training_run_id = id.to_owned();
        let answer = self
            .cancel_training_run(pb::CancelTrainingRunRequest { training_run_id })
            .await;
        run(answer.map(|answer| answer.run))
    }

    /// `PauseTrainingRun`.
    pub(crate) async fn pause(&self, id: &str) -> Result<pb::TrainingRun, Status> {
        let training_run_id = id.to_owned();
        let answer = self
            .pause_training_run(pb::PauseTrainingRunRequest { training_run_id })
            .await;
        run(answer.map(|answer| answer.run))
    }

    /// `ResumeTrainingRun`.
    pub(crate) async fn resume(&self, id: &str) -> Result<pb::TrainingRun, Status> {
        let training_run_id = id.to_owned();
        let answer = self
            .resume_training_run(pb::ResumeTrainingRunRequest { training_run_id })
            .await;
        run(answer.map(|answer| answer.run))
    }

    /// `DeleteTrainingRun`.
    pub(crate) async fn delete(&self, id: &str) -> Result<(), Status> {
        let training_run_id = id.to_owned();
        let answer = self
            .delete_training_run(pb::DeleteTrainingRunRequest { training_run_id })
            .await;
        answer.map(drop)
    }

    /// The spec of a short run: the smallest size with training in it.
    pub(crate) fn spec(&self) -> pb::TrainingRunSpec {
        let sizes = &self.options.sizes;
        let size = sizes.iter().copied().find(|size| *size > 0).or(sizes.first().copied());
        let reference = |uri: &str| {
            Some(pb::Reference {
                uri: uri.to_owned(),
                digest: String::new(),
            })
        };
        pb::TrainingRunSpec {
            candidate_id: "conformance".to_owned(),
            model: reference(&self.options.model),
            data: reference(&self.options.data),
            data_sizes: size.into_iter().collect(),
            method: Some(self.method()),
            seed: 7,
            subset_seed: 11,
            ..pb::TrainingRunSpec::default()
        }
    }

    /// A short run of all sizes, if the trainer does several in one run.
    pub(crate) fn spec_of_all_sizes(&self) -> pb::TrainingRunSpec {
        let mut spec = self.spec();
        if self.capabilities.nested_subsets {
            spec.data_sizes.clone_from(&self.options.sizes);
        }
        spec
    }

    /// A run that outlasts every case.
    pub(crate) fn long_spec(&self) -> pb::TrainingRunSpec {
        let mut spec = self.spec();
        let most = self.capabilities.data_size_max.unwrap_or(i64::MAX);
        spec.data_sizes = vec![self.options.long_size.min(most)];
        if let Some(epochs) = self.options.long_epochs {
            spec.hyperparameters = Some(pb::Hyperparameters {
                epochs: Some(epochs),
                ..pb::Hyperparameters::default()
            });
        }
        spec
    }

    /// A method that the trainer claims.
    fn method(&self) -> pb::TuningMethod {
        let claimed: Vec<_> = self.capabilities.methods().collect();
        let kind = if claimed.contains(&pb::MethodKind::Lora) {
            method_of(pb::MethodKind::Lora)
        } else {
            method_of(claimed.first().copied().unwrap_or(pb::MethodKind::Full))
        };
        pb::TuningMethod { kind: Some(kind) }
    }

    /// A run of all sizes that was watched from its first event to its last; made once, for all cases.
    pub(crate) async fn finished(&self) -> Verdict<Record> {
        let make = || async {
            let scope = self.kit.scope();
            let record = async {
                let run = scope.start("finished", &scope.spec_of_all_sizes()).await?;
                let record = scope.watch_to_end(&run.training_run_id).await?;
                if record.run.state() == pb::TrainingRunState::Succeeded {
                    return Ok(record);
                }
                let run = &record.run;
                let got = format!(
                    "{} {} {}",
                    run.state().as_str_name(),
                    run.failure().as_str_name(),
                    run.detail
                );
                fail(
                    "C-7.1",
                    "a run of --model and --data with the sizes --size SUCCEEDED",
                    got,
                )
            };
            (record.await, scope.clone())
        };
        self.finished.get_or_init(make).await.0.clone()
    }

    /// Cancels and deletes the runs of this case.
    pub(crate) async fn clean(&self) {
        let runs = std::mem::take(&mut *self.runs.lock().unwrap_or_else(PoisonError::into_inner));
        stream::iter(runs)
            .for_each_concurrent(CALLS_AT_ONCE, |id| async move { self.remove(&id).await })
            .await;
    }

    /// Cancels and deletes a run; what a broken trainer keeps stays there.
    async fn remove(&self, id: &str) {
        const ATTEMPTS: usize = 100;
        for _ in 0..ATTEMPTS {
            match self.delete(id).await {
                Err(status) if status.code() == Code::FailedPrecondition => {
                    if self.cancel(id).await.is_err() {
                        return;
                    }
                    sleep(Duration::from_millis(20)).await;
                }
                _ => return,
            }
        }
    }
}

/// The smallest method of a kind.
pub(crate) fn method_of(kind: pb::MethodKind) -> pb::tuning_method::Kind {
    match kind {
        pb::MethodKind::Lora => pb::tuning_method::Kind::Lora(pb::LoraTuning {
            rank: 4,
            ..pb::LoraTuning::default()
        }),
        pb::MethodKind::Prompt => pb::tuning_method::Kind::Prompt(pb::PromptTuning {
            length: 4,
            ..pb::PromptTuning::default()
        }),
        pb::MethodKind::Full | pb::MethodKind::Unspecified => pb::tuning_method::Kind::Full(pb::FullTuning {}),
    }
}
