//! Where a run stands, and the only ways on from there. Pure: a cause and a state give the next state or a refusal.

use thiserror::Error;

/// State of a run; see `finepick.trainer.v1.TrainingRunState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum RunState {
    /// Accepted, waiting for a slot.
    Queued,
    /// Holds a slot; fetching, tokenizing, building.
    Preparing,
    /// Holds a slot; training or evaluating.
    Running,
    /// Holds nothing but its place in the work.
    Paused,
    /// Ended with every loss that was asked for.
    Succeeded,
    /// Ended by a failure.
    Failed,
    /// Ended at a caller's wish.
    Cancelled,
    /// Ended because the device was taken away.
    Preempted,
    /// Ended: nobody knows what became of it.
    Lost,
}

impl RunState {
    /// All states, in the order of the contract.
    pub const ALL: [Self; 9] = [
        Self::Queued,
        Self::Preparing,
        Self::Running,
        Self::Paused,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::Preempted,
        Self::Lost,
    ];

    /// Is this state final?
    #[must_use]
    pub fn is_ended(self) -> bool {
        matches!(
            self,
            Self::Succeeded | Self::Failed | Self::Cancelled | Self::Preempted | Self::Lost
        )
    }

    /// Does a run in this state hold a slot?
    #[must_use]
    pub fn holds_slot(self) -> bool {
        matches!(self, Self::Preparing | Self::Running)
    }

    /// The name as the contract writes it, without its prefix.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Preparing => "PREPARING",
            Self::Running => "RUNNING",
            Self::Paused => "PAUSED",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
            Self::Preempted => "PREEMPTED",
            Self::Lost => "LOST",
        }
    }
}

/// Why a run failed; see `finepick.trainer.v1.TrainingFailure`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Failure {
    /// A requested size has no held-out loss.
    EvaluationMissing,
    /// The device's memory did not suffice.
    OutOfMemory,
    /// The disk is full.
    DiskFull,
    /// The checkpoint cannot be read.
    ModelUnreadable,
    /// The data cannot be read.
    DataUnreadable,
    /// The data hold fewer examples than a requested size.
    TooFewExamples,
    /// The loss became NaN or infinite.
    LossNotFinite,
    /// `max_duration` was reached.
    DeadlineExceeded,
    /// No progress for longer than the watchdog allows.
    Stalled,
    /// Anything else.
    Internal,
}

/// Why a run waits; see `finepick.trainer.v1.WaitReason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum WaitReason {
    /// All slots are taken.
    NoFreeSlot,
    /// The device it asks for is taken.
    DeviceBusy,
    /// The trainer is starting.
    TrainerStarting,
    /// Model or data are being fetched.
    Fetching,
    /// Paused by a caller.
    Paused,
}

/// What moves a run from one state to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// It got a slot.
    Dispatched,
    /// Model and data are there.
    Prepared,
    /// All work is done.
    Finished,
    /// Something failed.
    Failed(Failure),
    /// A caller cancelled it.
    Cancelled,
    /// A caller paused it.
    Paused,
    /// A caller resumed it; it waits for a slot, of this kind.
    Resumed(WaitReason),
    /// Its device was taken away.
    Preempted,
    /// Its worker vanished.
    Vanished,
}

/// A legal change of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Transition {
    /// The state before.
    pub from: RunState,
    /// The state after.
    pub to: RunState,
    /// Why it waits from now on, if it does.
    pub wait: Option<WaitReason>,
    /// Why it failed, in [`RunState::Failed`] only.
    pub failure: Option<Failure>,
}

/// The cause does not apply in that state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{cause:?} does not apply to a run that is {}", state.name())]
pub struct IllegalTransition {
    /// The state.
    pub state: RunState,
    /// The cause.
    pub cause: Cause,
}

/// The next state. Every change of any run goes through here.
///
/// # Errors
/// [`IllegalTransition`] when the contract knows no such way.
pub fn transition(state: RunState, cause: Cause) -> Result<Transition, IllegalTransition> {
    use RunState as S;
    let live = !state.is_ended();
    let (to, wait, failure) = match (state, cause) {
        (S::Queued, Cause::Dispatched) => (S::Preparing, Some(WaitReason::Fetching), None),
        (S::Preparing, Cause::Prepared) => (S::Running, None, None),
        (S::Running, Cause::Finished) => (S::Succeeded, None, None),
        (S::Queued | S::Preparing | S::Running, Cause::Paused) => (S::Paused, Some(WaitReason::Paused), None),
        (S::Paused, Cause::Resumed(wait)) => (S::Queued, Some(wait), None),
        (S::Preparing | S::Running, Cause::Preempted) => (S::Preempted, None, None),
        (_, Cause::Failed(failure)) if live => (S::Failed, None, Some(failure)),
        (_, Cause::Cancelled) if live => (S::Cancelled, None, None),
        (_, Cause::Vanished) if live => (S::Lost, None, None),
        _ => return Err(IllegalTransition { state, cause }),
    };
    Ok(Transition {
        from: state,
        to,
        wait,
        failure,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The contract's table, written down independently of the code above.
    fn is_legal(from: RunState, to: RunState) -> bool {
        use RunState as S;
        match from {
            S::Queued => matches!(to, S::Preparing | S::Cancelled | S::Failed | S::Lost | S::Paused),
            S::Preparing => matches!(
                to,
                S::Running | S::Failed | S::Cancelled | S::Preempted | S::Lost | S::Paused
            ),
            S::Running => matches!(
                to,
                S::Succeeded | S::Failed | S::Cancelled | S::Preempted | S::Lost | S::Paused
            ),
            S::Paused => matches!(to, S::Queued | S::Cancelled | S::Failed | S::Lost),
            _ => false,
        }
    }

    const CAUSES: [Cause; 9] = [
        Cause::Dispatched,
        Cause::Prepared,
        Cause::Finished,
        Cause::Failed(Failure::Internal),
        Cause::Cancelled,
        Cause::Paused,
        Cause::Resumed(WaitReason::NoFreeSlot),
        Cause::Preempted,
        Cause::Vanished,
    ];

    #[test]
    fn only_the_contracts_ways_lead_on_and_all_of_them_do() {
        let mut reached = Vec::new();
        for from in RunState::ALL {
            for cause in CAUSES {
                if let Ok(way) = transition(from, cause) {
                    assert!(is_legal(from, way.to), "{from:?} → {:?}", way.to);
                    assert_eq!(way.from, from);
                    reached.push((from, way.to));
                }
            }
        }
        for from in RunState::ALL {
            for to in RunState::ALL {
                assert_eq!(is_legal(from, to), reached.contains(&(from, to)), "{from:?} → {to:?}");
            }
        }
    }

    #[test]
    fn waiting_states_have_a_reason_and_failures_a_failure() {
        for from in RunState::ALL {
            for cause in CAUSES {
                let Ok(way) = transition(from, cause) else { continue };
                let waits = matches!(way.to, RunState::Queued | RunState::Preparing | RunState::Paused);
                assert_eq!(way.wait.is_some(), waits, "{way:?}");
                assert_eq!(way.failure.is_some(), way.to == RunState::Failed, "{way:?}");
            }
        }
    }
}
