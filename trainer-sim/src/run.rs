//! One run: what it is asked for, where it stands, what came of it. Its events and its fields are written together.

use std::time::Duration;

use crate::cost::{Cost, PriceTable};
use crate::event::{Checkpoint, Evaluation, EvaluationKind, EventLog, Happening, Progress, Severity};
use crate::overrides::{Fault, Overrides};
use crate::plan::{Plan, Work};
use crate::spec::Spec;
use crate::state::{Cause, Failure, IllegalTransition, RunState, WaitReason, transition};

/// A run. All moments are since the trainer's start.
#[derive(Debug, Clone)]
pub struct Run {
    /// Unique in the life of the trainer, ascending by creation.
    pub key: u64,
    /// Chosen by the client.
    pub id: String,
    /// As it was sent.
    pub sent: Spec,
    /// With defaults filled in.
    pub spec: Spec,
    /// What its labels change.
    pub overrides: Overrides,
    /// How it will go.
    pub plan: Plan,
    /// Where it stands.
    pub state: RunState,
    /// Why it waits.
    pub wait: Option<WaitReason>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// One sentence for people.
    pub detail: String,
    /// When it was created.
    pub created: Duration,
    /// When it first began to run.
    pub started: Option<Duration>,
    /// When it ended.
    pub ended: Option<Duration>,
    /// Last progress.
    pub progress: Option<Progress>,
    /// In the order in which they were made.
    pub evaluations: Vec<Evaluation>,
    /// As in its last cost event.
    pub cost: Cost,
    /// Oldest first.
    pub checkpoints: Vec<Checkpoint>,
    /// Index of the device that it holds or held last.
    pub device: Option<usize>,
    /// What happened.
    pub log: EventLog,
    /// When it acts next by itself.
    pub(crate) due: Option<Duration>,
    /// Nothing happens any more, until the watchdog comes.
    pub(crate) hung: Option<Fault>,
    /// Held-out losses are no longer measured.
    skips_evaluations: bool,
    /// The planned fault has happened.
    pub(crate) fault_spent: bool,
    /// Work done when `since` was, simulated seconds.
    pub(crate) done: f64,
    /// Stage it is in, and progress events sent in it.
    pub(crate) stage: usize,
    pub(crate) ticks: u32,
    /// When the work was last looked at.
    pub(crate) since: Duration,
    /// Since when it holds a slot, and what it held before.
    slot_since: Option<Duration>,
    slot_before: Duration,
    charged: bool,
}

/// What a run is made of.
pub(crate) struct Creation {
    pub(crate) key: u64,
    pub(crate) id: String,
    pub(crate) sent: Spec,
    pub(crate) spec: Spec,
    pub(crate) overrides: Overrides,
    pub(crate) plan: Plan,
    pub(crate) wait: WaitReason,
    pub(crate) retained_events: usize,
}

impl Run {
    /// A new run in QUEUED; its creation is event 1.
    pub(crate) fn new(new: Creation, now: Duration, prices: Option<&PriceTable>) -> Self {
        let mut log = EventLog::new(new.retained_events);
        log.push(now, Happening::Created(new.wait));
        Self {
            key: new.key,
            id: new.id,
            sent: new.sent,
            spec: new.spec,
            overrides: new.overrides,
            plan: new.plan,
            state: RunState::Queued,
            wait: Some(new.wait),
            failure: None,
            detail: String::new(),
            created: now,
            started: None,
            ended: None,
            progress: None,
            evaluations: Vec::new(),
            cost: Cost {
                device_seconds: 0.0,
                money: prices.map(|prices| prices.money(0.0)),
            },
            checkpoints: Vec::new(),
            device: None,
            log,
            due: None,
            hung: None,
            skips_evaluations: false,
            fault_spent: false,
            done: 0.0,
            stage: 0,
            ticks: 0,
            since: now,
            slot_since: None,
            slot_before: Duration::ZERO,
            charged: false,
        }
    }

    /// Changes the state, if that is legal: brings the cost up to date, then says so.
    pub(crate) fn change(
        &mut self,
        cause: Cause,
        detail: impl Into<String>,
        now: Duration,
        prices: Option<&PriceTable>,
    ) -> Result<(), IllegalTransition> {
        let way = transition(self.state, cause)?;
        if way.to.is_ended() || way.to == RunState::Paused {
            self.account(now, prices);
        }
        match (way.from.holds_slot(), way.to.holds_slot()) {
            (false, true) => self.slot_since = Some(now),
            (true, false) => {
                self.slot_before += self
                    .slot_since
                    .take()
                    .map_or(Duration::ZERO, |since| now.saturating_sub(since));
            }
            _ => {}
        }
        self.state = way.to;
        self.wait = way.wait;
        self.failure = way.failure;
        self.detail = detail.into();
        if way.to == RunState::Paused {
            // Whatever hung went away with its worker.
            self.hung = None;
        }
        if way.to == RunState::Running {
            self.started.get_or_insert(now);
        }
        if way.to.is_ended() {
            self.ended = Some(now);
        }
        self.log.push(now, Happening::State(way, self.detail.clone()));
        if way.to == RunState::Running {
            let line = format!("{} steps, about {:.0} s", self.plan.steps, self.plan.total - self.done);
            self.log.push(now, Happening::log(Severity::Info, &line));
        }
        Ok(())
    }

    /// Brings the cost up to date, with an event if it grew.
    pub(crate) fn account(&mut self, now: Duration, prices: Option<&PriceTable>) {
        let holding = self
            .slot_since
            .map_or(Duration::ZERO, |since| now.saturating_sub(since));
        self.charged |= self.slot_since.is_some();
        let device_seconds = (self.slot_before + holding).as_secs_f64();
        let cost = Cost {
            device_seconds,
            money: prices.map(|prices| {
                if self.charged {
                    prices.price(device_seconds)
                } else {
                    prices.money(0.0)
                }
            }),
        };
        if cost != self.cost {
            self.cost = cost.clone();
            self.log.push(now, Happening::Cost(cost));
        }
    }

    /// Records progress at the work done so far.
    pub(crate) fn report_progress(&mut self, now: Duration) {
        let (step, size) = self.position();
        let progress = Progress {
            step,
            total_steps: (self.plan.steps > 0).then_some(self.plan.steps),
            training_loss: (step > 0).then(|| self.plan.training_loss(&self.spec, size, step)),
            tokens_per_second: Some(self.plan.tokens_per_second),
            remaining: Some(crate::plan::seconds(self.plan.total - self.done)),
        };
        self.progress = Some(progress.clone());
        self.log.push(now, Happening::Progress(progress));
    }

    /// Steps and examples done.
    pub(crate) fn position(&self) -> (i64, i64) {
        let stage = self.plan.stages.get(self.stage).or_else(|| self.plan.stages.last());
        stage.map_or((0, 0), |stage| Plan::position(stage, self.done))
    }

    /// Does what a stage is for, when its time is over.
    pub(crate) fn complete(&mut self, work: Work, now: Duration) {
        let evaluation = match work {
            Work::Train { .. } => {
                self.report_progress(now);
                self.save_checkpoint(now);
                None
            }
            Work::HeldOut(_) if self.skips_evaluations => None,
            Work::HeldOut(size) => Some(self.plan.held_out(&self.spec, size)),
            Work::Retention { set, after } => self.plan.retention(&self.spec, set, after),
        };
        if let Some(evaluation) = evaluation {
            self.evaluations.push(evaluation.clone());
            self.log.push(now, Happening::Evaluation(evaluation));
        }
    }

    /// Saves a checkpoint at the step done, unless there is one.
    pub(crate) fn save_checkpoint(&mut self, now: Duration) {
        let (step, _) = self.position();
        if self.checkpoints.last().is_some_and(|last| last.step >= step) {
            return;
        }
        let checkpoint = Checkpoint {
            checkpoint_id: format!("step-{step:012}"),
            step,
        };
        self.checkpoints.push(checkpoint.clone());
        self.log.push(now, Happening::Checkpoint(checkpoint));
    }

    /// Held-out losses are not measured from here on.
    pub(crate) fn skip_evaluations(&mut self) {
        self.skips_evaluations = true;
    }

    /// The first requested size without a finite held-out loss.
    pub(crate) fn missing_evaluation(&self) -> Option<i64> {
        let has = |size: i64| {
            let mut all = self.evaluations.iter();
            all.any(|e| e.kind == EvaluationKind::HeldOut && e.data_size == size && e.loss.is_finite())
        };
        self.spec.data_sizes.iter().copied().find(|size| !has(*size))
    }
}
