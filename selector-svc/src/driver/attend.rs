//! A run in a trainer's hands: made known to it, followed to its end, given up when nothing is heard any more.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use trainer_kit::spec::Spec;

use super::journal::doubled;
use super::{Live, Shared};
use crate::explain;
use crate::ports::{ProgressSink, RunEnd, Trainer, TrainerFault};
use crate::selection::{Attempt, Outcome, State};

/// How long a trainer has to end a run that has had its time, and how much later than the trainer we say that it has,
const GRACE: Duration = Duration::from_mins(1);
/// or where the time is what the budget pays: what a run takes beyond it passes a limit.
const BUDGET_GRACE: Duration = Duration::from_secs(10);
/// How often a run is looked for that has not begun to run.
const LOOK: Duration = Duration::from_millis(200);

/// A run that has ended, by the attempt that it has its name of; the others that it is made for share its end.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) trial: usize,
    pub(super) attempt: u32,
    pub(super) end: RunEnd,
}

impl Ended {
    /// An end that no trainer told: what was set aside is charged.
    pub(super) fn without_word(trial: usize, attempt: u32, outcome: Outcome, detail: impl Into<String>) -> Self {
        let end = RunEnd {
            outcome,
            others: Vec::new(),
            detail: detail.into(),
            device_seconds: None,
            money_nanos: None,
            share_done: None,
            may_be_retried: true,
        };
        Self { trial, attempt, end }
    }
}

/// Which attempt it is, and what is asked of whom.
pub(super) struct Order {
    pub(super) trial: usize,
    pub(super) attempt: u32,
    /// Positions of all trials that it measures, that one included.
    pub(super) trials: Vec<usize>,
    pub(super) trainer: String,
    pub(super) run_id: String,
    pub(super) spec: Spec,
    /// How much longer than its limit it may take before we end it.
    pub(super) grace: Duration,
}

/// The grace of an attempt, by what limits its time.
pub(super) fn grace(state: &State, attempt: &Attempt) -> Duration {
    if state.paid_seconds(attempt).is_some() {
        BUDGET_GRACE
    } else {
        GRACE
    }
}

/// Follows a run to its end.
pub(super) async fn attend(shared: Arc<Shared>, order: Order, live: watch::Sender<Live>) -> Ended {
    let end = if let Some(trainer) = shared.parts.trainers.get(&order.trainer) {
        follow(&shared, trainer.as_ref(), &order, &live).await
    } else {
        // It may be configured again at the next start: nobody else can say what became of the run.
        tokio::time::sleep(shared.config.patience).await;
        lost(format!("no trainer is called {:?} any more", order.trainer))
    };
    live.send_if_modified(|live| {
        let known = live.progress.len();
        live.progress.retain(|trial, _| !order.trials.contains(trial));
        live.progress.len() < known
    });
    Ended {
        trial: order.trial,
        attempt: order.attempt,
        end,
    }
}

async fn follow(shared: &Shared, trainer: &dyn Trainer, order: &Order, live: &watch::Sender<Live>) -> RunEnd {
    let (mut pause, longest) = shared.config.backoff;
    let mut silent_since: Option<Instant> = None;
    loop {
        let fault = match watched(trainer, order, live).await {
            Ok(end) => {
                shared.slots.back(&order.trainer);
                return end;
            }
            Err(fault) => fault,
        };
        match fault {
            TrainerFault::Refused { reason, detail, .. } => {
                let words = if reason.is_empty() {
                    detail
                } else {
                    format!("{reason}: {detail}")
                };
                return refused(words);
            }
            TrainerFault::Unavailable { detail, .. } => {
                let since = *silent_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= shared.config.patience {
                    return lost(detail);
                }
                tracing::warn!(trainer = order.trainer, run = order.run_id, detail, "a trainer is away");
                // Where others of its processes are there, only this run has to wait.
                if trainer.reaches(None) != Some(true) {
                    shared.slots.away(&order.trainer, Instant::now() + pause);
                }
                tokio::time::sleep(pause).await;
                pause = doubled(pause, longest);
            }
        }
    }
}

/// How long a run has run. In a trainer's queue it does not, nor while it is paused.
#[derive(Debug, Default)]
struct Stopwatch {
    before: Duration,
    since: Option<Instant>,
}

impl Stopwatch {
    fn hear(&mut self, waits: bool) {
        match (waits, self.since) {
            (false, None) => self.since = Some(Instant::now()),
            (true, Some(since)) => {
                self.before += since.elapsed();
                self.since = None;
            }
            _ => {}
        }
    }

    fn ran(&self) -> Duration {
        self.before + self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

type Clock = Arc<Mutex<Stopwatch>>;

fn read(clock: &Clock) -> std::sync::MutexGuard<'_, Stopwatch> {
    clock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns when a run has run for so long.
async fn over(clock: &Clock, limit: Duration) {
    loop {
        let (ran, runs) = {
            let clock = read(clock);
            (clock.ran(), clock.since.is_some())
        };
        match limit.saturating_sub(ran) {
            Duration::ZERO => return,
            left if runs => tokio::time::sleep(left).await,
            left => tokio::time::sleep(left.max(LOOK)).await,
        }
    }
}

/// The run, ended by us when it takes longer than it may and its trainer does not end it.
async fn watched(trainer: &dyn Trainer, order: &Order, live: &watch::Sender<Live>) -> Result<RunEnd, TrainerFault> {
    let clock = Clock::default();
    let run = trainer.run(
        &order.run_id,
        order.spec.clone(),
        sink(order.trials.clone(), live, &clock),
    );
    let Some(limit) = order.spec.max_duration else {
        return run.await;
    };
    tokio::pin!(run);
    tokio::select! {
        end = &mut run => return end,
        () = over(&clock, limit.saturating_add(order.grace)) => {}
    }
    let (_, end) = tokio::join!(
        tokio::time::timeout(GRACE, trainer.cancel(&order.run_id)),
        tokio::time::timeout(GRACE, &mut run)
    );
    let told = match end {
        Ok(Ok(told)) => Some(told),
        _ => None,
    };
    // A loss that comes at the last moment is a loss.
    if let Some(observed) = told
        .clone()
        .filter(|told| matches!(told.outcome, Outcome::Observed { .. }))
    {
        return Ok(observed);
    }
    Ok(RunEnd {
        outcome: Outcome::Failed {
            failure: Outcome::DEADLINE.to_owned(),
        },
        others: told.as_ref().map(|told| told.others.clone()).unwrap_or_default(),
        detail: format!(
            "it ran longer than {}, and its trainer did not end it",
            explain::seconds(limit.as_secs_f64())
        ),
        device_seconds: told.as_ref().and_then(|told| told.device_seconds),
        money_nanos: told.as_ref().and_then(|told| told.money_nanos),
        share_done: told.and_then(|told| told.share_done),
        may_be_retried: true,
    })
}

fn sink(trials: Vec<usize>, live: &watch::Sender<Live>, clock: &Clock) -> ProgressSink {
    let (live, clock) = (live.clone(), Arc::clone(clock));
    Box::new(move |progress| {
        read(&clock).hear(progress.queued);
        live.send_modify(|live| {
            live.progress.extend(trials.iter().map(|trial| (*trial, progress)));
        });
    })
}

fn lost(detail: String) -> RunEnd {
    RunEnd {
        outcome: Outcome::Lost,
        others: Vec::new(),
        detail,
        device_seconds: None,
        money_nanos: None,
        share_done: None,
        may_be_retried: true,
    }
}

/// It was never begun, and costs nothing.
fn refused(detail: String) -> RunEnd {
    RunEnd {
        outcome: Outcome::Refused,
        others: Vec::new(),
        detail,
        device_seconds: Some(0.0),
        money_nanos: Some(0),
        share_done: Some(0.0),
        may_be_retried: false,
    }
}

/// Asks for the end of a run, again and again until this is dropped: what has been asked for may be asked before the run is known.
pub(super) async fn cancel(shared: Arc<Shared>, trainer: String, run_id: String) {
    let (mut pause, longest) = shared.config.backoff;
    let Some(trainer) = shared.parts.trainers.get(&trainer) else {
        return;
    };
    loop {
        if let Err(error) = trainer.cancel(&run_id).await {
            tracing::warn!(%error, run = run_id, "a run cannot be cancelled now");
        }
        tokio::time::sleep(pause).await;
        pause = doubled(pause, longest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_in_the_queue_and_paused_does_not_count() {
        let clock = Clock::default();
        let wait = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
        let hear = |waits| read(&clock).hear(waits);
        let begin = Instant::now();
        let over = over(&clock, Duration::from_secs(10));
        let life = async {
            // In the queue, running, paused, running.
            hear(true);
            wait(100).await;
            hear(false);
            wait(4).await;
            hear(false);
            hear(true);
            wait(100).await;
            hear(false);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = over => {}
            () = life => {}
        }
        let all = begin.elapsed();
        assert!((210..=220).contains(&all.as_secs()), "{all:?}");
        assert!(read(&clock).ran() >= Duration::from_secs(10));
    }
}
