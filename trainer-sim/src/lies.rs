//! Lies, on demand and off by default: a trainer that breaks its contract in one known way, for testing those who must
//! notice. Everything dishonest is in this module; what it wraps is the honest service.

use finepick_proto::trainer::v1 as wire;
use finepick_proto::trainer::v1::trainer_service_server::TrainerService;
use tonic::{Request, Response, Status};

use crate::grpc::{EventStream, Service};

/// The honest service, and lies about it.
#[derive(Debug, Clone)]
pub struct Liar {
    honest: Service,
}

impl Liar {
    /// A liar about this service: by its configuration and its runs' labels.
    #[must_use]
    pub fn new(honest: Service) -> Self {
        Self { honest }
    }
}

#[tonic::async_trait]
impl TrainerService for Liar {
    type WatchTrainingRunStream = EventStream;

    async fn get_trainer_info(
        &self,
        request: Request<wire::GetTrainerInfoRequest>,
    ) -> Result<Response<wire::GetTrainerInfoResponse>, Status> {
        self.honest.get_trainer_info(request).await
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
        self.honest.estimate_training_run(request).await
    }

    async fn create_training_run(
        &self,
        request: Request<wire::CreateTrainingRunRequest>,
    ) -> Result<Response<wire::CreateTrainingRunResponse>, Status> {
        self.honest.create_training_run(request).await
    }

    async fn get_training_run(
        &self,
        request: Request<wire::GetTrainingRunRequest>,
    ) -> Result<Response<wire::GetTrainingRunResponse>, Status> {
        self.honest.get_training_run(request).await
    }

    async fn list_training_runs(
        &self,
        request: Request<wire::ListTrainingRunsRequest>,
    ) -> Result<Response<wire::ListTrainingRunsResponse>, Status> {
        self.honest.list_training_runs(request).await
    }

    async fn delete_training_run(
        &self,
        request: Request<wire::DeleteTrainingRunRequest>,
    ) -> Result<Response<wire::DeleteTrainingRunResponse>, Status> {
        self.honest.delete_training_run(request).await
    }

    async fn cancel_training_run(
        &self,
        request: Request<wire::CancelTrainingRunRequest>,
    ) -> Result<Response<wire::CancelTrainingRunResponse>, Status> {
        self.honest.cancel_training_run(request).await
    }

    async fn pause_training_run(
        &self,
        request: Request<wire::PauseTrainingRunRequest>,
    ) -> Result<Response<wire::PauseTrainingRunResponse>, Status> {
        self.honest.pause_training_run(request).await
    }

    async fn resume_training_run(
        &self,
        request: Request<wire::ResumeTrainingRunRequest>,
    ) -> Result<Response<wire::ResumeTrainingRunResponse>, Status> {
        self.honest.resume_training_run(request).await
    }

    async fn watch_training_run(
        &self,
        request: Request<wire::WatchTrainingRunRequest>,
    ) -> Result<Response<EventStream>, Status> {
        self.honest.watch_training_run(request).await
    }
}
