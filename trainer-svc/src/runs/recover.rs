//! The runs of a state folder, as they stood when the process before this one ended.

use std::sync::Arc;

use trainer_kit::event::{Happening, Severity};
use trainer_kit::state::{Cause, RunState};

use super::journal::MAX_UNSYNCED;
use super::manager::Shared;
use super::record::{Facts, Record};
use super::store::{Found, OpenError};
use super::world::{Entry, World};

impl World {
    /// Takes in all runs of the folder. Work begins with [`World::resume_all`].
    pub(super) fn load(&mut self) -> Result<(), OpenError> {
        let (retained, mut told) = (self.settings.retained_events, Vec::new());
        let found = self.store.load(retained, &mut |text| told.push(text))?;
        for text in told {
            self.tell(Severity::Warning, text);
        }
        let mut queued = Vec::new();
        for run in found {
            let entry = self.entry(run);
            let (key, record) = (entry.record.key, &entry.record);
            if self.by_id.contains_key(&record.id) || self.runs.contains_key(&key) {
                let text = format!(
                    "{} holds a run that is there already, and is left out",
                    entry.folder.display()
                );
                self.tell(Severity::Error, text);
                continue;
            }
            self.next_key = self.next_key.max(key.saturating_add(1));
            if record.state == RunState::Queued {
                queued.push((record.changed, key));
            }
            self.by_id.insert(record.id.clone(), key);
            self.runs.insert(key, entry);
        }
        queued.sort_unstable();
        self.queue = queued.into_iter().map(|(_, key)| key).collect();
        Ok(())
    }

    fn entry(&self, found: Found) -> Entry {
        let prices = self.settings.capabilities.prices.as_ref();
        let mut record = Record::new(found.header, self.settings.retained_events, prices);
        for line in found.lines {
            record.apply(line);
        }
        Entry {
            record,
            journal: found.journal,
            folder: found.folder,
            active: None,
            pause_wanted: false,
        }
    }

    /// Goes on with what was going on, then with the queue.
    pub(super) fn resume_all(&mut self, shared: &Arc<Shared>) {
        let interrupted: Vec<u64> = self
            .runs
            .iter()
            .filter(|(_, entry)| entry.record.state.holds_slot())
            .map(|(key, _)| *key)
            .collect();
        let mut waiting = Vec::new();
        for key in interrupted {
            // Numbers that somebody may have seen, of lines that were not yet safe on the disk, are left out.
            let what = Happening::log(Severity::Info, "resumed after a restart");
            if let Err(error) = self.append(key, what, Facts::default(), MAX_UNSYNCED) {
                self.fail_unwritten(key, &error);
                continue;
            }
            let Some(entry) = self.runs.get(&key) else { continue };
            if let Some(slot) = self.free_slot_of(&entry.record.device) {
                self.start(key, slot, shared);
            } else if self.has_device_for(&entry.record.spec, &*shared.executor) {
                waiting.push((key, entry.record.spec.device.clone()));
            } else {
                let detail = "its device is no longer there";
                self.change_or_fail(key, Cause::Preempted, detail, Facts::default());
            }
        }
        // There are fewer slots than before: who finds none waits again, before all others.
        for (key, wanted) in waiting.into_iter().rev() {
            self.change_or_fail(key, Cause::Paused, "no slot after a restart", Facts::default());
            let cause = Cause::Resumed(Self::wait_reason(&wanted));
            if self
                .runs
                .get(&key)
                .is_some_and(|entry| entry.record.state == RunState::Paused)
            {
                self.change_or_fail(key, cause, "waits for a slot after a restart", Facts::default());
                self.queue.push_front(key);
            }
        }
        self.dispatch(shared);
    }
}
