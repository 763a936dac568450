//! The gRPC face of any trainer: requests in, calls of [`Trainer`], answers and errors out.

mod page;
mod refusal;
mod request;
mod response;
mod watch;

/// What other contracts have in common with this one: wire → domain.
pub mod from_wire {
    pub use super::request::{hyperparameters, method, reference};
}

/// What other contracts have in common with this one: domain → wire.
pub mod to_wire {
    pub use super::response::{hyperparameters, method, reference};
}

use std::time::Duration;

use finepick_proto::trainer::v1 as wire;
use finepick_proto::trainer::v1::trainer_service_server::{TrainerService, TrainerServiceServer};
use finepick_proto::types::v1::ErrorReason;
use prost::Message as _;
use svc_kit::server::{App, Context};
use svc_kit::shutdown::Token;
use svc_kit::status::{self, FieldViolation};
use tonic::{Request, Response, Status};

pub use self::refusal::status as status_of;
pub use self::response::{capabilities, estimate, event, info, run, spec};
pub use self::watch::{Batch, EventStream, Source, events};

use crate::capability::{Capabilities, Estimate, Info};
use crate::refusal::Refusal;
use crate::run::Run;
use crate::spec::{Spec, check_id, check_request_id};
use crate::state::RunState;

/// Requests are read up to this size: an answer that repeats a spec then stays below the contract's 4 MiB.
const MAX_REQUEST_BYTES: usize = 2 << 20;

/// A page of a list ends when it has grown to this many bytes.
const MAX_PAGE_BYTES: usize = 2 << 20;

/// Runs a page holds at most, and where none is asked for.
const PAGE_SIZES: (i32, i32) = (1_000, 50);

/// A trainer, as [`Service`] serves it. Clones are the same one.
///
/// The calls are short: work goes on elsewhere. Each checks what it is given, in the order of the contract's tables.
pub trait Trainer: Clone + Send + Sync + 'static {
    /// Somebody who watches a run.
    type Watch: Source;

    /// Do calls wait for a disk? Then they are made off the threads that serve.
    const BLOCKS: bool = false;

    /// Who the trainer is and how it stands.
    fn info(&self) -> Info;

    /// What it claims; the same for the life of the process.
    fn capabilities(&self) -> Capabilities;

    /// Could this be done, and with what? [`check_estimate`](crate::capability::check_estimate) does the checks.
    ///
    /// # Errors
    /// As for creating it, but for queue and readiness; or estimates are not claimed.
    fn estimate(&self, spec: Spec) -> Result<Estimate, Refusal>;

    /// Accepts a run, or returns the one that has this id and spec.
    ///
    /// # Errors
    /// Fields, id, capabilities, readiness, queue, in this order.
    fn create(&self, id: &str, spec: Spec) -> Result<Run, Refusal>;

    /// A run as it stands.
    ///
    /// # Errors
    /// The id is malformed or unknown; so for all calls below.
    fn get(&self, id: &str) -> Result<Run, Refusal>;

    /// Shows runs with keys below `before` and in one of these states (none: in any), newest first, with their keys, until
    /// it is told to stop. Keys are unique and ascend by creation.
    fn list(&self, before: u64, states: &[RunState], show: &mut dyn FnMut(u64, Run) -> bool);

    /// Forgets an ended run.
    ///
    /// # Errors
    /// It has not ended.
    fn delete(&self, id: &str) -> Result<(), Refusal>;

    /// Ends a run; one that has ended stays as it is.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn cancel(&self, id: &str) -> Result<Run, Refusal>;

    /// Pauses a run.
    ///
    /// # Errors
    /// Not claimed, or it has ended.
    fn pause(&self, id: &str) -> Result<Run, Refusal>;

    /// Resumes a paused run.
    ///
    /// # Errors
    /// Not claimed, it has ended, or the queue is full.
    fn resume(&self, id: &str) -> Result<Run, Refusal>;

    /// Begins to watch a run after a cursor.
    ///
    /// # Errors
    /// The cursor is negative or in the future.
    fn watch(&self, id: &str, after: i64) -> Result<Self::Watch, Refusal>;

    /// The watch as a stream.
    fn stream(&self, watch: Self::Watch, after: i64, heartbeat_interval: Duration, shutdown: &Token) -> EventStream {
        events(watch, after, heartbeat_interval, shutdown)
    }
}

/// `finepick.trainer.v1.TrainerService` over a trainer.
#[derive(Debug, Clone)]
pub struct Service<T> {
    trainer: T,
    shutdown: Token,
}

impl<T: Trainer> Service<T> {
    /// The service of this trainer; its streams end when the shutdown begins.
    #[must_use]
    pub fn new(trainer: T, shutdown: Token) -> Self {
        Self { trainer, shutdown }
    }

    /// The trainer that is served.
    #[must_use]
    pub fn trainer(&self) -> &T {
        &self.trainer
    }

    /// Calls the trainer, where that may wait.
    async fn call<R: Send + 'static>(
        &self,
        call: impl FnOnce(&T) -> Result<R, Refusal> + Send + 'static,
    ) -> Result<R, Status> {
        if !T::BLOCKS {
            return call(&self.trainer).map_err(refusal::status);
        }
        let trainer = self.trainer.clone();
        let done = tokio::task::spawn_blocking(move || call(&trainer)).await;
        done.map_err(|panicked| status::bug(&panicked))?
            .map_err(refusal::status)
    }
}

fn list(trainer: &impl Trainer, page: &request::Page) -> wire::ListTrainingRunsResponse {
    let mut answer = wire::ListTrainingRunsResponse::default();
    let mut bytes = 0;
    trainer.list(page.before, &page.states, &mut |key, run| {
        let message = response::run(run);
        bytes += message.encoded_len();
        if answer.runs.len() >= page.size || (bytes > MAX_PAGE_BYTES && !answer.runs.is_empty()) {
            // Keys are unique and descend: the next page begins at this very run.
            answer.next_page_token = page::token(key.saturating_add(1));
            return false;
        }
        answer.runs.push(message);
        true
    });
    answer
}

fn invalid(violations: Vec<FieldViolation>) -> Status {
    status::invalid_argument(ErrorReason::InvalidField.as_reason(), violations)
}

#[tonic::async_trait]
impl<T: Trainer> TrainerService for Service<T> {
    type WatchTrainingRunStream = EventStream;

    async fn get_trainer_info(
        &self,
        _: Request<wire::GetTrainerInfoRequest>,
    ) -> Result<Response<wire::GetTrainerInfoResponse>, Status> {
        let answer = self.call(|trainer| Ok(response::info(trainer.info()))).await?;
        Ok(Response::new(answer))
    }

    async fn list_capabilities(
        &self,
        _: Request<wire::ListCapabilitiesRequest>,
    ) -> Result<Response<wire::ListCapabilitiesResponse>, Status> {
        Ok(Response::new(response::capabilities(self.trainer.capabilities())))
    }

    async fn estimate_training_run(
        &self,
        request: Request<wire::EstimateTrainingRunRequest>,
    ) -> Result<Response<wire::EstimateTrainingRunResponse>, Status> {
        let mut violations = Vec::new();
        let spec = request::spec(request.into_inner().spec, &mut violations);
        let answer = self.call(move |trainer| {
            let spec = request::settle(spec, violations)?;
            let estimate = trainer.estimate(spec)?;
            Ok(response::estimate(estimate, trainer.capabilities().prices.as_ref()))
        });
        Ok(Response::new(answer.await?))
    }

    async fn create_training_run(
        &self,
        request: Request<wire::CreateTrainingRunRequest>,
    ) -> Result<Response<wire::CreateTrainingRunResponse>, Status> {
        let message = request.into_inner();
        let mut violations: Vec<_> = check_request_id(&message.request_id).err().into_iter().collect();
        let spec = request::spec(message.spec, &mut violations);
        if !violations.is_empty() {
            violations.extend(check_id(&message.training_run_id).err());
        }
        let id = message.training_run_id;
        let run = self.call(move |trainer| {
            let spec = request::settle(spec, violations)?;
            Ok(response::run(trainer.create(&id, spec)?))
        });
        Ok(Response::new(wire::CreateTrainingRunResponse { run: Some(run.await?) }))
    }

    async fn get_training_run(
        &self,
        request: Request<wire::GetTrainingRunRequest>,
    ) -> Result<Response<wire::GetTrainingRunResponse>, Status> {
        let id = request.into_inner().training_run_id;
        let run = self.call(move |trainer| Ok(response::run(trainer.get(&id)?))).await?;
        Ok(Response::new(wire::GetTrainingRunResponse { run: Some(run) }))
    }

    async fn list_training_runs(
        &self,
        request: Request<wire::ListTrainingRunsRequest>,
    ) -> Result<Response<wire::ListTrainingRunsResponse>, Status> {
        let page = request::page(&request.into_inner(), PAGE_SIZES).map_err(invalid)?;
        let answer = self.call(move |trainer| Ok(list(trainer, &page))).await?;
        Ok(Response::new(answer))
    }

    async fn delete_training_run(
        &self,
        request: Request<wire::DeleteTrainingRunRequest>,
    ) -> Result<Response<wire::DeleteTrainingRunResponse>, Status> {
        let id = request.into_inner().training_run_id;
        self.call(move |trainer| trainer.delete(&id)).await?;
        Ok(Response::new(wire::DeleteTrainingRunResponse {}))
    }

    async fn cancel_training_run(
        &self,
        request: Request<wire::CancelTrainingRunRequest>,
    ) -> Result<Response<wire::CancelTrainingRunResponse>, Status> {
        let id = request.into_inner().training_run_id;
        let run = self
            .call(move |trainer| Ok(response::run(trainer.cancel(&id)?)))
            .await?;
        Ok(Response::new(wire::CancelTrainingRunResponse { run: Some(run) }))
    }

    async fn pause_training_run(
        &self,
        request: Request<wire::PauseTrainingRunRequest>,
    ) -> Result<Response<wire::PauseTrainingRunResponse>, Status> {
        let id = request.into_inner().training_run_id;
        let run = self.call(move |trainer| Ok(response::run(trainer.pause(&id)?))).await?;
        Ok(Response::new(wire::PauseTrainingRunResponse { run: Some(run) }))
    }

    async fn resume_training_run(
        &self,
        request: Request<wire::ResumeTrainingRunRequest>,
    ) -> Result<Response<wire::ResumeTrainingRunResponse>, Status> {
        let id = request.into_inner().training_run_id;
        let run = self
            .call(move |trainer| Ok(response::run(trainer.resume(&id)?)))
            .await?;
        Ok(Response::new(wire::ResumeTrainingRunResponse { run: Some(run) }))
    }

    async fn watch_training_run(
        &self,
        request: Request<wire::WatchTrainingRunRequest>,
    ) -> Result<Response<EventStream>, Status> {
        let message = request.into_inner();
        let (id, after) = (message.training_run_id, message.after_sequence);
        let watch = self.call(move |trainer| trainer.watch(&id, after)).await?;
        let interval = self.trainer.capabilities().heartbeat_interval;
        Ok(Response::new(self.trainer.stream(
            watch,
            after,
            interval,
            &self.shutdown,
        )))
    }
}

/// An app that serves this implementation of the contract, within its limits of size.
pub fn app<S: TrainerService>(service: S, context: &Context) -> App {
    let server = TrainerServiceServer::new(service)
        .max_decoding_message_size(context.max_message_bytes.min(MAX_REQUEST_BYTES))
        .max_encoding_message_size(context.max_message_bytes);
    App::new()
        .descriptor_set(finepick_proto::FILE_DESCRIPTOR_SET)
        .service(server)
}
