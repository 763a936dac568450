//! Everything that can happen to a selection.

use serde::{Deserialize, Serialize};

use crate::curve::{DataSize, Observation};
use crate::policy::Exclusion;
use crate::policy::fitted::FittedForecasts;
use crate::selection::{BudgetSpec, Ending, Limits, Millis, Prepared, SelectionSpec, Spending, Wait};

/// A trial that a round asks for: a contender at a size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedTrial {
    /// Position of the contender in the spec.
    pub contender: usize,
    /// Examples.
    pub data_size: DataSize,
    /// A loss that was measured before, and by which selection: the trial needs no run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reused: Option<(Observation, String)>,
}

/// What a decision says of a contender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It goes on.
    Kept,
    /// It does not.
    Dropped,
    /// It is the choice.
    Chosen,
    /// No more runs are needed to judge it.
    Stopped,
    /// It cannot run or may not be chosen.
    Excluded,
}

/// A contender in a decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JudgedRecord {
    /// Position of the contender in the spec.
    pub contender: usize,
    /// What was decided.
    pub verdict: Verdict,
    /// Forecast of ln loss at the full size, as judged by; absent: not judged.
    pub log_score: Option<f64>,
    /// Its standard deviation, where the policy has one.
    pub log_sd: Option<f64>,
    /// Largest size observed of it.
    pub data_size: DataSize,
    /// The rule with its numbers, for people.
    pub reason: String,
}

impl JudgedRecord {
    /// Whether the first such in a decision leads it. Policies that forecast no loss name their choice without a score.
    #[must_use]
    pub fn may_be_chosen(&self) -> bool {
        self.verdict == Verdict::Chosen || self.log_score.is_some()
    }
}

/// A point at which the policy judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DecisionRecord {
    /// Name of the policy.
    pub rule: String,
    /// Largest size that the live contenders have reached.
    pub data_size: DataSize,
    /// Sizes at which they were newly trained, ascending.
    pub trained: Vec<DataSize>,
    /// Best first; the excluded last.
    pub contenders: Vec<JudgedRecord>,
    /// ln loss of the best dropped one; absent: none was dropped.
    pub log_threshold: Option<f64>,
    /// Examples that training the dropped ones to the full size would have cost.
    pub saved_examples: u64,
    /// Nats expected to be given away by dropping; absent: no predictive distribution.
    pub expected_regret: Option<f64>,
    /// Sizes of the next round, ascending; empty: none follows.
    pub next: Vec<DataSize>,
    /// For people who have not read the paper.
    pub explanation: String,
}

/// An attempt that is about to begin; what it may cost is set aside with this event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScheduledAttempt {
    /// Position of the trial.
    pub trial: usize,
    /// 1 for the first.
    pub attempt: u32,
    /// Name of the trainer, or of the worker.
    pub trainer: String,
    /// Id of the run at the trainer.
    pub run_id: String,
    /// What is set aside.
    pub reserved: Spending,
    /// The longest time of its run that this pays, with what is set aside for other sizes of the same run, seconds: its trainer ends it
    /// then. Absent: nothing limits time, or it is external work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_seconds: Option<f64>,
    /// External work is given to somebody else after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_until: Option<Millis>,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// With a loss.
    Observed {
        /// What was measured.
        observation: Observation,
        /// Digest of the model that was read; empty: not told.
        model_digest: String,
        /// Digest of the data that were read; empty: not told.
        data_digest: String,
    },
    /// The trainer says that it failed: its `TrainingFailure` by name, e.g. `OUT_OF_MEMORY`.
    Failed {
        /// Name without prefix.
        failure: String,
    },
    /// Nobody knows what became of it.
    Lost,
    /// Its device was taken away.
    Preempted,
    /// Ended by us.
    Cancelled,
    /// The trainer refused it, or answered with something that the contract rules out.
    Refused,
}

impl Outcome {
    /// Name of the failure of a run that has run for as long as it may.
    pub const DEADLINE: &str = "DEADLINE_EXCEEDED";

    /// Whether it has run for as long as it may.
    #[must_use]
    pub fn is_deadline(&self) -> bool {
        matches!(self, Self::Failed { failure } if failure == Self::DEADLINE)
    }
}

/// The end of an attempt; what it cost is settled with this event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptEnd {
    /// Position of the trial.
    pub trial: usize,
    /// Which attempt.
    pub attempt: u32,
    /// How.
    pub outcome: Outcome,
    /// What it cost, instead of what was set aside.
    pub spent: Spending,
    /// For people. May be empty.
    pub detail: String,
    /// Only where it was not observed: when the next attempt may begin. Absent: there is none, the contender is out.
    pub retry_at: Option<Millis>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[expect(
    clippy::large_enum_variant,
    reason = "the large ones are rare, and an event lives for a moment: it is written down and applied"
)]
pub enum Event {
    /// It was asked for.
    Created {
        /// The question.
        spec: Box<SelectionSpec>,
        /// Part of the ids of its runs: a selection that is deleted and created anew does not meet its old runs.
        nonce: String,
    },
    /// The trainers have told.
    Prepared {
        /// What.
        prepared: Box<Prepared>,
    },
    /// The fitter has answered for the last round; its forecasts are part of the decision that follows.
    Fitted {
        /// By contender name.
        forecasts: Box<FittedForecasts>,
    },
    /// The policy has judged the last round.
    Judged {
        /// How.
        decision: Box<DecisionRecord>,
    },
    /// A round of trials begins.
    RoundOpened {
        /// In the order in which they are to be run.
        trials: Vec<PlannedTrial>,
    },
    /// Attempts begin.
    Scheduled {
        /// Which.
        attempts: Vec<ScheduledAttempt>,
    },
    /// An attempt has ended.
    AttemptEnded(Box<AttemptEnd>),
    /// A trial will not be run; its contender is out.
    TrialGivenUp {
        /// Position of the trial.
        trial: usize,
        /// Why.
        exclusion: Exclusion,
    },
    /// What it waits for has changed.
    Waiting {
        /// For what.
        wait: Wait,
    },
    /// A caller has paused it.
    Paused,
    /// A caller has resumed it.
    Resumed,
    /// A caller has changed the budget.
    BudgetAmended {
        /// As asked for.
        budget: BudgetSpec,
        /// In force from now on.
        limits: Limits,
        /// Examples that the policy plans with from now on.
        plan_examples: u64,
    },
    /// It is to end as soon as its runs have: no new ones begin, those in hand are cancelled.
    Stopping {
        /// How it will end.
        ending: Ending,
    },
    /// It has ended.
    Ended {
        /// How.
        ending: Ending,
    },
}

impl Event {
    /// Stable name in `snake_case`, as the record has it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Created { .. } => "created",
            Self::Prepared { .. } => "prepared",
            Self::Fitted { .. } => "fitted",
            Self::Judged { .. } => "judged",
            Self::RoundOpened { .. } => "round_opened",
            Self::Scheduled { .. } => "scheduled",
            Self::AttemptEnded(_) => "attempt_ended",
            Self::TrialGivenUp { .. } => "trial_given_up",
            Self::Waiting { .. } => "waiting",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::BudgetAmended { .. } => "budget_amended",
            Self::Stopping { .. } => "stopping",
            Self::Ended { .. } => "ended",
        }
    }
}
