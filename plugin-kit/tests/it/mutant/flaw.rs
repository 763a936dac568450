//! The flaws, by name.

macro_rules! flaws {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What a mutant does wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Flaw {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Flaw {
            /// All of them.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name,)+];
        }
    };
}

flaws! {
    /// A device is listed twice.
    TwinDevices,
    /// No contract version is named.
    NoVersions,
    /// Ready, and a reason why not.
    ReasonWhenReady,
    /// The instance id differs from call to call.
    InstanceChanges,
    /// A price is negative.
    NegativePrice,
    /// Create answers after four seconds.
    CreateWaits,
    /// Create says that the run is RUNNING.
    CreateAnswersRunning,
    /// The same create again is refused.
    RepeatRefused,
    /// Each create answers with another `create_time`.
    FreshTimes,
    /// Another spec under the same id is answered with the existing run.
    OtherBodyAccepted,
    /// The id of an ended run makes a new one.
    EndedIdIsFree,
    /// An empty `candidate_id` is accepted.
    AnyCandidate,
    /// `BadRequest` is left out.
    PathsMissing,
    /// A device that is not there is accepted.
    AnyDevice,
    /// White space around text is lost.
    TextTrimmed,
    /// Any id is accepted.
    AnyId,
    /// Ids that differ in case are one.
    IdsFolded,
    /// QUEUED is followed by RUNNING.
    PreparingSkipped,
    /// Ended runs look different each time.
    EndedChanges,
    /// A failure is set in every state.
    FailureEverywhere,
    /// Get shows no evaluations.
    EvaluationsHidden,
    /// `max_duration` is not heeded.
    LimitIgnored,
    /// Every event comes twice.
    EventTwice,
    /// Later events have earlier times.
    TimeGoesBack,
    /// Watches begin at the first event, whatever the cursor.
    CursorIgnored,
    /// Watches after a cursor leave out an event.
    CursorSkipsOne,
    /// Watches of live runs after a cursor leave out an event.
    LiveCursorSkipsOne,
    /// A watch after the last event sends that again.
    LastEventAgain,
    /// Watches end with an error.
    EndsWithError,
    /// Cursors from the future are accepted.
    FutureAccepted,
    /// No heartbeats.
    NoHeartbeats,
    /// Heartbeats carry the number 0.
    HeartbeatZero,
    /// Every second watch leaves out costs.
    SomeWatchesLoseCosts,
    /// New runs are not cancelled.
    NewCancelIgnored,
    /// Runs in PREPARING are not cancelled.
    PreparingCancelIgnored,
    /// Runs in RUNNING are not cancelled.
    RunningCancelIgnored,
    /// Paused runs are not cancelled.
    PausedCancelIgnored,
    /// Queued runs are not cancelled.
    QueuedCancelIgnored,
    /// Cancelling an ended run is refused.
    EndedCancelRefused,
    /// Pause answers, and does nothing.
    PauseIgnored,
    /// A run that was paused has lost its losses.
    PauseLosesLosses,
    /// Pausing an ended run is accepted.
    EndedPauseAccepted,
    /// Pause works, and is not claimed.
    PauseUnclaimed,
    /// Checkpoints are listed twice.
    CheckpointsTwice,
    /// The largest size has no loss.
    LargestMissing,
    /// Losses are NaN.
    LossNan,
    /// Losses are negative.
    LossNegative,
    /// A run of size 0 has no loss.
    ZeroShotMissing,
    /// Of three sizes the middle one has no loss.
    MiddleMissing,
    /// Of several sizes each goes on from the model of the one before.
    SizesAddUp,
    /// Losses depend on the run's id.
    LossesDrift,
    /// Retention sets are evaluated before tuning only.
    RetentionAfterMissing,
    /// Costs fall.
    CostFalls,
    /// Costs are negative.
    CostNegative,
    /// Get shows another cost than the last event.
    CostNotFinal,
    /// Money without a price table.
    PricesMissing,
    /// The lower end is above the upper.
    EstimateUpsideDown,
    /// Estimates of wrong specs are given.
    EstimateUnchecked,
    /// Estimates work, and are not claimed.
    EstimateUnclaimed,
    /// A page lacks its last run.
    ListLosesOne,
    /// Lists are oldest first.
    ListOldestFirst,
    /// Any page token is the first page.
    AnyToken,
    /// Lists hold all states.
    FilterIgnored,
    /// Live runs are cancelled and deleted.
    LiveDeleted,
    /// Delete answers, and does nothing.
    DeleteIgnored,
    /// A deleted id stays taken.
    IdNeverFree,
    /// `NOT_FOUND` is UNKNOWN.
    NotFoundIsUnknown,
    /// `ErrorInfo` is of another domain.
    ForeignDomain,
    /// Errors have no details.
    NoDetails,
    /// Errors have details of all kinds.
    MoreDetails,
    /// Messages hold stack traces.
    StackTraces,
    /// Messages are as long as what was wrong.
    EndlessMessages,
    /// Of many labels half are lost.
    LabelsDropped,
    /// Requests above 64 KiB are refused.
    SmallRequests,
    /// Requests of any size are accepted.
    EndlessRequests,
    /// A create whose caller left cancels its run.
    LostCreateCancels,
    /// A watch that is left cancels its run.
    LostWatchCancels,
    /// Streams outlive their deadlines.
    WatchIgnoresDeadline,
    /// Health is `NOT_SERVING`.
    NotServing,
    /// Reflection knows no files.
    NoDescriptors,
    /// Runs do not say why they wait.
    NoWaitReason,
    /// A full queue is INTERNAL.
    FullIsInternal,
    /// A full queue says not when to come back.
    FullWithoutRetry,
    /// A full queue refuses repeated creates.
    FullRefusesRepeats,
    /// A queue that was full once stays so.
    FullForEver,
}

impl Flaw {
    /// Bytes of a request that are read.
    pub(crate) fn request_limit(self) -> usize {
        match self {
            Self::SmallRequests => 64 << 10,
            Self::EndlessRequests => 100 << 20,
            _ => 2 << 20,
        }
    }
}
