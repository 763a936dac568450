//! What happens by itself: deadlines, runs that show no sign of life, threads that do not stop, lines still to be written.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use trainer_kit::event::Severity;
use trainer_kit::state::RunState;

use super::alarm::Alarm;
use super::manager::Shared;
use super::record::Facts;
use super::slots::cause_of;
use super::stop::StopReason;
use super::world::{Entry, Straggler, World};

/// Time between two attempts to write what could not be written.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);

/// What is due for a run, or when.
enum Due {
    Now(Step),
    At(Option<Instant>),
}

/// What is due.
enum Step {
    Order(StopReason),
    Abandon,
}

/// Watches until the manager is gone.
pub(super) fn spawn(alarm: Arc<Alarm>, shared: Weak<Shared>) -> std::io::Result<()> {
    let builder = std::thread::Builder::new().name("watchdog".to_owned());
    builder.spawn(move || {
        let mut next = None;
        while alarm.wait(next) {
            let Some(shared) = shared.upgrade() else { return };
            next = shared.with(|world| world.watch_over(&shared));
        }
    })?;
    Ok(())
}

impl World {
    /// Does what is due; says when something is due next.
    fn watch_over(&mut self, shared: &Arc<Shared>) -> Option<Instant> {
        let now = Instant::now();
        let mut next = None;
        let mut sooner = |at: Option<Instant>| next = [next, at].into_iter().flatten().min();
        let keys: Vec<u64> = self
            .runs
            .iter()
            .filter(|(_, entry)| entry.active.is_some())
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            let Some(entry) = self.runs.get(&key) else { continue };
            match self.due(entry, now) {
                Due::At(at) => sooner(at),
                Due::Now(Step::Order(reason)) => {
                    self.order_end(key, reason);
                    sooner(now.checked_add(self.settings.stop_grace));
                }
                Due::Now(Step::Abandon) => self.abandon(key, shared),
            }
        }
        let unsaved: Vec<u64> = self
            .runs
            .iter()
            .filter(|(_, entry)| entry.journal.has_unsaved())
            .map(|(key, _)| *key)
            .collect();
        let disk = self.store.disk.clone();
        for key in unsaved {
            if let Some(entry) = self.runs.get_mut(&key)
                && entry.journal.save(&disk).is_err()
            {
                sooner(now.checked_add(SAVE_INTERVAL));
            } else {
                disk.fill_ballast();
            }
        }
        next
    }

    fn due(&self, entry: &Entry, now: Instant) -> Due {
        let Some(active) = &entry.active else {
            return Due::At(None);
        };
        let passed = |since: Instant, limit: Duration| {
            let at = since.checked_add(limit);
            (at.is_some_and(|at| at <= now), at)
        };
        if let Some(told) = active.ending {
            return match passed(told, self.settings.stop_grace) {
                (true, _) => Due::Now(Step::Abandon),
                (false, at) => Due::At(at),
            };
        }
        let deadline = entry
            .record
            .spec
            .max_duration
            .filter(|_| entry.record.state == RunState::Running);
        let left = deadline.map(|limit| limit.saturating_sub(active.ran()));
        if left.is_some_and(|left| left.is_zero()) {
            return Due::Now(Step::Order(StopReason::Deadline));
        }
        let (stalled, stalls_at) = passed(active.last_sign, self.settings.stall_timeout);
        if stalled {
            return Due::Now(Step::Order(StopReason::Stalled));
        }
        let ends_at = left.and_then(|left| now.checked_add(left));
        Due::At([stalls_at, ends_at].into_iter().flatten().min())
    }

    /// The thread does not stop: the run ends without it, and the slot gets another.
    fn abandon(&mut self, key: u64, shared: &Arc<Shared>) {
        let Some(entry) = self.runs.get(&key) else { return };
        let (id, live) = (entry.record.id.clone(), entry.record.state.holds_slot());
        let Some(reason) = entry.active.as_ref().and_then(|active| active.stop.reason()) else {
            return;
        };
        if live && let Some((cause, detail)) = cause_of(reason) {
            self.change_or_fail(key, cause, detail, Facts::default());
        }
        let Some(entry) = self.runs.get_mut(&key) else { return };
        let Some(active) = entry.active.take() else { return };
        entry.journal.close();
        let straggler = Straggler {
            folder: entry.folder.clone(),
            trash: None,
        };
        self.stragglers.insert(active.ticket, straggler);
        if let Some(slot) = self.slots.get_mut(active.slot) {
            slot.abandon();
        }
        let text = format!("run {id}: its thread did not stop in time and is left behind; its slot gets another");
        self.tell(Severity::Error, text);
        shared.idle.notify_all();
        self.dispatch(shared);
    }
}
