//! The events of a selection as one stream that breaks never: a broken one is taken up after the last event that arrived.

use std::time::Duration;

use finepick_proto::selector::v1 as pb;
use finepick_proto::selector::v1::selector_service_client::SelectorServiceClient;
use svc_kit::client::{Backoff, Transport};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tonic::{Code, Status, Streaming};

use crate::error::CliError;

/// Asked for.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// A stream that is silent for longer is given up.
const SILENCE: Duration = Duration::from_secs(15);
/// News that may wait to be heard.
const AHEAD: usize = 64;
/// First and longest pause between two tries.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// A watch.
pub(super) struct Watch {
    client: SelectorServiceClient<Transport>,
    id: String,
    /// Sequence of the last event that arrived.
    cursor: i64,
    stream: Option<Streaming<pb::WatchSelectionResponse>>,
    backoff: Backoff,
    /// How long nobody may answer.
    patience: Duration,
    /// Since when nobody does.
    silent_since: Option<Instant>,
    ended: bool,
}

/// What a watch has to tell.
pub(super) enum News {
    /// An event.
    Event(Box<pb::SelectionEvent>),
    /// The stream broke, and is being taken up again.
    Broken(String),
}

impl Watch {
    pub(super) fn new(client: SelectorServiceClient<Transport>, id: &str, after: i64, patience: Duration) -> Self {
        Self {
            client,
            id: id.to_owned(),
            cursor: after,
            stream: None,
            backoff: Backoff::new(PAUSES.0, PAUSES.1),
            patience,
            silent_since: None,
            ended: false,
        }
    }

    /// The next news; `None` after the end of the selection. Not to be dropped half-way: silence is measured within a call.
    async fn next(&mut self) -> Option<Result<News, CliError>> {
        loop {
            if self.ended && self.stream.is_none() {
                return None;
            }
            let Some(stream) = &mut self.stream else {
                match self.open().await {
                    Ok(()) => continue,
                    Err(status) => {
                        if let Some(news) = self.broken(status).await {
                            return Some(news);
                        }
                        continue;
                    }
                }
            };
            let status = match timeout(SILENCE, stream.message()).await {
                Ok(Ok(Some(response))) => {
                    let Some(event) = response.event else { continue };
                    self.silent_since = None;
                    self.backoff.reset();
                    self.cursor = self.cursor.max(event.sequence);
                    self.ended |= is_end(&event);
                    return Some(Ok(News::Event(Box::new(event))));
                }
                // A stream that ends before the selection does was cut by somebody on the way.
                Ok(Ok(None)) => Status::unavailable("the stream ended"),
                Ok(Err(status)) => status,
                Err(_) => Status::unavailable("no sign of life"),
            };
            self.stream = None;
            if !self.ended
                && let Some(news) = self.broken(status).await
            {
                return Some(news);
            }
        }
    }

    async fn open(&mut self) -> Result<(), Status> {
        let request = pb::WatchSelectionRequest {
            selection_id: self.id.clone(),
            after_sequence: self.cursor,
            heartbeat_interval: HEARTBEAT.try_into().ok(),
        };
        let opened = timeout(SILENCE, self.client.watch_selection(request)).await;
        let response = opened.map_err(|_| Status::unavailable("no answer"))??;
        self.stream = Some(response.into_inner());
        Ok(())
    }

    /// Waits before the next try, or gives up; `None`: that it is broken was told already.
    async fn broken(&mut self, status: Status) -> Option<Result<News, CliError>> {
        let hopeless = matches!(
            status.code(),
            Code::InvalidArgument
                | Code::NotFound
                | Code::Unimplemented
                | Code::PermissionDenied
                | Code::Unauthenticated
                | Code::FailedPrecondition
        );
        let first = self.silent_since.is_none();
        let since = *self.silent_since.get_or_insert_with(Instant::now);
        if hopeless || since.elapsed() > self.patience {
            self.ended = true;
            return Some(Err(status.into()));
        }
        let pause = self.backoff.wait(Duration::ZERO);
        tokio::time::sleep(pause).await;
        first.then(|| Ok(News::Broken(status.message().to_owned())))
    }

    /// Watches in a task of its own: what it waits for is not begun anew by whoever waits for something else, too.
    pub(super) fn spawn(mut self) -> Events {
        let (sender, news) = mpsc::channel(AHEAD);
        let mut task = JoinSet::new();
        task.spawn(async move {
            while let Some(news) = self.next().await {
                if sender.send(news).await.is_err() {
                    return;
                }
            }
        });
        Events { news, _task: task }
    }
}

/// What a watch tells. It ends when this is dropped.
pub(super) struct Events {
    news: mpsc::Receiver<Result<News, CliError>>,
    _task: JoinSet<()>,
}

impl Events {
    /// The next news; `None` after the end of the selection. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Option<Result<News, CliError>> {
        self.news.recv().await
    }
}

/// Whether nothing comes after an event.
fn is_end(event: &pb::SelectionEvent) -> bool {
    match &event.kind {
        Some(pb::selection_event::Kind::Changed(change)) => change
            .selection
            .as_ref()
            .is_some_and(|selection| has_ended(selection.state())),
        _ => false,
    }
}

/// Whether a selection goes on no more.
pub(in crate::command) fn has_ended(state: pb::SelectionState) -> bool {
    use pb::SelectionState as State;
    matches!(
        state,
        State::Succeeded | State::BudgetExhausted | State::Failed | State::Cancelled
    )
}
