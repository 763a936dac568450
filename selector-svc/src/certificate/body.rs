//! What a certificate says, and the state of a selection that it describes.

use serde::{Deserialize, Serialize};

use super::FORMAT;
use crate::curve::{DataSize, Observation};
use crate::policy::fitted::FittedForecasts;
use crate::policy::{Exclusion, Interval};
use crate::report::{Report, ReportedContender};
use crate::selection::state::{Amendment, AttemptEnded};
use crate::selection::{
    Attempt, BudgetSpec, DecisionRecord, Ending, Limits, Outcome, Phase, Prepared, Round, SelectionSpec, Spending,
    State, Trial, TrialStatus, Wait,
};

/// Everything, in the names of the format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Body {
    /// [`FORMAT`].
    pub(super) format: u32,
    /// Version of finepick that wrote it.
    pub(super) finepick: String,
    pub(super) selection_id: String,
    pub(super) spec: SelectionSpec,
    pub(super) prepared: Prepared,
    /// In force at the end.
    pub(super) limits: Limits,
    pub(super) amendments: Vec<AmendmentRecord>,
    pub(super) rounds: Vec<RoundRecord>,
    pub(super) withdrawn: Vec<WithdrawnRecord>,
    pub(super) spent: Spending,
    pub(super) wasted: Spending,
    pub(super) saved: Spending,
    pub(super) ending: Ending,
    pub(super) ranking: Vec<RankedRecord>,
    pub(super) choice: ChoiceRecord,
    pub(super) seal: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct AmendmentRecord {
    pub(super) after_rounds: usize,
    pub(super) opened: usize,
    pub(super) plan_examples: u64,
    /// What the plan follows from.
    pub(super) change: ChangeRecord,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ChangeRecord {
    pub(super) before: BudgetSpec,
    pub(super) after: BudgetSpec,
    pub(super) limits: Limits,
    /// Spent or set aside when it came.
    pub(super) taken_examples: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RoundRecord {
    pub(super) trials: Vec<TrialRecord>,
    pub(super) fitted: Option<FittedForecasts>,
    /// Absent: the selection ended before it was judged.
    pub(super) decision: Option<DecisionRecord>,
    /// Spent in all when it was judged.
    pub(super) spent: Spending,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct TrialRecord {
    pub(super) contender: usize,
    pub(super) name: String,
    pub(super) data_size: DataSize,
    /// Absent: no loss came of it.
    pub(super) observation: Option<Observation>,
    pub(super) given_up: Option<Exclusion>,
    /// The earlier selection that measured the loss.
    pub(super) reused_from: Option<String>,
    pub(super) attempts: Vec<AttemptRecord>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct AttemptRecord {
    pub(super) trainer: String,
    pub(super) run_id: String,
    pub(super) outcome: Option<Outcome>,
    pub(super) spent: Spending,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct WithdrawnRecord {
    pub(super) contender: usize,
    pub(super) name: String,
    pub(super) round: usize,
    pub(super) exclusion: Exclusion,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RankedRecord {
    pub(super) rank: usize,
    pub(super) contender: usize,
    pub(super) name: String,
    pub(super) predicted_loss: Option<f64>,
    pub(super) log_standard_deviation: Option<f64>,
    pub(super) interval: Option<Interval>,
    pub(super) win_share: Option<f64>,
    pub(super) dropped_after_round: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ChoiceRecord {
    pub(super) contender: usize,
    pub(super) candidate: String,
    pub(super) method: String,
    pub(super) predicted_loss: Option<f64>,
    pub(super) interval: Option<Interval>,
}

impl RankedRecord {
    pub(super) fn of(state: &State, entry: &ReportedContender) -> Self {
        Self {
            rank: entry.rank,
            contender: entry.named.contender,
            name: state.spec.contender_name(entry.named.contender),
            predicted_loss: entry.predicted_loss,
            log_standard_deviation: entry.log_sd,
            interval: entry.interval,
            win_share: entry.win_share,
            dropped_after_round: entry.dropped_after_round,
        }
    }
}

impl Body {
    /// `None` unless the selection has ended with a choice.
    pub(super) fn of(id: &str, state: &State) -> Option<Self> {
        let Phase::Ended(ending) = &state.phase else {
            return None;
        };
        let (prepared, ended) = (state.prepared.clone()?, state.ended?);
        let report = Report::of(id, state, ended);
        let choice = report.choice.as_ref()?;
        let withdrawn = state
            .withdrawn
            .iter()
            .map(|(contender, round, exclusion)| WithdrawnRecord {
                contender: *contender,
                name: state.spec.contender_name(*contender),
                round: *round,
                exclusion: exclusion.clone(),
            });
        let amended = |amendment: &Amendment| AmendmentRecord {
            after_rounds: amendment.after_rounds,
            opened: amendment.opened,
            plan_examples: amendment.plan_examples,
            change: ChangeRecord {
                before: amendment.before.clone(),
                after: amendment.after.clone(),
                limits: amendment.limits.clone(),
                taken_examples: amendment.taken_examples,
            },
        };
        Some(Self {
            format: FORMAT,
            finepick: env!("CARGO_PKG_VERSION").to_owned(),
            selection_id: id.to_owned(),
            spec: state.spec.clone(),
            prepared,
            limits: state.limits.clone(),
            amendments: state.amendments.iter().map(amended).collect(),
            rounds: state.rounds.iter().map(|round| RoundRecord::of(state, round)).collect(),
            withdrawn: withdrawn.collect(),
            spent: state.spent,
            wasted: state.wasted,
            saved: state.saved,
            ending: ending.clone(),
            ranking: report
                .contenders
                .iter()
                .map(|entry| RankedRecord::of(state, entry))
                .collect(),
            choice: ChoiceRecord {
                contender: choice.named.contender,
                candidate: choice.named.candidate.clone(),
                method: choice.named.method.clone(),
                predicted_loss: choice.predicted_loss,
                interval: choice.interval,
            },
            seal: String::new(),
        })
    }

    /// The selection as it stood before its first round.
    pub(super) fn beginning(&self) -> State {
        State {
            spec: self.spec.clone(),
            nonce: String::new(),
            phase: Phase::Running,
            paused: false,
            wait: Wait::default(),
            prepared: Some(self.prepared.clone()),
            limits: self.limits.clone(),
            rounds: Vec::new(),
            trials: Vec::new(),
            withdrawn: Vec::new(),
            amendments: self.amendments_of(|amendment| amendment.opened == 0),
            spent: Spending::ZERO,
            wasted: Spending::ZERO,
            reserved: Spending::ZERO,
            saved: Spending::ZERO,
            created: 0,
            updated: 0,
            ended: None,
            sequence: 1,
        }
    }

    /// Opens and completes the round at this position, without its decision.
    pub(super) fn play_round(&self, index: usize, record: &RoundRecord, state: &mut State) {
        let mut round = Round {
            fitted: record.fitted.clone(),
            ..Round::default()
        };
        for trial in &record.trials {
            round.trials.push(state.trials.len());
            for attempt in &trial.attempts {
                state.spent = state.spent.plus(attempt.spent);
                if !matches!(attempt.outcome, Some(Outcome::Observed { .. }) | None) {
                    state.wasted = state.wasted.plus(attempt.spent);
                }
            }
            if trial.reused_from.is_some() {
                state.saved = state.saved.plus(state.price(trial.contender, trial.data_size));
            }
            state.trials.push(trial.rebuilt(index));
        }
        state.rounds.push(round);
        let until_now = self.withdrawn.iter().filter(|out| out.round <= index);
        state.withdrawn = until_now
            .map(|out| (out.contender, out.round, out.exclusion.clone()))
            .collect();
        state.amendments = self.amendments_of(|amendment| amendment.after_rounds <= index);
    }

    fn amendments_of(&self, wanted: impl Fn(&AmendmentRecord) -> bool) -> Vec<Amendment> {
        let chosen = self.amendments.iter().filter(|amendment| wanted(amendment));
        chosen
            .map(|amendment| Amendment {
                after_rounds: amendment.after_rounds,
                opened: amendment.opened,
                plan_examples: amendment.plan_examples,
                before: amendment.change.before.clone(),
                after: amendment.change.after.clone(),
                limits: amendment.change.limits.clone(),
                taken_examples: amendment.change.taken_examples,
            })
            .collect()
    }
}

impl RoundRecord {
    fn of(state: &State, round: &Round) -> Self {
        let trials = round.trials.iter().filter_map(|trial| state.trials.get(*trial));
        Self {
            trials: trials.map(|trial| TrialRecord::of(state, trial)).collect(),
            fitted: round.fitted.clone(),
            decision: round.decision.as_ref().map(|(decision, _)| decision.clone()),
            spent: round.spent,
        }
    }
}

impl TrialRecord {
    fn of(state: &State, trial: &Trial) -> Self {
        let attempt = |attempt: &Attempt| AttemptRecord {
            trainer: attempt.trainer.clone(),
            run_id: attempt.run_id.clone(),
            outcome: attempt.end.as_ref().map(|end| end.outcome.clone()),
            spent: attempt.end.as_ref().map_or(Spending::ZERO, |end| end.spent),
        };
        Self {
            contender: trial.contender,
            name: state.spec.contender_name(trial.contender),
            data_size: trial.data_size,
            observation: trial.observation().copied(),
            given_up: match &trial.status {
                TrialStatus::GivenUp(exclusion) => Some(exclusion.clone()),
                _ => None,
            },
            reused_from: trial.reused_from.clone(),
            attempts: trial.attempts.iter().map(attempt).collect(),
        }
    }

    fn rebuilt(&self, round: usize) -> Trial {
        let attempt = |attempt: &AttemptRecord| Attempt {
            trainer: attempt.trainer.clone(),
            run_id: attempt.run_id.clone(),
            reserved: Spending::ZERO,
            max_seconds: None,
            lease_until: None,
            started: 0,
            end: attempt.outcome.clone().map(|outcome| AttemptEnded {
                outcome,
                spent: attempt.spent,
                detail: String::new(),
                at: 0,
            }),
        };
        Trial {
            contender: self.contender,
            data_size: self.data_size,
            round,
            status: match (self.observation, &self.given_up) {
                (Some(point), _) => TrialStatus::Observed(point),
                (None, Some(exclusion)) => TrialStatus::GivenUp(exclusion.clone()),
                (None, None) => TrialStatus::Cancelled,
            },
            attempts: self.attempts.iter().map(attempt).collect(),
            reused_from: self.reused_from.clone(),
        }
    }
}
