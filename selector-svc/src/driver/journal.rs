//! A selection's state and its events in the store, in agreement.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::clock::Clock;
use super::{Live, Shared};
use crate::selection::{Event, Millis, State, TransitionError, transition};
use crate::store::{Append, Claim, KnownForecast, KnownLoss, LossKey, StoreError, StoredEvent, Summary, Writer};

/// Events read at once.
const PAGE: u32 = 1_000;

/// Why a selection cannot be driven on, here and now.
#[derive(Debug, thiserror::Error)]
pub(super) enum Halt {
    /// It is another selector's, or gone.
    #[error("it is not ours any more")]
    Lost,
    /// What is stored cannot be read, or does not follow.
    #[error("{0}")]
    Broken(String),
    /// A defect: the selection is ended with it.
    #[error("{0}")]
    Defect(String),
}

impl From<TransitionError> for Halt {
    fn from(error: TransitionError) -> Self {
        Self::Defect(error.to_string())
    }
}

/// Events to be written together, and the state that they lead to.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) events: Vec<Event>,
    pub(super) losses: Vec<KnownLoss>,
    pub(super) forecasts: Vec<KnownForecast>,
    /// The state after the events, were they written at `at`.
    pub(super) state: State,
    pub(super) at: Millis,
}

impl Batch {
    /// Nothing yet.
    pub(super) fn of(state: &State, at: Millis) -> Self {
        Self {
            events: Vec::new(),
            losses: Vec::new(),
            forecasts: Vec::new(),
            state: state.clone(),
            at: at.max(state.updated),
        }
    }

    /// With one more event.
    pub(super) fn with(mut self, event: Event) -> Result<Self, Halt> {
        (self.state, _) = transition(Some(self.state), event.clone(), self.at)?;
        self.events.push(event);
        Ok(self)
    }
}

/// The state as stored, and the way to change it.
pub(super) struct Journal {
    shared: Arc<Shared>,
    claim: Claim,
    state: State,
    clock: Clock,
    live: watch::Sender<Live>,
}

impl Journal {
    /// Reads a selection that was claimed.
    pub(super) async fn load(shared: Arc<Shared>, claim: Claim, live: watch::Sender<Live>) -> Result<Self, Halt> {
        let clock = Clock::new(patiently(&shared, || shared.parts.store.now()).await?);
        let mut state = None;
        loop {
            let after = state.as_ref().map_or(0, |state: &State| state.sequence);
            let events = patiently(&shared, || shared.parts.store.events(&claim.id, after, PAGE)).await?;
            let last = events.len() < PAGE as usize;
            state = replay(state, events)?;
            if last {
                break;
            }
        }
        let state = state.ok_or(Halt::Lost)?;
        live.send_modify(|live| live.sequence = state.sequence);
        Ok(Self {
            shared,
            claim,
            state,
            clock,
            live,
        })
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    pub(super) fn id(&self) -> &str {
        &self.claim.id
    }

    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    /// Losses that earlier selections have measured.
    pub(super) async fn known_losses(&self, keys: &[LossKey]) -> Result<Vec<KnownLoss>, Halt> {
        Ok(patiently(&self.shared, || self.shared.parts.store.known_losses(keys)).await?)
    }

    /// Reads what others have written.
    pub(super) async fn refresh(&mut self) -> Result<(), Halt> {
        loop {
            let (store, after) = (&self.shared.parts.store, self.state.sequence);
            let events = patiently(&self.shared, || store.events(&self.claim.id, after, PAGE)).await?;
            let last = events.len() < PAGE as usize;
            if events.is_empty() {
                break;
            }
            if let Some(state) = replay(Some(self.state.clone()), events)? {
                self.state = state;
            }
            if last {
                break;
            }
        }
        self.announce();
        Ok(())
    }

    /// Writes a batch; `false`: somebody else has written meanwhile, which was read, and the batch is void. Waits for a store that
    /// is away or full.
    pub(super) async fn commit(&mut self, batch: Batch) -> Result<bool, Halt> {
        let append = Append {
            after: self.state.sequence,
            summary: Summary::of(&batch.state),
            events: batch.events.clone(),
            losses: batch.losses,
            forecasts: batch.forecasts,
        };
        let store = &self.shared.parts.store;
        let written = patiently(&self.shared, || {
            store.append(&self.claim.id, Writer::Owner(self.claim.clone()), append.clone())
        });
        match written.await {
            Ok(at) => {
                // The same events at the time that the store gave them.
                let mut state = std::mem::replace(&mut self.state, batch.state);
                for event in batch.events {
                    (state, _) = transition(Some(state), event, at)?;
                }
                self.state = state;
                self.clock = Clock::new(at);
                self.announce();
                Ok(true)
            }
            Err(Stopped::Changed) => {
                self.refresh().await?;
                Ok(false)
            }
            Err(Stopped::Halt(halt)) => Err(halt),
        }
    }

    fn announce(&self) {
        let sequence = self.state.sequence;
        self.live.send_modify(|live| live.sequence = sequence);
    }
}

fn replay(mut state: Option<State>, events: Vec<StoredEvent>) -> Result<Option<State>, Halt> {
    for stored in events {
        let applied = transition(state, stored.event, stored.at);
        state = Some(applied.map_err(|error| Halt::Broken(error.to_string()))?.0);
    }
    Ok(state)
}

/// Why a call to the store did not succeed in the end.
enum Stopped {
    Changed,
    Halt(Halt),
}

impl From<Stopped> for Halt {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Changed => Self::Defect("a reader was told of a conflict".to_owned()),
            Stopped::Halt(halt) => halt,
        }
    }
}

/// Calls the store until it can be used: nothing can be done without it, and what is in memory is kept meanwhile.
async fn patiently<'a, T>(
    shared: &Shared,
    mut call: impl FnMut() -> crate::ports::BoxFuture<'a, Result<T, StoreError>>,
) -> Result<T, Stopped> {
    let (mut pause, longest) = shared.config.backoff;
    loop {
        match call().await {
            Ok(value) => return Ok(value),
            Err(StoreError::Conflict { .. }) => return Err(Stopped::Changed),
            Err(StoreError::Fenced { .. } | StoreError::NotFound { .. }) => return Err(Stopped::Halt(Halt::Lost)),
            Err(error @ (StoreError::Full { .. } | StoreError::Unavailable { .. })) => {
                tracing::warn!(%error, wait_ms = pause.as_millis(), "a selection waits for its store");
                tokio::time::sleep(pause).await;
                pause = doubled(pause, longest);
            }
            Err(error) => return Err(Stopped::Halt(Halt::Broken(error.to_string()))),
        }
    }
}

/// The next pause.
pub(super) fn doubled(pause: Duration, longest: Duration) -> Duration {
    pause.saturating_mul(2).min(longest.max(pause))
}
