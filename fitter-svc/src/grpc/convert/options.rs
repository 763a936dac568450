//! Options of fits.

use finepick_proto::fitter::v1 as pb;

use super::{Options, Violations, law, level, optional_size, sizes};
use crate::config::FitterConfig;
use crate::fit::FitOptions;
use crate::forecast::{ForecastOptions, Uncertainty};
use crate::law::LawKind;
use crate::objective::{HuberWidth, Objective};
use crate::uncertainty::DEFAULT_DRAWS;

/// Fewest bootstrap draws.
const MIN_DRAWS: i32 = 10;
/// Sizes to predict at in one fit.
const MAX_PREDICTED_SIZES: usize = 256;
/// Draws in one answer; each is some 40 bytes.
const MAX_RETURNED_DRAWS: usize = 200_000;

/// Options, or all that is wrong with them.
pub(super) fn options(
    path: &str,
    message: Option<pb::FitOptions>,
    limits: &FitterConfig,
    violations: &mut Violations,
) -> Option<Options> {
    let message = message.unwrap_or_default();
    let law = law::curve_law(&format!("{path}.law"), message.law, violations);
    let objective = objective(&format!("{path}.objective"), message.objective, violations);
    let max_data_size = optional_size(&format!("{path}.data_size_max"), message.data_size_max, violations);
    let data_sizes = sizes(
        &format!("{path}.predict_data_sizes"),
        &message.predict_data_sizes,
        MAX_PREDICTED_SIZES,
        violations,
    );
    let draws = draws(
        &format!("{path}.bootstrap_draws"),
        message.bootstrap_draws,
        limits,
        violations,
    );
    let level = level(&format!("{path}.interval_level"), message.interval_level, violations);
    let method = violations.take(
        format!("{path}.uncertainty"),
        pb::UncertaintyMethod::try_from(message.uncertainty)
            .map_err(|_| format!("{} is not a method", message.uncertainty)),
    );
    let uncertainty = match method? {
        pb::UncertaintyMethod::Unspecified | pb::UncertaintyMethod::Covariance => Uncertainty::Covariance,
        pb::UncertaintyMethod::None => Uncertainty::None,
        pb::UncertaintyMethod::Bootstrap => Uncertainty::Bootstrap {
            draws: draws?,
            seed: message.seed.unwrap_or_default(),
        },
    };
    let fit = FitOptions {
        law: law?.unwrap_or(LawKind::Rectified),
        objective: objective?,
        max_data_size: max_data_size?,
    };
    let forecast = ForecastOptions {
        fit,
        uncertainty,
        level: level?,
        data_sizes: data_sizes?,
    };
    Some(Options {
        forecast,
        return_draws: message.return_draws,
    })
}

/// An objective; absent: mean squared log residual.
pub(super) fn objective(path: &str, message: Option<pb::Objective>, violations: &mut Violations) -> Option<Objective> {
    match message.and_then(|m| m.kind) {
        None | Some(pb::objective::Kind::LogRmse(_)) => Some(Objective::LogRmse),
        Some(pb::objective::Kind::Huber(huber)) => {
            let width = huber.width.map_or(Ok(HuberWidth::default()), HuberWidth::new);
            violations
                .take(format!("{path}.huber.width"), width)
                .map(Objective::Huber)
        }
    }
}

/// A number of draws; absent: 200, or the limit where that is lower.
pub(super) fn draws(
    path: &str,
    value: Option<i32>,
    limits: &FitterConfig,
    violations: &mut Violations,
) -> Option<usize> {
    let Some(value) = value else {
        return Some(DEFAULT_DRAWS.min(limits.max_draws));
    };
    let count = usize::try_from(value).ok().filter(|_| value >= MIN_DRAWS);
    match count {
        None => violations.push(path, format!("must be at least {MIN_DRAWS}, is {value}")),
        Some(count) if count > limits.max_draws => {
            violations.limit(path, format!("is {count}, at most {} are accepted", limits.max_draws));
        }
        Some(_) => return count,
    }
    None
}

/// Checks that a request's bootstraps are affordable: `points` over all `curves`.
pub(super) fn bootstrap_work(
    path: &str,
    options: &Options,
    points: usize,
    curves: usize,
    limits: &FitterConfig,
    violations: &mut Violations,
) {
    let Uncertainty::Bootstrap { draws, .. } = options.forecast.uncertainty else {
        return;
    };
    let predicted = options.forecast.data_sizes.len().saturating_mul(curves);
    let work = draws.saturating_mul(points.saturating_add(predicted));
    if work > limits.max_bootstrap_work {
        let most = limits.max_bootstrap_work;
        violations.limit(
            path,
            format!("draws times points and sizes come to {work}, at most {most} are accepted"),
        );
    }
    let returned = draws.saturating_mul(curves);
    if options.return_draws && returned > MAX_RETURNED_DRAWS {
        violations.limit(
            path,
            format!("{returned} draws to return, at most {MAX_RETURNED_DRAWS} are"),
        );
    }
}

/// The objective back on the wire.
pub(super) fn wire_objective(objective: Objective) -> pb::Objective {
    let kind = match objective {
        Objective::LogRmse => pb::objective::Kind::LogRmse(pb::LogRmseObjective {}),
        Objective::Huber(width) => pb::objective::Kind::Huber(pb::HuberObjective {
            width: Some(width.get()),
        }),
    };
    pb::Objective { kind: Some(kind) }
}
