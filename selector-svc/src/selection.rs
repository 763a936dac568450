//! A selection as a durable thing: what is asked for, what happened, where it stands, what is to be done.
//!
//! - [`spec`]: the question. [`prepared`]: what the trainers said before anything was spent.
//! - [`event`]: everything that can happen, as it is written down. Events are facts: they carry what was decided, so that reading
//!   them again needs neither the trainers nor today's rules.
//! - [`state`]: where a selection stands after some events. [`transition`]: how an event changes it, and what is to be done then.
//! - [`spending`]: what is reserved, settled and allowed.
//!
//! All of it is pure: no clock, no store, no transport. The driver persists events first and acts after; recovery is reading the
//! events again.

pub mod event;
pub mod prepared;
pub mod spec;
pub mod spending;
pub mod state;
pub mod transition;

pub use self::event::{
    AttemptEnd, DecisionRecord, Event, JudgedRecord, Outcome, PlannedTrial, ScheduledAttempt, Verdict,
};
pub use self::prepared::{ContenderFacts, CostModel, Prepared, TrainerFacts};
pub use self::spec::{BudgetSpec, CandidateSpec, MethodSpec, SelectionSpec, WorkMode};
pub use self::spending::{Limits, Spending};
pub use self::state::{Attempt, Ending, Failure, Phase, Round, State, Trial, TrialStatus, Wait, WaitReason, trial_id};
pub use self::transition::{Action, TransitionError, due, transition};

/// Milliseconds since 1970-01-01 UTC, by the store's clock.
pub type Millis = i64;
