//! Slots: one thread each, fed with one run after the other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};

use trainer_kit::capability::Device;
use trainer_kit::event::Severity;
use trainer_kit::spec::Spec;
use trainer_kit::state::{Cause, Failure, WaitReason};

use super::executor::{Desk, Done, Executor, Report, RunFailure};
use super::manager::Shared;
use super::record::Facts;
use super::stop::{Stop, StopReason};
use super::world::{Assignment, World};

/// Bytes of stack of a slot's thread: graphs of deep models are walked recursively.
const STACK_BYTES: usize = 16 << 20;

/// A place on a device where one run at a time is done.
pub(super) struct Slot {
    /// Index of its device.
    pub(super) device: usize,
    /// Among the device's slots, from 0.
    pub(super) index: u32,
    /// The execution that has it.
    pub(super) ticket: Option<u64>,
    /// Its thread, once it has one.
    sender: Option<Sender<Assignment>>,
}

/// How an execution ended.
#[derive(Debug)]
pub(super) enum Outcome {
    Returned(Result<Done, RunFailure>),
    /// With what it said.
    Panicked(String),
}

impl Slot {
    pub(super) fn new(device: usize, index: u32) -> Self {
        Self {
            device,
            index,
            ticket: None,
            sender: None,
        }
    }

    /// Leaves the thread to itself: it ends when its execution returns, and the next execution gets another.
    pub(super) fn abandon(&mut self) {
        self.ticket = None;
        self.sender = None;
    }
}

impl World {
    /// May a run of this spec have a slot of this device?
    fn may_have(device: &Device, spec: &Spec, executor: &dyn Executor) -> bool {
        (spec.device.is_empty() || device.name == spec.device) && executor.suits(&device.name, spec)
    }

    /// Is there a device, free or not, for a run of this spec?
    pub(super) fn has_device_for(&self, spec: &Spec, executor: &dyn Executor) -> bool {
        self.devices.iter().any(|device| Self::may_have(device, spec, executor))
    }

    /// A free slot for a run of this spec (defaults filled in): of the device that has most.
    pub(super) fn free_slot(&self, spec: &Spec, executor: &dyn Executor) -> Option<usize> {
        let free_of = |device: usize| {
            let slots = self.slots.iter().enumerate();
            slots
                .filter(move |(_, slot)| slot.device == device && slot.ticket.is_none())
                .map(|(index, _)| index)
        };
        let devices = self
            .devices
            .iter()
            .enumerate()
            .filter(|(_, device)| Self::may_have(device, spec, executor));
        let (device, _) = devices.max_by_key(|(index, _)| (free_of(*index).count(), std::cmp::Reverse(*index)))?;
        free_of(device).next()
    }

    /// A free slot of this very device.
    pub(super) fn free_slot_of(&self, name: &str) -> Option<usize> {
        self.slots.iter().position(|slot| {
            slot.ticket.is_none() && self.devices.get(slot.device).is_some_and(|device| device.name == name)
        })
    }

    /// The name of a slot's device.
    pub(super) fn device_of(&self, slot: usize) -> String {
        let device = self.slots.get(slot).and_then(|slot| self.devices.get(slot.device));
        device.map(|device| device.name.clone()).unwrap_or_default()
    }

    /// Gives free slots to the queue, oldest first; who waits for a taken device does not hold up the others.
    pub(super) fn dispatch(&mut self, shared: &Arc<Shared>) {
        let mut index = 0;
        while !self.draining
            && let Some(&key) = self.queue.get(index)
        {
            let Some(entry) = self.runs.get(&key) else {
                self.queue.remove(index);
                continue;
            };
            let Some(slot) = self.free_slot(&entry.record.spec, &*shared.executor) else {
                index += 1;
                continue;
            };
            self.queue.remove(index);
            let facts = Facts {
                device: Some(self.device_of(slot)),
                ..Facts::default()
            };
            match self.change(key, Cause::Dispatched, "", facts) {
                Ok(()) => self.start(key, slot, shared),
                Err(error) => self.fail_unwritten(key, &error),
            }
        }
    }

    /// Starts a run on a free slot.
    pub(super) fn start(&mut self, key: u64, slot: usize, shared: &Arc<Shared>) {
        let Some(assignment) = self.activate(key, slot) else {
            return;
        };
        let name = format!(
            "{} #{}",
            self.device_of(slot),
            self.slots.get(slot).map_or(0, |slot| slot.index)
        );
        let Some(taken) = self.slots.get_mut(slot) else { return };
        let sent = match &taken.sender {
            Some(sender) => sender.send(assignment).map_err(|_| "its thread is gone".to_owned()),
            None => spawn(name, Arc::downgrade(shared))
                .map_err(|error| error.to_string())
                .and_then(|sender| {
                    let sent = sender.send(assignment).map_err(|_| "its thread is gone".to_owned());
                    taken.sender = Some(sender);
                    sent
                }),
        };
        if let Err(why) = sent {
            taken.abandon();
            if let Some(entry) = self.runs.get_mut(&key) {
                entry.active = None;
            }
            self.tell(Severity::Error, format!("no thread can be started: {why}"));
            let cause = Cause::Failed(Failure::Internal);
            self.change_or_fail(key, cause, "no thread can be started for it", Facts::default());
        } else {
            shared.alarm.ring();
        }
    }

    /// Why a run waits.
    pub(super) fn wait_reason(device: &str) -> WaitReason {
        if device.is_empty() {
            WaitReason::NoFreeSlot
        } else {
            WaitReason::DeviceBusy
        }
    }
}

fn spawn(name: String, shared: Weak<Shared>) -> std::io::Result<Sender<Assignment>> {
    let (sender, receiver) = channel();
    let builder = std::thread::Builder::new().name(name).stack_size(STACK_BYTES);
    builder.spawn(move || work(&receiver, &shared))?;
    Ok(sender)
}

fn work(assignments: &Receiver<Assignment>, shared: &Weak<Shared>) {
    while let Ok(assignment) = assignments.recv() {
        let Some(shared) = shared.upgrade() else { return };
        let desk = SlotDesk {
            shared: Arc::clone(&shared),
            key: assignment.key,
            ticket: assignment.ticket,
            stop: assignment.stop,
        };
        // What the executor shares between runs must bear an execution that ended in the middle: it is told so in its contract
        // with `Done::Stopped`, which may come at any step.
        let executed = catch_unwind(AssertUnwindSafe(|| shared.executor.execute(&assignment.job, &desk)));
        let outcome = match executed {
            Ok(returned) => Outcome::Returned(returned),
            Err(panic) => Outcome::Panicked(words(&*panic)),
        };
        let reason = desk.stop.reason();
        shared.with(|world| world.finished(desk.key, desk.ticket, reason, outcome, &shared));
        shared.idle.notify_all();
    }
}

/// What a panic says.
fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}

struct SlotDesk {
    shared: Arc<Shared>,
    key: u64,
    ticket: u64,
    stop: Stop,
}

impl Desk for SlotDesk {
    fn report(&self, report: Report) {
        self.shared.with(|world| world.report(self.key, self.ticket, report));
    }

    fn alive(&self) {
        self.shared.with(|world| {
            world.sign_of_life(self.key, self.ticket);
        });
    }

    fn stop(&self) -> &Stop {
        &self.stop
    }
}

/// What a reason to stop makes of a run, if it ends it.
pub(super) fn cause_of(reason: StopReason) -> Option<(Cause, &'static str)> {
    match reason {
        StopReason::Cancel => Some((Cause::Cancelled, "cancelled by a caller")),
        StopReason::Deadline => Some((Cause::Failed(Failure::DeadlineExceeded), "max_duration was reached")),
        StopReason::Stalled => Some((
            Cause::Failed(Failure::Stalled),
            "it showed no sign of life for longer than the watchdog allows",
        )),
        StopReason::Pause | StopReason::Drain => None,
    }
}
