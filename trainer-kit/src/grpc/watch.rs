//! A watch as a stream: reads the run's log by cursor, and beats when nothing happens.
//!
//! The transport asks for one message at a time; between two of them a stream holds at most one small batch. A reader
//! that is slow or gone costs nobody else anything.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use finepick_proto::trainer::v1 as wire;
use futures::{Stream, StreamExt, stream};
use svc_kit::shutdown::Token;
use tokio::time::Instant;
use tonic::Status;

use super::{refusal, response};
use crate::event::Event;

/// The stream of a `WatchTrainingRun` call.
pub type EventStream = Pin<Box<dyn Stream<Item = Result<wire::WatchTrainingRunResponse, Status>> + Send>>;

/// What a watch found when it looked.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Events after the cursor, in order; not necessarily all.
    pub events: Vec<Event>,
    /// The newest event of the run.
    pub last_sequence: i64,
    /// The run has ended: nothing comes after `last_sequence`.
    pub ended: bool,
}

/// Where a watch gets its events from: one run of a trainer.
pub trait Source: Send + 'static {
    /// The run's id.
    fn id(&self) -> &str;

    /// The events after the cursor, from one look at the run. `None`: the run is gone.
    fn read(&mut self, cursor: i64) -> Option<Batch>;

    /// Waits until something may have happened since the last [`read`](Self::read), or the run is gone. Cancelling the wait
    /// loses nothing.
    ///
    /// # Errors
    /// The stream is to end with this status.
    fn news(&mut self) -> impl Future<Output = Result<(), Status>> + Send;

    /// The wall clock's time at the moment of an event.
    fn wall(&self, at: Duration) -> SystemTime;

    /// The wall clock's time.
    fn now(&self) -> SystemTime;

    /// Are heartbeats sent?
    fn beats(&self) -> bool {
        true
    }
}

struct Position<S> {
    source: S,
    cursor: i64,
    /// Read and not yet sent.
    ahead: VecDeque<wire::TrainingEvent>,
    /// When the last message was sent.
    last: Instant,
    beat: Duration,
    shutdown: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// The events of a run after a cursor, until it has ended. A heartbeat comes well within `heartbeat_interval`.
pub fn events(source: impl Source, after: i64, heartbeat_interval: Duration, shutdown: &Token) -> EventStream {
    let position = Position {
        cursor: after,
        ahead: VecDeque::new(),
        last: Instant::now(),
        // Two thirds of what is claimed: the network may be late.
        beat: heartbeat_interval * 2 / 3,
        shutdown: Box::pin(shutdown.triggered()),
        source,
    };
    stream::unfold(Some(position), |position| async move {
        let mut position = position?;
        match position.next().await {
            Ok(Some(event)) => {
                position.last = Instant::now();
                let message = wire::WatchTrainingRunResponse { event: Some(event) };
                Some((Ok(message), Some(position)))
            }
            Ok(None) => None,
            Err(status) => Some((Err(status), None)),
        }
    })
    .boxed()
}

impl<S: Source> Position<S> {
    /// The next message; `None` at the end.
    async fn next(&mut self) -> Result<Option<wire::TrainingEvent>, Status> {
        loop {
            if let Some(event) = self.ahead.pop_front() {
                return Ok(Some(event));
            }
            let Some(batch) = self.source.read(self.cursor) else {
                return Err(refusal::gone(self.source.id()));
            };
            if let Some(newest) = batch.events.last() {
                self.cursor = newest.sequence;
                let message = |event| response::event(event, self.source.wall(event.at));
                self.ahead = batch.events.iter().map(message).collect();
                continue;
            }
            if batch.ended {
                return Ok(None);
            }
            let (beat, beats) = (self.last + self.beat, self.source.beats());
            tokio::select! {
                news = self.source.news() => news?,
                () = tokio::time::sleep_until(beat), if beats => {
                    return Ok(Some(response::heartbeat(batch.last_sequence, self.source.now())));
                }
                () = &mut self.shutdown => return Err(refusal::draining()),
            }
        }
    }
}
