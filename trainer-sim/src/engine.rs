//! The simulation in a process: behind a lock, driven by a clock, with a bell for everybody who watches a run.
//!
//! Watches keep a cursor and read from the run's one log; what waits for a slow reader is a number, not a queue.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use svc_kit::shutdown::Token;
use tokio::sync::{Notify, watch};

use crate::clock::{Clock, ManualClock, RealClock};
use crate::config::SimulationConfig;
use crate::event::Event;
use crate::overrides::Fault;
use crate::run::Run;
use crate::simulation::{Refusal, Simulation};
use crate::spec::Violation;

/// Events read at once.
const BATCH: usize = 64;

/// A simulated trainer; clones are the same one. [`crate::grpc::serve`] puts it on the wire.
#[derive(Debug, Clone)]
pub struct Trainer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    world: Mutex<World>,
    clock: Arc<dyn Clock>,
    /// The next due moment may be sooner than the driver thinks.
    sooner: Notify,
    watches: AtomicUsize,
    breaks: watch::Sender<u64>,
    config: SimulationConfig,
    instance_id: String,
}

#[derive(Debug)]
struct World {
    simulation: Simulation,
    /// By run: its newest event, for those who watch it.
    bells: HashMap<u64, watch::Sender<i64>>,
}

impl Trainer {
    /// A trainer by this configuration and clock. With a real clock somebody must [`drive`](Self::drive) it.
    #[must_use]
    pub fn new(config: &SimulationConfig, clock: Arc<dyn Clock>) -> Self {
        let settings = config.settings();
        let instance_id = if config.instance_id.is_empty() {
            format!("sim-{:016x}", RandomState::new().build_hasher().finish())
        } else {
            config.instance_id.clone()
        };
        Self {
            shared: Arc::new(Shared {
                world: Mutex::new(World {
                    simulation: Simulation::new(settings),
                    bells: HashMap::new(),
                }),
                clock,
                sooner: Notify::new(),
                watches: AtomicUsize::new(0),
                breaks: watch::Sender::new(0),
                config: config.clone(),
                instance_id,
            }),
        }
    }

    /// A trainer on a clock that only [`advance`](Self::advance) turns.
    #[must_use]
    pub fn manual(config: &SimulationConfig) -> (Self, ManualClock) {
        let clock = ManualClock::new();
        (Self::new(config, Arc::new(clock.clone())), clock)
    }

    /// A trainer on the machine's clock, driven until the shutdown. Must be called within a tokio runtime.
    #[must_use]
    pub fn start(config: &SimulationConfig, shutdown: &Token) -> Self {
        let trainer = Self::new(config, Arc::new(RealClock::new(config.speed)));
        tokio::spawn(trainer.clone().drive(shutdown.clone()));
        trainer
    }

    /// Turns a manual clock and lets everything happen that is due by then, before it returns.
    pub fn advance(&self, clock: &ManualClock, by: Duration) {
        clock.advance(by);
        self.with(|_| ());
    }

    /// Lets runs go on as the clock does, until the shutdown.
    pub async fn drive(self, shutdown: Token) {
        loop {
            let due = self.with(|simulation| simulation.next_due());
            tokio::select! {
                () = self.shared.clock.wait(due) => {}
                () = self.shared.sooner.notified() => {}
                () = shutdown.triggered() => return,
            }
        }
    }

    /// Works on the simulation, brought up to the present before and after; then rings the bells.
    pub fn with<T>(&self, work: impl FnOnce(&mut Simulation) -> T) -> T {
        let mut world = self.shared.world.lock().unwrap_or_else(PoisonError::into_inner);
        let World { simulation, bells } = &mut *world;
        let now = self.shared.clock.now();
        simulation.advance(now);
        let due = simulation.next_due();
        let result = work(simulation);
        simulation.advance(now);
        for key in simulation.take_touched() {
            match simulation.run(key) {
                Some(run) => {
                    if let Some(bell) = bells.get(&key) {
                        bell.send_replace(run.log.last_sequence());
                    }
                }
                // Dropping the bell tells the watches that the run is gone.
                None => drop(bells.remove(&key)),
            }
        }
        if simulation.next_due() != due {
            self.shared.sooner.notify_one();
        }
        if let Some(fault) = simulation.crash() {
            end_process(fault);
        }
        result
    }

    /// The configuration it was made with.
    #[must_use]
    pub fn config(&self) -> &SimulationConfig {
        &self.shared.config
    }

    /// Its clock.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.shared.clock
    }

    /// As in `GetTrainerInfo`.
    #[must_use]
    pub fn instance_id(&self) -> &str {
        &self.shared.instance_id
    }

    /// Watches that are open.
    #[must_use]
    pub fn open_watches(&self) -> usize {
        self.shared.watches.load(Ordering::Relaxed)
    }

    /// Breaks all open watches with UNAVAILABLE.
    pub fn break_streams(&self) {
        self.shared.breaks.send_modify(|count| *count += 1);
    }

    /// Refuses new runs for this reason (`UPPER_SNAKE_CASE`) from now on, or accepts them again.
    pub fn set_unready(&self, reason: Option<&'static str>) {
        self.with(|simulation| simulation.set_unready(reason));
    }

    /// Begins to watch a run after a cursor.
    ///
    /// # Errors
    /// No such run, or a cursor that is negative or in the future.
    pub fn watch(&self, id: &str, after: i64) -> Result<Watch, Refusal> {
        let mut world = self.shared.world.lock().unwrap_or_else(PoisonError::into_inner);
        let World { simulation, bells } = &mut *world;
        let run = simulation.find(id)?;
        let last = run.log.last_sequence();
        if !(0..=last).contains(&after) {
            let description = format!("must be 0 to {last}, the newest event, is {after}");
            return Err(Refusal::Invalid(vec![Violation::new("after_sequence", description)]));
        }
        let bell = bells.entry(run.key).or_insert_with(|| watch::Sender::new(last));
        self.shared.watches.fetch_add(1, Ordering::Relaxed);
        Ok(Watch {
            key: run.key,
            id: id.to_owned(),
            bell: bell.subscribe(),
            breaks: self.shared.breaks.subscribe(),
            trainer: self.clone(),
        })
    }
}

/// Somebody who watches a run; counted as long as it exists.
#[derive(Debug)]
pub struct Watch {
    trainer: Trainer,
    key: u64,
    id: String,
    bell: watch::Receiver<i64>,
    breaks: watch::Receiver<u64>,
}

/// What a watch found when it looked.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Events after the cursor, in order; not necessarily all.
    pub events: Vec<Event>,
    /// The newest event of the run.
    pub last_sequence: i64,
    /// The run has ended: nothing comes after `last_sequence`.
    pub ended: bool,
    /// Nothing is to be sent when nothing happens, not even heartbeats.
    pub frozen: bool,
}

/// Why a watch woke up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// Something happened, or the run is gone.
    News,
    /// The stream is to break.
    Break,
}

impl Watch {
    /// The events after the cursor. `None`: the run is gone.
    pub fn read(&mut self, cursor: i64) -> Option<Batch> {
        self.bell.mark_unchanged();
        self.trainer.read(self.key, |run| Batch {
            events: run.log.after(cursor, BATCH),
            last_sequence: run.log.last_sequence(),
            ended: run.state.is_ended(),
            frozen: run.hung == Some(Fault::Freeze),
        })
    }

    /// Messages after which the stream breaks, if a label of the run or the configuration asks for that.
    #[must_use]
    pub fn stream_break(&self) -> Option<u32> {
        let configured = self.trainer.config().stream_break;
        let labelled = self.trainer.read(self.key, |run| run.overrides.stream_break);
        labelled.flatten().or((configured > 0).then_some(configured))
    }

    /// Waits until there is something to read, or the stream is to break.
    pub async fn news(&mut self) -> Woken {
        tokio::select! {
            // An error means that the run is gone, or the trainer: reading says so.
            _ = self.bell.changed() => Woken::News,
            _ = self.breaks.changed() => Woken::Break,
        }
    }

    /// The run's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The trainer.
    #[must_use]
    pub fn trainer(&self) -> &Trainer {
        &self.trainer
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.trainer.shared.watches.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Trainer {
    /// Looks at a run without letting time go on.
    fn read<T>(&self, key: u64, look: impl FnOnce(&Run) -> T) -> Option<T> {
        let world = self.shared.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.simulation.run(key).map(look)
    }
}

/// The process ends, as a run's label asked for and the configuration allows.
fn end_process(fault: Fault) {
    tracing::error!(fault = fault.name(), "the process ends, as it was told");
    match fault {
        Fault::Crash => std::process::abort(),
        _ => std::process::exit(70),
    }
}
