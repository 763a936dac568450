//! Requests about curves.

use finepick_proto::fitter::v1 as pb;
use tonic::Status;

use super::options::{bootstrap_work, draws, options};
use super::{NamedCurve, Options, Violations, curve, law, level, optional_size, positive_size, sizes};
use crate::config::FitterConfig;
use crate::crossover::CrossoverOptions;
use crate::curve::LearningCurve;
use crate::law::LawKind;
use crate::suggest::SuggestOptions;

/// Held-out points at most.
const MAX_HOLDOUT: i32 = 100;
/// Allowed sizes of a suggestion.
const MAX_ALLOWED_SIZES: usize = 256;

/// `FitCurve`.
#[derive(Debug, Clone, PartialEq)]
pub struct FitRequest {
    /// The curve.
    pub curve: NamedCurve,
    /// The options.
    pub options: Options,
}

/// `BatchFitCurves`.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchRequest {
    /// Names, as many as curves.
    pub candidates: Vec<String>,
    /// The curves.
    pub curves: Vec<LearningCurve>,
    /// For all curves.
    pub options: Options,
}

/// `CompareLaws`.
#[derive(Debug, Clone, PartialEq)]
pub struct CompareRequest {
    /// The curve.
    pub curve: NamedCurve,
    /// Which laws, each once, at least one.
    pub laws: Vec<LawKind>,
    /// For every law.
    pub options: Options,
    /// Held-out points.
    pub holdout: Option<usize>,
}

/// `FindCrossover`.
#[derive(Debug, Clone, PartialEq)]
pub struct CrossoverRequest {
    /// One curve.
    pub first: NamedCurve,
    /// The other, of another name.
    pub second: NamedCurve,
    /// The search.
    pub options: CrossoverOptions,
}

/// Checks a `FitCurveRequest`.
///
/// # Errors
/// `INVALID_ARGUMENT` with every wrong field; so for all functions here.
pub fn fit_curve_request(request: pb::FitCurveRequest, limits: &FitterConfig) -> Result<FitRequest, Status> {
    let mut violations = Violations::default();
    let curve = curve::required("curve", request.curve, limits.max_points, &mut violations);
    let options = options("options", request.options, limits, &mut violations);
    let request = curve.zip(options).map(|(curve, options)| FitRequest { curve, options });
    if let Some(FitRequest { curve, options }) = &request {
        let points = curve.curve.observations().len();
        bootstrap_work("options.bootstrap_draws", options, points, 1, limits, &mut violations);
    }
    violations.settle(request)
}

/// Checks a `BatchFitCurvesRequest`.
///
/// # Errors
/// As [`fit_curve_request`].
pub fn batch_fit_curves_request(
    request: pb::BatchFitCurvesRequest,
    limits: &FitterConfig,
) -> Result<BatchRequest, Status> {
    let mut violations = Violations::default();
    let options = options("options", request.options, limits, &mut violations);
    let mut candidates = Vec::new();
    let mut curves = Vec::new();
    if request.curves.is_empty() {
        violations.push("curves", "must hold at least one curve");
    }
    if violations.within("curves", request.curves.len(), limits.max_curves) {
        for (index, message) in request.curves.into_iter().enumerate() {
            let path = format!("curves[{index}]");
            if let Some(named) = curve::curve(&path, message, limits.max_points, &mut violations) {
                candidates.push(named.candidate);
                curves.push(named.curve);
            }
        }
    }
    if let Some(options) = &options {
        let points = curves.iter().map(|c| c.observations().len()).sum();
        bootstrap_work(
            "options.bootstrap_draws",
            options,
            points,
            curves.len(),
            limits,
            &mut violations,
        );
    }
    violations.settle(options.map(|options| BatchRequest {
        candidates,
        curves,
        options,
    }))
}

/// Checks a `CompareLawsRequest`.
///
/// # Errors
/// As [`fit_curve_request`].
pub fn compare_laws_request(request: pb::CompareLawsRequest, limits: &FitterConfig) -> Result<CompareRequest, Status> {
    let mut violations = Violations::default();
    let curve = curve::required("curve", request.curve, limits.max_points, &mut violations);
    let laws = laws(&request.laws, &mut violations);
    // The law of the options is ignored, whatever it is.
    let message = request.options.map(|options| pb::FitOptions {
        law: pb::Law::Unspecified.into(),
        ..options
    });
    let options = options("options", message, limits, &mut violations);
    let holdout = match request.holdout_points {
        None => Some(None),
        Some(count) if (0..=MAX_HOLDOUT).contains(&count) => usize::try_from(count).ok().map(Some),
        Some(count) => {
            violations.push(
                "holdout_points",
                format!("must be within 0 .. {MAX_HOLDOUT}, is {count}"),
            );
            None
        }
    };
    let request = curve
        .zip(laws)
        .zip(options.zip(holdout))
        .map(|((curve, laws), (options, holdout))| CompareRequest {
            curve,
            laws,
            options,
            holdout,
        });
    if let Some(CompareRequest {
        curve, laws, options, ..
    }) = &request
    {
        let points = curve.curve.observations().len() * laws.len();
        bootstrap_work(
            "options.bootstrap_draws",
            options,
            points,
            laws.len(),
            limits,
            &mut violations,
        );
    }
    violations.settle(request)
}

fn laws(numbers: &[i32], violations: &mut Violations) -> Option<Vec<LawKind>> {
    if numbers.is_empty() {
        return Some(LawKind::ALL.to_vec());
    }
    if !violations.within("laws", numbers.len(), LawKind::ALL.len()) {
        return None;
    }
    let mut laws = Vec::with_capacity(numbers.len());
    let mut fine = true;
    for (index, &number) in numbers.iter().enumerate() {
        let path = format!("laws[{index}]");
        match law::curve_law(&path, number, violations) {
            Some(Some(kind)) if laws.contains(&kind) => {
                violations.push(path, "occurs twice");
                fine = false;
            }
            Some(Some(kind)) => laws.push(kind),
            Some(None) => {
                violations.push(path, "must be specified");
                fine = false;
            }
            None => fine = false,
        }
    }
    fine.then_some(laws)
}

/// Checks a `FindCrossoverRequest`.
///
/// # Errors
/// As [`fit_curve_request`].
pub fn find_crossover_request(
    request: pb::FindCrossoverRequest,
    limits: &FitterConfig,
) -> Result<CrossoverRequest, Status> {
    let mut violations = Violations::default();
    let first = curve::required("first", request.first, limits.max_points, &mut violations);
    let second = curve::required("second", request.second, limits.max_points, &mut violations);
    if let (Some(first), Some(second)) = (&first, &second) {
        for (path, named) in [("first.candidate", first), ("second.candidate", second)] {
            if named.candidate.is_empty() {
                violations.push(path, "is required: the answer names the better candidate");
            }
        }
        if first.candidate == second.candidate && !first.candidate.is_empty() {
            violations.push("second.candidate", "must differ from first.candidate");
        }
    }
    let data_size_min = optional_size("data_size_min", request.data_size_min, &mut violations);
    let data_size_max = optional_size("data_size_max", request.data_size_max, &mut violations);
    if let (Some(Some(min)), Some(Some(max))) = (data_size_min, data_size_max)
        && min >= max
    {
        violations.push("data_size_max", format!("must be above data_size_min, {min}, is {max}"));
    }
    let draws = draws("bootstrap_draws", request.bootstrap_draws, limits, &mut violations);
    let level = level("interval_level", request.interval_level, &mut violations);
    if let (Some(first), Some(second), Some(draws)) = (&first, &second, draws) {
        let points = first.curve.observations().len() + second.curve.observations().len();
        let (work, most) = (draws.saturating_mul(points), limits.max_bootstrap_work);
        if work > most {
            violations.limit(
                "bootstrap_draws",
                format!("draws times points come to {work}, at most {most} are accepted"),
            );
        }
    }
    let seed = request.seed.unwrap_or_default();
    let ranges = data_size_min.zip(data_size_max);
    let options = ranges
        .zip(draws.zip(level))
        .map(|((data_size_min, data_size_max), (draws, level))| CrossoverOptions {
            data_size_min,
            data_size_max,
            draws,
            level,
            seed,
        });
    let request = first
        .zip(second)
        .zip(options)
        .map(|((first, second), options)| CrossoverRequest { first, second, options });
    violations.settle(request)
}

/// Checks a `SuggestNextSizeRequest`.
///
/// # Errors
/// As [`fit_curve_request`].
pub fn suggest_next_size_request(
    request: pb::SuggestNextSizeRequest,
    limits: &FitterConfig,
) -> Result<(LearningCurve, SuggestOptions), Status> {
    let mut violations = Violations::default();
    let curve = curve::required("curve", request.curve, limits.max_points, &mut violations);
    let full = positive_size("data_size_full", request.data_size_full, &mut violations);
    let allowed = sizes(
        "allowed_data_sizes",
        &request.allowed_data_sizes,
        MAX_ALLOWED_SIZES,
        &mut violations,
    );
    let max = optional_size("data_size_max", request.data_size_max, &mut violations);
    let options = full
        .zip(allowed)
        .zip(max)
        .map(|((data_size_full, allowed), data_size_max)| SuggestOptions {
            data_size_full,
            allowed,
            data_size_max,
            seed: 0,
        });
    violations.settle(curve.map(|named| named.curve).zip(options))
}
