//! The events of one step: ends that came in, then whatever is due until something has to be waited for. They are written together.

use std::collections::BTreeSet;

use super::attend::Ended;
use super::journal::{Batch, Halt};
use super::reserve::{Purse, expected};
use super::settle::{settle, shares};
use super::slots::{Member, Permit, Slots};
use super::together::Together;
use super::{DriverConfig, Shared};
use crate::curve::DataSize;
use crate::order;
use crate::selection::spending::Unit;
use crate::selection::{
    AttemptEnd, Ending, Event, Failure, Millis, Outcome, Phase, ScheduledAttempt, Spending, State, TrialStatus, Wait,
    WaitReason, WorkMode,
};
use crate::store::KnownLoss;

/// Slots that were taken for runs that are about to be scheduled: trial and attempt that the run has its name of.
pub(super) type Permits = Vec<((usize, u32), Permit)>;

/// Takes the ends of runs in, for all attempts that they were made for; those that are not in hand (any more) are passed over.
pub(super) fn take_ends(mut batch: Batch, id: &str, ends: &[Ended], config: &DriverConfig) -> Result<Batch, Halt> {
    for ended in ends {
        for share in shares(&batch.state, ended, batch.at) {
            let Some(end) = settle(&batch.state, &share, config, batch.at) else {
                continue;
            };
            batch.losses.extend(known_loss(&batch.state, id, &end));
            batch = batch.with(Event::AttemptEnded(Box::new(end)))?;
        }
    }
    Ok(batch)
}

/// What later selections may take over: only losses of the very model and data that were told when this one was prepared.
fn known_loss(state: &State, id: &str, end: &AttemptEnd) -> Option<KnownLoss> {
    let Outcome::Observed {
        observation,
        model_digest,
        data_digest,
    } = &end.outcome
    else {
        return None;
    };
    let trial = state.trials.get(end.trial)?;
    let prepared = state.prepared.as_ref()?;
    let facts = prepared.contenders.get(trial.contender)?;
    if *model_digest != facts.model_digest || *data_digest != prepared.data_digest {
        return None;
    }
    Some(KnownLoss {
        key: order::loss_key(state, trial.contender, trial.data_size)?,
        observation: *observation,
        selection: id.to_owned(),
    })
}

/// Ends external work whose worker has not reported in time.
pub(super) fn expired_work(state: &State, now: Millis) -> Vec<Ended> {
    let running = state.trials.iter().enumerate().filter_map(|(index, trial)| {
        let (number, attempt) = trial.running()?;
        attempt
            .lease_until
            .filter(|until| *until <= now)
            .map(|_| (index, number))
    });
    running
        .map(|(trial, attempt)| Ended::without_word(trial, attempt, Outcome::Lost, "its worker did not report in time"))
        .collect()
}

/// Begins the end of a selection whose time is over.
pub(super) fn keep_deadline(batch: Batch) -> Result<Batch, Halt> {
    let late = batch.state.limits.deadline.is_some_and(|deadline| batch.at >= deadline);
    if !late || matches!(batch.state.phase, Phase::Stopping(_) | Phase::Ended(_)) {
        return Ok(batch);
    }
    let ending = if batch.state.leader().is_some() {
        Ending::BudgetExhausted {
            detail: "its wall time is over".to_owned(),
        }
    } else {
        Ending::Failed {
            failure: Failure::BudgetTooSmall,
            detail: "its wall time was over before the first round was judged".to_owned(),
        }
    };
    batch.with(Event::Stopping { ending })
}

/// What can be done about a trial now.
enum Offer {
    /// No trainer may run it within what is left.
    Never(Unit),
    /// It can be paid when what is set aside for others was not needed.
    Later,
    /// These may run it.
    Now(Vec<String>),
}

/// Schedules trials, in their order, as budget, parallelism and slots allow; those that cannot be paid any more are given up.
/// `wanted` is filled with the trainers that had no slot.
pub(super) fn schedule(
    mut batch: Batch,
    shared: &Shared,
    id: &str,
    trials: &[usize],
    member: &Member,
    permits: &mut Permits,
    wanted: &mut BTreeSet<String>,
) -> Result<Batch, Halt> {
    for trial in trials {
        // Its contender may have gone with another one of its trials.
        if !is_waiting(&batch.state, *trial) {
            continue;
        }
        let taken = batch.state.spent.plus(batch.state.reserved);
        if let Offer::Never(unit) = offer(&batch.state, shared, *trial, taken) {
            let size = batch
                .state
                .trials
                .get(*trial)
                .map_or(DataSize::ZERO, |trial| trial.data_size);
            let exclusion = unit.unpaid(size);
            batch = batch.with(Event::TrialGivenUp {
                trial: *trial,
                exclusion,
            })?;
        }
    }
    if batch.state.spec.work_mode == WorkMode::AskTell {
        return Ok(batch);
    }
    let state = &batch.state;
    let in_hand = state.runs_in_hand().len();
    let parallelism = state.spec.parallelism.map_or(usize::MAX, |most| most.max(1) as usize);
    let mut purse = Purse::of(state);
    let (mut attempts, mut runs) = (Vec::new(), 0);
    let waiting = trials.iter().copied().filter(|trial| is_waiting(state, *trial));
    let mut together = Together::new(state, shared, waiting.clone());
    for trial in waiting {
        if in_hand + runs >= parallelism {
            break;
        }
        // It may have gone with a larger one.
        if !together.waits(trial) {
            continue;
        }
        let Offer::Now(trainers) = offer(state, shared, trial, purse.taken()) else {
            // In the order of the plan: a cheaper one does not overtake.
            break;
        };
        let Some(permit) = member.take(trainers.iter().map(String::as_str)) else {
            wanted.extend(trainers);
            continue;
        };
        let mut taken = purse.taken().plus(expected(state, trial, permit.trainer()));
        let members = together.take(trial, permit.trainer(), |other| {
            let offer = offer(state, shared, other, taken);
            let may = matches!(offer, Offer::Now(able) if able.iter().any(|name| name == permit.trainer()));
            if may {
                taken = taken.plus(expected(state, other, permit.trainer()));
            }
            may
        });
        let run = run_of(state, shared, id, &members, permit.trainer(), &mut purse);
        permits.extend(run.last().map(|largest| ((largest.trial, largest.attempt), permit)));
        attempts.extend(run);
        runs += 1;
    }
    if attempts.is_empty() {
        return Ok(batch);
    }
    batch.with(Event::Scheduled { attempts })
}

fn is_waiting(state: &State, trial: usize) -> bool {
    let status = state.trials.get(trial).map(|trial| &trial.status);
    matches!(status, Some(TrialStatus::Waiting { .. }))
}

/// Who may run a trial, if so much is settled and set aside.
fn offer(state: &State, shared: &Shared, trial: usize, taken: Spending) -> Offer {
    let Some(waiting) = state.trials.get(trial) else {
        return Offer::Later;
    };
    let facts = state
        .prepared
        .as_ref()
        .and_then(|prepared| prepared.contenders.get(waiting.contender));
    let mut able: Vec<&str> = facts.map_or_else(Vec::new, |facts| facts.costs.keys().map(String::as_str).collect());
    if able.is_empty() {
        // External work has no trainers: its examples are counted all the same.
        able.push("");
    }
    let of = |name: &str| expected(state, trial, name);
    let mut first_unit = None;
    able.retain(|name| match state.limits.allow(state.spent.plus(of(name))) {
        Ok(()) => true,
        Err(unit) => {
            first_unit.get_or_insert(unit);
            false
        }
    });
    if let (true, Some(unit)) = (able.is_empty(), first_unit) {
        return Offer::Never(unit);
    }
    able.retain(|name| state.limits.allow(taken.plus(of(name))).is_ok());
    able.retain(|name| shared.parts.trainers.contains_key(*name) || state.spec.work_mode == WorkMode::AskTell);
    if able.is_empty() {
        return Offer::Later;
    }
    // Whoever has failed at it is asked again only when nobody else is there.
    let tried = |name: &&str| waiting.attempts.iter().any(|attempt| attempt.trainer == **name);
    let fresh: Vec<String> = able
        .iter()
        .filter(|name| !tried(name))
        .map(|name| (*name).to_owned())
        .collect();
    if fresh.is_empty() {
        return Offer::Now(able.into_iter().map(str::to_owned).collect());
    }
    Offer::Now(fresh)
}

/// Attempts at trials that one run measures, ascending by size: it has the id of the last. Each has its own price set aside at least, which
/// together is at least what one run costs.
fn run_of(
    state: &State,
    shared: &Shared,
    id: &str,
    trials: &[usize],
    trainer: &str,
    purse: &mut Purse,
) -> Vec<ScheduledAttempt> {
    let number = |trial: usize| {
        let before = state.trials.get(trial).map_or(0, |trial| trial.attempts.len());
        u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1)
    };
    let largest = trials.last().copied().unwrap_or_default();
    // A run belongs to one of a trainer's processes by its id: not to one that is known to be away.
    let place = shared.parts.trainers.get(trainer);
    let is_there = |run_id: &String| place.is_none_or(|place| place.reaches(Some(run_id)) != Some(false));
    let mut ids = order::run_ids(state, id, largest, number(largest));
    let run_id = ids
        .find(is_there)
        .unwrap_or_else(|| order::run_id(state, id, largest, number(largest)));
    let (reserved, max_seconds) = purse.set_aside(state, trials, trainer);
    let each = trials.iter().zip(reserved);
    each.map(|(trial, reserved)| ScheduledAttempt {
        trial: *trial,
        attempt: number(*trial),
        trainer: trainer.to_owned(),
        run_id: run_id.clone(),
        reserved,
        max_seconds,
        lease_until: None,
    })
    .collect()
}

/// What a selection in this state waits for.
pub(super) fn wait_of(state: &State, now: Millis, wanted: &BTreeSet<String>, slots: &Slots) -> Wait {
    let because = |reason, detail: String| Wait { reason, detail };
    if state.has_ended() {
        return Wait::default();
    }
    if state.paused && !matches!(state.phase, Phase::Stopping(_)) {
        return because(WaitReason::Paused, String::new());
    }
    let in_hand: Vec<&str> = state
        .trials
        .iter()
        .filter_map(|trial| trial.running())
        .map(|(_, attempt)| attempt.trainer.as_str())
        .collect();
    let away = |name: &str| slots.away_until(name).is_some();
    if let Some(first) = in_hand.first() {
        if in_hand.iter().all(|name| away(name)) {
            return because(WaitReason::TrainerUnavailable, format!("{first} does not answer"));
        }
        return because(WaitReason::Runs, String::new());
    }
    let waiting: Vec<Millis> = state
        .trials
        .iter()
        .filter_map(|trial| match trial.status {
            TrialStatus::Waiting { not_before } => Some(not_before),
            _ => None,
        })
        .collect();
    if waiting.is_empty() {
        return Wait::default();
    }
    if waiting.iter().all(|not_before| *not_before > now) {
        return because(WaitReason::Backoff, String::new());
    }
    if state.spec.work_mode == WorkMode::AskTell {
        return because(WaitReason::Worker, String::new());
    }
    match wanted.iter().next() {
        Some(first) if wanted.iter().all(|name| away(name)) => {
            because(WaitReason::TrainerUnavailable, format!("{first} does not answer"))
        }
        Some(_) => because(WaitReason::NoFreeSlot, String::new()),
        None => because(
            WaitReason::TrainerUnavailable,
            "no trainer that can do it is configured".to_owned(),
        ),
    }
}
