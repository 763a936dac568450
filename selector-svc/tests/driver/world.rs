//! A store, trainers, and drivers that come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use selector_svc::constraint::Constraints;
use selector_svc::curve::DataSize;
use selector_svc::driver::{Driver, DriverConfig, Parts};
use selector_svc::policy::fitted::FittedForecasts;
use selector_svc::ports::{BoxFuture, FitRequest, Fitter, FitterError, Trainer};
use selector_svc::selection::spec::{CandidateSpec, MethodSpec};
use selector_svc::selection::{
    BudgetSpec, Ending, Event, Outcome, Phase, SelectionSpec, Spending, State, TrialStatus, WorkMode, transition,
};
use selector_svc::simulate::SelectionPolicy;
use selector_svc::store::memory::MemoryStore;
use selector_svc::store::{Append, NewSelection, Store, StoreError, StoredEvent, Summary, Writer};
use selector_svc::table::Attributes;
use svc_kit::shutdown::Token;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use trainer_kit::spec::{Hyperparameters, Method, Reference};

use crate::trainer::Scripted;

/// Where everything happens.
pub(crate) struct World {
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) trainers: Vec<Arc<Scripted>>,
    pub(crate) fitter: Arc<dyn Fitter>,
    pub(crate) kill: Arc<Notify>,
    /// Milliseconds by which the store's clock is off.
    pub(crate) jump: Arc<AtomicI64>,
    pub(crate) lives: u32,
}

/// A driver at work.
pub(crate) struct AtWork {
    pub(crate) driver: Driver,
    pub(crate) shutdown: Token,
    pub(crate) task: JoinHandle<()>,
}

impl AtWork {
    /// As kill −9 does.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

impl World {
    pub(crate) fn new(trainers: usize, slots: u32) -> Self {
        Self::with(trainers, slots, true)
    }

    /// With or without a look at the store at every run.
    pub(crate) fn with(trainers: usize, slots: u32, checked: bool) -> Self {
        let jump = Arc::new(AtomicI64::new(0));
        let (start, off) = (Instant::now(), Arc::clone(&jump));
        let clock = move || {
            let elapsed = i64::try_from(start.elapsed().as_millis()).unwrap();
            1_700_000_000_000 + elapsed + off.load(Ordering::SeqCst)
        };
        let store = Arc::new(MemoryStore::new(clock));
        let kill = Arc::new(Notify::new());
        let trainer = |number| {
            let seen = checked.then(|| Arc::clone(&store) as Arc<dyn Store>);
            Arc::new(Scripted::new(
                &format!("trainer-{number}"),
                slots,
                Arc::clone(&kill),
                seen,
            ))
        };
        let trainers = (0..trainers).map(trainer).collect();
        Self {
            store,
            trainers,
            fitter: Arc::new(NoFitter),
            kill,
            jump,
            lives: 0,
        }
    }

    /// All trainers claim that a run may report several sizes.
    pub(crate) fn nested(trainers: usize, slots: u32) -> Self {
        let world = Self::new(trainers, slots);
        for trainer in &world.trainers {
            trainer.claim_nested();
        }
        world
    }

    pub(crate) fn config(owner: u32) -> DriverConfig {
        DriverConfig {
            lease: Duration::from_secs(3),
            poll_interval: Duration::from_secs(1),
            backoff: (Duration::from_millis(20), Duration::from_secs(1)),
            patience: Duration::from_secs(20),
            ..DriverConfig::of(format!("driver-{owner}"))
        }
    }

    pub(crate) fn start(&mut self) -> AtWork {
        self.lives += 1;
        self.start_with(Self::config(self.lives))
    }

    pub(crate) fn start_with(&mut self, config: DriverConfig) -> AtWork {
        let trainers = self.trainers.iter().map(|trainer| {
            let port = Arc::clone(trainer) as Arc<dyn Trainer>;
            (trainer.name.clone(), port)
        });
        let parts = Parts {
            store: Arc::clone(&self.store) as Arc<dyn Store>,
            trainers: trainers.collect::<BTreeMap<_, _>>(),
            fitter: Arc::clone(&self.fitter),
        };
        let driver = Driver::new(parts, config);
        let shutdown = Token::new();
        let (running, over) = (driver.clone(), shutdown.clone());
        let task = tokio::spawn(async move { running.run(over).await });
        AtWork { driver, shutdown, task }
    }

    pub(crate) async fn create(&self, id: &str, spec: SelectionSpec) {
        let event = Event::Created {
            spec: Box::new(spec),
            nonce: "n0".to_owned(),
        };
        let (state, _) = transition(None, event.clone(), 0).expect("a creation");
        let new = NewSelection {
            id: id.to_owned(),
            spec_digest: "digest".to_owned(),
            request_id: String::new(),
            event,
            summary: Summary::of(&state),
        };
        self.store.create(new).await.expect("it is created");
    }

    /// A caller's event, as a command writes it.
    pub(crate) async fn command(&self, id: &str, event: Event) {
        self.command_of(id, |_| event.clone()).await;
    }

    /// A caller's change of the budget, as the desk makes it.
    pub(crate) async fn amend(&self, id: &str, budget: BudgetSpec) {
        let change = |state: &State| {
            let (limits, plan_examples) = selector_svc::plan::amend(state, &budget).expect("a budget");
            Event::BudgetAmended {
                budget: budget.clone(),
                limits,
                plan_examples,
            }
        };
        self.command_of(id, change).await;
    }

    /// The event that follows from the state, anew when somebody else was faster.
    async fn command_of(&self, id: &str, event: impl Fn(&State) -> Event) {
        loop {
            let state = self.state(id).await;
            let event = event(&state);
            let (next, _) = transition(Some(state.clone()), event.clone(), state.updated).expect("it may follow");
            let append = Append {
                after: state.sequence,
                events: vec![event],
                summary: Summary::of(&next),
                losses: Vec::new(),
                forecasts: Vec::new(),
            };
            match self.store.append(id, Writer::Caller, append).await {
                Ok(_) => return,
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub(crate) async fn events(&self, id: &str) -> Vec<StoredEvent> {
        self.store.events(id, 0, 1_000_000).await.expect("events")
    }

    pub(crate) async fn state(&self, id: &str) -> State {
        replay(&self.events(id).await)
    }

    pub(crate) async fn has_ended(&self, id: &str) -> bool {
        // While the store is away nobody can tell.
        let found = self.store.get(id).await;
        found.is_ok_and(|found| matches!(found.summary.phase, Phase::Ended(_)))
    }

    /// Waits for the end, reviving the driver whenever it is killed. Bounded by the paused clock, not by a wall.
    pub(crate) async fn until_ended(&mut self, ids: &[&str], mut at_work: AtWork) -> AtWork {
        let begin = Instant::now();
        loop {
            let mut open = false;
            for id in ids {
                open |= !self.has_ended(id).await;
            }
            if !open {
                return at_work;
            }
            if begin.elapsed() > Duration::from_hours(2) {
                let state = self.state(ids[0]).await;
                let open: Vec<_> = state.trials.iter().filter(|trial| !trial.has_ended()).collect();
                panic!("{ids:?} do not end: {:?}, {:?}, {open:#?}", state.phase, state.wait);
            }
            tokio::select! {
                () = self.kill.notified() => {
                    at_work.kill().await;
                    at_work = self.start();
                }
                () = tokio::time::sleep(Duration::from_millis(50)) => {}
            }
        }
    }
}

pub(crate) fn replay(events: &[StoredEvent]) -> State {
    let mut state = None;
    for stored in events {
        let before = state
            .as_ref()
            .map_or(0, |state: &State| state.spent.plus(state.reserved).examples);
        let (next, _) = transition(state, stored.event.clone(), stored.at).expect("stored events follow");
        let taken = next.spent.plus(next.reserved);
        // A budget may be amended to less than what is taken; then nothing more is.
        let amended = !next.amendments.is_empty() && taken.examples <= before;
        assert!(
            amended || next.limits.allow(taken).is_ok(),
            "a limit is passed at event {}",
            stored.sequence
        );
        state = Some(next);
    }
    state.expect("events")
}

/// Everything that must hold of a selection that has ended, whatever happened to it.
pub(crate) fn check_books(events: &[StoredEvent]) -> State {
    let state = replay(events);
    assert!(matches!(state.phase, Phase::Ended(_)), "{:?}", state.phase);
    assert!(
        state.trials.iter().all(selector_svc::selection::Trial::has_ended),
        "a trial is lost"
    );
    assert_eq!(state.reserved, Spending::ZERO);
    let mut runs = BTreeMap::new();
    let mut spent = Spending::ZERO;
    for trial in &state.trials {
        let mut observed = 0;
        for attempt in &trial.attempts {
            let end = attempt.end.as_ref().expect("every attempt has one end");
            let run = (trial.contender, attempt.trainer.clone(), attempt.started, end.at);
            let (known, ends) = runs
                .entry(attempt.run_id.clone())
                .or_insert_with(|| (run.clone(), BTreeMap::new()));
            assert_eq!(*known, run, "a run begins and ends for all of its sizes at once");
            assert!(
                ends.insert(trial.data_size, &end.outcome).is_none(),
                "an id is used twice"
            );
            spent = spent.plus(end.spent);
            observed += usize::from(matches!(end.outcome, Outcome::Observed { .. }));
        }
        assert!(observed <= 1, "a run is paid twice");
        if matches!(trial.status, TrialStatus::Observed(_)) {
            assert_eq!(observed, usize::from(trial.reused_from.is_none()));
        }
    }
    for (run_id, (_, ends)) in runs {
        // Those that it came to before it ended, and those that it did not.
        let mut ends: Vec<&Outcome> = ends.into_values().collect();
        ends.dedup_by_key(|end| std::mem::discriminant(*end));
        let begins_observed = matches!(ends.first(), Some(Outcome::Observed { .. }));
        assert!(
            ends.len() <= 1 + usize::from(begins_observed),
            "{run_id} ends as {ends:?}"
        );
    }
    assert_eq!(spent.examples, state.spent.examples);
    assert!((spent.device_seconds - state.spent.device_seconds).abs() < 1e-6);
    state
}

/// Ids of all runs that were made.
pub(crate) fn runs(state: &State) -> BTreeSet<String> {
    let attempts = state.trials.iter().flat_map(|trial| &trial.attempts);
    attempts.map(|attempt| attempt.run_id.clone()).collect()
}

/// The order of the last decision, and the choice.
pub(crate) fn answer(state: &State) -> (Vec<usize>, Option<usize>) {
    let last = state.rounds.iter().rev().find_map(|round| round.decision.as_ref());
    let order = last.map(|(decision, _)| decision.contenders.iter().map(|judged| judged.contender).collect());
    (order.unwrap_or_default(), state.choice())
}

pub(crate) fn succeeded(state: &State) -> bool {
    matches!(state.phase, Phase::Ended(Ending::Succeeded))
}

/// So many candidates, 4,096 examples, a budget that leaves room for a few failures.
pub(crate) fn spec(candidates: usize) -> SelectionSpec {
    let candidate = |number: usize| CandidateSpec {
        id: format!("model-{number}"),
        attributes: Attributes::default(),
        model: Some(Reference {
            uri: format!("models/{number}"),
            digest: String::new(),
        }),
    };
    SelectionSpec {
        candidates: (0..candidates).map(candidate).collect(),
        methods: vec![MethodSpec {
            id: "full".to_owned(),
            method: Method::Full,
            hyperparameters: Hyperparameters::default(),
        }],
        data: Some(Reference {
            uri: "data.jsonl".to_owned(),
            digest: String::new(),
        }),
        held_out: None,
        data_size_full: DataSize::new(4_096).ok(),
        data_size_min: DataSize::new(32).ok(),
        budget: BudgetSpec {
            examples: Some(4_096 * candidates as u64),
            ..BudgetSpec::default()
        },
        policy: SelectionPolicy::from_name("geometric").expect("a policy"),
        constraints: Constraints::default(),
        trainers: Vec::new(),
        parallelism: None,
        max_attempts: 3,
        seed: 7,
        subset_seed: 11,
        interval_level: 0.9,
        work_mode: WorkMode::Driven,
        reuse: false,
        warm_start: false,
        max_run_millis: None,
        device: String::new(),
        labels: BTreeMap::new(),
        display_name: String::new(),
    }
}

/// The same with another policy and budget.
pub(crate) fn spec_with(candidates: usize, policy: &str, examples: u64) -> SelectionSpec {
    SelectionSpec {
        policy: SelectionPolicy::from_name(policy).expect("a policy"),
        budget: BudgetSpec {
            examples: Some(examples),
            ..BudgetSpec::default()
        },
        ..spec(candidates)
    }
}

/// Nobody fits.
struct NoFitter;

impl Fitter for NoFitter {
    fn forecast(&self, _: FitRequest) -> BoxFuture<'_, Result<FittedForecasts, FitterError>> {
        Box::pin(async {
            Err(FitterError::Failed {
                detail: "there is no fitter".to_owned(),
            })
        })
    }
}
