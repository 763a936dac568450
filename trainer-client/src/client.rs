//! The calls of the contract, each with its deadline.

use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use finepick_proto::trainer::v1::trainer_service_client::TrainerServiceClient;
use finepick_proto::trainer::v1::{
    CancelTrainingRunRequest, CreateTrainingRunRequest, DeleteTrainingRunRequest, EstimateTrainingRunRequest,
    EstimateTrainingRunResponse, GetTrainerInfoRequest, GetTrainerInfoResponse, GetTrainingRunRequest,
    ListCapabilitiesRequest, ListCapabilitiesResponse, ListTrainingRunsRequest, ListTrainingRunsResponse,
    PauseTrainingRunRequest, ResumeTrainingRunRequest, TrainingRun, TrainingRunSpec, WatchTrainingRunRequest,
    WatchTrainingRunResponse,
};
use svc_kit::client::{AFFINITY_KEY, Retry, Transport};
use svc_kit::status;
use tokio::time::Instant;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::{Request, Response, Status, Streaming};

use crate::error::{Problem, TrainerError};
use crate::watch::{RunWatch, WatchLimits};

/// Metadata that names the trainer which a gateway shall route a call to. Absent: the gateway's default.
pub const TRAINER_KEY: &str = "finepick-trainer";

/// Metadata of a gateway's answers to `GetTrainerInfo`, errors included: the names of all its trainers, separated by commas,
/// the default first.
pub const TRAINERS_KEY: &str = "finepick-trainers";

/// Largest message either way: 1,000 runs of a page with their specs.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// How long each call may take, attempts and waits included. Each is > 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `GetTrainerInfo`, `ListCapabilities`.
    pub describe: Duration,
    /// `EstimateTrainingRun`: a trainer may have to look at the model.
    pub estimate: Duration,
    /// `CreateTrainingRun`.
    pub create: Duration,
    /// `GetTrainingRun`.
    pub get: Duration,
    /// `ListTrainingRuns`, one page.
    pub list: Duration,
    /// `DeleteTrainingRun`, `CancelTrainingRun`, `PauseTrainingRun`, `ResumeTrainingRun`.
    pub change: Duration,
    /// Watches.
    pub watch: WatchLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            describe: Duration::from_secs(5),
            estimate: Duration::from_mins(1),
            create: Duration::from_secs(20),
            get: Duration::from_secs(10),
            list: Duration::from_secs(20),
            change: Duration::from_secs(20),
            watch: WatchLimits::default(),
        }
    }
}

/// A client of one trainer. Clones share the connection and the retry budget.
#[derive(Debug, Clone)]
pub struct TrainerClient {
    inner: TrainerServiceClient<Transport>,
    transport: Transport,
    limits: Limits,
    retry: Retry,
    trainer: Option<AsciiMetadataValue>,
}

impl TrainerClient {
    /// Over any transport: to a trainer, to several replicas of one, to a gateway.
    #[must_use]
    pub fn new(transport: Transport) -> Self {
        Self {
            inner: TrainerServiceClient::new(transport.clone())
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
            transport,
            limits: Limits::default(),
            retry: Retry::default(),
            trainer: None,
        }
    }

    /// With other deadlines.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// With other retries, or a budget that is shared with other clients.
    #[must_use]
    pub fn with_retry(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }

    /// For this one of a gateway's trainers.
    ///
    /// # Errors
    /// The name cannot stand in metadata: it holds something else than printable ASCII.
    pub fn for_trainer(self, name: &str) -> Result<Self, TrainerError> {
        let Some(trainer) = metadata_value(name) else {
            let message = format!("{name:?} is no trainer's name: printable ASCII only");
            return Err(Status::invalid_argument(message).into());
        };
        let trainer = Some(trainer);
        Ok(Self { trainer, ..self })
    }

    /// Whether the replica that runs of this id belong to (`None`: any replica) can be reached, as far as is known without
    /// asking; `None`: it is one process, or nothing is known.
    #[must_use]
    pub fn reaches(&self, training_run_id: Option<&str>) -> Option<bool> {
        self.transport.reaches(training_run_id)
    }

    /// `GetTrainerInfo`.
    ///
    /// # Errors
    /// [`TrainerError::Refused`].
    pub async fn info(&self) -> Result<GetTrainerInfoResponse, TrainerError> {
        Ok(self.info_with_metadata().await?.into_inner())
    }

    /// `GetTrainerInfo` with the answer's metadata, where a gateway lists its trainers (see [`names`]). An error has
    /// them too, in its status.
    ///
    /// # Errors
    /// [`TrainerError::Refused`].
    pub async fn info_with_metadata(&self) -> Result<Response<GetTrainerInfoResponse>, TrainerError> {
        self.call(
            self.limits.describe,
            None,
            |_| GetTrainerInfoRequest {},
            |mut client, request| async move { client.get_trainer_info(request).await },
        )
        .await
    }

    /// `ListCapabilities`.
    ///
    /// # Errors
    /// [`TrainerError::Refused`].
    pub async fn capabilities(&self) -> Result<ListCapabilitiesResponse, TrainerError> {
        self.call(
            self.limits.describe,
            None,
            |_| ListCapabilitiesRequest {},
            |mut client, request| async move { client.list_capabilities(request).await },
        )
        .await
        .map(Response::into_inner)
    }

    /// `EstimateTrainingRun`.
    ///
    /// # Errors
    /// [`TrainerError::Refused`].
    pub async fn estimate(&self, spec: TrainingRunSpec) -> Result<EstimateTrainingRunResponse, TrainerError> {
        self.call(
            self.limits.estimate,
            None,
            |_| EstimateTrainingRunRequest {
                spec: Some(spec.clone()),
            },
            |mut client, request| async move { client.estimate_training_run(request).await },
        )
        .await
        .map(Response::into_inner)
    }

    /// `CreateTrainingRun`. An attempt whose answer is lost is repeated: the id makes sure that there is one run.
    ///
    /// # Errors
    /// [`TrainerError::Refused`]; [`Problem::AlreadyExists`] where the id belongs to a run with another spec.
    pub async fn create(&self, training_run_id: &str, spec: TrainingRunSpec) -> Result<TrainingRun, TrainerError> {
        let call = RandomState::new().build_hasher().finish();
        let answer = self
            .call(
                self.limits.create,
                Some(training_run_id),
                |attempt| CreateTrainingRunRequest {
                    training_run_id: training_run_id.to_owned(),
                    spec: Some(spec.clone()),
                    request_id: format!("{call:016x}-{attempt}"),
                },
                |mut client, request| async move { client.create_training_run(request).await },
            )
            .await?;
        answer.into_inner().run.ok_or_else(|| TrainerError::without("run"))
    }

    /// `GetTrainingRun`.
    ///
    /// # Errors
    /// [`TrainerError::Refused`].
    pub async fn get(&self, training_run_id: &str) -> Result<TrainingRun, TrainerError> {
        let answer = self
            .call(
                self.limits.get,
                Some(training_run_id),
                |_| GetTrainingRunRequest {
                    training_run_id: training_run_id.to_owned(),
                },
                |mut client, request| async move { client.get_training_run(request).await },
            )
            .await?;
        answer.into_inner().run.ok_or_else(|| TrainerError::without("run"))
    }

    /// `ListTrainingRuns`: one page. Over a replica set that does not share its runs, those of one replica.
    ///
    /// # Errors
    /// [`TrainerError::Refused`].
    pub async fn list(&self, request: ListTrainingRunsRequest) -> Result<ListTrainingRunsResponse, TrainerError> {
        self.call(
            self.limits.list,
            None,
            |_| request.clone(),
            |mut client, request| async move { client.list_training_runs(request).await },
        )
        .await
        .map(Response::into_inner)
    }

    /// `DeleteTrainingRun`. Succeeds also when an attempt whose answer was lost has deleted the run.
    ///
    /// # Errors
    /// [`TrainerError::Refused`].
    pub async fn delete(&self, training_run_id: &str) -> Result<(), TrainerError> {
        let attempts = Cell::new(0);
        let answer = self
            .call(
                self.limits.change,
                Some(training_run_id),
                |attempt| {
                    attempts.set(attempt);
                    DeleteTrainingRunRequest {
                        training_run_id: training_run_id.to_owned(),
                    }
                },
                |mut client, request| async move { client.delete_training_run(request).await },
            )
            .await;
        match answer {
            Err(error) if attempts.get() > 1 && error.problem() == Some(Problem::NotFound) => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// `CancelTrainingRun`.
    ///
    /// # Errors
    /// [`TrainerError::Refused`].
    pub async fn cancel(&self, training_run_id: &str) -> Result<TrainingRun, TrainerError> {
        let answer = self
            .call(
                self.limits.change,
                Some(training_run_id),
                |_| CancelTrainingRunRequest {
                    training_run_id: training_run_id.to_owned(),
                },
                |mut client, request| async move { client.cancel_training_run(request).await },
            )
            .await?;
        answer.into_inner().run.ok_or_else(|| TrainerError::without("run"))
    }

    /// `PauseTrainingRun`.
    ///
    /// # Errors
    /// [`TrainerError::Refused`].
    pub async fn pause(&self, training_run_id: &str) -> Result<TrainingRun, TrainerError> {
        let answer = self
            .call(
                self.limits.change,
                Some(training_run_id),
                |_| PauseTrainingRunRequest {
                    training_run_id: training_run_id.to_owned(),
                },
                |mut client, request| async move { client.pause_training_run(request).await },
            )
            .await?;
        answer.into_inner().run.ok_or_else(|| TrainerError::without("run"))
    }

    /// `ResumeTrainingRun`.
    ///
    /// # Errors
    /// [`TrainerError::Refused`].
    pub async fn resume(&self, training_run_id: &str) -> Result<TrainingRun, TrainerError> {
        let answer = self
            .call(
                self.limits.change,
                Some(training_run_id),
                |_| ResumeTrainingRunRequest {
                    training_run_id: training_run_id.to_owned(),
                },
                |mut client, request| async move { client.resume_training_run(request).await },
            )
            .await?;
        answer.into_inner().run.ok_or_else(|| TrainerError::without("run"))
    }

    /// The events of a run after a cursor (0: from the beginning), until the run has ended. Connects at the first
    /// [`RunWatch::next`].
    #[must_use]
    pub fn watch(&self, training_run_id: &str, after_sequence: i64) -> RunWatch {
        RunWatch::new(self.clone(), training_run_id, after_sequence, self.limits.watch)
    }

    /// One stream of `WatchTrainingRun`, as it is.
    pub(crate) async fn open(
        &self,
        training_run_id: &str,
        after_sequence: i64,
    ) -> Result<Streaming<WatchTrainingRunResponse>, Status> {
        let mut request = Request::new(WatchTrainingRunRequest {
            training_run_id: training_run_id.to_owned(),
            after_sequence,
        });
        self.address(request.metadata_mut(), Some(training_run_id));
        Ok(self.inner.clone().watch_training_run(request).await?.into_inner())
    }

    pub(crate) fn retry(&self) -> &Retry {
        &self.retry
    }

    /// Makes an idempotent unary call within `limit`. `make` gets the number of the attempt, from 1.
    async fn call<Q, A, F>(
        &self,
        limit: Duration,
        training_run_id: Option<&str>,
        mut make: impl FnMut(u32) -> Q,
        method: impl Fn(TrainerServiceClient<Transport>, Request<Q>) -> F,
    ) -> Result<Response<A>, TrainerError>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let deadline = Instant::now() + limit;
        let mut attempt = 0;
        let attempts = self.retry.run(Some(deadline), || {
            attempt += 1;
            let mut request = Request::new(make(attempt));
            self.address(request.metadata_mut(), training_run_id);
            request.set_timeout(deadline.saturating_duration_since(Instant::now()));
            method(self.inner.clone(), request)
        });
        match tokio::time::timeout_at(deadline, attempts).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(status::deadline_exceeded("the trainer did not answer in time").into()),
        }
    }

    /// Says where a call shall go.
    fn address(&self, metadata: &mut MetadataMap, training_run_id: Option<&str>) {
        if let Some(trainer) = &self.trainer {
            metadata.insert(TRAINER_KEY, trainer.clone());
        }
        // An id that metadata cannot hold is none that a trainer accepts: it says so itself.
        if let Some(key) = training_run_id.and_then(metadata_value) {
            metadata.insert(AFFINITY_KEY, key);
        }
    }
}

/// Text as metadata, which holds printable ASCII only.
fn metadata_value(text: &str) -> Option<AsciiMetadataValue> {
    let printable = text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    printable.then(|| text.parse().ok()).flatten()
}

/// The trainers' names in the metadata of an answer to `GetTrainerInfo`, the default first; none when no gateway is on the
/// way.
#[must_use]
pub fn names(metadata: &MetadataMap) -> Vec<String> {
    let list = metadata.get(TRAINERS_KEY).and_then(|value| value.to_str().ok());
    let names = list.into_iter().flat_map(|list| list.split(','));
    names
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}
