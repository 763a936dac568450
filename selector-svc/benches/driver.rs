//! What the driver adds between a run's end and the next run's start, with selections in a file; and whether memory stays flat over
//! many selections. An own measurement: what counts is a distribution, not a mean.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark tells its figures and fails by panicking"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use selector_svc::constraint::Constraints;
use selector_svc::curve::{DataSize, Loss, Observation};
use selector_svc::driver::{Driver, DriverConfig, Parts};
use selector_svc::policy::fitted::FittedForecasts;
use selector_svc::ports::{
    BoxFuture, FitRequest, Fitter, FitterError, ProgressSink, RunEnd, RunEstimate, Trainer, TrainerDescription,
    TrainerFault,
};
use selector_svc::selection::spec::{CandidateSpec, MethodSpec};
use selector_svc::selection::{BudgetSpec, Event, Outcome, Phase, SelectionSpec, WorkMode, transition};
use selector_svc::simulate::SelectionPolicy;
use selector_svc::store::sqlite::{SqliteOptions, SqliteStore};
use selector_svc::store::{NewSelection, Store, Summary};
use selector_svc::table::Attributes;
use svc_kit::shutdown::Token;
use trainer_kit::spec::{Hyperparameters, Method, MethodKind, Reference, Spec};

/// Ends every run after a millisecond and notes when.
#[derive(Default)]
struct Quick {
    slots: u32,
    last_end: Mutex<Option<Instant>>,
    gaps: Mutex<Vec<Duration>>,
    device_seconds: Mutex<f64>,
}

fn size(spec: &Spec) -> u64 {
    u64::try_from(spec.data_size_max()).unwrap()
}

fn loss(spec: &Spec) -> f64 {
    let number: u64 = spec.candidate_id.trim_start_matches("model-").parse().unwrap_or(0);
    1.0 + 0.03 * (number * 7 % 31) as f64 + 2.0 * (size(spec) as f64 + 30.0).powf(-0.12)
}

impl Trainer for Quick {
    fn describe(&self) -> BoxFuture<'_, Result<TrainerDescription, TrainerFault>> {
        Box::pin(async {
            Ok(TrainerDescription {
                implementation: "quick 1".to_owned(),
                slots: self.slots,
                methods: vec![MethodKind::Full],
                nested_subsets: false,
                deterministic: true,
                estimates: true,
                data_size_max: None,
                price: None,
                memory_bytes: None,
            })
        })
    }

    fn estimate(&self, spec: Spec) -> BoxFuture<'_, Result<RunEstimate, TrainerFault>> {
        Box::pin(async move {
            Ok(RunEstimate {
                device_seconds: Some(0.01 * size(&spec) as f64),
                ..RunEstimate::default()
            })
        })
    }

    fn run<'a>(&'a self, _: &'a str, spec: Spec, _: ProgressSink) -> BoxFuture<'a, Result<RunEnd, TrainerFault>> {
        if let Some(end) = self.last_end.lock().unwrap().take() {
            self.gaps.lock().unwrap().push(end.elapsed());
        }
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let device_seconds = 0.01 * size(&spec) as f64;
            *self.device_seconds.lock().unwrap() += device_seconds;
            *self.last_end.lock().unwrap() = Some(Instant::now());
            Ok(RunEnd {
                outcome: Outcome::Observed {
                    observation: Observation::new(DataSize::new(size(&spec)).unwrap(), Loss::new(loss(&spec)).unwrap()),
                    model_digest: String::new(),
                    data_digest: String::new(),
                },
                others: Vec::new(),
                detail: String::new(),
                device_seconds: Some(device_seconds),
                money_nanos: None,
                share_done: Some(1.0),
                may_be_retried: false,
            })
        })
    }

    fn cancel<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<(), TrainerFault>> {
        Box::pin(async { Ok(()) })
    }
}

struct NoFitter;

impl Fitter for NoFitter {
    fn forecast(&self, _: FitRequest) -> BoxFuture<'_, Result<FittedForecasts, FitterError>> {
        Box::pin(async { Err(FitterError::Failed { detail: String::new() }) })
    }
}

fn spec(candidates: usize) -> SelectionSpec {
    let reference = |uri: String| Reference {
        uri,
        digest: String::new(),
    };
    SelectionSpec {
        candidates: (0..candidates)
            .map(|number| CandidateSpec {
                id: format!("model-{number}"),
                attributes: Attributes::default(),
                model: Some(reference(format!("models/{number}"))),
            })
            .collect(),
        methods: vec![MethodSpec {
            id: "full".to_owned(),
            method: Method::Full,
            hyperparameters: Hyperparameters::default(),
        }],
        data: Some(reference("data.jsonl".to_owned())),
        held_out: None,
        data_size_full: DataSize::new(4_096).ok(),
        data_size_min: DataSize::new(32).ok(),
        budget: BudgetSpec {
            examples: Some(2_048 * candidates as u64),
            ..BudgetSpec::default()
        },
        policy: SelectionPolicy::from_name("geometric").unwrap(),
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

struct Bench {
    store: Arc<SqliteStore>,
    driver: Driver,
    trainer: Arc<Quick>,
}

impl Bench {
    async fn new(folder: &std::path::Path, name: &str, slots: u32) -> Self {
        let store = SqliteStore::open(folder.join(name), SqliteOptions::default())
            .await
            .unwrap();
        let store = Arc::new(store);
        let trainer = Arc::new(Quick {
            slots,
            ..Quick::default()
        });
        let parts = Parts {
            store: Arc::clone(&store) as Arc<dyn Store>,
            trainers: BTreeMap::from([("quick".to_owned(), Arc::clone(&trainer) as Arc<dyn Trainer>)]),
            fitter: Arc::new(NoFitter),
        };
        let driver = Driver::new(parts, DriverConfig::of("bench"));
        let running = driver.clone();
        tokio::spawn(async move { running.run(Token::new()).await });
        Self { store, driver, trainer }
    }

    async fn create(&self, id: &str, spec: SelectionSpec) {
        let event = Event::Created {
            spec: Box::new(spec),
            nonce: "n".to_owned(),
        };
        let (state, _) = transition(None, event.clone(), 0).unwrap();
        let new = NewSelection {
            id: id.to_owned(),
            spec_digest: "digest".to_owned(),
            request_id: String::new(),
            event,
            summary: Summary::of(&state),
        };
        self.store.create(new).await.unwrap();
        self.driver.nudge(id);
    }

    async fn until_ended(&self, id: &str) {
        while !matches!(self.store.get(id).await.unwrap().summary.phase, Phase::Ended(_)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Resident memory, MiB; 0 where it cannot be told.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kilobytes.unwrap_or(0.0) / 1024.0
}

fn main() {
    let folder = std::env::temp_dir().join(format!("finepick-driver-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let bench = Bench::new(&folder, "latency.sqlite", 1).await;
        for round in 0..3 {
            let id = format!("latency-{round}");
            bench.create(&id, spec(30)).await;
            bench.until_ended(&id).await;
        }
        let mut gaps = std::mem::take(&mut *bench.trainer.gaps.lock().unwrap());
        gaps.sort_unstable();
        let at = |share: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a share of a small count"
            )]
            let index = (gaps.len() as f64 * share) as usize;
            gaps.get(index).copied().unwrap_or_default()
        };
        println!(
            "from a run's end to the next run's start, {} runs of 30 candidates: p50 {:?}, p90 {:?}, p99 {:?}",
            gaps.len(),
            at(0.5),
            at(0.9),
            at(0.99)
        );
        let bench = Bench::new(&folder, "memory.sqlite", 8).await;
        for round in 0..8 {
            for number in 0..5 {
                bench.create(&format!("memory-{round}-{number}"), spec(30)).await;
            }
            for number in 0..5 {
                bench.until_ended(&format!("memory-{round}-{number}")).await;
            }
            let worth = *bench.trainer.device_seconds.lock().unwrap() / 3_600.0;
            println!(
                "after {:.2} device-hours of simulated work: {:.1} MiB resident",
                worth,
                resident()
            );
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    let _ = std::fs::remove_dir_all(&folder);
}
