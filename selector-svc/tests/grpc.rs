//! The service as clients see it: answers, refusals with details, and a fitter that is there, slow in the head, or gone.
#![allow(clippy::unwrap_used, reason = "helpers of tests stop a test as its own lines do")]

use std::sync::Arc;

use finepick_proto::fitter::v1 as fitter;
use finepick_proto::fitter::v1::fitter_service_server::{FitterService, FitterServiceServer};
use finepick_proto::selector::v1 as wire;
use finepick_proto::selector::v1::selector_service_client::SelectorServiceClient;
use finepick_proto::types::v1 as types;
use selector_svc::config::SelectorConfig;
use selector_svc::grpc::app;
use svc_kit::client::Transport;
use svc_kit::config::{EndpointConfig, ServerConfig};
use svc_kit::server::{App, Context};
use svc_kit::shutdown::Token;
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt;

type Client = SelectorServiceClient<Transport>;

fn local(app: App) -> Transport {
    let config = ServerConfig::on_port(0);
    Transport::local(app.into_local(&config, &Context::new(&config, Token::new())).unwrap())
}

fn client(fitter: Transport) -> Client {
    let context = Context::new(&ServerConfig::on_port(0), Token::new());
    SelectorServiceClient::new(local(app(fitter, &SelectorConfig::default(), &context)))
}

/// Nobody listens on port 1.
fn nobody() -> Transport {
    Transport::remote(&EndpointConfig::to("http://127.0.0.1:1")).unwrap()
}

/// L(D) = scale · D^(−slope), measured at 0, 100, 200, … so many sizes.
fn curve(name: &str, scale: f64, slope: f64, sizes: u32) -> wire::CandidateCurve {
    let point = |data_size: i64| {
        let test_loss = scale * (data_size.max(1) as f64).powf(-slope);
        types::Observation {
            data_size,
            test_loss,
            standard_error: None,
            weight: None,
        }
    };
    let mut observations = vec![point(0)];
    observations.extend((0..sizes).map(|i| point(100 << i)));
    let candidate = types::Candidate {
        candidate_id: name.to_owned(),
        family: name.to_uppercase(),
        parameters: Some(1_000_000),
        ..types::Candidate::default()
    };
    wire::CandidateCurve {
        candidate: Some(candidate),
        observations,
    }
}

fn pool(sizes: u32) -> Vec<wire::CandidateCurve> {
    vec![
        curve("flat", 3.0, 0.02, sizes),
        curve("steep", 4.0, 0.12, sizes),
        curve("middling", 3.5, 0.06, sizes),
    ]
}

fn rank_request(kind: Option<wire::ranking_policy::Kind>) -> wire::RankCandidatesRequest {
    wire::RankCandidatesRequest {
        candidates: pool(8),
        data_size_budget: 1600,
        data_size_full: 12_800,
        policy: Some(wire::RankingPolicy { kind }),
        ..wire::RankCandidatesRequest::default()
    }
}

#[tokio::test]
async fn candidates_are_ranked_with_everything_that_explains_it() {
    let mut message = rank_request(None);
    message.forecast_data_sizes = vec![3200];
    message.constraints = Some(wire::Constraints {
        exclude_families: vec!["FLAT".to_owned()],
        ..wire::Constraints::default()
    });
    let answer = client(nobody()).rank_candidates(message).await.unwrap().into_inner();
    let names: Vec<&str> = answer.candidates.iter().map(|c| c.candidate_id.as_str()).collect();
    assert_eq!(names, ["steep", "middling"]);
    assert_eq!(answer.excluded[0].candidate_id, "flat");
    assert_eq!(answer.excluded[0].reason(), wire::ExclusionReason::Family);
    let best = &answer.candidates[0];
    let truth = 4.0 * 12_800_f64.powf(-0.12);
    assert!((best.predicted_loss.unwrap() - truth).abs() < 1e-9);
    assert!((best.true_loss.unwrap() - truth).abs() < 1e-12);
    let interval = best.interval.as_ref().unwrap();
    assert!(interval.lower < truth && truth < interval.upper && (interval.level - 0.9).abs() < 1e-12);
    assert_eq!(best.forecasts[0].data_size, 3200);
    assert!((best.line.unwrap().slope + 0.12).abs() < 1e-9);
    assert_ne!(best.stop.unwrap().reason(), wire::StopReason::Unspecified);
    assert!(best.win_share.unwrap() > 0.9);
    let metrics = answer.metrics.unwrap();
    assert_eq!((metrics.relative_accuracy, metrics.candidates), (Some(1.0), 2));
    assert_eq!(metrics.best_candidate_id, "steep");
    assert_eq!(answer.cost.unwrap().examples, 2 * (100 + 200 + 400 + 800 + 1600));
}

#[tokio::test]
async fn replays_answer_with_their_rungs() {
    let message = wire::SimulateSelectionRequest {
        candidates: pool(8),
        data_size_full: 12_800,
        budget: Some(wire::simulate_selection_request::Budget::BudgetExamples(30_000)),
        ..wire::SimulateSelectionRequest::default()
    };
    let answer = client(nobody()).simulate_selection(message).await.unwrap().into_inner();
    assert_eq!(answer.chosen, "steep");
    assert!(answer.spent_examples <= 30_000 && answer.spent_examples > 0);
    assert_eq!(answer.rungs[0].candidates, 3);
    assert_eq!(answer.rungs.last().unwrap().leader, "steep");
    assert_eq!(answer.candidates.len(), 3);
}

#[tokio::test]
async fn refusals_carry_the_details_of_the_contract() {
    let mut client = client(nobody());
    let mut message = rank_request(None);
    message.candidates[1].observations[2].test_loss = -1.0;
    let status = client.rank_candidates(message).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let details = status.get_error_details();
    assert_eq!(
        details.bad_request().unwrap().field_violations[0].field,
        "candidates[1].observations[2].test_loss"
    );
    assert_eq!(details.error_info().unwrap().reason, "INVALID_FIELD");

    let mut message = rank_request(None);
    message.data_size_budget = 50;
    let status = client.rank_candidates(message).await.unwrap_err();
    assert_eq!(
        status.get_error_details().bad_request().unwrap().field_violations[0].field,
        "data_size_budget"
    );

    let mut message = rank_request(None);
    message.constraints = Some(wire::Constraints {
        max_parameters: Some(1),
        ..wire::Constraints::default()
    });
    let status = client.rank_candidates(message).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "NO_ELIGIBLE_CANDIDATE");
    assert_eq!(details.precondition_failure().unwrap().violations.len(), 3);

    let simulate = |budget, candidates| wire::SimulateSelectionRequest {
        candidates,
        data_size_full: 12_800,
        budget: Some(wire::simulate_selection_request::Budget::BudgetExamples(budget)),
        ..wire::SimulateSelectionRequest::default()
    };
    let status = client.simulate_selection(simulate(10, pool(8))).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.get_error_details().quota_failure().is_some());

    let status = client
        .simulate_selection(simulate(1_000_000, pool(3)))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(
        status.get_error_details().error_info().unwrap().reason,
        "MISSING_OBSERVATION"
    );
    assert!(status.message().contains("flat"), "{}", status.message());
}

fn rectified() -> wire::ranking_policy::Kind {
    wire::ranking_policy::Kind::RectifiedFit(wire::LawFitPolicy::default())
}

#[tokio::test]
async fn without_a_fitter_only_the_policies_that_need_one_are_unavailable() {
    let mut client = client(nobody());
    let status = client
        .rank_candidates(rank_request(Some(rectified())))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "BACKEND_UNAVAILABLE");
    assert!(details.retry_info().unwrap().retry_delay.is_some());
    assert!(client.rank_candidates(rank_request(None)).await.is_ok());
}

/// Answers every curve with a fixed loss, "flat" with no fit at all.
struct FakeFitter;

fn not_needed<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not needed here"))
}

#[tonic::async_trait]
impl FitterService for FakeFitter {
    async fn batch_fit_curves(
        &self,
        request: Request<fitter::BatchFitCurvesRequest>,
    ) -> Result<Response<fitter::BatchFitCurvesResponse>, Status> {
        let request = request.into_inner();
        let sizes = request.options.unwrap().predict_data_sizes;
        let fit = |curve: types::LearningCurve| {
            assert!(
                curve
                    .observations
                    .iter()
                    .all(|point| (1..=1600).contains(&point.data_size))
            );
            let mut fit = fitter::CurveFit {
                candidate: curve.candidate,
                ..fitter::CurveFit::default()
            };
            if fit.candidate == "flat" {
                fit.set_verdict(fitter::Verdict::TooFewPoints);
                return fit;
            }
            fit.set_verdict(fitter::Verdict::Ok);
            let predicted_loss = if fit.candidate == "steep" { 2.5 } else { 1.5 };
            let interval = Some(types::Interval {
                lower: 1.0,
                upper: 3.0,
                level: 0.9,
            });
            let prediction = |size: &i64| types::Prediction {
                data_size: *size,
                predicted_loss,
                interval,
            };
            fit.predictions = sizes.iter().map(prediction).collect();
            let code = types::WarningCode::FloorAtData.into();
            fit.warnings.push(types::Warning {
                code,
                detail: "floor".to_owned(),
            });
            fit
        };
        let fits = request.curves.into_iter().map(fit).collect();
        Ok(Response::new(fitter::BatchFitCurvesResponse { fits }))
    }

    async fn fit_curve(
        &self,
        _: Request<fitter::FitCurveRequest>,
    ) -> Result<Response<fitter::FitCurveResponse>, Status> {
        not_needed()
    }

    async fn predict_loss(
        &self,
        _: Request<fitter::PredictLossRequest>,
    ) -> Result<Response<fitter::PredictLossResponse>, Status> {
        not_needed()
    }

    async fn compare_laws(
        &self,
        _: Request<fitter::CompareLawsRequest>,
    ) -> Result<Response<fitter::CompareLawsResponse>, Status> {
        not_needed()
    }

    async fn find_crossover(
        &self,
        _: Request<fitter::FindCrossoverRequest>,
    ) -> Result<Response<fitter::FindCrossoverResponse>, Status> {
        not_needed()
    }

    async fn suggest_next_size(
        &self,
        _: Request<fitter::SuggestNextSizeRequest>,
    ) -> Result<Response<fitter::SuggestNextSizeResponse>, Status> {
        not_needed()
    }

    async fn fit_joint_law(
        &self,
        _: Request<fitter::FitJointLawRequest>,
    ) -> Result<Response<fitter::FitJointLawResponse>, Status> {
        not_needed()
    }

    async fn list_laws(
        &self,
        _: Request<fitter::ListLawsRequest>,
    ) -> Result<Response<fitter::ListLawsResponse>, Status> {
        not_needed()
    }
}

#[tokio::test]
async fn fitted_laws_come_from_the_fitter() {
    let fitter = local(App::new().service(FitterServiceServer::from_arc(Arc::new(FakeFitter))));
    let mut client = client(fitter);
    let mut message = rank_request(Some(rectified()));
    message.forecast_data_sizes = vec![3200];
    let answer = client.rank_candidates(message).await.unwrap().into_inner();
    let names: Vec<&str> = answer.candidates.iter().map(|c| c.candidate_id.as_str()).collect();
    assert_eq!(names, ["middling", "steep"]);
    assert_eq!(answer.candidates[0].forecasts[0].data_size, 3200);
    assert!(answer.candidates[0].interval.is_some());
    assert!(
        answer.candidates[0]
            .warnings
            .iter()
            .any(|w| w.code() == types::WarningCode::FloorAtData)
    );
    assert_eq!(answer.excluded[0].reason(), wire::ExclusionReason::FitFailed);
    assert!(answer.excluded[0].detail.contains("TOO_FEW_POINTS"));

    let flat = wire::FlatPolicy {
        ranking: Some(wire::RankingPolicy {
            kind: Some(rectified()),
        }),
    };
    let message = wire::SimulateSelectionRequest {
        candidates: pool(8),
        data_size_full: 12_800,
        budget: Some(wire::simulate_selection_request::Budget::BudgetExamples(3 * 3100)),
        policy: Some(wire::SelectionPolicy {
            kind: Some(wire::selection_policy::Kind::Flat(flat)),
        }),
        ..wire::SimulateSelectionRequest::default()
    };
    let answer = client.simulate_selection(message).await.unwrap().into_inner();
    assert_eq!(answer.chosen, "middling");
    assert_eq!(answer.spent_examples, 3 * 3100);
}

#[tokio::test]
async fn the_answer_is_the_same_however_often_it_is_asked() {
    let kind = Some(wire::ranking_policy::Kind::LocalTrend(wire::LocalTrendPolicy::default()));
    let mut client = client(nobody());
    let first = client.rank_candidates(rank_request(kind)).await.unwrap().into_inner();
    let second = client.rank_candidates(rank_request(kind)).await.unwrap().into_inner();
    assert_eq!(first, second);
}
