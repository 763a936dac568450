//! A store that forgets with its process: for tests and simulations.
//!
//! It keeps records, as the store on disk does, so that a simulation meets what is written and not what was meant. Its clock is the
//! caller's; faults can be ordered ([`fault`]).

pub mod fault;
mod shelf;

use std::fmt;
use std::future::pending;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::fault::{Effect, Fault, Faults, Moment, OnFault, Operation};
use self::shelf::Shelf;
use crate::ports::BoxFuture;
use crate::selection::Millis;
use crate::store::{
    Append, Claim, Creation, KnownForecast, KnownLoss, ListQuery, LossKey, NewSelection, Store, StoreError,
    StoredEvent, StoredSelection, Writer, lease,
};

/// What time it is.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970.
    fn now(&self) -> Millis;
}

impl<F: Fn() -> Millis + Send + Sync> Clock for F {
    fn now(&self) -> Millis {
        self()
    }
}

/// A clock that stands until it is set. Clones are the same clock.
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// Stands at a time.
    #[must_use]
    pub fn new(at: Millis) -> Self {
        Self(Arc::new(AtomicI64::new(at)))
    }

    /// Sets it, forwards or back.
    pub fn set(&self, at: Millis) {
        self.0.store(at, Ordering::SeqCst);
    }

    /// Moves it forwards.
    pub fn advance(&self, by: Duration) {
        let by = Millis::try_from(by.as_millis()).unwrap_or(Millis::MAX);
        self.set(self.now().saturating_add(by));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Millis {
        self.0.load(Ordering::SeqCst)
    }
}

/// Selections in memory.
pub struct MemoryStore {
    clock: Box<dyn Clock>,
    shelf: Mutex<Shelf>,
    faults: Mutex<Faults>,
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("now", &self.clock.now())
            .field("faults", &*self.faults())
            .finish_non_exhaustive()
    }
}

impl MemoryStore {
    /// Empty, with a clock: a [`ManualClock`] or a function.
    #[must_use]
    pub fn new(clock: impl Clock + 'static) -> Self {
        Self {
            clock: Box::new(clock),
            shelf: Mutex::default(),
            faults: Mutex::default(),
        }
    }

    /// Orders a fault, beside those that are set.
    pub fn inject(&self, fault: Fault) {
        self.faults().set(fault);
    }

    /// Lifts all faults.
    pub fn heal(&self) {
        self.faults().lift();
    }

    /// Calls that met a fault.
    #[must_use]
    pub fn faults_met(&self) -> u64 {
        self.faults().met()
    }

    /// Calls of this kind, with those that failed.
    #[must_use]
    pub fn calls(&self, operation: Operation) -> u64 {
        self.faults().calls(operation)
    }

    /// Has a function called at each fault that is met: before the effect or after it, as the fault says. It must not call the store.
    pub fn on_fault(&self, call: OnFault) {
        self.faults().on_fault(call);
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does a call, with the fault that it meets.
    fn call<'a, T: Send + 'a>(
        &'a self,
        operation: Operation,
        work: impl FnOnce(&mut Shelf, Millis) -> Result<T, StoreError> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, StoreError>> {
        Box::pin(async move {
            let fault = self.faults().call(operation);
            if let Some(fault) = fault.as_ref().filter(|fault| fault.moment == Moment::Before) {
                return self.suffer(fault).await;
            }
            // The time is read under the lock: of two writes the later has no earlier time.
            let answer = {
                let mut shelf = self.shelf();
                work(&mut shelf, self.clock.now())
            };
            match fault {
                Some(fault) => self.suffer(&fault).await,
                None => answer,
            }
        })
    }

    async fn suffer<T>(&self, fault: &Fault) -> Result<T, StoreError> {
        self.faults().tell(fault);
        match &fault.effect {
            Effect::Fail(error) => Err(error.clone()),
            Effect::Hang => pending().await,
        }
    }
}

impl Store for MemoryStore {
    fn now(&self) -> BoxFuture<'_, Result<Millis, StoreError>> {
        self.call(Operation::Read, |_, now| Ok(now))
    }

    fn create(&self, new: NewSelection) -> BoxFuture<'_, Result<Creation, StoreError>> {
        self.call(Operation::Create, |shelf, now| shelf.create(new, now))
    }

    fn existing<'a>(
        &'a self,
        id: &'a str,
        request_id: &'a str,
        spec_digest: &'a str,
    ) -> BoxFuture<'a, Result<Option<Creation>, StoreError>> {
        self.call(Operation::Read, move |shelf, _| {
            Ok(shelf.existing(id, request_id, spec_digest))
        })
    }

    fn get<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<StoredSelection, StoreError>> {
        self.call(Operation::Read, |shelf, now| shelf.get(id, now))
    }

    fn events<'a>(
        &'a self,
        id: &'a str,
        after: u64,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<StoredEvent>, StoreError>> {
        self.call(Operation::Read, move |shelf, _| shelf.events(id, after, limit))
    }

    fn append<'a>(&'a self, id: &'a str, writer: Writer, append: Append) -> BoxFuture<'a, Result<Millis, StoreError>> {
        self.call(Operation::Append, move |shelf, now| {
            shelf.append(id, &writer, append, now)
        })
    }

    fn list(&self, query: ListQuery) -> BoxFuture<'_, Result<Vec<StoredSelection>, StoreError>> {
        self.call(Operation::Read, move |shelf, now| Ok(shelf.list(&query, now)))
    }

    fn delete<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        self.call(Operation::Delete, |shelf, _| shelf.delete(id))
    }

    fn claim<'a>(
        &'a self,
        owner: &'a str,
        lease: Duration,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<Claim>, StoreError>> {
        self.call(Operation::Claim, move |shelf, now| {
            Ok(shelf.claim(owner, lease::millis(lease), limit, now))
        })
    }

    fn renew<'a>(&'a self, claims: &'a [Claim], lease: Duration) -> BoxFuture<'a, Result<Vec<Claim>, StoreError>> {
        self.call(Operation::Renew, move |shelf, now| {
            Ok(shelf.renew(claims, lease::millis(lease), now))
        })
    }

    fn release<'a>(&'a self, claims: &'a [Claim]) -> BoxFuture<'a, Result<(), StoreError>> {
        self.call(Operation::Release, |shelf, now| {
            shelf.release(claims, now);
            Ok(())
        })
    }

    fn known_losses<'a>(&'a self, keys: &'a [LossKey]) -> BoxFuture<'a, Result<Vec<KnownLoss>, StoreError>> {
        self.call(Operation::Read, |shelf, _| Ok(shelf.known_losses(keys)))
    }

    fn known_forecasts<'a>(
        &'a self,
        model_keys: &'a [String],
        not_on: &'a str,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<KnownForecast>, StoreError>> {
        self.call(Operation::Read, move |shelf, _| {
            Ok(shelf.known_forecasts(model_keys, not_on, limit))
        })
    }
}
