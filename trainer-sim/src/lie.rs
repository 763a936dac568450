//! The names of the lies. What they do to answers and streams is in `lies.rs`, and only there.

macro_rules! lies {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// A way to break the contract on purpose, for testing those who must notice.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Lie {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Lie {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its name in configuration and labels.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

lies! {
    /// Losses are NaN.
    NanLoss = "nan_loss",
    /// Losses are negative.
    NegativeLoss = "negative_loss",
    /// Evaluations name a size that nobody asked for.
    WrongSize = "wrong_size",
    /// Held-out losses of sizes above 0 are left out, and the run has SUCCEEDED all the same.
    MissingEvaluation = "missing_evaluation",
    /// Costs fall from event to event.
    DecreasingCost = "decreasing_cost",
    /// Costs are negative.
    NegativeCost = "negative_cost",
    /// PREPARING is passed over: QUEUED is followed by RUNNING.
    IllegalTransition = "illegal_transition",
    /// Every third event comes with the number of the one before it.
    DuplicateSequence = "duplicate_sequence",
    /// Numbering begins at 0.
    SequenceFromZero = "sequence_from_zero",
    /// No heartbeats.
    NoHeartbeat = "no_heartbeat",
    /// Watches begin at the first event whatever the cursor says.
    CursorIgnored = "cursor_ignored",
    /// Watches that begin after a cursor leave out one event.
    CursorSkipsOne = "cursor_skips_one",
    /// Cursors from the future are accepted.
    FutureCursor = "future_cursor",
    /// Watches do not end with the run.
    WatchNeverEnds = "watch_never_ends",
    /// Watches end before the run does.
    WatchEndsEarly = "watch_ends_early",
    /// The same create again is refused.
    CreateNotIdempotent = "create_not_idempotent",
    /// Another spec under the same id is answered with the existing run.
    OtherSpecAccepted = "other_spec_accepted",
    /// Cancel answers, and does nothing.
    CancelIgnored = "cancel_ignored",
    /// Cancelling a run that has ended is refused.
    CancelEndedFails = "cancel_ended_fails",
    /// Errors carry no details.
    NoDetails = "no_details",
    /// Errors have the code UNKNOWN.
    UnknownCode = "unknown_code",
    /// The trainer does not say who it is, nor which contract it speaks.
    NoIdentity = "no_identity",
    /// The same spec and seed give other losses each time.
    NotDeterministic = "not_deterministic",
    /// Pause is claimed, and not implemented.
    PauseUnimplemented = "pause_unimplemented",
    /// A full queue is INTERNAL, without `RetryInfo`.
    OverloadInternal = "overload_internal",
    /// Delete answers, and the run stays.
    DeleteIgnored = "delete_ignored",
    /// Any id is accepted (and mended behind the caller's back).
    AnyId = "any_id",
    /// Runs that fail do not say why.
    FailureHidden = "failure_hidden",
    /// Lists are oldest first and ignore `page_size`.
    ListUnordered = "list_unordered",
    /// Fields out of range are accepted (and mended behind the caller's back).
    AnySpec = "any_spec",
    /// Retention sets are claimed, and never evaluated.
    RetentionMissing = "retention_missing",
    /// Create answers only after six seconds.
    CreateWaits = "create_waits",
}

impl Lie {
    /// The lie of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|lie| lie.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lie_has_one_name() {
        for &lie in Lie::ALL {
            assert_eq!(Lie::from_name(lie.name()), Some(lie));
        }
        assert_eq!(Lie::from_name("truth"), None);
    }
}
