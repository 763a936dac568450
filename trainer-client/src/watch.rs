//! The events of a run, each once and in order, over any number of broken streams.

use std::time::Duration;

use finepick_proto::trainer::v1::training_event::Kind;
use finepick_proto::trainer::v1::{TrainingEvent, WatchTrainingRunResponse};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use prost_types::Timestamp;
use svc_kit::client::{Backoff, retry_delay};
use tokio::time::{Instant, timeout};
use tonic::{Code, Status, Streaming};

use crate::client::TrainerClient;
use crate::error::TrainerError;
use crate::run::has_ended;

/// Bounds of what a silence may mean, whatever a trainer says about its heartbeats.
const SILENCE_MIN: Duration = Duration::from_millis(100);
const SILENCE_MAX: Duration = Duration::from_hours(1);

/// Patience of a watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchLimits {
    /// A stream is given up as dead after so many heartbeat intervals without a message, >= 1.
    pub heartbeats_missed: u32,
    /// The heartbeat interval of a trainer that does not tell it.
    pub heartbeat_interval: Duration,
    /// The watch fails after so long without a sign of life: no stream, or streams that say nothing.
    pub patience: Duration,
}

impl Default for WatchLimits {
    fn default() -> Self {
        Self {
            heartbeats_missed: 3,
            heartbeat_interval: Duration::from_secs(10),
            patience: Duration::from_mins(10),
        }
    }
}

/// What a watch has been through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WatchStats {
    /// Streams opened after the first.
    pub reattachments: u64,
    /// Of these, after a silence.
    pub silences: u64,
    /// From the end of the last stream but one to the beginning of the last one.
    pub last_gap: Duration,
    /// The longest of such times.
    pub longest_gap: Duration,
    /// Events that came once more, or out of order, and were dropped.
    pub repeated: u64,
}

/// Which run it is that has the id.
#[derive(Debug, Clone, PartialEq)]
struct Identity {
    instance_id: String,
    create_time: Option<Timestamp>,
}

/// A watch of one run. Heartbeats are not passed on.
///
/// A stream that breaks, ends early or falls silent is opened anew after the last event that was passed on: at once if
/// it had brought a new event, else with backoff, as the server asks for and as the retry budget allows.
#[derive(Debug)]
pub struct RunWatch {
    client: TrainerClient,
    training_run_id: String,
    limits: WatchLimits,
    /// Sequence of the last event that was passed on, or that needs not be.
    cursor: i64,
    identity: Option<Identity>,
    /// Time without a message after which a stream counts as dead; asked from the trainer once.
    silence: Option<Duration>,
    stream: Option<Streaming<WatchTrainingRunResponse>>,
    backoff: Backoff,
    /// A stream was opened since a new event came, or is to be opened for the first time.
    fruitless: bool,
    /// What the server asked to wait with its last error.
    asked: Duration,
    last_life: Instant,
    last_error: Option<Box<Status>>,
    broken_at: Option<Instant>,
    over: bool,
    stats: WatchStats,
}

impl RunWatch {
    pub(crate) fn new(client: TrainerClient, training_run_id: &str, after_sequence: i64, limits: WatchLimits) -> Self {
        Self {
            backoff: client.retry().backoff(),
            client,
            training_run_id: training_run_id.to_owned(),
            limits,
            cursor: after_sequence,
            identity: None,
            silence: None,
            stream: None,
            fruitless: false,
            asked: Duration::ZERO,
            last_life: Instant::now(),
            last_error: None,
            broken_at: None,
            over: false,
            stats: WatchStats::default(),
        }
    }

    /// The next event; `None` after that with which the run has ended. An error is the last item. Dropping the future
    /// loses nothing.
    pub async fn next(&mut self) -> Option<Result<TrainingEvent, TrainerError>> {
        if self.over {
            return None;
        }
        match self.advance().await {
            Ok(Some(event)) => {
                self.over = ends(&event);
                Some(Ok(event))
            }
            Ok(None) => {
                self.over = true;
                None
            }
            Err(error) => {
                self.over = true;
                Some(Err(error))
            }
        }
    }

    /// The same as a stream.
    #[must_use]
    pub fn into_stream(self) -> BoxStream<'static, Result<TrainingEvent, TrainerError>> {
        stream::unfold(self, |mut watch| async move {
            let item = watch.next().await?;
            Some((item, watch))
        })
        .boxed()
    }

    /// Where a later watch would go on: the sequence of the last event that was passed on.
    #[must_use]
    pub fn cursor(&self) -> i64 {
        self.cursor
    }

    /// What it has been through so far.
    #[must_use]
    pub fn stats(&self) -> WatchStats {
        self.stats
    }

    async fn advance(&mut self) -> Result<Option<TrainingEvent>, TrainerError> {
        loop {
            let silence = self.silence();
            let Some(stream) = &mut self.stream else {
                if self.attach().await? {
                    continue;
                }
                return Ok(None);
            };
            match timeout(silence, stream.message()).await {
                Ok(Ok(Some(message))) => {
                    if let Some(event) = self.accept(message)? {
                        return Ok(Some(event));
                    }
                }
                // Ended early, or the run has ended and all was passed on already: attaching finds out.
                Ok(Ok(None)) => self.broken(None),
                Ok(Err(status)) if is_break(status.code()) => self.broken(Some(status)),
                Ok(Err(status)) => return Err(status.into()),
                Err(_) => {
                    self.stats.silences += 1;
                    self.broken(None);
                }
            }
        }
    }

    /// Takes note of a message; returns what is to be passed on.
    fn accept(&mut self, message: WatchTrainingRunResponse) -> Result<Option<TrainingEvent>, TrainerError> {
        self.last_life = Instant::now();
        let event = message.event.ok_or_else(|| TrainerError::without("event"))?;
        if matches!(event.kind, Some(Kind::Heartbeat(_))) {
            return Ok(None);
        }
        if event.sequence <= self.cursor {
            self.stats.repeated += 1;
            return Ok(None);
        }
        self.cursor = event.sequence;
        self.last_error = None;
        self.backoff.reset();
        if std::mem::take(&mut self.fruitless) {
            // What brings news is no retry, and pays for some.
            self.client.retry().deposit();
        }
        // A kind of event that this client does not know is not for its callers either.
        Ok(event.kind.is_some().then_some(event))
    }

    fn broken(&mut self, status: Option<Status>) {
        self.stream = None;
        self.broken_at.get_or_insert_with(Instant::now);
        self.asked = status.as_ref().and_then(retry_delay).unwrap_or_default();
        tracing::debug!(run = self.training_run_id, cursor = self.cursor, error = ?status, "a watch broke");
        if status.is_some() {
            self.last_error = status.map(Box::new);
        }
    }

    fn silence(&self) -> Duration {
        let default = self
            .limits
            .heartbeat_interval
            .saturating_mul(self.limits.heartbeats_missed.max(1));
        self.silence.unwrap_or(default).clamp(SILENCE_MIN, SILENCE_MAX)
    }

    /// Opens a stream, now or later; `false`: the run has ended, and everything was passed on.
    async fn attach(&mut self) -> Result<bool, TrainerError> {
        self.pause().await?;
        self.fruitless = true;
        match self.try_attach().await {
            Ok(None) => Ok(false),
            Ok(Some(stream)) => {
                self.stream = Some(stream);
                if let Some(broken_at) = self.broken_at.take() {
                    self.stats.reattachments += 1;
                    self.stats.last_gap = broken_at.elapsed();
                    self.stats.longest_gap = self.stats.longest_gap.max(self.stats.last_gap);
                }
                Ok(true)
            }
            Err(TrainerError::Refused { status, .. }) if may_pass(status.code()) => {
                self.broken(Some(*status));
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    /// Waits before the next stream: not at all after one that brought news.
    async fn pause(&mut self) -> Result<(), TrainerError> {
        if !self.fruitless {
            return Ok(());
        }
        let mut wait = self.backoff.wait(self.asked);
        // A watch is patient: without budget it waits for it.
        while !self.client.retry().withdraw() {
            wait = wait.max(self.backoff.wait(self.asked));
            self.check_patience(wait)?;
            tokio::time::sleep(wait).await;
            wait = Duration::ZERO;
        }
        self.check_patience(wait)?;
        tokio::time::sleep(wait).await;
        Ok(())
    }

    fn check_patience(&self, wait: Duration) -> Result<(), TrainerError> {
        if self.last_life.elapsed() + wait <= self.limits.patience {
            return Ok(());
        }
        Err(TrainerError::GaveUp {
            patience: self.limits.patience,
            cause: self.last_error.clone(),
        })
    }

    /// Makes sure that it is still the same run, and opens a stream; `None`: nothing will come any more.
    async fn try_attach(&mut self) -> Result<Option<Streaming<WatchTrainingRunResponse>>, TrainerError> {
        let run = self.client.get(&self.training_run_id).await?;
        if has_ended(run.state()) && run.last_sequence == self.cursor {
            return Ok(None);
        }
        let identity = Identity {
            instance_id: run.instance_id,
            create_time: run.create_time,
        };
        match &self.identity {
            Some(known) if *known != identity => return Err(TrainerError::RunReplaced(self.training_run_id.clone())),
            Some(_) => {}
            None => self.identity = Some(identity),
        }
        if self.silence.is_none() {
            let told = self.client.capabilities().await?.heartbeat_interval;
            let interval = told.and_then(|told| Duration::try_from(told).ok());
            let interval = interval
                .filter(|interval| !interval.is_zero())
                .unwrap_or(self.limits.heartbeat_interval);
            self.silence = Some(interval.saturating_mul(self.limits.heartbeats_missed.max(1)));
        }
        // Some servers send headers with the first message only, which may be a heartbeat.
        let opening = self.client.open(&self.training_run_id, self.cursor);
        match timeout(self.silence(), opening).await {
            Ok(stream) => Ok(Some(stream?)),
            Err(_) => Err(Status::deadline_exceeded("the trainer did not begin to answer").into()),
        }
    }
}

/// Whether this is the event with which a run ends.
fn ends(event: &TrainingEvent) -> bool {
    matches!(&event.kind, Some(Kind::StateChanged(change)) if has_ended(change.to()))
}

/// Whether a stream that ends so may be opened again: it was open, so the request is in order.
fn is_break(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable
            | Code::Unknown
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Internal
            | Code::Aborted
            | Code::ResourceExhausted
    )
}

/// Whether a refusal may pass.
fn may_pass(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::DeadlineExceeded)
}
