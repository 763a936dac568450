//! Time goes on: what is due happens, slots are given out.

use std::time::Duration;

use super::Simulation;
use crate::overrides::Fault;
use crate::plan::{Estimate, seconds};
use crate::run::Run;
use crate::settings::Settings;
use crate::state::{Cause, Failure, RunState};

/// What a running run meets next.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Milestone {
    Progress,
    StageEnd,
    Fault(Fault),
    Deadline,
    Finished,
}

impl Simulation {
    /// Lets everything happen that is due until `now`, in order. Time does not go back.
    pub fn advance(&mut self, now: Duration) {
        self.dispatch();
        while let Some(&(due, key)) = self.agenda.first() {
            if due > now {
                break;
            }
            self.agenda.pop_first();
            self.now = self.now.max(due);
            if let Some(run) = self.runs.get_mut(&key) {
                run.due = None;
            }
            self.act(key);
            self.dispatch();
        }
        self.now = self.now.max(now);
    }

    /// When something happens next by itself.
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        self.agenda.first().map(|(due, _)| *due)
    }

    /// Gives free slots to the queue, oldest first; who waits for a taken device does not hold up the others.
    pub(super) fn dispatch(&mut self) {
        let mut index = 0;
        while let Some(&key) = self.queue.get(index) {
            if self.free_device("").is_none() {
                break;
            }
            let Some(run) = self.runs.get(&key) else {
                self.queue.remove(index);
                continue;
            };
            let Some(device) = self.free_device(&run.spec.device) else {
                index += 1;
                continue;
            };
            self.queue.remove(index);
            if let Some(used) = self.used.get_mut(device) {
                *used += 1;
            }
            if let Some(run) = self.runs.get_mut(&key) {
                run.device = Some(device);
            }
            self.change(key, Cause::Dispatched, "");
        }
    }

    /// The device with the most free slots, of all or of one name.
    pub(super) fn free_device(&self, name: &str) -> Option<usize> {
        let devices = self.settings.devices.iter().zip(&self.used).enumerate();
        devices
            .filter(|(_, (device, used))| (name.is_empty() || device.name == name) && **used < device.slots)
            .max_by_key(|(index, (device, used))| (device.slots - **used, std::cmp::Reverse(*index)))
            .map(|(index, _)| index)
    }

    /// Changes a run's state, frees what it no longer holds, and plans what it does next. Causes come from this crate
    /// alone and fit the state; one that does not changes nothing.
    pub(super) fn change(&mut self, key: u64, cause: Cause, detail: &str) {
        let (now, settings) = (self.now, &self.settings);
        let Some(run) = self.runs.get_mut(&key) else { return };
        let held = run.state.holds_slot();
        let waited = run.state == RunState::Queued;
        if run.state == RunState::Running {
            catch_up(run, now);
        }
        if run
            .change(cause, detail, now, settings.capabilities.prices.as_ref())
            .is_err()
        {
            debug_assert!(false, "{cause:?} in {:?}", run.state);
            return;
        }
        self.touched.push(key);
        if held && !run.state.holds_slot() {
            if let Some(used) = run.device.and_then(|device| self.used.get_mut(device)) {
                *used = used.saturating_sub(1);
            }
            if run.state == RunState::Paused {
                run.device = None;
            }
        }
        if waited && run.state != RunState::Queued {
            self.queue.retain(|queued| *queued != key);
        }
        if run.state.is_ended() {
            self.ended.push_back(key);
        }
        self.schedule(key);
        while self.ended.len() > self.settings.retained_runs {
            if let Some(oldest) = self.ended.pop_front() {
                self.forget(oldest);
            }
        }
    }

    /// Puts a run on the agenda, for what it does next.
    fn schedule(&mut self, key: u64) {
        let (now, settings) = (self.now, &self.settings);
        let Some(run) = self.runs.get_mut(&key) else { return };
        if let Some(due) = run.due.take() {
            self.agenda.remove(&(due, key));
        }
        let due = match run.state {
            RunState::Preparing => Some(now + settings.prepare),
            RunState::Running if run.hung.is_some() => settings.watchdog.map(|patience| run.since + patience),
            RunState::Running => {
                run.since = now;
                let (at, _) = next_milestone(run);
                Some(now + seconds(at - run.done))
            }
            _ => None,
        };
        run.due = due;
        self.agenda.extend(due.map(|due| (due, key)));
    }

    /// A run does what it was due for.
    fn act(&mut self, key: u64) {
        let Some(run) = self.runs.get(&key) else { return };
        match run.state {
            RunState::Preparing => match unpreparable(run, &self.settings) {
                Some((failure, why)) => self.change(key, Cause::Failed(failure), &why),
                None => self.change(key, Cause::Prepared, ""),
            },
            RunState::Running if run.hung.is_some() => {
                self.change(
                    key,
                    Cause::Failed(Failure::Stalled),
                    "no progress for longer than the watchdog allows",
                );
            }
            RunState::Running => self.work(key),
            _ => {}
        }
    }

    fn work(&mut self, key: u64) {
        let (now, prices) = (self.now, self.settings.capabilities.prices.clone());
        let Some(run) = self.runs.get_mut(&key) else { return };
        let (at, milestone) = next_milestone(run);
        run.done = at;
        run.since = now;
        self.touched.push(key);
        match milestone {
            Milestone::Progress => {
                run.ticks += 1;
                run.report_progress(now);
            }
            Milestone::StageEnd => {
                if let Some(work) = run.plan.stages.get(run.stage).map(|stage| stage.work) {
                    run.complete(work, now);
                    run.account(now, prices.as_ref());
                }
                run.stage += 1;
                run.ticks = 0;
            }
            Milestone::Fault(fault) => {
                run.fault_spent = true;
                return self.fail(key, fault);
            }
            Milestone::Deadline => {
                return self.change(
                    key,
                    Cause::Failed(Failure::DeadlineExceeded),
                    "max_duration was reached",
                );
            }
            Milestone::Finished => {
                return match run.missing_evaluation() {
                    None => self.change(key, Cause::Finished, ""),
                    Some(size) => {
                        let why = format!("there is no held-out loss for {size} examples");
                        self.change(key, Cause::Failed(Failure::EvaluationMissing), &why);
                    }
                };
            }
        }
        self.schedule(key);
    }

    fn fail(&mut self, key: u64, fault: Fault) {
        match fault {
            Fault::Fail(failure) => self.change(key, Cause::Failed(failure), "as the simulation was told"),
            Fault::Preempted => self.change(key, Cause::Preempted, "the device was taken away"),
            Fault::Lost => self.change(key, Cause::Vanished, "the worker vanished"),
            Fault::Crash | Fault::Exit => self.crash = Some(fault),
            Fault::EvaluationMissing => {
                if let Some(run) = self.runs.get_mut(&key) {
                    run.skip_evaluations();
                }
                self.schedule(key);
            }
            Fault::Hang | Fault::Freeze => {
                if let Some(run) = self.runs.get_mut(&key) {
                    run.hung = Some(fault);
                }
                self.schedule(key);
            }
        }
    }
}

/// Brings the work done up to `now`, between two milestones.
pub(super) fn catch_up(run: &mut Run, now: Duration) {
    if run.hung.is_none() {
        let (at, _) = next_milestone(run);
        run.done = (run.done + now.saturating_sub(run.since).as_secs_f64()).min(at);
    }
    run.since = now;
}

/// The work after which something happens, and what: of several at the same time the fault, then the deadline, first.
fn next_milestone(run: &Run) -> (f64, Milestone) {
    let (mut at, mut next) = match run.plan.stages.get(run.stage) {
        None => (run.plan.total.max(run.done), Milestone::Finished),
        Some(stage) => {
            let tick = stage.start + f64::from(run.ticks + 1) * run.plan.tick;
            let trains = matches!(stage.work, crate::plan::Work::Train { .. });
            if trains && tick < stage.end {
                (tick, Milestone::Progress)
            } else {
                (stage.end, Milestone::StageEnd)
            }
        }
    };
    if let Some(limit) = run.spec.max_duration
        && limit.as_secs_f64() <= at
    {
        (at, next) = (limit.as_secs_f64(), Milestone::Deadline);
    }
    if let Some((when, fault)) = run.plan.fault
        && !run.fault_spent
        && when <= at
    {
        (at, next) = (when, Milestone::Fault(fault));
    }
    (at.max(run.done), next)
}

/// Why a run cannot begin.
fn unpreparable(run: &Run, settings: &Settings) -> Option<(Failure, String)> {
    let (reason, why) = Estimate::new(&run.plan, &run.spec, settings).infeasible?;
    let failure = if reason == "OUT_OF_MEMORY" {
        Failure::OutOfMemory
    } else {
        Failure::TooFewExamples
    };
    Some((failure, why))
}
