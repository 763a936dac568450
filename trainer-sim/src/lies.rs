//! Lies, on demand and off by default: a trainer that breaks its contract in one known way, for testing those who must
//! notice. Everything dishonest is in this module; what it wraps is the honest service. The list is [`Lie`].

mod bend;

use std::time::Duration;

use finepick_proto::trainer::v1 as wire;
use finepick_proto::trainer::v1::trainer_service_server::TrainerService;
use tonic::{Code, Request, Response, Status};

use crate::grpc::{EventStream, Service};
use crate::lie::Lie;
use crate::spec::check_id;

/// How long [`Lie::CreateWaits`] waits.
const LONG: Duration = Duration::from_secs(6);

/// The honest service, and lies about it.
#[derive(Debug, Clone)]
pub struct Liar {
    honest: Service,
    always: Option<Lie>,
}

impl Liar {
    /// A liar about this service: by its configuration and its runs' labels.
    #[must_use]
    pub fn new(honest: Service) -> Self {
        let always = Lie::from_name(&honest.trainer().config().lie);
        Self { honest, always }
    }

    /// The lie about a run: the configuration's, or its own label's.
    fn about(&self, id: &str) -> Option<Lie> {
        let labelled = || {
            let trainer = self.honest.trainer();
            trainer.with(|simulation| simulation.find(id).ok().and_then(|run| run.overrides.lie))
        };
        self.always.or_else(labelled)
    }

    /// Is this the lie? Statuses first: every error goes through here.
    fn bent<T>(lie: Option<Lie>, answer: Result<Response<T>, Status>) -> Result<Response<T>, Status> {
        answer.map_err(|status| bend::status(lie, status))
    }

    async fn get(&self, id: &str) -> Result<wire::TrainingRun, Status> {
        let request = wire::GetTrainingRunRequest {
            training_run_id: id.to_owned(),
        };
        let answer = self.honest.get_training_run(Request::new(request)).await?;
        Ok(answer.into_inner().run.unwrap_or_default())
    }

    async fn has_ended(&self, id: &str) -> bool {
        self.get(id).await.is_ok_and(|run| bend::is_ended(run.state()))
    }
}

/// The run of an answer, bent by the lie about it.
macro_rules! bent_run {
    ($lie:expr, $answer:expr) => {{
        let mut answer = Self::bent($lie, $answer)?;
        if let Some(run) = &mut answer.get_mut().run {
            bend::run($lie, run);
        }
        Ok(answer)
    }};
}

#[tonic::async_trait]
impl TrainerService for Liar {
    type WatchTrainingRunStream = EventStream;

    async fn get_trainer_info(
        &self,
        request: Request<wire::GetTrainerInfoRequest>,
    ) -> Result<Response<wire::GetTrainerInfoResponse>, Status> {
        let mut answer = self.honest.get_trainer_info(request).await?;
        if self.always == Some(Lie::NoIdentity) {
            let info = answer.get_mut();
            info.name.clear();
            info.version.clear();
            info.contract_versions.clear();
        }
        Ok(answer)
    }

    async fn list_capabilities(
        &self,
        request: Request<wire::ListCapabilitiesRequest>,
    ) -> Result<Response<wire::ListCapabilitiesResponse>, Status> {
        self.honest.list_capabilities(request).await
    }

    async fn estimate_training_run(
        &self,
        request: Request<wire::EstimateTrainingRunRequest>,
    ) -> Result<Response<wire::EstimateTrainingRunResponse>, Status> {
        Self::bent(self.always, self.honest.estimate_training_run(request).await)
    }

    async fn create_training_run(
        &self,
        request: Request<wire::CreateTrainingRunRequest>,
    ) -> Result<Response<wire::CreateTrainingRunResponse>, Status> {
        let mut message = request.into_inner();
        let known = self.get(&message.training_run_id).await.is_ok();
        let lie = self.about(&message.training_run_id);
        match lie {
            Some(Lie::CreateNotIdempotent) if known => {
                return Err(Status::already_exists("the id is taken"));
            }
            Some(Lie::OtherSpecAccepted) if known => {
                let run = self.get(&message.training_run_id).await?;
                return Ok(Response::new(wire::CreateTrainingRunResponse { run: Some(run) }));
            }
            Some(Lie::AnyId) => bend::mend_id(&mut message.training_run_id),
            Some(Lie::CreateWaits) => tokio::time::sleep(LONG).await,
            _ => {}
        }
        let mut answer = self.honest.create_training_run(Request::new(message.clone())).await;
        if let Err(status) = &answer {
            if lie == Some(Lie::AnySpec) && status.code() == Code::InvalidArgument {
                message.spec = Some(bend::plain_spec());
                answer = self.honest.create_training_run(Request::new(message.clone())).await;
            } else if lie == Some(Lie::OverloadInternal) && status.code() == Code::Unavailable {
                return Err(Status::internal("queue.push: capacity exceeded"));
            }
        }
        let lie = lie.or_else(|| self.about(&message.training_run_id));
        bent_run!(lie, answer)
    }

    async fn get_training_run(
        &self,
        request: Request<wire::GetTrainingRunRequest>,
    ) -> Result<Response<wire::GetTrainingRunResponse>, Status> {
        let lie = self.about(&request.get_ref().training_run_id);
        bent_run!(lie, self.honest.get_training_run(request).await)
    }

    async fn list_training_runs(
        &self,
        mut request: Request<wire::ListTrainingRunsRequest>,
    ) -> Result<Response<wire::ListTrainingRunsResponse>, Status> {
        if self.always == Some(Lie::ListUnordered) {
            request.get_mut().page_size = 1_000;
        }
        let mut answer = Self::bent(self.always, self.honest.list_training_runs(request).await)?;
        let runs = &mut answer.get_mut().runs;
        if self.always == Some(Lie::ListUnordered) {
            runs.reverse();
        }
        for run in runs {
            bend::run(self.about(&run.training_run_id), run);
        }
        Ok(answer)
    }

    async fn delete_training_run(
        &self,
        request: Request<wire::DeleteTrainingRunRequest>,
    ) -> Result<Response<wire::DeleteTrainingRunResponse>, Status> {
        let id = request.get_ref().training_run_id.clone();
        let lie = self.about(&id);
        if lie == Some(Lie::DeleteIgnored) && self.has_ended(&id).await {
            return Ok(Response::new(wire::DeleteTrainingRunResponse {}));
        }
        Self::bent(lie, self.honest.delete_training_run(request).await)
    }

    async fn cancel_training_run(
        &self,
        request: Request<wire::CancelTrainingRunRequest>,
    ) -> Result<Response<wire::CancelTrainingRunResponse>, Status> {
        let id = request.get_ref().training_run_id.clone();
        let lie = self.about(&id);
        match lie {
            Some(Lie::CancelIgnored) => {
                let run = self.get(&id).await?;
                return Ok(Response::new(wire::CancelTrainingRunResponse { run: Some(run) }));
            }
            Some(Lie::CancelEndedFails) if self.has_ended(&id).await => {
                return Err(Status::failed_precondition("the run has ended"));
            }
            _ => bent_run!(lie, self.honest.cancel_training_run(request).await),
        }
    }

    async fn pause_training_run(
        &self,
        request: Request<wire::PauseTrainingRunRequest>,
    ) -> Result<Response<wire::PauseTrainingRunResponse>, Status> {
        let lie = self.about(&request.get_ref().training_run_id);
        if lie == Some(Lie::PauseUnimplemented) {
            return Err(Status::unimplemented("not yet"));
        }
        bent_run!(lie, self.honest.pause_training_run(request).await)
    }

    async fn resume_training_run(
        &self,
        request: Request<wire::ResumeTrainingRunRequest>,
    ) -> Result<Response<wire::ResumeTrainingRunResponse>, Status> {
        let lie = self.about(&request.get_ref().training_run_id);
        bent_run!(lie, self.honest.resume_training_run(request).await)
    }

    async fn watch_training_run(
        &self,
        mut request: Request<wire::WatchTrainingRunRequest>,
    ) -> Result<Response<EventStream>, Status> {
        let message = request.get_mut();
        let id = message.training_run_id.clone();
        let lie = self.about(&id);
        let after = message.after_sequence;
        let last = if check_id(&id).is_ok() {
            self.get(&id).await.map_or(0, |run| run.last_sequence)
        } else {
            0
        };
        match lie {
            Some(Lie::CursorIgnored) if (0..=last).contains(&after) => message.after_sequence = 0,
            Some(Lie::FutureCursor) if after > last => message.after_sequence = last,
            // What this liar calls 0 is event 1.
            Some(Lie::SequenceFromZero) if after > 0 => message.after_sequence = after + 1,
            _ => {}
        }
        let answer = Self::bent(lie, self.honest.watch_training_run(request).await)?;
        Ok(match lie {
            Some(lie) => answer.map(|honest| bend::stream(lie, after, honest, self.honest.trainer().config())),
            None => answer,
        })
    }
}
