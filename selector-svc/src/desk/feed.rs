//! A selection's events as they come: those of the past from the store, then the new ones, with the progress of runs in between.
//!
//! Events come from the store alone, in order, so that nobody misses one. That there are new ones is heard from the driver of this
//! process, or found out by asking the store every now and then: also when the selection is driven by another process, or moves there.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::{Desk, DeskError, View};
use crate::driver::Live;
use crate::ports::RunProgress;
use crate::selection::{Event, Millis, State, transition};
use crate::store::StoredEvent;

/// Time between two messages about progress at least: five a second for a selection.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// How often the store is asked for a selection whose driver tells: only what others have written is found that way.
const TOLD_POLL: Duration = Duration::from_secs(1);

/// Events read at once.
const BATCH: u32 = 64;

/// What a feed brings.
#[derive(Debug)]
pub enum News {
    /// A stored event, and the selection right after it.
    Event(Box<StoredEvent>, Box<View>),
    /// How far a run is; not stored.
    Progress {
        /// The selection.
        view: Box<View>,
        /// Position of the trial.
        trial: usize,
        /// How far.
        progress: RunProgress,
    },
}

/// A selection's events after a cursor. Dropping [`next`](Self::next) loses nothing.
#[derive(Debug)]
pub struct Feed {
    desk: Desk,
    id: String,
    owner: String,
    state: Option<Arc<State>>,
    /// Read and not yet brought.
    ahead: VecDeque<StoredEvent>,
    live: Option<watch::Receiver<Live>>,
    /// What was said of runs, and when.
    told: BTreeMap<usize, (RunProgress, Instant)>,
    /// When progress may be told again.
    progress_at: Instant,
    /// When the store is to be asked.
    look_at: Instant,
    /// The store's clock at some moment.
    clock: (Millis, Instant),
}

impl Feed {
    /// The selection's newest event that was brought.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.state.as_ref().map_or(0, |state| state.sequence)
    }

    /// The time by the store's clock, as far as this process can tell.
    #[must_use]
    pub fn now(&self) -> Millis {
        let (at, then) = self.clock;
        at.saturating_add(Millis::try_from(then.elapsed().as_millis()).unwrap_or(Millis::MAX))
    }

    /// The next news, as soon as there are any; `None`: the selection has ended, and everything was brought.
    ///
    /// # Errors
    /// The selection was deleted, or the store cannot be read.
    pub async fn next(&mut self) -> Result<Option<News>, DeskError> {
        loop {
            if let Some(stored) = self.ahead.pop_front() {
                return self.bring(stored).map(Some);
            }
            if self.state.as_ref().is_some_and(|state| state.has_ended()) {
                return Ok(None);
            }
            if self.look_at <= Instant::now() {
                self.read().await?;
                continue;
            }
            if let Some(news) = self.progress() {
                return Ok(Some(news));
            }
            self.wait().await;
        }
    }

    /// Applies an event that was read.
    fn bring(&mut self, stored: StoredEvent) -> Result<News, DeskError> {
        let before = self.state.take().map(Arc::unwrap_or_clone);
        let next = transition(before, stored.event.clone(), stored.at);
        let (state, _) = next.map_err(|error| DeskError::Replay {
            id: self.id.clone(),
            error,
        })?;
        if let Event::AttemptEnded(end) = &stored.event {
            self.told.remove(&end.trial);
        }
        let state = Arc::new(state);
        self.state = Some(Arc::clone(&state));
        Ok(News::Event(Box::new(stored), Box::new(self.view(state))))
    }

    fn view(&self, state: Arc<State>) -> View {
        View {
            choice: self.desk.choice(&self.id, &state),
            id: self.id.clone(),
            owner: self.owner.clone(),
            state,
            progress: BTreeMap::new(),
        }
    }

    /// Asks the store.
    async fn read(&mut self) -> Result<(), DeskError> {
        // Before the store is read: what happens after that is told.
        if self.live.is_none() {
            self.live = self.desk.driver.live(&self.id);
        }
        let stored = self.desk.store.get(&self.id).await?;
        let events = if stored.sequence > self.sequence() {
            self.desk.store.events(&self.id, self.sequence(), BATCH).await?
        } else {
            Vec::new()
        };
        self.owner = stored.owner;
        let told = self.live.is_some();
        let pause = if told { TOLD_POLL } else { self.desk.config.watch_poll };
        // A full batch is not all.
        let more = events.len() >= BATCH as usize;
        self.look_at = if more { Instant::now() } else { Instant::now() + pause };
        self.ahead = events.into();
        Ok(())
    }

    /// The run about which nothing was said for the longest time, if it got on and may be told of.
    fn progress(&mut self) -> Option<News> {
        let now = Instant::now();
        if now < self.progress_at {
            return None;
        }
        let (trial, progress) = self.pending()?;
        let state = Arc::clone(self.state.as_ref()?);
        self.told.insert(trial, (progress, now));
        self.progress_at = now + PROGRESS_INTERVAL;
        Some(News::Progress {
            view: Box::new(self.view(state)),
            trial,
            progress,
        })
    }

    fn pending(&self) -> Option<(usize, RunProgress)> {
        let state = self.state.as_ref()?;
        let live = self.live.as_ref()?.borrow();
        let running = |trial: usize| state.trials.get(trial).is_some_and(|trial| trial.running().is_some());
        let fresh = live.progress.iter().filter_map(|(trial, progress)| {
            let before = self.told.get(trial);
            let news = running(*trial) && before.is_none_or(|(said, _)| said != progress);
            news.then(|| (before.map(|(_, when)| *when), *trial, *progress))
        });
        let oldest = fresh.min_by_key(|(when, trial, _)| (*when, *trial));
        oldest.map(|(_, trial, progress)| (trial, progress))
    }

    /// Until something may have happened.
    async fn wait(&mut self) {
        let wake = if self.pending().is_some() {
            self.look_at.min(self.progress_at)
        } else {
            self.look_at
        };
        let sequence = self.sequence();
        let changed = async {
            match self.live.as_mut() {
                Some(live) => live.changed().await.map(|()| live.borrow_and_update().sequence),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = tokio::time::sleep_until(wake) => {}
            changed = changed => match changed {
                Ok(newest) if newest <= sequence => {}
                Ok(_) => self.look_at = Instant::now(),
                // It is driven here no more.
                Err(_) => {
                    self.live = None;
                    self.look_at = Instant::now();
                }
            }
        }
    }
}

impl Desk {
    /// The events of a selection after a cursor (0: all).
    ///
    /// # Errors
    /// The id is unknown, or the cursor is above the newest event.
    pub async fn feed(&self, id: &str, after: u64) -> Result<Feed, DeskError> {
        let (stored, state) = self.load(id).await?;
        let newest = state.sequence;
        if after > newest {
            return Err(DeskError::Invalid {
                field: "after_sequence".to_owned(),
                description: format!("must be at most {newest}, the newest event, is {after}"),
            });
        }
        let state = if after == 0 {
            None
        } else if after == newest {
            Some(state)
        } else {
            Some(Arc::new(self.at(id, after).await?))
        };
        let clock = (self.store.now().await?, Instant::now());
        Ok(Feed {
            desk: self.clone(),
            id: stored.id,
            owner: stored.owner,
            state,
            ahead: VecDeque::new(),
            live: None,
            told: BTreeMap::new(),
            progress_at: clock.1,
            look_at: clock.1,
            clock,
        })
    }

    /// The state right after an event.
    async fn at(&self, id: &str, sequence: u64) -> Result<State, DeskError> {
        let mut state: Option<State> = None;
        loop {
            let after = state.as_ref().map_or(0, |state| state.sequence);
            let left = u32::try_from(sequence.saturating_sub(after)).unwrap_or(u32::MAX);
            if let Some(found) = state.take_if(|_| left == 0) {
                return Ok(found);
            }
            let events = self.store.events(id, after, left.min(super::PAGE)).await?;
            if events.is_empty() {
                return Err(crate::store::StoreError::NotFound { id: id.to_owned() }.into());
            }
            for stored in events {
                let next = transition(state, stored.event, stored.at).map_err(|error| DeskError::Replay {
                    id: id.to_owned(),
                    error,
                })?;
                state = Some(next.0);
            }
        }
    }
}
