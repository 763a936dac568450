//! One selection: what is due, step by step, until it has ended or is not ours any more.

mod hands;
mod policy;
mod questions;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;

use self::questions::Answer;
use super::attend::Ended;
use super::journal::{Batch, Halt, Journal};
use super::slots::{Member, Permit};
use super::step::{self, Permits};
use super::{Live, Shared};
use crate::policy::fitted::FittedForecasts;
use crate::race::Race;
use crate::selection::{Action, BudgetSpec, Ending, Event, Failure, Phase, Prepared, Wait, WaitReason, due};
use crate::store::Claim;

/// Most rounds within one step: those whose losses are known already need no runs.
const MAX_ROUNDS: usize = 1_000;
/// How long trainers may take to end runs that were cancelled; then the selection ends without them.
const CANCEL_GRACE: Duration = Duration::from_mins(1);
/// How long a wait lasts before it is written down by itself; with other events it is written at once.
const WAIT_WRITTEN_AFTER: Duration = Duration::from_secs(1);

/// One selection that is driven.
pub(super) struct Task {
    shared: Arc<Shared>,
    journal: Journal,
    live: watch::Sender<Live>,
    nudge: Arc<Notify>,
    /// Rebuilt from the state when it is absent.
    race: Option<Race>,
    member: Member,
    runs: JoinSet<Ended>,
    /// Runs in our hands, with their slots; here and below by the attempts that they have their names of.
    attending: HashMap<(usize, u32), Option<Permit>>,
    ids: HashMap<Id, (usize, u32)>,
    followed: HashSet<(usize, u32)>,
    cancelled: HashSet<(usize, u32)>,
    cancels: JoinSet<()>,
    stopping_since: Option<Instant>,
    /// Ended, and not yet written.
    ended: Vec<Ended>,
    /// At most one question at a time.
    question: JoinSet<Answer>,
    /// With the budget that it was planned by.
    prepared: Option<(BudgetSpec, Prepared)>,
    /// Preparation says that it cannot succeed.
    refusal: Option<Ending>,
    fitted: Option<FittedForecasts>,
    /// Answers of the fitter that say that it cannot.
    fit_failures: u32,
    asking_since: Option<Instant>,
    pause: Duration,
    ask_not_before: Option<Instant>,
    /// What the question waits for.
    hindrance: Option<Wait>,
    wanted: BTreeSet<String>,
    /// Since when the wait is another one than that which is stored.
    other_wait_since: Option<Instant>,
}

/// What became of a step.
#[derive(PartialEq, Eq)]
enum Flow {
    /// Look again at once.
    Again,
    /// Wait for something.
    Wait,
    /// The selection has ended.
    Over,
}

impl Task {
    pub(super) async fn load(
        shared: Arc<Shared>,
        claim: Claim,
        live: watch::Sender<Live>,
        nudge: Arc<Notify>,
    ) -> Result<Self, Halt> {
        let journal = Journal::load(Arc::clone(&shared), claim, live.clone()).await?;
        for trainer in journal.state().prepared.iter().flat_map(|prepared| &prepared.trainers) {
            shared.slots.set(&trainer.name, trainer.slots);
        }
        Ok(Self {
            member: shared.slots.member(),
            pause: shared.config.backoff.0,
            shared,
            journal,
            live,
            nudge,
            race: None,
            runs: JoinSet::new(),
            attending: HashMap::new(),
            ids: HashMap::new(),
            followed: HashSet::new(),
            cancelled: HashSet::new(),
            cancels: JoinSet::new(),
            stopping_since: None,
            ended: Vec::new(),
            question: JoinSet::new(),
            prepared: None,
            refusal: None,
            fitted: None,
            fit_failures: 0,
            asking_since: None,
            ask_not_before: None,
            hindrance: None,
            wanted: BTreeSet::new(),
            other_wait_since: None,
        })
    }

    /// Until the selection has ended.
    pub(super) async fn drive(&mut self) -> Result<(), Halt> {
        loop {
            match self.step().await {
                Ok(Flow::Over) => return Ok(()),
                Ok(Flow::Again) => {}
                Ok(Flow::Wait) => self.wait().await?,
                Err(Halt::Defect(detail)) => self.fail(detail).await?,
                Err(halt) => return Err(halt),
            }
        }
    }

    /// Ends a selection in whose driving a defect showed.
    async fn fail(&mut self, detail: String) -> Result<(), Halt> {
        tracing::error!(selection = self.journal.id(), detail, "a selection cannot go on");
        self.race = None;
        if matches!(self.journal.state().phase, Phase::Stopping(_) | Phase::Ended(_)) {
            return Err(Halt::Broken(detail));
        }
        let failure = Failure::Internal;
        let ending = Ending::Failed { failure, detail };
        let batch = Batch::of(self.journal.state(), self.journal.clock().now());
        match batch.with(Event::Stopping { ending }) {
            Ok(batch) => self.journal.commit(batch).await.map(|_| ()),
            Err(halt) => Err(Halt::Broken(halt.to_string())),
        }
    }

    /// Writes down what has happened and what follows from it, then does it.
    async fn step(&mut self) -> Result<Flow, Halt> {
        let mut permits = Permits::new();
        let batch = self.events(&mut permits).await?;
        let batch = self.with_wait(batch)?;
        if !batch.events.is_empty() {
            if !self.journal.commit(batch).await? {
                // The policy has seen what was not written.
                self.race = None;
                return Ok(Flow::Again);
            }
            self.other_wait_since = None;
        }
        self.ended.clear();
        for (attempt, permit) in permits {
            self.attending.insert(attempt, Some(permit));
        }
        self.act();
        if self.journal.state().has_ended() {
            return Ok(Flow::Over);
        }
        self.member.wait_for(&self.wanted);
        Ok(if self.ended.is_empty() { Flow::Wait } else { Flow::Again })
    }

    /// The events of this step.
    async fn events(&mut self, permits: &mut Permits) -> Result<Batch, Halt> {
        let now = self.journal.clock().now();
        let batch = Batch::of(self.journal.state(), now);
        let mut ends = std::mem::take(&mut self.ended);
        ends.extend(step::expired_work(&batch.state, now));
        let batch = step::take_ends(batch, self.journal.id(), &ends, &self.shared.config);
        // Kept until they are written.
        self.ended = ends;
        let mut batch = step::keep_deadline(batch?)?;
        self.wanted.clear();
        for _ in 0..MAX_ROUNDS {
            let actions = due(&batch.state, batch.at);
            let next = actions.into_iter().find(|action| {
                !matches!(
                    action,
                    Action::Attend { .. } | Action::Cancel { .. } | Action::WaitUntil { .. }
                )
            });
            match next {
                Some(Action::Finish { ending }) => batch = self.finish(batch, ending).await?,
                Some(Action::Prepare) => {
                    // One that was planned by a budget which was amended meanwhile is made again.
                    let early = || self.shared.early.take(self.journal.id(), &batch.state.nonce);
                    let planned = self.prepared.take().or_else(early);
                    let planned = planned.filter(|(budget, _)| *budget == batch.state.spec.budget);
                    let Some((_, prepared)) = planned else {
                        return match self.ask_trainers(&batch.state) {
                            Some(ending) => batch.with(Event::Ended { ending }),
                            None => Ok(batch),
                        };
                    };
                    let prepared = Box::new(prepared);
                    batch = batch.with(Event::Prepared { prepared })?;
                }
                Some(Action::Judge) => {
                    let (judged, more) = self.judge(batch).await?;
                    batch = judged;
                    if !more {
                        return Ok(batch);
                    }
                }
                Some(Action::Schedule { trials }) => {
                    let (shared, id) = (Arc::clone(&self.shared), self.journal.id().to_owned());
                    batch = step::schedule(batch, &shared, &id, &trials, &self.member, permits, &mut self.wanted)?;
                    if !batch.state.round_is_complete() {
                        return Ok(batch);
                    }
                }
                _ => return Ok(batch),
            }
        }
        Err(Halt::Defect(format!(
            "more than {MAX_ROUNDS} rounds follow each other without a run"
        )))
    }

    /// With the wait, where it is another one than stored.
    fn with_wait(&mut self, batch: Batch) -> Result<Batch, Halt> {
        let seen = step::wait_of(&batch.state, batch.at, &self.wanted, &self.shared.slots);
        let wait = match &self.hindrance {
            Some(hindrance) if seen.reason == WaitReason::None && !batch.state.has_ended() => hindrance.clone(),
            _ => seen,
        };
        if wait.reason == batch.state.wait.reason {
            self.other_wait_since = None;
            return Ok(batch);
        }
        let since = *self.other_wait_since.get_or_insert_with(Instant::now);
        if batch.events.is_empty() && since.elapsed() < WAIT_WRITTEN_AFTER {
            return Ok(batch);
        }
        batch.with(Event::Waiting { wait })
    }

    /// Waits for whatever comes first.
    async fn wait(&mut self) -> Result<(), Halt> {
        let (wake, refresh_at) = self.wake();
        let (nudge, freed) = (Arc::clone(&self.nudge), self.member.freed());
        tokio::select! {
            Some(joined) = self.runs.join_next_with_id(), if !self.runs.is_empty() => {
                self.take(joined);
                while let Some(joined) = self.runs.try_join_next_with_id() {
                    self.take(joined);
                }
            }
            Some(answer) = self.question.join_next(), if !self.question.is_empty() => self.hear(answer),
            () = freed.notified() => {}
            () = nudge.notified() => self.journal.refresh().await?,
            () = tokio::time::sleep_until(wake) => {
                if wake >= refresh_at {
                    self.journal.refresh().await?;
                }
            }
        }
        Ok(())
    }

    /// When something is due even if nothing happens, and when other processes' events are looked for.
    fn wake(&self) -> (Instant, Instant) {
        let (state, clock) = (self.journal.state(), self.journal.clock());
        let refresh_at = Instant::now() + self.shared.config.poll_interval;
        let mut wake = refresh_at;
        let mut at = |time: Instant| wake = wake.min(time);
        for action in due(state, clock.now()) {
            if let Action::WaitUntil { at: time } = action {
                at(clock.instant(time));
            }
        }
        if !matches!(state.phase, Phase::Stopping(_))
            && let Some(deadline) = state.limits.deadline
        {
            at(clock.instant(deadline));
        }
        for (_, attempt) in state.trials.iter().filter_map(|trial| trial.running()) {
            if let Some(until) = attempt.lease_until {
                at(clock.instant(until));
            }
        }
        for time in self.wanted.iter().filter_map(|name| self.shared.slots.away_until(name)) {
            at(time);
        }
        if let Some(since) = self.other_wait_since {
            at(since + WAIT_WRITTEN_AFTER);
        }
        if let Some(since) = self.stopping_since {
            at(since + CANCEL_GRACE);
        }
        if let Some(time) = self.ask_not_before.filter(|_| self.question.is_empty()) {
            at(time);
        }
        // Clocks of milliseconds: a time that has come is waited for a moment, not for ever in a circle.
        (wake.max(Instant::now() + Duration::from_millis(1)), refresh_at)
    }
}
