//! Where a selection stands: what its events add up to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::curve::{DataSize, Observation};
use crate::policy::fitted::FittedForecasts;
use crate::policy::{Exclusion, ExclusionReason};
use crate::selection::{BudgetSpec, DecisionRecord, Limits, Millis, Outcome, Prepared, SelectionSpec, Spending};

/// How a selection ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// With a choice: the leader of the last decision.
    Succeeded,
    /// At a limit of the budget, with the best so far.
    BudgetExhausted {
        /// Which limit, for people.
        detail: String,
    },
    /// Without a choice.
    Failed {
        /// Why.
        failure: Failure,
        /// For people.
        detail: String,
    },
    /// At a caller's wish.
    Cancelled {
        /// The caller's reason; may be empty.
        detail: String,
    },
}

/// Why a selection ended without a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// No contender is left after constraints and what the trainers can do.
    NoEligibleCandidate,
    /// The budget does not pay for the smallest plan.
    BudgetTooSmall,
    /// No run of any contender ended with a loss.
    AllRunsFailed,
    /// Nobody tells the size of the whole data set.
    FullSizeUnknown,
    /// A defect of finepick.
    Internal,
}

/// Where it is in its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Trainers are asked what they can do.
    Preparing,
    /// Rounds are planned, run and judged.
    Running,
    /// No new attempts begin.
    Stopping(Ending),
    /// Over.
    Ended(Ending),
}

/// What is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitReason {
    /// Nothing.
    #[default]
    None,
    /// A selector that takes it up.
    Owner,
    /// Runs in the hands of trainers.
    Runs,
    /// A slot.
    NoFreeSlot,
    /// A trainer that answers.
    TrainerUnavailable,
    /// The fitter.
    FitterUnavailable,
    /// The time of the next attempt.
    Backoff,
    /// A caller.
    Paused,
    /// A worker that asks for work.
    Worker,
}

/// Reason and detail.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// For machines.
    pub reason: WaitReason,
    /// For people. May be empty.
    pub detail: String,
}

/// One attempt at a trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// Name of the trainer, or of the worker.
    pub trainer: String,
    /// Id of the run at the trainer.
    pub run_id: String,
    /// Set aside while it runs.
    pub reserved: Spending,
    /// The longest time of its run that this pays, with what is set aside for other sizes of the same run, seconds; absent: nothing
    /// limits time, or it is external work.
    pub max_seconds: Option<f64>,
    /// External work: given to somebody else after it.
    pub lease_until: Option<Millis>,
    /// When it was scheduled.
    pub started: Millis,
    /// How, at what cost and when it ended.
    pub end: Option<AttemptEnded>,
}

/// The end of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptEnded {
    /// How.
    pub outcome: Outcome,
    /// At what cost.
    pub spent: Spending,
    /// For people.
    pub detail: String,
    /// When.
    pub at: Millis,
}

/// Where a trial stands.
#[derive(Clone, Debug, PartialEq)]
pub enum TrialStatus {
    /// Not begun, or to be tried again not before a time.
    Waiting {
        /// Milliseconds; 0: at once.
        not_before: Millis,
    },
    /// Its last attempt is in the hands of a trainer or worker.
    Running,
    /// Its loss is known.
    Observed(Observation),
    /// Given up: no attempts left, or no budget for it.
    GivenUp(Exclusion),
    /// Its selection ended first.
    Cancelled,
}

/// A contender at a size.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// Position of the contender in the spec.
    pub contender: usize,
    /// Examples.
    pub data_size: DataSize,
    /// Position of the round.
    pub round: usize,
    /// Where it stands.
    pub status: TrialStatus,
    /// Attempt n is at n − 1.
    pub attempts: Vec<Attempt>,
    /// Selection that the loss was taken from.
    pub reused_from: Option<String>,
}

impl Trial {
    /// Whether it has ended, one way or another.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        !matches!(self.status, TrialStatus::Waiting { .. } | TrialStatus::Running)
    }

    /// The loss, where it is known.
    #[must_use]
    pub fn observation(&self) -> Option<&Observation> {
        if let TrialStatus::Observed(point) = &self.status {
            Some(point)
        } else {
            None
        }
    }

    /// The attempt in hand: its number and what is known of it.
    #[must_use]
    pub fn running(&self) -> Option<(u32, &Attempt)> {
        let last = self.attempts.last().filter(|attempt| attempt.end.is_none())?;
        Some((u32::try_from(self.attempts.len()).ok()?, last))
    }
}

/// Trials that the policy asked for together, and what it made of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Round {
    /// Positions of its trials.
    pub trials: Vec<usize>,
    /// Answers of the fitter, where the policy needs them.
    pub fitted: Option<FittedForecasts>,
    /// The judgement; absent: not yet.
    pub decision: Option<(DecisionRecord, Millis)>,
    /// Spent when it was judged.
    pub spent: Spending,
}

/// A change of the budget after preparation: the policy is told before it judges round `after_rounds`, and before it plans the first
/// round where none was opened.
#[derive(Clone, Debug, PartialEq)]
pub struct Amendment {
    /// Number of rounds judged when it came.
    pub after_rounds: usize,
    /// Number of rounds opened when it came.
    pub opened: usize,
    /// Examples that the policy plans with from then on.
    pub plan_examples: u64,
    /// The budget until then, as asked for.
    pub before: BudgetSpec,
    /// The budget from then on, as asked for.
    pub after: BudgetSpec,
    /// The limits from then on.
    pub limits: Limits,
    /// Examples that were spent or set aside when it came.
    pub taken_examples: u64,
}

/// What the events add up to.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The question.
    pub spec: SelectionSpec,
    /// Part of the ids of its runs.
    pub nonce: String,
    /// Where it is in its life.
    pub phase: Phase,
    /// A caller has paused it.
    pub paused: bool,
    /// What it waits for.
    pub wait: Wait,
    /// What the trainers told; absent while preparing.
    pub prepared: Option<Prepared>,
    /// In force.
    pub limits: Limits,
    /// In order.
    pub rounds: Vec<Round>,
    /// In the order in which they were planned.
    pub trials: Vec<Trial>,
    /// Contenders that were thrown out after preparation, by position; each with the round.
    pub withdrawn: Vec<(usize, usize, Exclusion)>,
    /// In order.
    pub amendments: Vec<Amendment>,
    /// Settled.
    pub spent: Spending,
    /// Settled for attempts that ended without a loss.
    pub wasted: Spending,
    /// Set aside.
    pub reserved: Spending,
    /// Not spent thanks to losses of earlier selections.
    pub saved: Spending,
    /// Creation.
    pub created: Millis,
    /// Last change.
    pub updated: Millis,
    /// End.
    pub ended: Option<Millis>,
    /// Number of its newest event.
    pub sequence: u64,
}

/// A trial's name: contender and size, unique in a selection.
#[must_use]
pub fn trial_id(contender: usize, data_size: DataSize) -> String {
    format!("{contender}-{data_size}")
}

impl State {
    /// The choice: the leader of the last decision, once the selection has ended with one.
    #[must_use]
    pub fn choice(&self) -> Option<usize> {
        let Phase::Ended(Ending::Succeeded | Ending::BudgetExhausted { .. }) = self.phase else {
            return None;
        };
        self.leader()
    }

    /// The leader of the last decision that has one.
    #[must_use]
    pub fn leader(&self) -> Option<usize> {
        let decisions = self.rounds.iter().rev().filter_map(|round| round.decision.as_ref());
        decisions
            .filter_map(|(decision, _)| decision.contenders.iter().find(|judged| judged.may_be_chosen()))
            .map(|judged| judged.contender)
            .next()
    }

    /// Why a contender is trained no more although nothing speaks against it: the budget did not pay for a run of it.
    #[must_use]
    pub fn unpaid(&self, contender: usize) -> Option<&Exclusion> {
        let out = self.withdrawn.iter().find(|(out, ..)| *out == contender);
        out.map(|(.., exclusion)| exclusion)
            .filter(|exclusion| exclusion.reason == ExclusionReason::Budget)
    }

    /// The trial of a contender at a size.
    #[must_use]
    pub fn trial(&self, contender: usize, data_size: DataSize) -> Option<usize> {
        let is = |trial: &Trial| trial.contender == contender && trial.data_size == data_size;
        self.trials.iter().position(is)
    }

    /// Runs in hand by their ids, each with the attempts (position of the trial, number) that it is made for, ascending by size. More than
    /// one where a trainer measures several sizes of a contender in one run: the run has the id of the largest one's attempt then.
    #[must_use]
    pub fn runs_in_hand(&self) -> BTreeMap<&str, Vec<(usize, u32)>> {
        let mut runs: BTreeMap<&str, Vec<(usize, u32)>> = BTreeMap::new();
        for (index, trial) in self.trials.iter().enumerate() {
            if let Some((attempt, in_hand)) = trial.running() {
                runs.entry(&in_hand.run_id).or_default().push((index, attempt));
            }
        }
        let size = |(trial, _): &(usize, u32)| self.trials.get(*trial).map(|trial| trial.data_size);
        for members in runs.values_mut() {
            members.sort_by_key(size);
        }
        runs
    }

    /// How many attempts, in hand or ended, were made by a run.
    #[must_use]
    pub fn sizes_of_run(&self, run_id: &str) -> usize {
        let attempts = self.trials.iter().flat_map(|trial| &trial.attempts);
        attempts.filter(|attempt| attempt.run_id == run_id).count()
    }

    /// The longest time that the budget pays of an attempt's run, seconds, where the spec does not end the run before: by it every size of
    /// a run has its time.
    #[must_use]
    pub fn paid_seconds(&self, attempt: &Attempt) -> Option<f64> {
        let own = self.spec.max_run_millis.filter(|millis| *millis > 0);
        let own = own.map(|millis| millis as f64 / 1e3 * self.sizes_of_run(&attempt.run_id).max(1) as f64);
        attempt.max_seconds.filter(|paid| own.is_none_or(|own| *paid < own))
    }

    /// Losses of a contender, ascending by size.
    #[must_use]
    pub fn curve(&self, contender: usize) -> Vec<Observation> {
        let own = self.trials.iter().filter(|trial| trial.contender == contender);
        let mut curve: Vec<Observation> = own.filter_map(|trial| trial.observation().copied()).collect();
        curve.sort_by_key(Observation::data_size);
        curve
    }

    /// Whether it is over.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(_))
    }

    /// Whether every trial of the last round has ended; true before the first round.
    #[must_use]
    pub fn round_is_complete(&self) -> bool {
        let last = self.rounds.last();
        last.is_none_or(|round| {
            round
                .trials
                .iter()
                .all(|trial| self.trials.get(*trial).is_none_or(Trial::has_ended))
        })
    }
}
