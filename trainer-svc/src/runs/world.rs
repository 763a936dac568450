//! All runs with queue and slots, behind the manager's lock: what is remembered, and how it is written down.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use trainer_kit::capability::Device;
use trainer_kit::event::{Happening, Severity};
use trainer_kit::state::{Cause, Failure, RunState, transition};

use super::Settings;
use super::disk::is_full;
use super::executor::Job;
use super::journal::Journal;
use super::manager::Clock;
use super::record::{Facts, Line, Record};
use super::slots::Slot;
use super::stop::{Stop, StopReason};
use super::store::Store;

/// A run, and who works on it.
pub(super) struct Entry {
    pub(super) record: Record,
    pub(super) journal: Journal,
    pub(super) folder: PathBuf,
    /// The execution that counts.
    pub(super) active: Option<Active>,
    /// A caller wants it paused.
    pub(super) pause_wanted: bool,
}

/// An execution.
pub(super) struct Active {
    pub(super) slot: usize,
    /// Never used twice: what other executions report does not count.
    pub(super) ticket: u64,
    pub(super) stop: Stop,
    pub(super) since: Instant,
    pub(super) running_since: Option<Instant>,
    held_before: Duration,
    ran_before: Duration,
    pub(super) last_sign: Instant,
    /// When it was told to stop at once.
    pub(super) ending: Option<Instant>,
}

impl Active {
    pub(super) fn held(&self) -> Duration {
        self.held_before + self.since.elapsed()
    }

    pub(super) fn ran(&self) -> Duration {
        self.ran_before + self.running_since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// An execution that does not count any more and may still write to its run's folder.
pub(super) struct Straggler {
    /// Where it may write.
    pub(super) folder: PathBuf,
    /// To be removed when it has returned.
    pub(super) trash: Option<PathBuf>,
}

/// Work for a slot's thread.
pub(super) struct Assignment {
    pub(super) key: u64,
    pub(super) ticket: u64,
    pub(super) job: Job,
    pub(super) stop: Stop,
}

/// What is to be done when the lock is released.
#[derive(Default)]
pub(super) struct Aftermath {
    pub(super) touched: Vec<u64>,
    pub(super) gone: Vec<u64>,
    pub(super) stops: Vec<(Stop, StopReason)>,
    pub(super) told: Vec<(Severity, String)>,
    pub(super) trash: Vec<PathBuf>,
    /// Something may be due sooner than the watchdog thinks.
    pub(super) ring: bool,
}

/// Everything behind the lock.
pub(super) struct World {
    pub(super) settings: Settings,
    pub(super) devices: Vec<Device>,
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) runs: BTreeMap<u64, Entry>,
    pub(super) by_id: HashMap<String, u64>,
    pub(super) queue: VecDeque<u64>,
    pub(super) slots: Vec<Slot>,
    pub(super) stragglers: BTreeMap<u64, Straggler>,
    pub(super) next_key: u64,
    pub(super) next_ticket: u64,
    pub(super) draining: bool,
    pub(super) aftermath: Aftermath,
}

impl World {
    pub(super) fn tell(&mut self, severity: Severity, text: impl Into<String>) {
        self.aftermath.told.push((severity, text.into()));
    }

    /// Folders that somebody may still write to.
    pub(super) fn haunted(&self) -> HashSet<PathBuf> {
        self.stragglers
            .values()
            .map(|straggler| straggler.folder.clone())
            .collect()
    }

    /// The next line of a run. `skip`: numbers that are left out.
    pub(super) fn line(&self, entry: &Entry, what: Happening, facts: Facts, skip: i64) -> Line {
        let record = &entry.record;
        let active = entry.active.as_ref();
        let at = (self.clock)().max(record.last_at);
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Line {
            sequence: record.log.last_sequence().saturating_add(1).saturating_add(skip),
            at_us: u64::try_from(at.as_micros()).unwrap_or(u64::MAX),
            held_ms: millis(active.map_or(record.held, Active::held)),
            ran_ms: millis(active.map_or(record.ran, Active::ran)),
            what,
            facts,
        }
    }

    /// Writes an event down; then, and only then, it has happened.
    pub(super) fn append(&mut self, key: u64, what: Happening, facts: Facts, skip: i64) -> io::Result<()> {
        let Some(entry) = self.runs.get(&key) else {
            return Ok(());
        };
        let line = self.line(entry, what, facts, skip);
        let Some(entry) = self.runs.get_mut(&key) else {
            return Ok(());
        };
        entry.journal.append(&self.store.disk, &line)?;
        entry.record.apply(line);
        self.aftermath.touched.push(key);
        Ok(())
    }

    /// Changes a run's state, if that is legal, after bringing its cost up to date where that is final for now.
    pub(super) fn change(&mut self, key: u64, cause: Cause, detail: &str, facts: Facts) -> io::Result<()> {
        let Some(entry) = self.runs.get(&key) else {
            return Ok(());
        };
        let state = entry.record.state;
        let Ok(way) = transition(state, cause) else {
            // Causes come from this crate alone and fit the state.
            debug_assert!(false, "{cause:?} in {state:?}");
            return Ok(());
        };
        if way.to.is_ended() || way.to == RunState::Paused {
            self.account(key)?;
        }
        self.append(key, Happening::State(way, detail.to_owned()), facts, 0)?;
        self.settle(key);
        Ok(())
    }

    /// What follows from a run's new state, but for its slot.
    fn settle(&mut self, key: u64) {
        let Some(entry) = self.runs.get_mut(&key) else { return };
        let state = entry.record.state;
        if state == RunState::Running
            && let Some(active) = &mut entry.active
        {
            active.running_since.get_or_insert_with(Instant::now);
            // From now on its time counts.
            self.aftermath.ring = true;
        }
        if !state.holds_slot() {
            entry.pause_wanted = false;
            entry.journal.close();
        }
        if state != RunState::Queued {
            self.queue.retain(|queued| *queued != key);
        }
    }

    /// Brings a run's cost up to date, with an event if it grew.
    pub(super) fn account(&mut self, key: u64) -> io::Result<()> {
        let Some(entry) = self.runs.get(&key) else {
            return Ok(());
        };
        let held = entry.active.as_ref().map_or(entry.record.held, Active::held);
        let cost = entry.record.cost_of(held, self.settings.capabilities.prices.as_ref());
        if cost == entry.record.cost {
            return Ok(());
        }
        self.append(key, Happening::Cost(cost), Facts::default(), 0)
    }

    /// As [`change`](Self::change); when it cannot be written down, the run fails.
    pub(super) fn change_or_fail(&mut self, key: u64, cause: Cause, detail: &str, facts: Facts) {
        if let Err(error) = self.change(key, cause, detail, facts) {
            self.fail_unwritten(key, &error);
        }
    }

    /// Something about a run could not be written down: it fails, with the reserve for its last words.
    pub(super) fn fail_unwritten(&mut self, key: u64, error: &io::Error) {
        let Some(entry) = self.runs.get(&key) else { return };
        let (id, ended) = (entry.record.id.clone(), entry.record.state.is_ended());
        self.tell(
            Severity::Error,
            format!("run {id}: its events cannot be written: {error}"),
        );
        let (failure, detail) = if is_full(error) {
            (Failure::DiskFull, "the disk is full")
        } else {
            (Failure::Internal, "its events cannot be written")
        };
        let cause = Cause::Failed(failure);
        if ended {
            return;
        }
        self.store.disk.drop_ballast();
        if self.change(key, cause, detail, Facts::default()).is_err() {
            self.fail_unsaved(key, cause, detail);
        }
        self.order_end(key, StopReason::Cancel);
    }

    /// The end of a run that not even the reserve has room for: it is told now and written when there is room again.
    fn fail_unsaved(&mut self, key: u64, cause: Cause, detail: &str) {
        let Some(entry) = self.runs.get(&key) else { return };
        let held = entry.active.as_ref().map_or(entry.record.held, Active::held);
        let cost = entry.record.cost_of(held, self.settings.capabilities.prices.as_ref());
        let Ok(way) = transition(entry.record.state, cause) else {
            return;
        };
        let grown = (cost != entry.record.cost).then_some(Happening::Cost(cost));
        for what in grown.into_iter().chain([Happening::State(way, detail.to_owned())]) {
            let Some(entry) = self.runs.get(&key) else { return };
            let line = self.line(entry, what, Facts::default(), 0);
            if let Some(entry) = self.runs.get_mut(&key) {
                entry.journal.keep_unsaved(&line);
                entry.record.apply(line);
                self.aftermath.ring = true;
            }
        }
        self.aftermath.touched.push(key);
        self.settle(key);
    }

    /// Tells an execution to stop at once.
    pub(super) fn order_end(&mut self, key: u64, reason: StopReason) {
        if let Some(active) = self.runs.get_mut(&key).and_then(|entry| entry.active.as_mut()) {
            active.ending.get_or_insert_with(Instant::now);
            self.aftermath.ring = true;
            self.aftermath.stops.push((active.stop.clone(), reason));
        }
    }

    /// Tells an execution to stop when it has saved a checkpoint.
    pub(super) fn order_checkpoint(&mut self, key: u64, reason: StopReason) {
        if let Some(active) = self.runs.get_mut(&key).and_then(|entry| entry.active.as_mut()) {
            active.last_sign = Instant::now();
            self.aftermath.stops.push((active.stop.clone(), reason));
        }
    }

    /// Gives a run to a free slot.
    pub(super) fn activate(&mut self, key: u64, slot: usize) -> Option<Assignment> {
        let (ticket, stop, now) = (self.next_ticket, Stop::new(), Instant::now());
        let taken = self.slots.get_mut(slot)?;
        let entry = self.runs.get_mut(&key)?;
        let record = &entry.record;
        let job = Job {
            id: record.id.clone(),
            spec: record.spec.clone(),
            folder: entry.folder.clone(),
            device: record.device.clone(),
            slot: taken.index,
            resume: !record.held.is_zero() || !record.checkpoints.is_empty() || record.started.is_some(),
            evaluations: record.evaluations.clone(),
            checkpoints: record.checkpoints.clone(),
        };
        entry.active = Some(Active {
            slot,
            ticket,
            stop: stop.clone(),
            since: now,
            running_since: (record.state == RunState::Running).then_some(now),
            held_before: record.held,
            ran_before: record.ran,
            last_sign: now,
            ending: None,
        });
        taken.ticket = Some(ticket);
        self.next_ticket += 1;
        Some(Assignment { key, ticket, job, stop })
    }
}
