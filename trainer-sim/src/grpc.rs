//! The gRPC face: requests in, simulation calls under one short lock, answers and errors out.

mod refusal;
mod request;
mod response;
mod watch;

use finepick_proto::trainer::v1 as wire;
use finepick_proto::trainer::v1::trainer_service_server::{TrainerService, TrainerServiceServer};
use finepick_proto::types::v1::ErrorReason;
use prost::Message as _;
use svc_kit::BoxError;
use svc_kit::server::{App, Context};
use svc_kit::shutdown::Token;
use svc_kit::status::{self, FieldViolation};
use tonic::{Request, Response, Status};

pub use self::watch::EventStream;

use crate::config::{Config, SimulationConfig};
use crate::engine::Trainer;
use crate::lies::Liar;
use crate::simulation::{Refusal, Simulation};
use crate::spec::check_request_id;

/// Requests are read up to this size: an answer that repeats a spec then stays below the contract's 4 MiB.
const MAX_REQUEST_BYTES: usize = 2 << 20;

/// A page of a list ends when it has grown to this many bytes.
const MAX_PAGE_BYTES: usize = 2 << 20;

/// Runs a page holds at most, and where none is asked for.
const PAGE_SIZES: (i32, i32) = (1_000, 50);

/// `finepick.trainer.v1.TrainerService`, told honestly.
#[derive(Debug, Clone)]
pub struct Service {
    trainer: Trainer,
    shutdown: Token,
}

impl Service {
    /// The service of this trainer; its streams end when the shutdown begins.
    #[must_use]
    pub fn new(trainer: Trainer, shutdown: Token) -> Self {
        Self { trainer, shutdown }
    }

    /// The trainer that is served.
    #[must_use]
    pub fn trainer(&self) -> &Trainer {
        &self.trainer
    }

    /// Calls the simulation for a run's key and answers with the run as it stands then.
    fn answer_run(
        &self,
        call: impl FnOnce(&mut Simulation) -> Result<u64, Refusal>,
    ) -> Result<wire::TrainingRun, Status> {
        let answer = self.trainer.with(|simulation| {
            let key = call(simulation)?;
            Ok(simulation
                .run(key)
                .map(|run| response::run(run, simulation, &self.trainer)))
        });
        answer
            .map_err(|refusal| refusal::status(refusal, self.trainer.clock()))?
            .ok_or_else(|| status::bug(&"a run was found and is not there"))
    }

    fn list(&self, page: &request::Page) -> wire::ListTrainingRunsResponse {
        self.trainer.with(|simulation| {
            let mut answer = wire::ListTrainingRunsResponse::default();
            let mut bytes = 0;
            for run in simulation.runs_before(page.before) {
                if !page.states.is_empty() && !page.states.contains(&run.state) {
                    continue;
                }
                let message = response::run(run, simulation, &self.trainer);
                bytes += message.encoded_len();
                if answer.runs.len() >= page.size || (bytes > MAX_PAGE_BYTES && !answer.runs.is_empty()) {
                    // Keys are unique and descend: the next page begins at this very run.
                    answer.next_page_token = request::page_token(run.key + 1);
                    break;
                }
                answer.runs.push(message);
            }
            answer
        })
    }
}

fn invalid(violations: Vec<FieldViolation>) -> Status {
    status::invalid_argument(ErrorReason::InvalidField.as_reason(), violations)
}

#[tonic::async_trait]
impl TrainerService for Service {
    type WatchTrainingRunStream = EventStream;

    async fn get_trainer_info(
        &self,
        _: Request<wire::GetTrainerInfoRequest>,
    ) -> Result<Response<wire::GetTrainerInfoResponse>, Status> {
        Ok(Response::new(
            self.trainer
                .with(|simulation| response::info(simulation, &self.trainer)),
        ))
    }

    async fn list_capabilities(
        &self,
        _: Request<wire::ListCapabilitiesRequest>,
    ) -> Result<Response<wire::ListCapabilitiesResponse>, Status> {
        let answer = self
            .trainer
            .with(|simulation| response::capabilities(simulation.settings()));
        Ok(Response::new(answer))
    }

    async fn estimate_training_run(
        &self,
        request: Request<wire::EstimateTrainingRunRequest>,
    ) -> Result<Response<wire::EstimateTrainingRunResponse>, Status> {
        let mut violations = Vec::new();
        let spec = request::spec(request.into_inner().spec, &mut violations);
        let answer = self.trainer.with(|simulation| {
            let spec = request::settle(spec, violations)?;
            let estimate = simulation.estimate(&spec)?;
            Ok(response::estimate(&estimate, simulation.settings().prices.as_ref()))
        });
        let answer = answer.map_err(|refusal: Refusal| refusal::status(refusal, self.trainer.clock()))?;
        Ok(Response::new(answer))
    }

    async fn create_training_run(
        &self,
        request: Request<wire::CreateTrainingRunRequest>,
    ) -> Result<Response<wire::CreateTrainingRunResponse>, Status> {
        let message = request.into_inner();
        let mut violations: Vec<_> = check_request_id(&message.request_id).err().into_iter().collect();
        let spec = request::spec(message.spec, &mut violations);
        if !violations.is_empty() {
            violations.extend(crate::spec::check_id(&message.training_run_id).err());
        }
        let run = self.answer_run(|simulation| {
            let spec = request::settle(spec, violations)?;
            simulation.create(&message.training_run_id, spec)
        })?;
        Ok(Response::new(wire::CreateTrainingRunResponse { run: Some(run) }))
    }

    async fn get_training_run(
        &self,
        request: Request<wire::GetTrainingRunRequest>,
    ) -> Result<Response<wire::GetTrainingRunResponse>, Status> {
        let id = request.into_inner().training_run_id;
        let run = self.answer_run(|simulation| simulation.find(&id).map(|run| run.key))?;
        Ok(Response::new(wire::GetTrainingRunResponse { run: Some(run) }))
    }

    async fn list_training_runs(
        &self,
        request: Request<wire::ListTrainingRunsRequest>,
    ) -> Result<Response<wire::ListTrainingRunsResponse>, Status> {
        let page = request::page(&request.into_inner(), PAGE_SIZES).map_err(invalid)?;
        Ok(Response::new(self.list(&page)))
    }

    async fn delete_training_run(
        &self,
        request: Request<wire::DeleteTrainingRunRequest>,
    ) -> Result<Response<wire::DeleteTrainingRunResponse>, Status> {
        let id = request.into_inner().training_run_id;
        let deleted = self.trainer.with(|simulation| simulation.delete(&id));
        deleted.map_err(|refusal| refusal::status(refusal, self.trainer.clock()))?;
        Ok(Response::new(wire::DeleteTrainingRunResponse {}))
    }

    async fn cancel_training_run(
        &self,
        request: Request<wire::CancelTrainingRunRequest>,
    ) -> Result<Response<wire::CancelTrainingRunResponse>, Status> {
        let id = request.into_inner().training_run_id;
        let run = self.answer_run(|simulation| simulation.cancel(&id))?;
        Ok(Response::new(wire::CancelTrainingRunResponse { run: Some(run) }))
    }

    async fn pause_training_run(
        &self,
        request: Request<wire::PauseTrainingRunRequest>,
    ) -> Result<Response<wire::PauseTrainingRunResponse>, Status> {
        let id = request.into_inner().training_run_id;
        let run = self.answer_run(|simulation| simulation.pause(&id))?;
        Ok(Response::new(wire::PauseTrainingRunResponse { run: Some(run) }))
    }

    async fn resume_training_run(
        &self,
        request: Request<wire::ResumeTrainingRunRequest>,
    ) -> Result<Response<wire::ResumeTrainingRunResponse>, Status> {
        let id = request.into_inner().training_run_id;
        let run = self.answer_run(|simulation| simulation.resume(&id))?;
        Ok(Response::new(wire::ResumeTrainingRunResponse { run: Some(run) }))
    }

    async fn watch_training_run(
        &self,
        request: Request<wire::WatchTrainingRunRequest>,
    ) -> Result<Response<EventStream>, Status> {
        let message = request.into_inner();
        // What is due by now happens first: the newest event is then really the newest.
        self.trainer.with(|_| ());
        let watch = self
            .trainer
            .watch(&message.training_run_id, message.after_sequence)
            .map_err(|refusal| refusal::status(refusal, self.trainer.clock()))?;
        Ok(Response::new(watch::events(
            watch,
            message.after_sequence,
            &self.shutdown,
        )))
    }
}

/// A trainer of its own, on the machine's clock, driven until the context's shutdown. Must be called within a tokio
/// runtime.
pub fn app(config: &SimulationConfig, context: &Context) -> App {
    serve(&Trainer::start(config, &context.shutdown), context)
}

/// An app that serves this trainer: what tests use that turn its clock or look behind the wire.
pub fn serve(trainer: &Trainer, context: &Context) -> App {
    let service = Service::new(trainer.clone(), context.shutdown.clone());
    let app = App::new().descriptor_set(finepick_proto::FILE_DESCRIPTOR_SET);
    let limits = (
        context.max_message_bytes.min(MAX_REQUEST_BYTES),
        context.max_message_bytes,
    );
    let config = trainer.config();
    if config.lie.is_empty() && !config.allow_lies {
        return app.service(sized(TrainerServiceServer::new(service), limits));
    }
    app.service(sized(TrainerServiceServer::new(Liar::new(service)), limits))
}

fn sized<S>(server: TrainerServiceServer<S>, (request, answer): (usize, usize)) -> TrainerServiceServer<S> {
    server
        .max_decoding_message_size(request)
        .max_encoding_message_size(answer)
}

/// What the process serves.
///
/// # Errors
/// None today; the signature is what [`svc_kit::run`] takes.
#[expect(clippy::unused_async, reason = "svc_kit::run awaits what it starts")]
pub async fn assemble(config: Config, context: Context) -> Result<App, BoxError> {
    Ok(app(&config.simulation, &context))
}
