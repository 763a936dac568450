//! The manager: the world behind a lock, with its threads.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use trainer_kit::Refusal;
use trainer_kit::capability::{Capabilities, Estimate, Info, Inputs, check_estimate};
use trainer_kit::run::Run;
use trainer_kit::spec::{Spec, Violation};
use trainer_kit::state::{Failure, RunState};

use super::alarm::Alarm;
use super::executor::Executor;
use super::log::RunLog;
use super::slots::Slot;
use super::stop::StopReason;
use super::store::{OpenError, Store, remove};
use super::world::{Aftermath, World};
use super::{Listener, Settings, watchdog};

/// The wall clock: time since 1970.
pub type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// The machine's clock.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place where wall time is read")]
pub fn system_clock() -> Clock {
    Arc::new(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// What the manager and its threads share.
pub(super) struct Shared {
    world: Mutex<World>,
    pub(super) executor: Arc<dyn Executor>,
    listener: Arc<dyn Listener>,
    pub(super) alarm: Arc<Alarm>,
    /// An execution has returned or was left behind.
    pub(super) idle: Condvar,
    version: String,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.alarm.close();
    }
}

impl Shared {
    /// Works on the world; then does what follows from it, without the lock.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut World) -> T) -> T {
        let (result, aftermath) = {
            let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
            let result = work(&mut world);
            (result, std::mem::take(&mut world.aftermath))
        };
        self.follow_up(aftermath);
        result
    }

    fn follow_up(&self, mut aftermath: Aftermath) {
        if aftermath.ring {
            self.alarm.ring();
        }
        for (stop, reason) in aftermath.stops {
            stop.request(reason);
        }
        for (severity, text) in aftermath.told {
            self.listener.tell(severity, &text);
        }
        aftermath.touched.dedup();
        for key in aftermath.touched {
            self.listener.changed(key);
        }
        for key in aftermath.gone {
            self.listener.gone(key);
        }
        for trash in aftermath.trash {
            remove(&trash);
        }
    }
}

/// All runs of one state folder. Clones are the same one; when the last is gone, running executions are told to stop.
#[derive(Clone)]
pub struct Manager {
    shared: Arc<Shared>,
    _life: Arc<Life>,
}

/// The manager's own share, apart from that of its threads.
struct Life(Arc<Shared>);

impl Drop for Life {
    fn drop(&mut self) {
        self.0.with(World::order_drain);
    }
}

impl std::fmt::Debug for Manager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Manager").finish_non_exhaustive()
    }
}

impl World {
    fn order_drain(&mut self) {
        self.draining = true;
        let keys: Vec<u64> = self
            .runs
            .iter()
            .filter(|(_, entry)| entry.active.is_some())
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            self.order_checkpoint(key, StopReason::Drain);
        }
    }

    fn executions(&self) -> usize {
        self.runs.values().filter(|entry| entry.active.is_some()).count()
    }
}

impl Manager {
    /// Opens a state folder and goes on with its runs. `version`: of the trainer, for callers.
    ///
    /// # Errors
    /// The folder cannot be used.
    pub fn open(
        settings: Settings,
        version: &str,
        executor: Arc<dyn Executor>,
        listener: Arc<dyn Listener>,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        let devices = executor.devices();
        let mut slots = Vec::new();
        for (index, device) in devices.iter().enumerate() {
            slots.extend((0..device.slots).map(|number| Slot::new(index, number)));
        }
        if slots.is_empty() {
            return Err(OpenError::NoDevice);
        }
        let store = Store::open(&settings.state_dir, settings.permit.clone())?;
        let state_dir = settings.state_dir.clone();
        let mut world = World {
            settings,
            devices,
            store,
            clock,
            runs: std::collections::BTreeMap::new(),
            by_id: std::collections::HashMap::new(),
            queue: std::collections::VecDeque::new(),
            slots,
            stragglers: std::collections::BTreeMap::new(),
            next_key: 1,
            next_ticket: 1,
            draining: false,
            aftermath: Aftermath::default(),
        };
        world.load()?;
        let shared = Arc::new(Shared {
            world: Mutex::new(world),
            executor,
            listener,
            alarm: Arc::new(Alarm::default()),
            idle: Condvar::new(),
            version: version.to_owned(),
        });
        watchdog::spawn(Arc::clone(&shared.alarm), Arc::downgrade(&shared))
            .map_err(|error| OpenError::Io { path: state_dir, error })?;
        shared.with(|world| world.resume_all(&shared));
        Ok(Self {
            _life: Arc::new(Life(Arc::clone(&shared))),
            shared,
        })
    }

    /// Who the trainer is and how it stands.
    #[must_use]
    pub fn info(&self) -> Info {
        self.shared.with(|world| Info {
            name: world.settings.name.clone(),
            version: self.shared.version.clone(),
            instance_id: world.store.instance_id.clone(),
            devices: world.devices.clone(),
            unready: world.draining.then_some("DRAINING"),
            queued: world.queue.len(),
            active: world
                .runs
                .values()
                .filter(|entry| entry.record.state.holds_slot())
                .count(),
            queue_limit: world.settings.queue_limit,
        })
    }

    /// What is claimed.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.shared.with(|world| world.settings.capabilities.clone())
    }

    /// What a run would take. The executor is asked without a lock held.
    ///
    /// # Errors
    /// Fields, the claim, what it needs.
    pub fn estimate(&self, spec: &Spec) -> Result<Estimate, Refusal> {
        let filled = self.shared.executor.with_defaults(spec);
        self.shared.with(|world| {
            let violations = world.violations(spec);
            if !violations.is_empty() {
                return Err(Refusal::Invalid(violations));
            }
            check_estimate(spec, &world.settings.capabilities, |name| world.has_device(name))?;
            world.check_device(&filled, &self.shared)
        })?;
        let estimate = self.shared.executor.estimate(&filled);
        Ok(estimate.unwrap_or_else(|failure| Estimate {
            infeasible: Some((reason_of(failure.failure), failure.detail)),
            memory_bytes: None,
            device_seconds: None,
            inputs: Inputs::default(),
        }))
    }

    /// Accepts a run, or returns the one that has this id and spec. It is on the disk when this returns.
    ///
    /// # Errors
    /// Fields, id, capabilities, readiness, queue, in this order.
    pub fn create(&self, id: &str, spec: Spec) -> Result<Run, Refusal> {
        let filled = self.shared.executor.with_defaults(&spec);
        self.shared.with(|world| {
            let key = world.create(id, spec, filled, &self.shared)?;
            // A new run is shown as it was accepted, whether or not it begins at once.
            let run = world.shown_by_key(key);
            world.dispatch(&self.shared);
            run
        })
    }

    /// A run as it stands.
    ///
    /// # Errors
    /// The id is malformed or unknown; so for all calls below.
    pub fn get(&self, id: &str) -> Result<Run, Refusal> {
        self.shared.with(|world| world.find(id).map(|entry| world.shown(entry)))
    }

    /// Shows runs with keys below `before` and in one of these states (none: in any), newest first, until told to stop.
    pub fn list(&self, before: u64, states: &[RunState], show: &mut dyn FnMut(u64, Run) -> bool) {
        self.shared.with(|world| {
            for (key, entry) in world.runs.range(..before).rev() {
                let wanted = states.is_empty() || states.contains(&entry.record.state);
                if wanted && !show(*key, world.shown(entry)) {
                    return;
                }
            }
        });
    }

    /// Forgets an ended run and removes its files.
    ///
    /// # Errors
    /// It has not ended.
    pub fn delete(&self, id: &str) -> Result<(), Refusal> {
        self.shared.with(|world| world.delete(id))
    }

    /// Ends a run; it may take a moment.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn cancel(&self, id: &str) -> Result<Run, Refusal> {
        self.shared.with(|world| {
            let key = world.cancel(id)?;
            world.dispatch(&self.shared);
            world.shown_by_key(key)
        })
    }

    /// Pauses a run; it may take a moment.
    ///
    /// # Errors
    /// Not claimed, or it has ended.
    pub fn pause(&self, id: &str) -> Result<Run, Refusal> {
        self.shared.with(|world| {
            let key = world.pause(id)?;
            world.shown_by_key(key)
        })
    }

    /// Resumes a paused run.
    ///
    /// # Errors
    /// Not claimed, it has ended, or the queue is full.
    pub fn resume(&self, id: &str) -> Result<Run, Refusal> {
        self.shared.with(|world| {
            let key = world.resume(id, &self.shared)?;
            let run = world.shown_by_key(key);
            world.dispatch(&self.shared);
            run
        })
    }

    /// The events of a run that is to be watched after a cursor.
    ///
    /// # Errors
    /// The cursor is negative or in the future.
    pub fn watch(&self, id: &str, after: i64) -> Result<RunLog, Refusal> {
        let log = self
            .shared
            .with(|world| world.find(id).map(|entry| entry.record.log.clone()))?;
        let last = log.last_sequence();
        if (0..=last).contains(&after) {
            return Ok(log);
        }
        let description = format!("must be 0 to {last}, the newest event, is {after}");
        Err(Refusal::invalid(Violation::new("after_sequence", description)))
    }

    /// Tells all executions to save a checkpoint and stop, and waits for them. No run is begun or accepted any more; what was going
    /// on goes on at the next start. How many have not stopped in time.
    #[must_use]
    pub fn drain(&self, timeout: Duration) -> usize {
        self.shared.with(World::order_drain);
        let end = Instant::now().checked_add(timeout);
        let mut world = self.shared.world.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = end.map_or(timeout, |end| end.saturating_duration_since(Instant::now()));
            let running = world.executions();
            if running == 0 || left.is_zero() {
                return running;
            }
            let waited = self.shared.idle.wait_timeout(world, left);
            world = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// The contract's name of a failure.
fn reason_of(failure: Failure) -> &'static str {
    match failure {
        Failure::EvaluationMissing => "EVALUATION_MISSING",
        Failure::OutOfMemory => "OUT_OF_MEMORY",
        Failure::DiskFull => "DISK_FULL",
        Failure::ModelUnreadable => "MODEL_UNREADABLE",
        Failure::DataUnreadable => "DATA_UNREADABLE",
        Failure::TooFewExamples => "TOO_FEW_EXAMPLES",
        Failure::LossNotFinite => "LOSS_NOT_FINITE",
        Failure::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Failure::Stalled => "STALLED",
        Failure::Internal => "INTERNAL",
    }
}
