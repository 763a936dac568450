//! What came of a selection, or what is known so far: choice, ranking, costs, how good the estimate was, what to beware of.
//!
//! A report is computed from the state alone: the policy is rebuilt from the recorded losses and asked for its forecasts, so a
//! report needs neither trainers nor the fitter, and reading it twice gives the same.

use crate::crossover::Crossover;
use crate::curve::{DataSize, Observation};
use crate::diagnostics::Warning;
use crate::policy::{Exclusion, Interval};
use crate::selection::{DecisionRecord, Millis, Phase, Prepared, Spending, State};

mod build;
mod ranked;
mod remarks;

/// A contender by its position in the spec and by its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Position in the spec.
    pub contender: usize,
    /// Id of the candidate.
    pub candidate: String,
    /// Id of the method.
    pub method: String,
}

impl Named {
    /// The contender at this position; names are empty where there is none.
    #[must_use]
    pub fn of(state: &State, contender: usize) -> Self {
        let (candidate, method) = state
            .spec
            .contender(contender)
            .map_or_else(Default::default, |(candidate, method)| {
                (candidate.id.clone(), method.id.clone())
            });
        Self {
            contender,
            candidate,
            method,
        }
    }
}

/// Which checkpoint to fine-tune, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportedChoice {
    /// Who.
    pub named: Named,
    /// Forecast (or measurement) of its loss at the full size, nats per token. Absent: its policy forecasts none.
    pub predicted_loss: Option<f64>,
    /// Where the loss is expected. Absent: the policy gives none.
    pub interval: Option<Interval>,
}

/// A contender in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportedContender {
    /// Who.
    pub named: Named,
    /// 1 is the best: by the last decision, then the eliminated, the latest first; those not judged yet at the end.
    pub rank: usize,
    /// Forecast (or measurement) of the loss at the full size, nats per token; absent: its policy forecasts none.
    pub predicted_loss: Option<f64>,
    /// Standard deviation of the logarithm of the forecast, as ranked with; absent: the policy has none.
    pub log_sd: Option<f64>,
    /// Absent: the policy gives none.
    pub interval: Option<Interval>,
    /// Share of simulations that it wins; not a calibrated probability. Absent: no predictive distribution.
    pub win_share: Option<f64>,
    /// Its measured losses, ascending by size.
    pub observations: Vec<Observation>,
    /// Round after which it was dropped, from 1; absent: kept to the end.
    pub dropped_after_round: Option<usize>,
    /// Why it has this place.
    pub reason: String,
    /// What its runs cost, failed ones included.
    pub spent: Spending,
    /// Remarks.
    pub warnings: Vec<Warning>,
}

/// A contender without a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnrankedContender {
    /// Who.
    pub named: Named,
    /// The rule with its numbers.
    pub exclusion: Exclusion,
}

/// A decision with its circumstances.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportedDecision {
    /// From 1.
    pub round: usize,
    /// What was decided.
    pub record: DecisionRecord,
    /// Spent when it was made.
    pub spent: Spending,
    /// When.
    pub at: Millis,
}

/// How far the estimate was off: actual / estimated, > 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EstimateAccuracy {
    /// Of the examples; absent: nothing was spent.
    pub examples: Option<f64>,
    /// Of the device-seconds; absent: not estimated, or not measured.
    pub device_seconds: Option<f64>,
    /// Of the time from the first attempt's beginning to the end; absent: not estimated.
    pub wall_time: Option<f64>,
}

/// What choosing by history alone would have given.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportedHistory {
    /// Its choice.
    pub chosen: Named,
    /// Rank correlation of history and first forecasts; absent where undefined.
    pub rank_correlation: Option<f64>,
    /// Whether the guard let history take part.
    pub used: bool,
}

/// The whole report.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Whose.
    pub selection: String,
    /// Where it is in its life.
    pub phase: Phase,
    /// A caller has paused it.
    pub paused: bool,
    /// Absent: none yet, or none at all.
    pub choice: Option<ReportedChoice>,
    /// Size of the whole data set; absent: not known yet.
    pub data_size_full: Option<DataSize>,
    /// Name of the policy.
    pub policy: &'static str,
    /// Best first; of a running selection those that were observed so far.
    pub contenders: Vec<ReportedContender>,
    /// Those that could not run or may not be chosen.
    pub excluded: Vec<UnrankedContender>,
    /// All of them, in order.
    pub decisions: Vec<ReportedDecision>,
    /// Settled.
    pub spent: Spending,
    /// Not spent thanks to losses of earlier selections.
    pub saved: Spending,
    /// What all contenders at the full size would have cost.
    pub exhaustive: Spending,
    /// Spent examples / exhaustive examples; 0 while the latter is unknown.
    pub spent_share: f64,
    /// What was estimated before the first run; absent: preparation has not ended.
    pub estimate: Option<Prepared>,
    /// How far it was off; absent: the selection has not ended, or was never prepared.
    pub accuracy: Option<EstimateAccuracy>,
    /// Only with more than one method.
    pub crossovers: Vec<Crossover>,
    /// Only with a warm start.
    pub history_alone: Option<ReportedHistory>,
    /// Remarks on the whole.
    pub warnings: Vec<Warning>,
    /// From creation to the end, or to now; milliseconds, ≥ 0.
    pub elapsed: Millis,
    /// Attempts that ended without a loss, retries included; those that we ended are not counted.
    pub failed_attempts: u32,
}

impl Report {
    /// The report of a selection as it stands. `now` is read only while it has not ended.
    #[must_use]
    pub fn of(id: &str, state: &State, now: Millis) -> Self {
        build::report(id, state, now)
    }
}

#[cfg(test)]
mod tests;
