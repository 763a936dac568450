//! A selection's history with every kind of event.

use selector_svc::constraint::Constraints;
use selector_svc::curve::{DataSize, Loss, Observation};
use selector_svc::diagnostics::{Warning, WarningCode};
use selector_svc::policy::fitted::{FittedForecast, FittedForecasts};
use selector_svc::policy::geometric::GeometricParameters;
use selector_svc::policy::{Exclusion, ExclusionReason, Interval, Prediction};
use selector_svc::selection::{
    AttemptEnd, BudgetSpec, CandidateSpec, ContenderFacts, CostModel, DecisionRecord, Ending, Event, Failure,
    JudgedRecord, Limits, MethodSpec, Millis, Outcome, PlannedTrial, Prepared, ScheduledAttempt, SelectionSpec,
    Spending, State, TrainerFacts, Verdict, Wait, WaitReason, WorkMode, transition,
};
use selector_svc::simulate::{NamedHistory, SelectionPolicy};
use selector_svc::store::{NewSelection, Summary};
use selector_svc::table::Attributes;
use trainer_kit::spec::{ExampleOrder, Hyperparameters, Method, Reference};

pub fn size(examples: u64) -> DataSize {
    DataSize::new(examples).unwrap()
}

pub fn point(examples: u64, nats: f64) -> Observation {
    Observation::new(size(examples), Loss::new(nats).unwrap())
}

fn reference(uri: &str) -> Reference {
    Reference {
        uri: uri.to_owned(),
        digest: "sha256:00ff".to_owned(),
    }
}

pub fn spec() -> SelectionSpec {
    let candidate = |(index, family): (u64, &str)| CandidateSpec {
        id: format!("model-{index}"),
        attributes: Attributes::new(
            Some(family.to_owned()),
            Some(1_000 * index),
            [("licence".to_owned(), "mit".to_owned())].into(),
        ),
        model: Some(reference(&format!("zoo/model-{index}"))),
    };
    let lora = Method::Lora {
        rank: 8,
        alpha: Some(16.0),
        dropout: None,
        target_modules: vec!["q".to_owned()],
    };
    let hyperparameters = Hyperparameters {
        learning_rate: Some(0.1 + 0.2),
        order: Some(ExampleOrder::AsIs),
        ..Hyperparameters::default()
    };
    SelectionSpec {
        candidates: [(1, "OPT"), (2, "GPT-2"), (3, "")].map(candidate).into(),
        methods: vec![MethodSpec {
            id: "lora".to_owned(),
            method: lora,
            hyperparameters,
        }],
        data: Some(reference("train.jsonl")),
        held_out: None,
        data_size_full: Some(size(800)),
        data_size_min: Some(size(100)),
        budget: BudgetSpec {
            relative: Some((1.0 / 64.0, 0.25)),
            money: Some((5_000_000_000, "EUR".to_owned())),
            wall_millis: Some(3_600_000),
            ..BudgetSpec::default()
        },
        policy: SelectionPolicy::Geometric(GeometricParameters::default(), Vec::new()),
        constraints: Constraints {
            max_parameters: Some(2_500),
            ..Constraints::default()
        },
        trainers: vec!["near".to_owned()],
        parallelism: Some(2),
        max_attempts: 3,
        seed: u64::MAX,
        subset_seed: 7,
        interval_level: 0.9,
        work_mode: WorkMode::Driven,
        reuse: true,
        warm_start: true,
        max_run_millis: Some(60_000),
        device: String::new(),
        labels: [("team".to_owned(), "red \"1\"".to_owned())].into(),
        display_name: "Überraschung".to_owned(),
    }
}

fn prepared() -> Prepared {
    let facts = |parameters: u64| ContenderFacts {
        exclusion: None,
        parameters: Some(parameters),
        model_digest: format!("sha256:{parameters}"),
        costs: [(
            "near".to_owned(),
            CostModel {
                fixed_seconds: 1.5,
                seconds_per_example: 0.25,
                nanos_per_second: 100,
                ..CostModel::default()
            },
        )]
        .into(),
    };
    let excluded = ContenderFacts {
        exclusion: Some(Exclusion {
            reason: ExclusionReason::Parameters,
            detail: "has 3000 weights, at most 2500 are allowed".to_owned(),
        }),
        ..facts(3_000)
    };
    Prepared {
        data_size_full: size(800),
        data_sizes: [100, 200, 400, 800].map(size).into(),
        data_digest: "sha256:data".to_owned(),
        contenders: vec![facts(1_000), facts(2_000), excluded],
        trainers: vec![TrainerFacts {
            name: "near".to_owned(),
            implementation: "dev.finepick.sim 0.1.0".to_owned(),
            slots: 2,
            nested_subsets: false,
            deterministic: true,
        }],
        limits: Limits {
            examples: Some(600),
            money_nanos: Some(5_000_000_000),
            currency: "EUR".to_owned(),
            ..Limits::default()
        },
        plan_examples: 600,
        planned: spending(500),
        exhaustive: spending(1_600),
        wall_seconds: Some(90.5),
        expected_relative_regret: None,
        history: vec![NamedHistory {
            data_set: "verse".to_owned(),
            losses: vec![("model-1".to_owned(), Loss::new(3.25).unwrap())],
        }],
        warnings: vec![Warning::new(WarningCode::TooFewPoints, "two points, five are wanted")],
    }
}

pub fn spending(examples: u64) -> Spending {
    Spending {
        examples,
        example_parameters: 1e3 * examples as f64,
        device_seconds: examples as f64 / 3.0,
        money_nanos: 25,
    }
}

fn planned(contender: usize, examples: u64) -> PlannedTrial {
    PlannedTrial {
        contender,
        data_size: size(examples),
        reused: None,
    }
}

fn scheduled(trial: usize, attempt: u32, examples: u64) -> Event {
    let attempt = ScheduledAttempt {
        trial,
        attempt,
        trainer: "near".to_owned(),
        run_id: format!("history.0.{trial}-{examples}.{attempt}"),
        reserved: spending(examples),
        max_seconds: None,
        lease_until: None,
    };
    Event::Scheduled {
        attempts: vec![attempt],
    }
}

fn ended(trial: usize, attempt: u32, outcome: Outcome, retry_at: Option<Millis>) -> Event {
    Event::AttemptEnded(Box::new(AttemptEnd {
        trial,
        attempt,
        outcome,
        spent: spending(90),
        detail: "as told".to_owned(),
        retry_at,
    }))
}

pub fn observed(examples: u64, nats: f64) -> Outcome {
    Outcome::Observed {
        observation: point(examples, nats).with_standard_error(0.01).unwrap(),
        model_digest: "sha256:1000".to_owned(),
        data_digest: String::new(),
    }
}

fn decision(best: f64) -> DecisionRecord {
    let judged = |contender, log_score, verdict| JudgedRecord {
        contender,
        verdict,
        log_score,
        log_sd: Some(0.1 / 3.0),
        data_size: size(100),
        reason: "the lowest forecast".to_owned(),
    };
    DecisionRecord {
        rule: "geometric".to_owned(),
        data_size: size(100),
        trained: vec![size(100)],
        contenders: vec![
            judged(1, Some(best), Verdict::Chosen),
            judged(0, Some(1.5), Verdict::Dropped),
            judged(2, None, Verdict::Excluded),
        ],
        log_threshold: Some(1.5),
        saved_examples: 800,
        expected_regret: Some(1e-300),
        next: vec![size(200)],
        explanation: "model-1 is behind.".to_owned(),
    }
}

fn fitted() -> Event {
    let forecast = FittedForecast {
        predictions: vec![Prediction {
            data_size: size(800),
            predicted_loss: 2.75,
            interval: Some(Interval {
                lower: 2.5,
                upper: 3.0,
                level: 0.9,
            }),
        }],
        warnings: Vec::new(),
    };
    let none = Err("two points do not make a curve".to_owned());
    let forecasts = FittedForecasts::new([("model-1".to_owned(), Ok(forecast)), ("model-2".to_owned(), none)]);
    Event::Fitted {
        forecasts: Box::new(forecasts),
    }
}

pub fn created() -> Event {
    Event::Created {
        spec: Box::new(spec()),
        nonce: "0".to_owned(),
    }
}

/// A life in which everything happens once, one event a second.
pub fn history() -> Vec<Event> {
    let preempted = ended(0, 1, Outcome::Preempted, Some(5_000));
    let out_of_memory = Outcome::Failed {
        failure: "OUT_OF_MEMORY".to_owned(),
    };
    let wait = Wait {
        reason: WaitReason::NoFreeSlot,
        detail: "2 of 2 are taken".to_owned(),
    };
    let budget = BudgetSpec {
        examples: Some(700),
        ..BudgetSpec::default()
    };
    let reused = PlannedTrial {
        reused: Some((point(200, 3.5), "earlier".to_owned())),
        ..planned(1, 200)
    };
    let exclusion = Exclusion {
        reason: ExclusionReason::Budget,
        detail: "160 examples are left, 200 are needed".to_owned(),
    };
    let ending = Ending::BudgetExhausted {
        detail: "examples".to_owned(),
    };
    vec![
        created(),
        Event::Prepared {
            prepared: Box::new(prepared()),
        },
        Event::RoundOpened {
            trials: vec![planned(0, 100), planned(1, 100)],
        },
        scheduled(0, 1, 100),
        Event::Waiting { wait },
        preempted,
        scheduled(1, 1, 100),
        ended(1, 1, observed(100, 4.0), None),
        scheduled(0, 2, 100),
        ended(0, 2, observed(100, 4.5), None),
        fitted(),
        Event::Judged {
            decision: Box::new(decision(1.25)),
        },
        Event::Paused,
        Event::BudgetAmended {
            budget,
            limits: Limits {
                examples: Some(700),
                ..Limits::default()
            },
            plan_examples: 650,
        },
        Event::Resumed,
        Event::RoundOpened {
            trials: vec![reused, planned(0, 200), planned(0, 400)],
        },
        Event::TrialGivenUp { trial: 3, exclusion },
        Event::Judged {
            decision: Box::new(decision(1.125)),
        },
        Event::RoundOpened {
            trials: vec![planned(1, 400)],
        },
        scheduled(5, 1, 400),
        Event::Stopping { ending: ending.clone() },
        ended(5, 1, out_of_memory, None),
        Event::Ended { ending },
    ]
}

/// Events that the history has no place for, by the names of their golden files.
pub fn variants() -> Vec<(&'static str, Event)> {
    let external = ScheduledAttempt {
        trial: 0,
        attempt: 1,
        trainer: "worker-1".to_owned(),
        run_id: "external".to_owned(),
        reserved: Spending::ZERO,
        max_seconds: None,
        lease_until: Some(9_000),
    };
    let paid = ScheduledAttempt {
        lease_until: None,
        trainer: "near".to_owned(),
        run_id: "paid".to_owned(),
        reserved: spending(100),
        max_seconds: Some(100.0 / 3.0),
        ..external.clone()
    };
    let failed = Ending::Failed {
        failure: Failure::NoEligibleCandidate,
        detail: String::new(),
    };
    let cancelled = Ending::Cancelled {
        detail: "enough".to_owned(),
    };
    vec![
        ("attempt_ended_cancelled", ended(0, 1, Outcome::Cancelled, None)),
        ("attempt_ended_lost", ended(0, 1, Outcome::Lost, None)),
        ("attempt_ended_observed", ended(1, 1, observed(100, 4.0), None)),
        ("attempt_ended_refused", ended(0, 1, Outcome::Refused, None)),
        ("ended_cancelled", Event::Ended { ending: cancelled }),
        ("ended_failed", Event::Ended { ending: failed }),
        (
            "ended_succeeded",
            Event::Ended {
                ending: Ending::Succeeded,
            },
        ),
        (
            "scheduled_external",
            Event::Scheduled {
                attempts: vec![external],
            },
        ),
        ("scheduled_paid", Event::Scheduled { attempts: vec![paid] }),
    ]
}

/// The state after events, one a second from time 0.
pub fn play(events: &[Event]) -> State {
    let mut state = None;
    for (event, at) in events.iter().zip((0..).step_by(1_000)) {
        state = Some(transition(state, event.clone(), at).unwrap().0);
    }
    state.unwrap()
}

/// A new selection with labels.
pub fn new(id: &str, labels: &[(&str, &str)]) -> NewSelection {
    let mut spec = spec();
    spec.labels = labels
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let event = Event::Created {
        spec: Box::new(spec),
        nonce: "0".to_owned(),
    };
    NewSelection {
        id: id.to_owned(),
        spec_digest: "digest".to_owned(),
        request_id: String::new(),
        summary: Summary::of(&play(std::slice::from_ref(&event))),
        event,
    }
}

/// A summary after creation and some events, as far as they can follow.
pub fn summary(events: &[Event]) -> Summary {
    let mut state = play(&[created()]);
    for event in events {
        match transition(Some(state.clone()), event.clone(), 0) {
            Ok((next, _)) => state = next,
            Err(_) => break,
        }
    }
    Summary::of(&state)
}
