//! The trainers' slots, shared by all selections of this process.
//!
//! A run takes a slot of the trainer that has the least pending relative to its slots; ties go round. Selections that found none
//! queue up per trainer, and a slot that becomes free is the first one's: nobody polls, and nobody is passed over.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

/// All trainers' slots.
#[derive(Clone, Default)]
pub(super) struct Slots {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    pools: HashMap<String, Pool>,
    /// Counts what was given, for the round.
    given: u64,
    /// Names those who wait.
    members: u64,
}

struct Pool {
    slots: u32,
    used: u32,
    last_given: u64,
    away_until: Option<Instant>,
    waiting: VecDeque<(u64, Arc<Notify>)>,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            slots: 1,
            used: 0,
            last_given: 0,
            away_until: None,
            waiting: VecDeque::new(),
        }
    }
}

impl Pool {
    fn free(&self) -> usize {
        self.slots.saturating_sub(self.used) as usize
    }

    /// Wakes as many as could take one.
    fn wake(&self) {
        for (_, notify) in self.waiting.iter().take(self.free()) {
            notify.notify_one();
        }
    }

    fn is_away(&self) -> bool {
        self.away_until.is_some_and(|until| Instant::now() < until)
    }
}

/// A slot that is held; it is free again when this is dropped.
pub(super) struct Permit {
    slots: Slots,
    trainer: String,
}

impl Permit {
    pub(super) fn trainer(&self) -> &str {
        &self.trainer
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut inner = self.slots.lock();
        if let Some(pool) = inner.pools.get_mut(&self.trainer) {
            pool.used = pool.used.saturating_sub(1);
            pool.wake();
        }
    }
}

/// A selection's place in the queues; it leaves them when this is dropped.
pub(super) struct Member {
    slots: Slots,
    number: u64,
    freed: Arc<Notify>,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.wait_for(&BTreeSet::new());
    }
}

impl Slots {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody who wants slots.
    pub(super) fn member(&self) -> Member {
        let mut inner = self.lock();
        inner.members += 1;
        Member {
            number: inner.members,
            slots: self.clone(),
            freed: Arc::new(Notify::new()),
        }
    }

    /// How many slots a trainer has, as it told last.
    pub(super) fn set(&self, trainer: &str, slots: u32) {
        let mut inner = self.lock();
        let pool = inner.pools.entry(trainer.to_owned()).or_default();
        pool.slots = slots.max(1);
        pool.wake();
    }

    /// Takes one for a run that exists already, even where there is none.
    pub(super) fn hold(&self, trainer: &str) -> Permit {
        let mut inner = self.lock();
        inner.pools.entry(trainer.to_owned()).or_default().used += 1;
        Permit {
            slots: self.clone(),
            trainer: trainer.to_owned(),
        }
    }

    /// Nothing new is begun there before that time.
    pub(super) fn away(&self, trainer: &str, until: Instant) {
        self.lock().pools.entry(trainer.to_owned()).or_default().away_until = Some(until);
    }

    /// It answers.
    pub(super) fn back(&self, trainer: &str) {
        if let Some(pool) = self.lock().pools.get_mut(trainer) {
            pool.away_until = None;
            pool.wake();
        }
    }

    /// Until when nothing is begun there; `None`: it is there, as far as is known.
    pub(super) fn away_until(&self, trainer: &str) -> Option<Instant> {
        let inner = self.lock();
        let pool = inner.pools.get(trainer).filter(|pool| pool.is_away())?;
        pool.away_until
    }
}

impl Member {
    /// Told when a slot that was waited for is free.
    pub(super) fn freed(&self) -> Arc<Notify> {
        Arc::clone(&self.freed)
    }

    /// A slot of one of these trainers, unless there is none or others have waited longer.
    pub(super) fn take<'n>(&self, trainers: impl Iterator<Item = &'n str>) -> Option<Permit> {
        let mut inner = self.slots.lock();
        let mut best: Option<(f64, u64, &str)> = None;
        for name in trainers {
            let pool = inner.pools.entry(name.to_owned()).or_default();
            let ahead = pool.waiting.iter().take_while(|(number, _)| *number != self.number);
            if pool.is_away() || pool.free() <= ahead.count() {
                continue;
            }
            let load = f64::from(pool.used) / f64::from(pool.slots);
            if best.is_none_or(|(least, last, _)| (load, pool.last_given) < (least, last)) {
                best = Some((load, pool.last_given, name));
            }
        }
        let (_, _, name) = best?;
        inner.given += 1;
        let given = inner.given;
        let pool = inner.pools.get_mut(name)?;
        pool.used += 1;
        pool.last_given = given;
        // Whoever wants another one queues up anew.
        pool.waiting.retain(|(number, _)| *number != self.number);
        Some(Permit {
            slots: self.slots.clone(),
            trainer: name.to_owned(),
        })
    }

    /// Waits for slots of exactly these trainers from now on.
    pub(super) fn wait_for(&self, trainers: &BTreeSet<String>) {
        let mut inner = self.slots.lock();
        for (name, pool) in &mut inner.pools {
            let place = pool.waiting.iter().position(|(number, _)| *number == self.number);
            match (trainers.contains(name), place) {
                (true, None) => {
                    pool.waiting.push_back((self.number, Arc::clone(&self.freed)));
                    // One may have become free since it was looked for.
                    pool.wake();
                }
                (false, Some(place)) => {
                    pool.waiting.remove(place);
                    pool.wake();
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(permits: &[Permit]) -> Vec<&str> {
        permits.iter().map(Permit::trainer).collect()
    }

    #[test]
    fn the_least_loaded_is_taken_and_ties_go_round() {
        let slots = Slots::default();
        slots.set("big", 4);
        slots.set("small", 2);
        let member = slots.member();
        let mut permits = Vec::new();
        for _ in 0..6 {
            permits.extend(member.take(["big", "small"].into_iter()));
        }
        assert_eq!(names(&permits), ["big", "small", "big", "small", "big", "big"]);
        assert!(member.take(["big", "small"].into_iter()).is_none());
        permits.remove(1);
        assert_eq!(
            member
                .take(["big", "small"].into_iter())
                .map(|permit| permit.trainer().to_owned())
                .as_deref(),
            Some("small")
        );
    }

    #[tokio::test]
    async fn who_waited_longest_is_woken_and_nobody_overtakes() {
        let slots = Slots::default();
        slots.set("only", 1);
        let (first, second, third) = (slots.member(), slots.member(), slots.member());
        let only = || ["only"].into_iter();
        let wanted = BTreeSet::from(["only".to_owned()]);
        let held = first.take(only()).expect("it is free");
        second.wait_for(&wanted);
        first.wait_for(&wanted);
        drop(held);
        second.freed().notified().await;
        assert!(first.take(only()).is_none() && third.take(only()).is_none());
        let held = second.take(only()).expect("its turn");
        drop(held);
        first.freed().notified().await;
        // Whoever leaves the queue leaves the slot to the next.
        drop(first);
        assert!(third.take(only()).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_begun_where_nobody_answers() {
        let slots = Slots::default();
        slots.set("away", 2);
        let member = slots.member();
        slots.away("away", Instant::now() + std::time::Duration::from_secs(5));
        assert!(member.take(["away"].into_iter()).is_none() && slots.away_until("away").is_some());
        tokio::time::advance(std::time::Duration::from_secs(6)).await;
        assert!(member.take(["away"].into_iter()).is_some());
        slots.away("away", Instant::now() + std::time::Duration::from_secs(5));
        slots.back("away");
        assert!(slots.away_until("away").is_none());
        let held = [slots.hold("away"), slots.hold("away")];
        assert!(member.take(["away"].into_iter()).is_none(), "runs that exist count");
        drop(held);
    }
}
