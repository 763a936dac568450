//! The gRPC face of the selector: requests in, domain calls on a bounded number of threads, answers and errors out.

pub mod convert;
mod fitter_client;
mod host;
mod selections;
mod watch;

use std::sync::Arc;

use finepick_proto::selector::v1 as wire;
use finepick_proto::selector::v1::selector_service_server::SelectorService;
use finepick_proto::selector::v1::{
    RankCandidatesRequest, RankCandidatesResponse, SimulateSelectionRequest, SimulateSelectionResponse,
};
use svc_kit::limits::CpuSlots;
use tonic::{Request, Response, Status};

pub use self::fitter_client::FitterClient;
pub use self::host::{Parts, app, assemble, host, open_store, trainers};
pub use self::selections::{EventStream, Selections};

use crate::config::SelectorConfig;
use crate::desk::Desk;
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
    /// Absent: there is no store.
    selections: Option<Selections>,
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
            selections: None,
        }
    }

    /// The same with durable selections; `shutdown` ends their streams.
    #[must_use]
    pub fn with_selections(self, desk: Desk, shutdown: svc_kit::shutdown::Token) -> Self {
        let selections = Selections::new(desk, self.slots.clone(), shutdown);
        Self {
            selections: Some(selections),
            ..self
        }
    }

    fn selections(&self) -> Result<&Selections, Status> {
        self.selections.as_ref().ok_or_else(host::no_store)
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
        request: Request<wire::EstimateSelectionRequest>,
    ) -> Result<Response<wire::EstimateSelectionResponse>, Status> {
        self.selections()?.estimate(request.into_inner()).await
    }

    async fn create_selection(
        &self,
        request: Request<wire::CreateSelectionRequest>,
    ) -> Result<Response<wire::CreateSelectionResponse>, Status> {
        self.selections()?.create(request.into_inner()).await
    }

    async fn get_selection(
        &self,
        request: Request<wire::GetSelectionRequest>,
    ) -> Result<Response<wire::GetSelectionResponse>, Status> {
        self.selections()?.get(request.into_inner()).await
    }

    async fn list_selections(
        &self,
        request: Request<wire::ListSelectionsRequest>,
    ) -> Result<Response<wire::ListSelectionsResponse>, Status> {
        self.selections()?.list(request.into_inner()).await
    }

    async fn delete_selection(
        &self,
        request: Request<wire::DeleteSelectionRequest>,
    ) -> Result<Response<wire::DeleteSelectionResponse>, Status> {
        self.selections()?.delete(request.into_inner()).await
    }

    async fn cancel_selection(
        &self,
        request: Request<wire::CancelSelectionRequest>,
    ) -> Result<Response<wire::CancelSelectionResponse>, Status> {
        self.selections()?.cancel(request.into_inner()).await
    }

    async fn pause_selection(
        &self,
        request: Request<wire::PauseSelectionRequest>,
    ) -> Result<Response<wire::PauseSelectionResponse>, Status> {
        self.selections()?.pause(request.into_inner()).await
    }

    async fn resume_selection(
        &self,
        request: Request<wire::ResumeSelectionRequest>,
    ) -> Result<Response<wire::ResumeSelectionResponse>, Status> {
        self.selections()?.resume(request.into_inner()).await
    }

    async fn amend_budget(
        &self,
        request: Request<wire::AmendBudgetRequest>,
    ) -> Result<Response<wire::AmendBudgetResponse>, Status> {
        self.selections()?.amend(request.into_inner()).await
    }

    async fn clone_selection(
        &self,
        request: Request<wire::CloneSelectionRequest>,
    ) -> Result<Response<wire::CloneSelectionResponse>, Status> {
        self.selections()?.what_if(request.into_inner()).await
    }

    async fn list_trials(
        &self,
        request: Request<wire::ListTrialsRequest>,
    ) -> Result<Response<wire::ListTrialsResponse>, Status> {
        self.selections()?.trials(request.into_inner()).await
    }

    async fn list_decisions(
        &self,
        request: Request<wire::ListDecisionsRequest>,
    ) -> Result<Response<wire::ListDecisionsResponse>, Status> {
        self.selections()?.decisions(request.into_inner()).await
    }

    async fn get_report(
        &self,
        request: Request<wire::GetReportRequest>,
    ) -> Result<Response<wire::GetReportResponse>, Status> {
        self.selections()?.report(request.into_inner()).await
    }

    async fn get_certificate(
        &self,
        request: Request<wire::GetCertificateRequest>,
    ) -> Result<Response<wire::GetCertificateResponse>, Status> {
        self.selections()?.certificate(request.into_inner()).await
    }

    async fn verify_certificate(
        &self,
        request: Request<wire::VerifyCertificateRequest>,
    ) -> Result<Response<wire::VerifyCertificateResponse>, Status> {
        let (json, digest) = convert::selection::verify_request(request.into_inner())?;
        let found = self.slots.run(move || Desk::verify(&json, &digest)).await?;
        Ok(Response::new(convert::selection::verification(found)))
    }

    async fn request_work(
        &self,
        request: Request<wire::RequestWorkRequest>,
    ) -> Result<Response<wire::RequestWorkResponse>, Status> {
        self.selections()?.request_work(request.into_inner()).await
    }

    async fn report_observation(
        &self,
        request: Request<wire::ReportObservationRequest>,
    ) -> Result<Response<wire::ReportObservationResponse>, Status> {
        self.selections()?.report_observation(request.into_inner()).await
    }

    type WatchSelectionStream = EventStream;

    async fn watch_selection(
        &self,
        request: Request<wire::WatchSelectionRequest>,
    ) -> Result<Response<Self::WatchSelectionStream>, Status> {
        self.selections()?.watch(request.into_inner()).await
    }
}
