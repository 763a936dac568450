//! The trainer without a transport or a clock: runs, queue, slots. Every call says what time it is; the same calls at the
//! same times give the same events.
//!
//! Nothing here depends on how often [`Simulation::advance`] is called: what was due in between happens at its own time.

mod advance;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use trainer_kit::capability::{Missing, claim, missing};

pub use trainer_kit::Refusal;

use crate::defaults::{default_precision, with_defaults};
use crate::overrides::{Fault, Overrides};
use crate::plan::{Estimate, Plan};
use crate::run::{Creation, Run};
use crate::settings::Settings;
use crate::spec::{Spec, Violation, check_id, check_spec};
use crate::state::{Cause, RunState, WaitReason};

/// Where the runs are.
#[derive(Debug)]
pub struct Simulation {
    settings: Settings,
    now: Duration,
    next_key: u64,
    runs: BTreeMap<u64, Run>,
    by_id: HashMap<String, u64>,
    queue: VecDeque<u64>,
    /// Ended runs, oldest first.
    ended: VecDeque<u64>,
    /// Slots taken, by device.
    used: Vec<u32>,
    agenda: BTreeSet<(Duration, u64)>,
    touched: Vec<u64>,
    crash: Option<Fault>,
    unready: Option<&'static str>,
}

impl Simulation {
    /// A trainer without runs, at time 0.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            used: vec![0; settings.devices.len()],
            settings,
            now: Duration::ZERO,
            next_key: 1,
            runs: BTreeMap::new(),
            by_id: HashMap::new(),
            queue: VecDeque::new(),
            ended: VecDeque::new(),
            agenda: BTreeSet::new(),
            touched: Vec::new(),
            crash: None,
            unready: None,
        }
    }

    /// What it is set to.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Why new runs are not accepted, `UPPER_SNAKE_CASE`; `None` when they are.
    #[must_use]
    pub fn unready(&self) -> Option<&'static str> {
        if self.now < self.settings.start_delay {
            Some("STARTING")
        } else {
            self.unready
        }
    }

    /// Refuses new runs for this reason from now on, or no longer.
    pub fn set_unready(&mut self, reason: Option<&'static str>) {
        self.unready = reason;
    }

    /// Runs that wait.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Runs that hold a slot.
    #[must_use]
    pub fn active(&self) -> u32 {
        self.used.iter().sum()
    }

    /// Runs that exist.
    #[must_use]
    pub fn len(&self) -> usize {
        self.runs.len()
    }

    /// No runs?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// A run by its key.
    #[must_use]
    pub fn run(&self, key: u64) -> Option<&Run> {
        self.runs.get(&key)
    }

    /// A run by its id.
    ///
    /// # Errors
    /// The id is malformed, or unknown.
    pub fn find(&self, id: &str) -> Result<&Run, Refusal> {
        check_id(id).map_err(|violation| Refusal::Invalid(vec![violation]))?;
        let key = self.by_id.get(id);
        key.and_then(|key| self.runs.get(key))
            .ok_or_else(|| Refusal::NotFound(id.to_owned()))
    }

    /// Runs ahead of this one in the queue.
    #[must_use]
    pub fn queue_position(&self, run: &Run) -> Option<usize> {
        self.queue.iter().position(|key| *key == run.key)
    }

    /// Runs older than `before`, newest first.
    pub fn runs_before(&self, before: u64) -> impl Iterator<Item = &Run> {
        self.runs.range(..before).rev().map(|(_, run)| run)
    }

    /// Checks a spec and plans it, without anything else.
    fn plan(&self, id: &str, spec: &Spec) -> Result<(Spec, Overrides, Plan), Refusal> {
        let filled = with_defaults(spec, default_precision(&self.settings.capabilities));
        let overrides = Overrides::from_labels(&spec.labels, self.settings.permissions).map_err(Refusal::Invalid)?;
        let plan = Plan::new(id, &filled, &overrides, &self.settings);
        Ok((filled, overrides, plan))
    }

    /// What a spec needs and is not claimed.
    fn missing(&self, spec: &Spec) -> Vec<Missing> {
        missing(spec, &self.settings.capabilities, |name| {
            self.settings.devices.iter().any(|device| device.name == name)
        })
    }

    /// What is wrong with a spec, if anything: fields first.
    fn check(&self, spec: &Spec) -> Vec<Violation> {
        let mut violations = check_spec(spec);
        if let Err(more) = Overrides::from_labels(&spec.labels, self.settings.permissions) {
            violations.extend(more);
        }
        violations
    }

    /// Could it be done, and with what?
    ///
    /// # Errors
    /// As creating it, but for queue and readiness; or estimates are not claimed.
    pub fn estimate(&self, spec: &Spec) -> Result<Estimate, Refusal> {
        let violations = self.check(spec);
        if !violations.is_empty() {
            return Err(Refusal::Invalid(violations));
        }
        claim("estimate", self.settings.capabilities.estimate)?;
        let missing = self.missing(spec);
        if !missing.is_empty() {
            return Err(Refusal::Missing(missing));
        }
        let (filled, _, plan) = self.plan("", spec)?;
        Ok(Estimate::new(&plan, &filled, &self.settings))
    }

    /// Accepts a run, or returns the one that has this id and spec. Its key.
    ///
    /// # Errors
    /// [`Refusal`], checked in the order of the contract: fields, id, capabilities, readiness, queue.
    pub fn create(&mut self, id: &str, spec: Spec) -> Result<u64, Refusal> {
        let mut violations = self.check(&spec);
        violations.extend(check_id(id).err());
        if !violations.is_empty() {
            return Err(Refusal::Invalid(violations));
        }
        if let Ok(run) = self.find(id) {
            return if run.sent == spec {
                Ok(run.key)
            } else {
                Err(Refusal::Exists(id.to_owned()))
            };
        }
        let missing = self.missing(&spec);
        if !missing.is_empty() {
            return Err(Refusal::Missing(missing));
        }
        if self.unready().is_some() {
            return Err(Refusal::NotReady(self.settings.start_delay.saturating_sub(self.now)));
        }
        if !self.has_room(&spec) {
            return Err(Refusal::QueueFull);
        }
        let (filled, overrides, plan) = self.plan(id, &spec)?;
        let creation = Creation {
            key: self.next_key,
            id: id.to_owned(),
            wait: wait_reason(&filled),
            sent: spec,
            spec: filled,
            overrides,
            plan,
            retained_events: self.settings.retained_events,
        };
        self.next_key += 1;
        let run = Run::new(creation, self.now, self.settings.capabilities.prices.as_ref());
        let key = run.key;
        self.by_id.insert(run.id.clone(), key);
        self.runs.insert(key, run);
        self.queue.push_back(key);
        self.touched.push(key);
        Ok(key)
    }

    /// Is there a place in the queue, or a slot that would be taken at once?
    fn has_room(&self, spec: &Spec) -> bool {
        self.queue.len() < self.settings.queue_limit || self.free_device(&spec.device).is_some()
    }

    /// Ends a run; one that has ended stays as it is. Its key.
    ///
    /// # Errors
    /// No such run.
    pub fn cancel(&mut self, id: &str) -> Result<u64, Refusal> {
        let run = self.find(id)?;
        let (key, ended) = (run.key, run.state.is_ended());
        if !ended {
            self.change(key, Cause::Cancelled, "cancelled by a caller");
        }
        Ok(key)
    }

    /// Pauses a run. Its key.
    ///
    /// # Errors
    /// Not claimed, no such run, or it has ended.
    pub fn pause(&mut self, id: &str) -> Result<u64, Refusal> {
        let key = self.pausable(id)?;
        let now = self.now;
        if let Some(run) = self.runs.get_mut(&key)
            && run.state != RunState::Paused
        {
            if run.state == RunState::Running {
                advance::catch_up(run, now);
                run.save_checkpoint(now);
            }
            self.change(key, Cause::Paused, "paused by a caller");
        }
        Ok(key)
    }

    /// Resumes a paused run. Its key.
    ///
    /// # Errors
    /// Not claimed, no such run, it has ended, or the queue is full.
    pub fn resume(&mut self, id: &str) -> Result<u64, Refusal> {
        let key = self.pausable(id)?;
        let Some(run) = self.runs.get(&key) else { return Ok(key) };
        if run.state == RunState::Paused {
            if !self.has_room(&run.spec) {
                return Err(Refusal::QueueFull);
            }
            let cause = Cause::Resumed(wait_reason(&run.spec));
            self.change(key, cause, "resumed by a caller");
            self.queue.push_back(key);
        }
        Ok(key)
    }

    fn pausable(&self, id: &str) -> Result<u64, Refusal> {
        check_id(id).map_err(|violation| Refusal::Invalid(vec![violation]))?;
        claim("pause", self.settings.capabilities.pause)?;
        let run = self.find(id)?;
        if run.state.is_ended() {
            return Err(Refusal::WrongState {
                id: id.to_owned(),
                state: run.state,
            });
        }
        Ok(run.key)
    }

    /// Forgets an ended run.
    ///
    /// # Errors
    /// No such run, or it has not ended.
    pub fn delete(&mut self, id: &str) -> Result<(), Refusal> {
        let run = self.find(id)?;
        if !run.state.is_ended() {
            return Err(Refusal::WrongState {
                id: id.to_owned(),
                state: run.state,
            });
        }
        let key = run.key;
        self.ended.retain(|ended| *ended != key);
        self.forget(key);
        Ok(())
    }

    fn forget(&mut self, key: u64) {
        if let Some(run) = self.runs.remove(&key) {
            self.by_id.remove(&run.id);
            self.touched.push(key);
        }
    }

    /// Keys of the runs that got events, or were forgotten, since this was last asked.
    pub fn take_touched(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.touched)
    }

    /// The process is to end, by this fault.
    #[must_use]
    pub fn crash(&self) -> Option<Fault> {
        self.crash
    }
}

fn wait_reason(spec: &Spec) -> WaitReason {
    if spec.device.is_empty() {
        WaitReason::NoFreeSlot
    } else {
        WaitReason::DeviceBusy
    }
}
