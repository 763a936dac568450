//! What the states of a run mean to a client.

use finepick_proto::trainer::v1::TrainingRunState;

/// Whether a run in this state stays as it is for ever.
#[must_use]
pub fn has_ended(state: TrainingRunState) -> bool {
    use TrainingRunState as State;
    match state {
        State::Succeeded | State::Failed | State::Cancelled | State::Preempted | State::Lost => true,
        State::Unspecified | State::Queued | State::Preparing | State::Running | State::Paused => false,
    }
}

/// A state's name for people: `QUEUED`, `RUNNING`, ….
#[must_use]
pub fn state_name(state: TrainingRunState) -> &'static str {
    let name = state.as_str_name();
    name.strip_prefix("TRAINING_RUN_STATE_").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_by_name() {
        assert_eq!(state_name(TrainingRunState::Preempted), "PREEMPTED");
        assert!(has_ended(TrainingRunState::Lost) && !has_ended(TrainingRunState::Paused));
    }
}
