//! What callers ask for, on the world behind the lock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use trainer_kit::Refusal;
use trainer_kit::capability::{Missing, claim, missing};
use trainer_kit::event::{Happening, Severity};
use trainer_kit::run::Run;
use trainer_kit::spec::{Spec, Violation, check_id, check_spec};
use trainer_kit::state::{Cause, RunState};

use super::disk::is_full;
use super::journal::Journal;
use super::manager::Shared;
use super::record::{FORMAT, Facts, Header, Line, Record};
use super::stop::StopReason;
use super::world::{Entry, Straggler, World};

/// What a caller is told to wait when there is no room on the disk.
const RETRY_WHEN_FULL: Duration = Duration::from_secs(10);

fn moment(at: Duration) -> SystemTime {
    UNIX_EPOCH.checked_add(at).unwrap_or(UNIX_EPOCH)
}

impl World {
    /// A run by its id.
    pub(super) fn find(&self, id: &str) -> Result<&Entry, Refusal> {
        check_id(id).map_err(Refusal::invalid)?;
        let entry = self.by_id.get(id).and_then(|key| self.runs.get(key));
        entry.ok_or_else(|| Refusal::NotFound(id.to_owned()))
    }

    /// A run as callers see it.
    pub(super) fn shown(&self, entry: &Entry) -> Run {
        let record = &entry.record;
        let position = || self.queue.iter().position(|key| *key == record.key);
        Run {
            id: record.id.clone(),
            spec: record.spec.clone(),
            state: record.state,
            wait: record.wait,
            failure: record.failure,
            detail: record.detail.clone(),
            created: moment(record.created),
            started: record.started.map(moment),
            ended: record.ended.map(moment),
            progress: record.progress.clone(),
            evaluations: record.evaluations.clone(),
            cost: record.cost.clone(),
            checkpoints: record.checkpoints.clone(),
            last_sequence: record.log.last_sequence(),
            instance_id: self.store.instance_id.clone(),
            device: record.device.clone(),
            artifact_uri: if record.artifact {
                entry.folder.join(super::ARTIFACT).display().to_string()
            } else {
                String::new()
            },
            queue_position: (record.state == RunState::Queued).then(|| position().unwrap_or(0)),
            model_digest: record.model_digest.clone(),
            data_digest: record.data_digest.clone(),
        }
    }

    pub(super) fn shown_by_key(&self, key: u64) -> Result<Run, Refusal> {
        let entry = self.runs.get(&key).map(|entry| self.shown(entry));
        entry.ok_or_else(|| Refusal::Internal("a run was found and is not there".to_owned()))
    }

    pub(super) fn has_device(&self, name: &str) -> bool {
        self.devices.iter().any(|device| device.name == name)
    }

    /// What a spec needs and is not claimed.
    fn check_needs(&self, spec: &Spec, filled: &Spec, shared: &Shared) -> Result<(), Refusal> {
        let missing = missing(spec, &self.settings.capabilities, |name| self.has_device(name));
        if !missing.is_empty() {
            return Err(Refusal::Missing(missing));
        }
        self.check_device(filled, shared)
    }

    /// Is there a device that can do it?
    pub(super) fn check_device(&self, filled: &Spec, shared: &Shared) -> Result<(), Refusal> {
        if self.has_device_for(filled, &*shared.executor) {
            return Ok(());
        }
        let precision = &filled.hyperparameters.precision;
        let description = format!("no device that may be used has the precision {precision:?}");
        Err(Refusal::Missing(vec![Missing::new(
            "precisions",
            "spec.hyperparameters.precision",
            description,
        )]))
    }

    /// What is wrong with the fields of a spec.
    pub(super) fn violations(&self, spec: &Spec) -> Vec<Violation> {
        let mut violations = check_spec(spec);
        violations.extend(self.settings.roots.check(spec));
        violations
    }

    pub(super) fn create(&mut self, id: &str, spec: Spec, filled: Spec, shared: &Shared) -> Result<u64, Refusal> {
        let mut violations = self.violations(&spec);
        violations.extend(check_id(id).err());
        if !violations.is_empty() {
            return Err(Refusal::Invalid(violations));
        }
        if let Ok(entry) = self.find(id) {
            return if entry.record.sent == spec {
                Ok(entry.record.key)
            } else {
                Err(Refusal::Exists(id.to_owned()))
            };
        }
        self.check_needs(&spec, &filled, shared)?;
        if self.draining {
            return Err(Refusal::Draining);
        }
        if !self.has_room(&filled, shared) {
            return Err(Refusal::QueueFull);
        }
        let key = self.next_key;
        let header = Header {
            format: FORMAT,
            key,
            id: id.to_owned(),
            sent: spec,
            spec: filled,
        };
        self.add(header)?;
        Ok(key)
    }

    /// Makes a new run, at the end of the queue.
    fn add(&mut self, header: Header) -> Result<(), Refusal> {
        let (key, id) = (header.key, header.id.clone());
        let now = (self.clock)();
        let first = Line {
            sequence: 1,
            at_us: u64::try_from(now.as_micros()).unwrap_or(u64::MAX),
            held_ms: 0,
            ran_ms: 0,
            what: Happening::Created(Self::wait_reason(&header.spec.device)),
            facts: Facts::default(),
        };
        let folder = match self.store.create(&header, &first, &self.haunted()) {
            Ok(folder) => folder,
            Err(error) => {
                self.tell(Severity::Error, format!("run {id} cannot be created: {error}"));
                return Err(if is_full(&error) {
                    Refusal::NotReady(RETRY_WHEN_FULL)
                } else {
                    Refusal::Internal(error.to_string())
                });
            }
        };
        let retained = self.settings.retained_events;
        let mut record = Record::new(header, retained, self.settings.capabilities.prices.as_ref());
        record.apply(first);
        let entry = Entry {
            record,
            journal: Journal::new(&folder, retained),
            folder,
            active: None,
            pause_wanted: false,
        };
        self.next_key += 1;
        self.by_id.insert(id, key);
        self.runs.insert(key, entry);
        self.queue.push_back(key);
        self.aftermath.touched.push(key);
        Ok(())
    }

    /// Is there a place in the queue, or a slot that would be taken at once?
    fn has_room(&self, filled: &Spec, shared: &Shared) -> bool {
        self.queue.len() < self.settings.queue_limit || self.free_slot(filled, &*shared.executor).is_some()
    }

    pub(super) fn cancel(&mut self, id: &str) -> Result<u64, Refusal> {
        let entry = self.find(id)?;
        let key = entry.record.key;
        if entry.record.state.is_ended() {
            return Ok(key);
        }
        if entry.active.is_some() {
            self.order_end(key, StopReason::Cancel);
        } else {
            self.change_or_fail(key, Cause::Cancelled, "cancelled by a caller", Facts::default());
        }
        Ok(key)
    }

    fn pausable(&self, id: &str) -> Result<&Entry, Refusal> {
        check_id(id).map_err(Refusal::invalid)?;
        claim("pause", self.settings.capabilities.pause)?;
        let entry = self.find(id)?;
        if entry.record.state.is_ended() {
            return Err(Refusal::WrongState {
                id: id.to_owned(),
                state: entry.record.state,
            });
        }
        Ok(entry)
    }

    pub(super) fn pause(&mut self, id: &str) -> Result<u64, Refusal> {
        let entry = self.pausable(id)?;
        let (key, state, active) = (entry.record.key, entry.record.state, entry.active.is_some());
        if active {
            if let Some(entry) = self.runs.get_mut(&key) {
                entry.pause_wanted = true;
            }
            self.order_checkpoint(key, StopReason::Pause);
        } else if state != RunState::Paused {
            self.change_or_fail(key, Cause::Paused, "paused by a caller", Facts::default());
        }
        Ok(key)
    }

    pub(super) fn resume(&mut self, id: &str, shared: &Shared) -> Result<u64, Refusal> {
        let entry = self.pausable(id)?;
        let (key, state, spec) = (entry.record.key, entry.record.state, entry.record.spec.clone());
        if state != RunState::Paused && !entry.pause_wanted {
            return Ok(key);
        }
        if !self.has_room(&spec, shared) {
            return Err(Refusal::QueueFull);
        }
        if state == RunState::Paused {
            let cause = Cause::Resumed(Self::wait_reason(&spec.device));
            self.change_or_fail(key, cause, "resumed by a caller", Facts::default());
            if self
                .runs
                .get(&key)
                .is_some_and(|entry| entry.record.state == RunState::Queued)
            {
                self.queue.push_back(key);
            }
        } else if let Some(entry) = self.runs.get_mut(&key) {
            // It is about to pause: it will be queued as soon as it has.
            entry.pause_wanted = false;
        }
        Ok(key)
    }

    pub(super) fn delete(&mut self, id: &str) -> Result<(), Refusal> {
        let entry = self.find(id)?;
        let (key, state, folder) = (entry.record.key, entry.record.state, entry.folder.clone());
        if !state.is_ended() {
            return Err(Refusal::WrongState {
                id: id.to_owned(),
                state,
            });
        }
        let discarded = self.store.discard(&folder, key);
        let trash = discarded.map_err(|error| Refusal::Internal(format!("run {id} cannot be removed: {error}")))?;
        let entry = self.runs.remove(&key);
        if let Some(entry) = &entry {
            entry.record.log.go();
        }
        self.by_id.remove(id);
        if let Some(active) = entry.and_then(|entry| entry.active) {
            let straggler = Straggler {
                folder: folder.clone(),
                trash: None,
            };
            self.stragglers.insert(active.ticket, straggler);
        }
        // As long as somebody may write to its folder, the files stay; they are removed when the last has returned.
        match self
            .stragglers
            .values_mut()
            .find(|straggler| straggler.folder == folder)
        {
            Some(straggler) => straggler.trash = Some(trash),
            None => self.aftermath.trash.push(trash),
        }
        self.aftermath.gone.push(key);
        Ok(())
    }
}
