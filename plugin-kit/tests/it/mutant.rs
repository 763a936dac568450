//! Trainers that break one thing each: the simulated trainer's service, wrapped.

mod flaw;
mod spoil;

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use finepick_proto::trainer::v1 as pb;
use finepick_proto::trainer::v1::TrainingRunState as State;
use finepick_proto::trainer::v1::trainer_service_server::TrainerService;
use futures::{Stream, StreamExt as _, stream};
use tonic::{Code, Request, Response, Status};
use trainer_sim::grpc::Service;

pub(crate) use flaw::Flaw;

/// A trainer with a flaw.
#[derive(Debug, Clone)]
pub(crate) struct Mutant {
    inner: Service,
    flaw: Flaw,
    memory: Arc<Memory>,
}

/// What a flaw remembers.
#[derive(Debug, Default)]
struct Memory {
    counter: AtomicU64,
    full: AtomicBool,
    deleted: Mutex<HashSet<String>>,
    paused: Mutex<HashSet<String>>,
}

type EventStream = Pin<Box<dyn Stream<Item = Result<pb::WatchTrainingRunResponse, Status>> + Send>>;

/// Cancels a run when it is dropped and not disarmed: a trainer that ties a run to the call that named it.
struct Tie {
    inner: Service,
    id: Option<String>,
}

impl Drop for Tie {
    fn drop(&mut self) {
        let (inner, Some(training_run_id)) = (self.inner.clone(), self.id.take()) else {
            return;
        };
        tokio::spawn(async move {
            let _ = inner
                .cancel_training_run(Request::new(pb::CancelTrainingRunRequest { training_run_id }))
                .await;
        });
    }
}

impl Mutant {
    pub(crate) fn new(inner: Service, flaw: Flaw) -> Self {
        let memory = Arc::default();
        Self { inner, flaw, memory }
    }

    fn count(&self) -> u64 {
        self.memory.counter.fetch_add(1, Ordering::Relaxed)
    }

    /// The run as it stands, untouched.
    async fn truth(&self, id: &str) -> Option<pb::TrainingRun> {
        let training_run_id = id.to_owned();
        let answer = self
            .inner
            .get_training_run(Request::new(pb::GetTrainingRunRequest { training_run_id }))
            .await;
        answer.ok()?.into_inner().run
    }

    /// The id that the flaw makes of an id.
    fn id(&self, id: String) -> String {
        match self.flaw {
            Flaw::AnyId => {
                let plain = |c: char| {
                    if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') {
                        c
                    } else {
                        '_'
                    }
                };
                let mended: String = id.chars().map(plain).take(120).collect();
                format!("x{mended}")
            }
            Flaw::IdsFolded => id.to_lowercase(),
            _ => id,
        }
    }

    /// A run in an answer, spoilt.
    fn run(&self, run: Option<pb::TrainingRun>) -> Option<pb::TrainingRun> {
        let mut run = run?;
        let paused = self.memory.paused.lock().unwrap().contains(&run.training_run_id);
        spoil::run(self.flaw, &mut run, self.count(), paused);
        Some(run)
    }

    /// An answer or a refusal, spoilt.
    fn answer<T>(&self, answer: Result<Response<T>, Status>) -> Result<Response<T>, Status> {
        answer.map_err(|status| spoil::error(self.flaw, status))
    }

    fn wrong_state(&self, id: &str) -> Status {
        let violation = svc_kit::status::PreconditionViolation::new("WRONG_STATE", id, "the run has ended");
        spoil::error(
            self.flaw,
            svc_kit::status::failed_precondition("WRONG_STATE", vec![violation]),
        )
    }

    fn exists(&self, id: &str) -> Status {
        let resource = svc_kit::status::ResourceInfo {
            resource_type: "finepick.dev/TrainingRun".to_owned(),
            resource_name: id.to_owned(),
            description: "the id is taken".to_owned(),
        };
        spoil::error(
            self.flaw,
            svc_kit::status::already_exists("TRAINING_RUN_EXISTS", &resource),
        )
    }

    async fn queue_is_full(&self) -> bool {
        let info = self
            .inner
            .get_trainer_info(Request::new(pb::GetTrainerInfoRequest {}))
            .await;
        info.is_ok_and(|info| info.get_ref().queued_runs >= info.get_ref().queue_limit)
    }

    /// What the flaw does before a create; an error refuses it.
    async fn before_create(&self, id: &str) -> Result<(), Status> {
        let full = || svc_kit::status::unavailable("QUEUE_FULL", "the queue is full", Duration::from_millis(100));
        match self.flaw {
            Flaw::CreateWaits => tokio::time::sleep(Duration::from_secs(4)).await,
            Flaw::RepeatRefused if self.truth(id).await.is_some() => return Err(self.exists(id)),
            Flaw::IdNeverFree if self.memory.deleted.lock().unwrap().contains(id) => return Err(self.exists(id)),
            Flaw::FullForEver if self.memory.full.load(Ordering::Relaxed) => return Err(full()),
            Flaw::FullRefusesRepeats if self.queue_is_full().await && self.truth(id).await.is_some() => {
                return Err(full());
            }
            Flaw::EndedIdIsFree => {
                let training_run_id = id.to_owned();
                let request = pb::DeleteTrainingRunRequest { training_run_id };
                // A live run is not deleted.
                let _ = self.inner.delete_training_run(Request::new(request)).await;
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether the flaw leaves a run in this state alone when it should be cancelled.
    fn ignores_cancel(&self, state: State) -> bool {
        match self.flaw {
            Flaw::NewCancelIgnored => matches!(state, State::Queued | State::Preparing),
            Flaw::PreparingCancelIgnored => state == State::Preparing,
            Flaw::RunningCancelIgnored => state == State::Running,
            Flaw::PausedCancelIgnored => state == State::Paused,
            Flaw::QueuedCancelIgnored => state == State::Queued,
            _ => false,
        }
    }
}

fn has_ended(state: State) -> bool {
    !matches!(
        state,
        State::Unspecified | State::Queued | State::Preparing | State::Running | State::Paused
    )
}

#[tonic::async_trait]
impl TrainerService for Mutant {
    type WatchTrainingRunStream = EventStream;

    async fn get_trainer_info(
        &self,
        request: Request<pb::GetTrainerInfoRequest>,
    ) -> Result<Response<pb::GetTrainerInfoResponse>, Status> {
        let mut answer = self.inner.get_trainer_info(request).await?;
        spoil::info(self.flaw, answer.get_mut(), self.count());
        Ok(answer)
    }

    async fn list_capabilities(
        &self,
        request: Request<pb::ListCapabilitiesRequest>,
    ) -> Result<Response<pb::ListCapabilitiesResponse>, Status> {
        let mut answer = self.inner.list_capabilities(request).await?;
        spoil::capabilities(self.flaw, answer.get_mut());
        Ok(answer)
    }

    async fn estimate_training_run(
        &self,
        request: Request<pb::EstimateTrainingRunRequest>,
    ) -> Result<Response<pb::EstimateTrainingRunResponse>, Status> {
        let answer = self.inner.estimate_training_run(request).await;
        if self.flaw == Flaw::EstimateUnchecked && answer.is_err() {
            let feasible = pb::EstimateTrainingRunResponse {
                feasible: true,
                ..Default::default()
            };
            return Ok(Response::new(feasible));
        }
        let mut answer = self.answer(answer)?;
        if self.flaw == Flaw::EstimateUpsideDown {
            let estimate = answer.get_mut();
            (estimate.device_seconds_lower, estimate.device_seconds_upper) = (Some(9.0), Some(3.0));
        }
        Ok(answer)
    }

    async fn create_training_run(
        &self,
        request: Request<pb::CreateTrainingRunRequest>,
    ) -> Result<Response<pb::CreateTrainingRunResponse>, Status> {
        let mut request = request.into_inner();
        request.training_run_id = self.id(request.training_run_id);
        if let Some(spec) = &mut request.spec {
            spoil::spec(self.flaw, spec);
        }
        let id = request.training_run_id.clone();
        self.before_create(&id).await?;
        let created = self.inner.create_training_run(Request::new(request)).await;
        if self.flaw == Flaw::OtherBodyAccepted
            && matches!(&created, Err(status) if status.code() == Code::AlreadyExists)
        {
            let run = self.truth(&id).await;
            return Ok(Response::new(pb::CreateTrainingRunResponse { run }));
        }
        let mut answer = self.answer(created)?;
        if self.flaw == Flaw::FullForEver && self.queue_is_full().await {
            self.memory.full.store(true, Ordering::Relaxed);
        }
        if self.flaw == Flaw::LostCreateCancels {
            let mut tie = Tie {
                inner: self.inner.clone(),
                id: Some(id),
            };
            tokio::time::sleep(Duration::from_millis(30)).await;
            tie.id = None;
        }
        answer.get_mut().run = self.run(answer.get_mut().run.take()).map(|mut run| {
            spoil::created(self.flaw, &mut run, self.count());
            run
        });
        Ok(answer)
    }

    async fn get_training_run(
        &self,
        request: Request<pb::GetTrainingRunRequest>,
    ) -> Result<Response<pb::GetTrainingRunResponse>, Status> {
        let training_run_id = self.id(request.into_inner().training_run_id);
        let answer = self
            .inner
            .get_training_run(Request::new(pb::GetTrainingRunRequest { training_run_id }))
            .await;
        let mut answer = self.answer(answer)?;
        answer.get_mut().run = self.run(answer.get_mut().run.take());
        Ok(answer)
    }

    async fn list_training_runs(
        &self,
        request: Request<pb::ListTrainingRunsRequest>,
    ) -> Result<Response<pb::ListTrainingRunsResponse>, Status> {
        let mut request = request.into_inner();
        if self.flaw == Flaw::FilterIgnored {
            request.states.clear();
        }
        let mut listed = self.inner.list_training_runs(Request::new(request.clone())).await;
        if self.flaw == Flaw::AnyToken && listed.is_err() && !request.page_token.is_empty() {
            request.page_token.clear();
            listed = self.inner.list_training_runs(Request::new(request)).await;
        }
        let mut answer = self.answer(listed)?;
        let page = answer.get_mut();
        if self.flaw == Flaw::ListLosesOne && !page.next_page_token.is_empty() {
            page.runs.pop();
        }
        if self.flaw == Flaw::ListOldestFirst {
            page.runs.reverse();
        }
        Ok(answer)
    }

    async fn delete_training_run(
        &self,
        request: Request<pb::DeleteTrainingRunRequest>,
    ) -> Result<Response<pb::DeleteTrainingRunResponse>, Status> {
        let training_run_id = self.id(request.into_inner().training_run_id);
        let id = training_run_id.clone();
        if self.flaw == Flaw::LiveDeleted {
            let request = pb::CancelTrainingRunRequest {
                training_run_id: id.clone(),
            };
            let _ = self.inner.cancel_training_run(Request::new(request)).await;
        }
        if self.flaw == Flaw::DeleteIgnored && self.truth(&id).await.is_some_and(|run| has_ended(run.state())) {
            return Ok(Response::new(pb::DeleteTrainingRunResponse {}));
        }
        self.memory.deleted.lock().unwrap().insert(id);
        let request = pb::DeleteTrainingRunRequest { training_run_id };
        let deleted = self.inner.delete_training_run(Request::new(request)).await;
        self.answer(deleted)
    }

    async fn cancel_training_run(
        &self,
        request: Request<pb::CancelTrainingRunRequest>,
    ) -> Result<Response<pb::CancelTrainingRunResponse>, Status> {
        let training_run_id = self.id(request.into_inner().training_run_id);
        let truth = self.truth(&training_run_id).await;
        let state = truth.as_ref().map_or(State::Unspecified, pb::TrainingRun::state);
        if self.flaw == Flaw::EndedCancelRefused && has_ended(state) {
            return Err(self.wrong_state(&training_run_id));
        }
        if self.ignores_cancel(state) {
            return Ok(Response::new(pb::CancelTrainingRunResponse { run: self.run(truth) }));
        }
        let request = pb::CancelTrainingRunRequest { training_run_id };
        let cancelled = self.inner.cancel_training_run(Request::new(request)).await;
        let mut answer = self.answer(cancelled)?;
        answer.get_mut().run = self.run(answer.get_mut().run.take());
        Ok(answer)
    }

    async fn pause_training_run(
        &self,
        request: Request<pb::PauseTrainingRunRequest>,
    ) -> Result<Response<pb::PauseTrainingRunResponse>, Status> {
        let training_run_id = request.into_inner().training_run_id;
        let truth = self.truth(&training_run_id).await;
        let ended = truth.as_ref().is_some_and(|run| has_ended(run.state()));
        if self.flaw == Flaw::PauseIgnored || (self.flaw == Flaw::EndedPauseAccepted && ended) {
            return Ok(Response::new(pb::PauseTrainingRunResponse { run: self.run(truth) }));
        }
        self.memory.paused.lock().unwrap().insert(training_run_id.clone());
        let request = pb::PauseTrainingRunRequest { training_run_id };
        let paused = self.inner.pause_training_run(Request::new(request)).await;
        let mut answer = self.answer(paused)?;
        answer.get_mut().run = self.run(answer.get_mut().run.take());
        Ok(answer)
    }

    async fn resume_training_run(
        &self,
        request: Request<pb::ResumeTrainingRunRequest>,
    ) -> Result<Response<pb::ResumeTrainingRunResponse>, Status> {
        let resumed = self.inner.resume_training_run(request).await;
        let mut answer = self.answer(resumed)?;
        answer.get_mut().run = self.run(answer.get_mut().run.take());
        Ok(answer)
    }

    async fn watch_training_run(
        &self,
        request: Request<pb::WatchTrainingRunRequest>,
    ) -> Result<Response<EventStream>, Status> {
        let mut request = request.into_inner();
        request.training_run_id = self.id(request.training_run_id);
        let truth = self.truth(&request.training_run_id).await.unwrap_or_default();
        let (resumed, live) = (request.after_sequence > 0, !has_ended(truth.state()));
        spoil::cursor(self.flaw, &mut request, &truth);
        let tie = Tie {
            inner: self.inner.clone(),
            id: (self.flaw == Flaw::LostWatchCancels && live).then(|| request.training_run_id.clone()),
        };
        let watched = self.inner.watch_training_run(Request::new(request)).await;
        let skipped = match self.flaw {
            Flaw::CursorSkipsOne => usize::from(resumed),
            Flaw::LiveCursorSkipsOne => usize::from(resumed && live),
            _ => 0,
        };
        let (flaw, odd) = (self.flaw, self.count() % 2 == 1);
        let events = self.answer(watched)?.into_inner().skip(skipped).flat_map(move |item| {
            let _ = &tie;
            stream::iter(match item {
                Ok(message) => spoil::event(flaw, message.event.unwrap_or_default(), odd),
                Err(status) => vec![Err(status)],
            })
        });
        let end = (self.flaw == Flaw::EndsWithError).then(|| Err(Status::unavailable("the stream broke")));
        let messages = events
            .chain(stream::iter(end))
            .map(|event| event.map(|event| pb::WatchTrainingRunResponse { event: Some(event) }));
        Ok(Response::new(Box::pin(messages)))
    }
}
