//! A watch as a stream: reads the run's log by cursor, and beats when nothing happens.
//!
//! The transport asks for one message at a time; between two of them a stream holds at most one small batch. A reader
//! that is slow or gone costs nobody else anything.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use finepick_proto::trainer::v1 as wire;
use futures::{Stream, StreamExt, stream};
use svc_kit::shutdown::Token;
use tokio::time::Instant;
use tonic::Status;

use super::{refusal, response};
use crate::engine::{Watch, Woken};

/// The stream of a `WatchTrainingRun` call.
pub type EventStream = Pin<Box<dyn Stream<Item = Result<wire::WatchTrainingRunResponse, Status>> + Send>>;

type Shutdown = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Position {
    watch: Watch,
    cursor: i64,
    /// Read and not yet sent.
    ahead: VecDeque<wire::TrainingEvent>,
    /// Sent.
    sent: u32,
    /// Breaks when so many were sent.
    break_after: Option<u32>,
    /// When the last message was sent.
    last: Instant,
    beat: Duration,
    shutdown: Shutdown,
}

/// The events of a run after a cursor, until it has ended.
pub(super) fn events(watch: Watch, after: i64, shutdown: &Token) -> EventStream {
    let config = watch.trainer().config();
    let position = Position {
        cursor: after,
        ahead: VecDeque::new(),
        sent: 0,
        break_after: (config.stream_break > 0).then_some(config.stream_break),
        last: Instant::now(),
        // Two thirds of what is claimed: the network may be late.
        beat: config.heartbeat_interval.get() * 2 / 3,
        shutdown: Box::pin(shutdown.triggered()),
        watch,
    };
    stream::unfold(Some(position), |position| async move {
        let mut position = position?;
        match position.next().await {
            Ok(Some(event)) => {
                position.last = Instant::now();
                position.sent = position.sent.saturating_add(1);
                Some((
                    Ok(wire::WatchTrainingRunResponse { event: Some(event) }),
                    Some(position),
                ))
            }
            Ok(None) => None,
            Err(status) => Some((Err(status), None)),
        }
    })
    .boxed()
}

impl Position {
    /// The next message; `None` at the end.
    async fn next(&mut self) -> Result<Option<wire::TrainingEvent>, Status> {
        loop {
            if self.break_after.is_some_and(|limit| self.sent >= limit) {
                return Err(refusal::broken());
            }
            if let Some(event) = self.ahead.pop_front() {
                return Ok(Some(event));
            }
            let Some(batch) = self.watch.read(self.cursor) else {
                return Err(refusal::gone(self.watch.id()));
            };
            self.break_after = batch.stream_break.or(self.break_after);
            let clock = self.watch.trainer().clock();
            if let Some(newest) = batch.events.last() {
                self.cursor = newest.sequence;
                self.ahead = batch.events.iter().map(|event| response::event(event, clock)).collect();
                continue;
            }
            if batch.ended {
                return Ok(None);
            }
            let beat = self.last + self.beat;
            tokio::select! {
                woken = self.watch.news() => if woken == Woken::Break {
                    return Err(refusal::broken());
                },
                () = tokio::time::sleep_until(beat), if !batch.frozen => {
                    let clock = self.watch.trainer().clock();
                    return Ok(Some(response::heartbeat(batch.last_sequence, clock)));
                }
                () = &mut self.shutdown => return Err(refusal::draining()),
            }
        }
    }
}
