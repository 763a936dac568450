//! One selection: what is due, step by step, until it has ended or is not ours any more.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tracing::Instrument;

use super::attend::{self, Ended, Order};
use super::journal::{Batch, Halt, Journal, doubled};
use super::prepare::{self, Asked};
use super::slots::{Member, Permit};
use super::step::{self, Permits};
use super::{Live, PrepareError, Shared};
use crate::order;
use crate::policy::fitted::FittedForecasts;
use crate::ports::{FitRequest, FitterError};
use crate::race::{Next, Race};
use crate::selection::{
    Action, Ending, Event, Failure, Outcome, Phase, PlannedTrial, Prepared, State, Wait, WaitReason, WorkMode, due,
};
use crate::store::{Claim, KnownForecast};

/// Most rounds within one step: those whose losses are known already need no runs.
const MAX_ROUNDS: usize = 1_000;
/// How long trainers may take to end runs that were cancelled; then the selection ends without them.
const CANCEL_GRACE: Duration = Duration::from_mins(1);
/// How long a wait lasts before it is written down by itself; with other events it is written at once.
const WAIT_WRITTEN_AFTER: Duration = Duration::from_secs(1);
/// How long a selection is prepared before trainers that are away are left out.
const PREPARE_PATIENCE: Duration = Duration::from_secs(30);

/// Something that was asked of the world and is awaited beside the runs.
enum Answer {
    Prepared(Result<Asked, PrepareError>),
    Planned(Result<Box<Prepared>, PrepareError>),
    Fitted(Result<FittedForecasts, FitterError>),
}

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
    /// Runs in our hands, with their slots.
    attending: HashMap<(usize, u32), Option<Permit>>,
    ids: HashMap<Id, (usize, u32)>,
    cancelled: HashSet<(usize, u32)>,
    cancels: JoinSet<()>,
    stopping_since: Option<Instant>,
    /// Ended, and not yet written.
    ended: Vec<Ended>,
    /// At most one question at a time.
    question: JoinSet<Answer>,
    prepared: Option<Prepared>,
    /// Preparation says that it cannot succeed.
    refusal: Option<Ending>,
    fitted: Option<FittedForecasts>,
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
            cancelled: HashSet::new(),
            cancels: JoinSet::new(),
            stopping_since: None,
            ended: Vec::new(),
            question: JoinSet::new(),
            prepared: None,
            refusal: None,
            fitted: None,
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
                Some(Action::Prepare) => match self.prepared.take() {
                    Some(prepared) => {
                        let prepared = Box::new(prepared);
                        batch = batch.with(Event::Prepared { prepared })?;
                    }
                    None => {
                        if let Some(ending) = self.ask_trainers(&batch.state) {
                            batch = batch.with(Event::Ended { ending })?;
                        }
                        return Ok(batch);
                    }
                },
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

    /// The judgement of the last round and the round that follows; `false`: the fitter was asked first.
    async fn judge(&mut self, mut batch: Batch) -> Result<(Batch, bool), Halt> {
        let race = self.race(&batch.state).await?;
        let fitted = batch.state.rounds.last().is_some_and(|round| round.fitted.is_some());
        if let Some(request) = race.fit_request(&batch.state).filter(|_| !fitted) {
            let Some(forecasts) = self.fitted.take() else {
                self.race = Some(race);
                self.ask_fitter(request);
                return Ok((batch, false));
            };
            let forecasts = Box::new(forecasts);
            batch = batch.with(Event::Fitted { forecasts })?;
        }
        let judging = tokio::task::spawn_blocking(move || {
            let mut race = race;
            let fitted = batch.state.rounds.last().and_then(|round| round.fitted.as_ref());
            let judgement = race.judge(&batch.state, fitted);
            (race, judgement, batch)
        });
        let judged = judging.await.map_err(|panicked| Halt::Defect(panicked.to_string()))?;
        let (race, judgement, mut batch) = judged;
        self.race = Some(race);
        if let Some(decision) = judgement.decision {
            let decision = Box::new(decision);
            batch = batch.with(Event::Judged { decision })?;
        }
        match judgement.next {
            Next::Finish(ending) => batch = self.finish(batch, ending).await?,
            Next::Round(trials) => {
                let trials = self.known(&batch.state, trials).await?;
                batch = batch.with(Event::RoundOpened { trials })?;
            }
        }
        Ok((batch, true))
    }

    async fn race(&mut self, state: &State) -> Result<Race, Halt> {
        if let Some(race) = self.race.take() {
            return Ok(race);
        }
        let state = state.clone();
        let made = tokio::task::spawn_blocking(move || Race::new(&state)).await;
        let made = made.map_err(|panicked| Halt::Defect(panicked.to_string()))?;
        made.map_err(|error| Halt::Defect(error.to_string()))
    }

    /// Trials with the losses that earlier selections have measured.
    async fn known(
        &self,
        state: &State,
        trials: Vec<(usize, crate::curve::DataSize)>,
    ) -> Result<Vec<PlannedTrial>, Halt> {
        let key = |contender, size| {
            state
                .spec
                .reuse
                .then(|| order::loss_key(state, contender, size))
                .flatten()
        };
        let keyed: Vec<_> = trials
            .into_iter()
            .map(|(contender, size)| (contender, size, key(contender, size)))
            .collect();
        let keys: Vec<_> = keyed.iter().filter_map(|(_, _, key)| key.clone()).collect();
        let known = if keys.is_empty() {
            Vec::new()
        } else {
            self.journal.known_losses(&keys).await?
        };
        let known: HashMap<_, _> = known.into_iter().map(|loss| (loss.key.clone(), loss)).collect();
        let planned = keyed.into_iter().map(|(contender, data_size, key)| {
            let found = key.and_then(|key| known.get(&key));
            let reused = found.filter(|loss| loss.observation.data_size() == data_size);
            PlannedTrial {
                contender,
                data_size,
                reused: reused.map(|loss| (loss.observation, loss.selection.clone())),
            }
        });
        Ok(planned.collect())
    }

    /// The end, with what later selections may start from.
    async fn finish(&mut self, mut batch: Batch, ending: Ending) -> Result<Batch, Halt> {
        if matches!(ending, Ending::Succeeded | Ending::BudgetExhausted { .. }) {
            // Forecasts are a service to others: without them the selection ends all the same.
            if let Ok(race) = self.race(&batch.state).await {
                batch.forecasts = forecasts(&race, &batch.state, self.journal.id());
                self.race = Some(race);
            }
        }
        batch.with(Event::Ended { ending })
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

    /// Does what the state asks for: attends to runs, cancels them.
    fn act(&mut self) {
        let state = self.journal.state();
        let external = state.spec.work_mode == WorkMode::AskTell;
        let mut orders = Vec::new();
        let mut cancel = Vec::new();
        for action in due(state, self.journal.clock().now()) {
            let (key, cancelled) = match action {
                Action::Attend { trial, attempt } => ((trial, attempt), false),
                Action::Cancel { trial, attempt } => ((trial, attempt), true),
                _ => continue,
            };
            let Some(in_hand) = state.trials.get(key.0).and_then(|trial| trial.attempts.last()) else {
                continue;
            };
            let names = (in_hand.trainer.clone(), in_hand.run_id.clone());
            if external {
                if cancelled {
                    let words = "the selection ends";
                    self.ended
                        .push(Ended::without_word(key.0, key.1, Outcome::Cancelled, words));
                }
                continue;
            }
            if self.attending.get(&key).is_none_or(|permit| permit.is_some()) && !self.ids.values().any(|id| *id == key)
            {
                orders.push(Order {
                    trial: key.0,
                    attempt: key.1,
                    spec: order::run_spec(state, self.journal.id(), key.0, key.1),
                    trainer: names.0.clone(),
                    run_id: names.1.clone(),
                });
            }
            if cancelled && !self.cancelled.contains(&key) {
                cancel.push((key, names));
            }
        }
        for order in orders {
            self.attend(order);
        }
        for (key, (trainer, run_id)) in cancel {
            self.cancelled.insert(key);
            self.stopping_since.get_or_insert_with(Instant::now);
            self.cancels
                .spawn(attend::cancel(Arc::clone(&self.shared), trainer, run_id));
        }
        self.give_up_on_the_cancelled();
    }

    fn attend(&mut self, order: Order) {
        let key = (order.trial, order.attempt);
        let slots = &self.shared.slots;
        self.attending
            .entry(key)
            .or_default()
            .get_or_insert_with(|| slots.hold(&order.trainer));
        let span = tracing::info_span!("run", run = order.run_id, trainer = order.trainer);
        let run = attend::attend(Arc::clone(&self.shared), order, self.live.clone());
        let id = self.runs.spawn(run.instrument(span)).id();
        self.ids.insert(id, key);
    }

    /// Cancelled runs whose trainers do not end them are ended without them.
    fn give_up_on_the_cancelled(&mut self) {
        if self.stopping_since.is_none_or(|since| since.elapsed() < CANCEL_GRACE) {
            return;
        }
        for (trial, attempt) in self.attending.keys() {
            let words = "its trainer did not end it in time";
            self.ended
                .push(Ended::without_word(*trial, *attempt, Outcome::Cancelled, words));
        }
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

    fn take(&mut self, joined: Result<(Id, Ended), tokio::task::JoinError>) {
        let (id, ended) = match joined {
            Ok((id, ended)) => (id, Some(ended)),
            Err(error) => (error.id(), None),
        };
        let Some(key) = self.ids.remove(&id) else { return };
        self.attending.remove(&key);
        let words = "following it failed by a defect";
        self.ended
            .push(ended.unwrap_or_else(|| Ended::without_word(key.0, key.1, Outcome::Lost, words)));
    }
}

/// What the contenders' losses at the full size are forecast to be, under their models' keys.
fn forecasts(race: &Race, state: &State, id: &str) -> Vec<KnownForecast> {
    let Some(data_digest) = state.prepared.as_ref().map(|prepared| prepared.data_digest.clone()) else {
        return Vec::new();
    };
    if data_digest.is_empty() {
        return Vec::new();
    }
    let forecasts = race.forecasts(state).into_iter().enumerate();
    let known = forecasts.filter_map(|(contender, forecast)| {
        let loss = forecast?.log_loss.exp();
        Some(KnownForecast {
            data_digest: data_digest.clone(),
            model_key: order::model_key(state, contender)?,
            loss: Some(loss).filter(|loss| loss.is_finite())?,
            selection: id.to_owned(),
        })
    });
    known.collect()
}

/// Questions beside the runs: to trainers before anything is spent, to the fitter before rounds are judged.
impl Task {
    /// Asks the trainers, unless they are being asked or were asked a moment ago. An ending: it cannot succeed.
    fn ask_trainers(&mut self, state: &State) -> Option<Ending> {
        self.asking_since.get_or_insert_with(Instant::now);
        if self.refusal.is_some() || !self.may_ask() {
            return self.refusal.take();
        }
        let (shared, spec) = (Arc::clone(&self.shared), state.spec.clone());
        self.question
            .spawn(async move { Answer::Prepared(prepare::ask(&shared, &spec).await) });
        None
    }

    fn ask_fitter(&mut self, request: FitRequest) {
        if !self.may_ask() {
            return;
        }
        let fitter = Arc::clone(&self.shared.parts.fitter);
        self.question
            .spawn(async move { Answer::Fitted(fitter.forecast(request).await) });
    }

    fn may_ask(&self) -> bool {
        self.question.is_empty() && self.ask_not_before.is_none_or(|time| time <= Instant::now())
    }

    fn hear(&mut self, answer: Result<Answer, tokio::task::JoinError>) {
        match answer {
            Ok(Answer::Prepared(Ok(asked))) => self.hear_trainers(asked),
            Ok(Answer::Planned(Ok(prepared))) => {
                self.answered();
                self.prepared = Some(*prepared);
            }
            Ok(Answer::Prepared(Err(error)) | Answer::Planned(Err(error))) => self.hear_no(&error),
            Ok(Answer::Fitted(Ok(forecasts))) => {
                self.answered();
                self.fitted = Some(forecasts);
            }
            Ok(Answer::Fitted(Err(error))) => self.ask_later(WaitReason::FitterUnavailable, error.to_string()),
            Err(panicked) => self.ask_later(WaitReason::None, panicked.to_string()),
        }
    }

    /// Goes on with the answers, or asks again while trainers are away that may come back.
    fn hear_trainers(&mut self, asked: Asked) {
        let patience = PREPARE_PATIENCE.min(self.shared.config.patience);
        let waited = self.asking_since.map_or(Duration::ZERO, |since| since.elapsed());
        if let Some(fault) = asked.away.values().next().filter(|_| waited < patience) {
            self.ask_later(WaitReason::TrainerUnavailable, fault.to_string());
            return;
        }
        let spec = self.journal.state().spec.clone();
        self.question
            .spawn(async move { Answer::Planned(prepare::conclude(&spec, asked.told).await.map(Box::new)) });
    }

    fn hear_no(&mut self, error: &PrepareError) {
        match error {
            PrepareError::Failed { failure, detail } => {
                self.answered();
                let (failure, detail) = (*failure, detail.clone());
                self.refusal = Some(Ending::Failed { failure, detail });
            }
            PrepareError::UnknownTrainer { .. } | PrepareError::Trainer(_) => {
                self.ask_later(WaitReason::TrainerUnavailable, error.to_string());
            }
            PrepareError::Store(_) => self.ask_later(WaitReason::None, error.to_string()),
        }
    }

    fn ask_later(&mut self, reason: WaitReason, detail: String) {
        tracing::warn!(selection = self.journal.id(), detail, "a question is asked again later");
        self.ask_not_before = Some(Instant::now() + self.pause);
        self.pause = doubled(self.pause, self.shared.config.backoff.1);
        self.hindrance = Some(Wait { reason, detail });
    }

    fn answered(&mut self) {
        self.pause = self.shared.config.backoff.0;
        self.ask_not_before = None;
        self.hindrance = None;
    }
}
