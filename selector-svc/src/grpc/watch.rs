//! A feed as a stream of messages, with heartbeats.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use finepick_proto::selector::v1 as wire;
use finepick_proto::types::v1::ErrorReason;
use futures::{StreamExt as _, stream};
use svc_kit::shutdown::Token;
use svc_kit::status;
use tokio::time::Instant;
use tonic::Status;

use super::convert::{self, selection as to};
use super::selections::EventStream;
use crate::desk::feed::{Feed, News};

/// What a client is told to wait when the process ends.
const RETRY_AFTER: Duration = Duration::from_secs(1);

struct Position {
    feed: Feed,
    /// To be sent.
    ahead: VecDeque<wire::SelectionEvent>,
    /// When the last message was sent.
    last: Instant,
    beat: Duration,
    shutdown: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// The messages of a feed. One comes well within `heartbeat`. A client that reads slowly loses progress, never events: both are looked
/// up when the client takes them.
pub(super) fn stream(feed: Feed, heartbeat: Duration, shutdown: &Token) -> EventStream {
    let position = Position {
        feed,
        ahead: VecDeque::new(),
        last: Instant::now(),
        // Two thirds of what is asked for: the network may be late.
        beat: heartbeat * 2 / 3,
        shutdown: Box::pin(shutdown.triggered()),
    };
    stream::unfold(Some(position), |position| async move {
        let mut position = position?;
        match position.next().await {
            Ok(Some(event)) => {
                position.last = Instant::now();
                let message = wire::WatchSelectionResponse { event: Some(event) };
                Some((Ok(message), Some(position)))
            }
            Ok(None) => None,
            Err(status) => Some((Err(status), None)),
        }
    })
    .boxed()
}

impl Position {
    /// The next message; `None` at the end.
    async fn next(&mut self) -> Result<Option<wire::SelectionEvent>, Status> {
        loop {
            if let Some(event) = self.ahead.pop_front() {
                return Ok(Some(event));
            }
            let beat = self.last + self.beat;
            tokio::select! {
                news = self.feed.next() => match news.map_err(|error| convert::desk_status(&error))? {
                    None => return Ok(None),
                    Some(News::Event(stored, view)) => self.ahead = to::event(&stored, &view).into(),
                    Some(News::Progress { view, trial, progress }) => {
                        let (sequence, now) = (self.feed.sequence(), self.feed.now());
                        self.ahead.extend(to::progress_event(&view, trial, &progress, sequence, now));
                    }
                },
                () = tokio::time::sleep_until(beat) => {
                    return Ok(Some(to::heartbeat(self.feed.sequence(), self.feed.now())));
                }
                () = &mut self.shutdown => return Err(draining()),
            }
        }
    }
}

/// The process ends; the watch goes on elsewhere, or after a restart.
fn draining() -> Status {
    status::unavailable(
        ErrorReason::Draining.as_reason(),
        "the selector is shutting down; watch again after the last sequence that arrived",
        RETRY_AFTER,
    )
}
