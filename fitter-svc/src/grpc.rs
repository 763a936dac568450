//! The gRPC face of the fitter: requests in, domain calls on a bounded number of threads, answers and errors out.

pub mod convert;

use std::sync::Arc;

use finepick_proto::fitter::v1::fitter_service_server::{FitterService, FitterServiceServer};
use finepick_proto::fitter::v1::{
    BatchFitCurvesRequest, BatchFitCurvesResponse, CompareLawsRequest, CompareLawsResponse, FindCrossoverRequest,
    FindCrossoverResponse, FitCurveRequest, FitCurveResponse, FitJointLawRequest, FitJointLawResponse, ListLawsRequest,
    ListLawsResponse, PredictLossRequest, PredictLossResponse, SuggestNextSizeRequest, SuggestNextSizeResponse,
};
use svc_kit::BoxError;
use svc_kit::limits::CpuSlots;
use svc_kit::server::{App, Context};
use tonic::{Request, Response, Status};

use crate::config::{Config, FitterConfig};
use crate::fit::{Fitter, fit_joint};
use crate::forecast::{extend, forecast, forecast_batch};
use crate::{compare, crossover, suggest};

/// `finepick.fitter.v1.FitterService`.
#[derive(Clone, Debug)]
pub struct Service {
    limits: Arc<FitterConfig>,
    /// Requests being computed: the work is pure CPU and must not crowd out the runtime.
    slots: CpuSlots,
}

impl Service {
    /// A service with these limits.
    #[must_use]
    pub fn new(limits: &FitterConfig) -> Self {
        Self {
            limits: Arc::new(limits.clone()),
            slots: CpuSlots::new(limits.slots()),
        }
    }
}

#[tonic::async_trait]
impl FitterService for Service {
    async fn fit_curve(&self, request: Request<FitCurveRequest>) -> Result<Response<FitCurveResponse>, Status> {
        let request = convert::fit_curve_request(request.into_inner(), &self.limits)?;
        let answer = self.slots.run(move || {
            let found = forecast(&mut Fitter::default(), &request.curve.curve, &request.options.forecast);
            convert::fit_curve_response(&request, &found)
        });
        answer.await.map(Response::new)
    }

    async fn batch_fit_curves(
        &self,
        request: Request<BatchFitCurvesRequest>,
    ) -> Result<Response<BatchFitCurvesResponse>, Status> {
        let request = convert::batch_fit_curves_request(request.into_inner(), &self.limits)?;
        let answer = self.slots.run(move || {
            let found = forecast_batch(&request.curves, &request.options.forecast);
            convert::batch_fit_curves_response(&request, &found)
        });
        answer.await.map(Response::new)
    }

    async fn predict_loss(
        &self,
        request: Request<PredictLossRequest>,
    ) -> Result<Response<PredictLossResponse>, Status> {
        let request = convert::predict_loss_request(request.into_inner(), &self.limits)?;
        self.slots
            .run(move || convert::predict_loss_response(&request))
            .await
            .map(Response::new)
    }

    async fn compare_laws(
        &self,
        request: Request<CompareLawsRequest>,
    ) -> Result<Response<CompareLawsResponse>, Status> {
        let request = convert::compare_laws_request(request.into_inner(), &self.limits)?;
        let answer = self.slots.run(move || {
            let options = &request.options.forecast;
            let found = compare::compare(&request.curve.curve, &request.laws, &options.fit, request.holdout)?;
            let mut fitter = Fitter::default();
            let mut complete =
                |law: &compare::LawComparison| extend(&mut fitter, &request.curve.curve, law.report.clone(), options);
            let forecasts: Vec<_> = found.laws.iter().map(&mut complete).collect();
            Ok(convert::compare_laws_response(&request, &found, &forecasts))
        });
        answer
            .await?
            .map(Response::new)
            .map_err(|error| convert::fit_error("laws", error))
    }

    async fn find_crossover(
        &self,
        request: Request<FindCrossoverRequest>,
    ) -> Result<Response<FindCrossoverResponse>, Status> {
        let request = convert::find_crossover_request(request.into_inner(), &self.limits)?;
        let answer = self.slots.run(move || {
            crossover::find_crossover(&request.first.curve, &request.second.curve, &request.options)
                .map(|found| convert::find_crossover_response(&request, &found))
        });
        answer
            .await?
            .map(Response::new)
            .map_err(|error| convert::fit_error("data_size_max", error))
    }

    async fn suggest_next_size(
        &self,
        request: Request<SuggestNextSizeRequest>,
    ) -> Result<Response<SuggestNextSizeResponse>, Status> {
        let (curve, options) = convert::suggest_next_size_request(request.into_inner(), &self.limits)?;
        let answer = self
            .slots
            .run(move || suggest::suggest_next_size(&curve, &options))
            .await?;
        answer
            .map(|found| Response::new(convert::suggest_next_size_response(&found)))
            .map_err(|error| convert::fit_error("allowed_data_sizes", error))
    }

    async fn fit_joint_law(
        &self,
        request: Request<FitJointLawRequest>,
    ) -> Result<Response<FitJointLawResponse>, Status> {
        let request = convert::fit_joint_law_request(request.into_inner(), &self.limits)?;
        let answer = self.slots.run(move || {
            let found = fit_joint(&request.panel, &request.options);
            convert::fit_joint_law_response(&request, &found)
        });
        answer.await.map(Response::new)
    }

    async fn list_laws(&self, request: Request<ListLawsRequest>) -> Result<Response<ListLawsResponse>, Status> {
        convert::list_laws(&request.into_inner()).map(Response::new)
    }
}

/// The fitter as a service of a process.
pub fn app(config: &FitterConfig, context: &Context) -> App {
    let server = FitterServiceServer::new(Service::new(config))
        .max_decoding_message_size(context.max_message_bytes)
        .max_encoding_message_size(context.max_message_bytes);
    App::new()
        .service(server)
        .descriptor_set(finepick_proto::FILE_DESCRIPTOR_SET)
}

/// What the process serves.
///
/// # Errors
/// None; the signature is the one that `svc_kit::run` asks for.
#[expect(clippy::unused_async, reason = "svc_kit::run awaits what it starts")]
pub async fn assemble(config: Config, context: Context) -> Result<App, BoxError> {
    Ok(app(&config.fitter, &context))
}

#[cfg(test)]
mod tests;
