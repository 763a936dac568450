//! A store with a clock that tests move.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use selector_svc::selection::{Event, Millis};
use selector_svc::store::memory::{ManualClock, MemoryStore};
use selector_svc::store::sqlite::{SqliteOptions, SqliteStore};
use selector_svc::store::{Append, Claim, Creation, NewSelection, Store, StoreError, StoredEvent, Writer};
use tempfile::TempDir;

use crate::samples;

enum Clock {
    Manual(ManualClock),
    Offset(Arc<AtomicI64>),
}

pub struct World {
    pub store: Arc<dyn Store>,
    clock: Clock,
    _folder: Option<TempDir>,
}

/// Longer than any test takes: leases end when a test moves the clock.
pub const LEASE: Duration = Duration::from_mins(10);

impl World {
    pub fn memory() -> Self {
        let clock = ManualClock::new(1_700_000_000_000);
        Self {
            store: Arc::new(MemoryStore::new(clock.clone())),
            clock: Clock::Manual(clock),
            _folder: None,
        }
    }

    pub async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteOptions::default();
        let offset = Arc::clone(&options.clock_offset);
        let store = SqliteStore::open(folder.path().join("deep/er/store.db"), options).await;
        Self {
            store: Arc::new(store.unwrap()),
            clock: Clock::Offset(offset),
            _folder: Some(folder),
        }
    }

    /// Moves the clock, forwards or back.
    pub fn shift(&self, millis: Millis) {
        match &self.clock {
            Clock::Manual(clock) => {
                let now = selector_svc::store::memory::Clock::now(clock);
                clock.set(now + millis);
            }
            Clock::Offset(offset) => {
                offset.fetch_add(millis, Ordering::SeqCst);
            }
        }
    }

    pub async fn create(&self, id: &str) {
        self.create_as(samples::new(id, &[])).await;
    }

    pub async fn create_as(&self, new: NewSelection) {
        let id = new.id.clone();
        assert_eq!(self.store.create(new).await, Ok(Creation::Created { id }));
        // Creations get times of their own, so that their order is known.
        self.shift(10);
    }

    /// A caller's events after the newest.
    pub async fn write(&self, id: &str, events: &[Event]) -> Millis {
        let after = self.store.get(id).await.unwrap().sequence;
        self.store
            .append(id, Writer::Caller, append(after, events))
            .await
            .unwrap()
    }

    pub async fn owned(&self, claim: &Claim, after: u64) -> Result<Millis, StoreError> {
        let writer = Writer::Owner(claim.clone());
        self.store
            .append(&claim.id, writer, append(after, &[Event::Paused]))
            .await
    }

    pub async fn events(&self, id: &str) -> Vec<StoredEvent> {
        self.store.events(id, 0, u32::MAX).await.unwrap()
    }
}

/// These events, whose summary is that of a selection to which nothing else happened.
pub fn append(after: u64, events: &[Event]) -> Append {
    Append {
        after,
        events: events.to_vec(),
        summary: samples::summary(events),
        losses: Vec::new(),
        forecasts: Vec::new(),
    }
}
