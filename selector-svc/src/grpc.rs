//! The gRPC face of the selector: requests in, domain calls on a bounded number of threads, answers and errors out.

pub mod convert;
mod fitter_client;

use std::sync::Arc;

use finepick_proto::selector::v1 as wire;
use finepick_proto::selector::v1::selector_service_server::{SelectorService, SelectorServiceServer};
use finepick_proto::selector::v1::{
    RankCandidatesRequest, RankCandidatesResponse, SimulateSelectionRequest, SimulateSelectionResponse,
};
use svc_kit::BoxError;
use svc_kit::client::Transport;
use svc_kit::limits::CpuSlots;
use svc_kit::server::{App, Context};
use tonic::{Request, Response, Status};

pub use self::fitter_client::FitterClient;

use crate::config::{Config, SelectorConfig};
use crate::policy::fitted::FittedForecasts;
use crate::ports::{FitRequest, Fitter};
use crate::{ranking, simulate};

/// `finepick.selector.v1.SelectorService`.
#[derive(Clone)]
pub struct Service {
    fitter: Arc<dyn Fitter>,
    max_candidates: usize,
    /// Rankings and replays being computed: the work is pure CPU and must not crowd out the runtime.
    slots: CpuSlots,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service")
            .field("max_candidates", &self.max_candidates)
            .finish_non_exhaustive()
    }
}

impl Service {
    /// A service that asks this fitter.
    #[must_use]
    pub fn new(fitter: Arc<dyn Fitter>, config: &SelectorConfig) -> Self {
        Self {
            fitter,
            max_candidates: config.max_candidates,
            slots: CpuSlots::new(config.slots()),
        }
    }

    async fn fitted(&self, request: Option<FitRequest>) -> Result<Option<FittedForecasts>, Status> {
        let Some(request) = request else { return Ok(None) };
        self.fitter
            .forecast(request)
            .await
            .map(Some)
            .map_err(|error| convert::fitter_status(&error))
    }
}

#[tonic::async_trait]
impl SelectorService for Service {
    async fn rank_candidates(
        &self,
        request: Request<RankCandidatesRequest>,
    ) -> Result<Response<RankCandidatesResponse>, Status> {
        let (table, request) = convert::rank_request(request.into_inner(), self.max_candidates)?;
        let to_fit = ranking::fit_request(&table, &request).map_err(|error| convert::rank_status(&error))?;
        let fitted = self.fitted(to_fit).await?;
        let ranking = self
            .slots
            .run(move || ranking::rank(&table, &request, fitted.as_ref()))
            .await?;
        convert::rank_response(ranking.map_err(|error| convert::rank_status(&error))?).map(Response::new)
    }

    async fn simulate_selection(
        &self,
        request: Request<SimulateSelectionRequest>,
    ) -> Result<Response<SimulateSelectionResponse>, Status> {
        let (table, request) = convert::simulate_request(request.into_inner(), self.max_candidates)?;
        let to_fit = simulate::fit_request(&table, &request).map_err(|error| convert::simulate_status(&error))?;
        let fitted = self.fitted(to_fit).await?;
        let found = self
            .slots
            .run(move || simulate::simulate(&table, &request, fitted.as_ref()))
            .await?;
        let found = found.map_err(|error| convert::simulate_status(&error))?;
        Ok(Response::new(convert::simulate_response(found)))
    }

    async fn estimate_selection(
        &self,
        _: Request<wire::EstimateSelectionRequest>,
    ) -> Result<Response<wire::EstimateSelectionResponse>, Status> {
        Err(Status::unimplemented("selections are not served yet"))
    }

    async fn create_selection(
        &self,
        _: Request<wire::CreateSelectionRequest>,
    ) -> Result<Response<wire::CreateSelectionResponse>, Status> {
        Err(Status::unimplemented("selections are not served yet"))
    }

    async fn get_selection(
        &self,
        _: Request<wire::GetSelectionRequest>,
    ) -> Result<Response<wire::GetSelectionResponse>, Status> {
        Err(Status::unimplemented("selections are not served yet"))
    }

    async fn list_selections(
        &self,
        _: Request<wire::ListSelectionsRequest>,
    ) -> Result<Response<wire::ListSelectionsResponse>, Status> {
        Err(Status::unimplemented("selections are not served yet"))
    }

    async fn delete_selection(
        &self,
        _: Request<wire::DeleteSelectionRequest>,
    ) -> Result<Response<wire::DeleteSelectionResponse>, Status> {
        Err(Status::unimplemented("selections are not served yet"))
    }

    async fn cancel_selection(
        &self,
        _: Request<wire::CancelSelectionRequest>,
    ) -> Result<Response<wire::CancelSelectionResponse>, Status> {
        Err(Status::unimplemented("selections are not served yet"))
    }

    async fn pause_selection(
        &self,
        _: Request<wire::PauseSelectionRequest>,
    ) -> Result<Response<wire::PauseSelectionResponse>, Status> {
        Err(Status::unimplemented("selections are not served yet"))
    }

    async fn resume_selection(
        &self,
        _: Request<wire::ResumeSelectionRequest>,
    ) -> Result<Response<wire::ResumeSelectionResponse>, Status> {
        Err(Status::unimplemented("selections are not served yet"))
    }

    async fn amend_budget(
        &self,
        _: Request<wire::AmendBudgetRequest>,
    ) -> Result<Response<wire::AmendBudgetResponse>, Status> {
        Err(Status::unimplemented("selections are not served yet"))
    }

    async fn clone_selection(
        &self,
        _: Request<wire::CloneSelectionRequest>,
    ) -> Result<Response<wire::CloneSelectionResponse>, Status> {
        Err(Status::unimplemented("selections are not served yet"))
    }

    async fn list_trials(
        &self,
        _: Request<wire::ListTrialsRequest>,
    ) -> Result<Response<wire::ListTrialsResponse>, Status> {
        Err(Status::unimplemented("selections are not served yet"))
    }

    async fn list_decisions(
        &self,
        _: Request<wire::ListDecisionsRequest>,
    ) -> Result<Response<wire::ListDecisionsResponse>, Status> {
        Err(Status::unimplemented("selections are not served yet"))
    }

    async fn get_report(
        &self,
        _: Request<wire::GetReportRequest>,
    ) -> Result<Response<wire::GetReportResponse>, Status> {
        Err(Status::unimplemented("selections are not served yet"))
    }

    async fn get_certificate(
        &self,
        _: Request<wire::GetCertificateRequest>,
    ) -> Result<Response<wire::GetCertificateResponse>, Status> {
        Err(Status::unimplemented("selections are not served yet"))
    }

    async fn verify_certificate(
        &self,
        _: Request<wire::VerifyCertificateRequest>,
    ) -> Result<Response<wire::VerifyCertificateResponse>, Status> {
        Err(Status::unimplemented("selections are not served yet"))
    }

    async fn request_work(
        &self,
        _: Request<wire::RequestWorkRequest>,
    ) -> Result<Response<wire::RequestWorkResponse>, Status> {
        Err(Status::unimplemented("selections are not served yet"))
    }

    async fn report_observation(
        &self,
        _: Request<wire::ReportObservationRequest>,
    ) -> Result<Response<wire::ReportObservationResponse>, Status> {
        Err(Status::unimplemented("selections are not served yet"))
    }

    type WatchSelectionStream = futures::stream::BoxStream<'static, Result<wire::WatchSelectionResponse, Status>>;

    async fn watch_selection(
        &self,
        _: Request<wire::WatchSelectionRequest>,
    ) -> Result<Response<Self::WatchSelectionStream>, Status> {
        Err(Status::unimplemented("selections are not served yet"))
    }
}

/// The selector with a fitter over any transport: another process, or a service in this one.
pub fn app(fitter: Transport, config: &SelectorConfig, context: &Context) -> App {
    let fitter = Arc::new(FitterClient::new(fitter, context.max_message_bytes));
    let server = SelectorServiceServer::new(Service::new(fitter, config))
        .max_decoding_message_size(context.max_message_bytes)
        .max_encoding_message_size(context.max_message_bytes);
    App::new()
        .service(server)
        .descriptor_set(finepick_proto::FILE_DESCRIPTOR_SET)
}

/// What the process serves.
///
/// # Errors
/// The fitter's endpoint is no URL, or its certificates cannot be read.
#[expect(clippy::unused_async, reason = "svc_kit::run awaits what it starts")]
pub async fn assemble(config: Config, context: Context) -> Result<App, BoxError> {
    Ok(app(Transport::remote(&config.fitter)?, &config.selector, &context))
}
