//! Selections as documents: the JSON of `select`, `watch`, `selections`, `report` and `clone`.

mod report;

use std::collections::BTreeMap;

use finepick_proto::selector::v1 as selector;
use finepick_proto::types::v1 as types;
use serde::Serialize;

pub use report::{Accuracy, Crossover, Decision, Judged, RankedContender, Report, Unranked};

use super::{Interval, WarningDetail, short};

/// What was or will be spent, in every unit.
#[derive(Debug, Clone, Default, Serialize, PartialEq)]
pub struct Spending {
    /// Examples.
    pub examples: i64,
    /// Examples × weights.
    pub example_parameters: Option<f64>,
    /// Device-seconds.
    pub device_seconds: Option<f64>,
    /// Money, in units of the currency.
    pub money: Option<f64>,
    /// Three letters.
    pub currency: Option<String>,
}

impl From<&selector::Spending> for Spending {
    fn from(spending: &selector::Spending) -> Self {
        let amount = |money: &types::Money| money.units as f64 + f64::from(money.nanos) / 1e9;
        Self {
            examples: spending.examples,
            example_parameters: spending.example_parameters,
            device_seconds: spending.device_seconds,
            money: spending.money.as_ref().map(amount),
            currency: spending.money.as_ref().map(|money| money.currency_code.clone()),
        }
    }
}

/// A measured loss.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Point {
    /// Examples; 0: before tuning.
    pub data_size: i64,
    /// Nats per token.
    pub test_loss: f64,
    /// Nats per token.
    pub standard_error: Option<f64>,
}

/// Measured losses, ascending by size.
fn points(observations: &[types::Observation]) -> Vec<Point> {
    let point = |observation: &types::Observation| Point {
        data_size: observation.data_size,
        test_loss: observation.test_loss,
        standard_error: observation.standard_error,
    };
    observations.iter().map(point).collect()
}

/// The answer: which checkpoint to fine-tune, and how.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Choice {
    /// The checkpoint.
    pub candidate: String,
    /// The tuning method.
    pub method: String,
    /// Forecast (or measurement) at the full size, nats per token.
    pub predicted_loss: Option<f64>,
    /// Its interval.
    pub interval: Option<Interval>,
}

impl From<&selector::Choice> for Choice {
    fn from(choice: &selector::Choice) -> Self {
        Self {
            candidate: choice.candidate_id.clone(),
            method: choice.method_id.clone(),
            predicted_loss: choice.predicted_loss,
            interval: choice.interval.map(Interval::from),
        }
    }
}

/// A candidate with a tuning method, as it stands.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Contender {
    /// The checkpoint.
    pub candidate: String,
    /// The tuning method.
    pub method: String,
    /// `live`, `dropped`, `excluded`, `chosen`.
    pub state: String,
    /// Why it cannot run or be chosen.
    pub exclusion: Option<String>,
    /// For people.
    pub detail: String,
    /// Measured losses.
    pub observations: Vec<Point>,
    /// Runs in hand.
    pub active_runs: i32,
    /// Forecast by the last decision, nats per token.
    pub predicted_loss: Option<f64>,
    /// Number of weights.
    pub parameters: Option<i64>,
}

impl From<&selector::Contender> for Contender {
    fn from(contender: &selector::Contender) -> Self {
        Self {
            candidate: contender.candidate_id.clone(),
            method: contender.method_id.clone(),
            state: short(contender.state().as_str_name(), "CONTENDER_STATE_"),
            exclusion: named(contender.exclusion().as_str_name(), "EXCLUSION_REASON_"),
            detail: contender.detail.clone(),
            observations: points(&contender.observations),
            active_runs: contender.active_runs,
            predicted_loss: contender.predicted_loss,
            parameters: contender.parameters,
        }
    }
}

/// A selection as it stands.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Selection {
    /// Id.
    pub id: String,
    /// For people.
    pub name: String,
    /// `preparing`, `running`, `paused`, `cancelling`, `succeeded`, `budget_exhausted`, `failed`, `cancelled`.
    pub state: String,
    /// What it waits for.
    pub wait_reason: Option<String>,
    /// Why it ended without a choice.
    pub failure: Option<String>,
    /// For people.
    pub detail: String,
    /// Size of the whole data set, examples.
    pub full_size: Option<i64>,
    /// Rounds judged.
    pub rounds: i32,
    /// Limits in force.
    pub budget: Option<Spending>,
    /// Of runs that have ended.
    pub spent: Option<Spending>,
    /// For runs that have not.
    pub reserved: Option<Spending>,
    /// By losses of earlier selections.
    pub saved: Option<Spending>,
    /// The choice.
    pub choice: Option<Choice>,
    /// RFC 3339.
    pub create_time: Option<String>,
    /// RFC 3339.
    pub update_time: Option<String>,
    /// RFC 3339.
    pub end_time: Option<String>,
    /// RFC 3339.
    pub deadline: Option<String>,
    /// Newest event.
    pub last_sequence: i64,
    /// Who drives it.
    pub owner: Option<String>,
    /// The caller's marks.
    pub labels: BTreeMap<String, String>,
    /// Empty in lists.
    pub contenders: Vec<Contender>,
}

impl From<&selector::Selection> for Selection {
    fn from(selection: &selector::Selection) -> Self {
        let spec = selection.spec.as_ref();
        let spending = |spending: &Option<selector::Spending>| spending.as_ref().map(Spending::from);
        Self {
            id: selection.selection_id.clone(),
            name: spec.map(|spec| spec.display_name.clone()).unwrap_or_default(),
            state: state_word(selection.state()),
            wait_reason: named(selection.wait_reason().as_str_name(), "SELECTION_WAIT_REASON_"),
            failure: named(selection.failure().as_str_name(), "SELECTION_FAILURE_"),
            detail: selection.detail.clone(),
            full_size: selection.data_size_full,
            rounds: selection.rounds,
            budget: spending(&selection.budget),
            spent: spending(&selection.spent),
            reserved: spending(&selection.reserved),
            saved: spending(&selection.saved),
            choice: selection.choice.as_ref().map(Choice::from),
            create_time: selection.create_time.as_ref().map(ToString::to_string),
            update_time: selection.update_time.as_ref().map(ToString::to_string),
            end_time: selection.end_time.as_ref().map(ToString::to_string),
            deadline: selection.deadline.as_ref().map(ToString::to_string),
            last_sequence: selection.last_sequence,
            owner: Some(selection.owner.clone()).filter(|owner| !owner.is_empty()),
            labels: spec
                .map(|spec| spec.labels.clone().into_iter().collect())
                .unwrap_or_default(),
            contenders: selection.contenders.iter().map(Contender::from).collect(),
        }
    }
}

/// A plan before anything is spent.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Estimate {
    /// Size of the whole data set, examples.
    pub full_size: i64,
    /// Sizes of the ladder, ascending.
    pub data_sizes: Vec<i64>,
    /// What the plan spends at most.
    pub planned: Option<Spending>,
    /// The limits.
    pub budget: Option<Spending>,
    /// What trying all would cost.
    pub exhaustive: Option<Spending>,
    /// With the trainers' slots.
    pub wall_time_seconds: Option<f64>,
    /// Expected loss of the choice over that of the best, minus 1.
    pub expected_relative_regret: Option<f64>,
    /// With their exclusions.
    pub contenders: Vec<Contender>,
    /// Remarks.
    pub warnings: Vec<WarningDetail>,
}

impl From<&selector::SelectionEstimate> for Estimate {
    fn from(estimate: &selector::SelectionEstimate) -> Self {
        let spending = |spending: &Option<selector::Spending>| spending.as_ref().map(Spending::from);
        Self {
            full_size: estimate.data_size_full,
            data_sizes: estimate.data_sizes.clone(),
            planned: spending(&estimate.planned),
            budget: spending(&estimate.budget),
            exhaustive: spending(&estimate.exhaustive),
            wall_time_seconds: estimate
                .wall_time
                .as_ref()
                .map(|time| seconds(time.seconds, time.nanos)),
            expected_relative_regret: estimate.expected_relative_regret,
            contenders: estimate.contenders.iter().map(Contender::from).collect(),
            warnings: super::warnings(&estimate.warnings).1,
        }
    }
}

/// A duration's seconds.
pub(crate) fn seconds(whole: i64, nanos: i32) -> f64 {
    whole as f64 + f64::from(nanos) / 1e9
}

/// A state as it is printed.
#[must_use]
pub fn state_word(state: selector::SelectionState) -> String {
    short(state.as_str_name(), "SELECTION_STATE_")
}

/// The name of an enum value in lower case, unless it is the unspecified one.
pub(crate) fn named(name: &str, prefix: &str) -> Option<String> {
    Some(short(name, prefix)).filter(|name| name != "unspecified")
}

/// A contender's name: the candidate, with its method where there is a choice of methods.
#[must_use]
pub fn contender_name(candidate: &str, method: &str, several_methods: bool) -> String {
    if several_methods {
        format!("{candidate} · {method}")
    } else {
        candidate.to_owned()
    }
}
