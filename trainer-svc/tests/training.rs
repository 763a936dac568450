//! The training loop on ONNX Runtime, from checkpoint folders to tuned ones, on checkpoints that the test makes itself.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use trainer_svc::dataset::EpochOrder;
use trainer_svc::method::{Lora, Method, Prompt};
use trainer_svc::session::{Device, DeviceOptions, Runtime, StopToken};
use trainer_svc::train::schedule::Schedule;
use trainer_svc::train::{self, Ending, Job, Length, Measured, Observer, Report, TrainError, Tuning, Wish};
use trainer_svc::zoo::{self, ModelRecipe, Places, Recipe, TokenizerRecipe, TrainingRecipe};

fn device() -> Device {
    let runtime = Runtime::load(&Runtime::locate(None).unwrap()).unwrap();
    let options = DeviceOptions {
        threads: Some(2),
        ..DeviceOptions::default()
    };
    runtime.open("cpu", &options).unwrap()
}

/// Sentences of a tiny language: subject, verb, object agree by index, so that there is something to learn.
fn sentences(count: usize, offset: usize) -> String {
    let words = [
        "mill", "river", "stone", "grain", "wheel", "water", "miller", "house", "bread", "road",
    ];
    let mut text = String::new();
    for i in 0..count {
        let at = |step: usize| words[(i * 7 + i / 10 + step * 3 + offset) % words.len()];
        let sentence = format!(
            "The {} by the {} turns the {} and the {} again. Line {i}.",
            at(0),
            at(1),
            at(2),
            at(3)
        );
        writeln!(text, "{}", serde_json::json!({ "text": sentence })).unwrap();
    }
    text
}

fn recipe(architecture: &str) -> Recipe {
    Recipe {
        tokenizer: TokenizerRecipe {
            vocabulary: 320,
            texts: vec!["mill".into()],
        },
        training: TrainingRecipe {
            sequence_length: 48,
            batch_size: 8,
            warmup_ratio: 0.1,
            weight_decay: 0.0,
            clip_norm: 1.0,
            seed: 3,
        },
        models: vec![ModelRecipe {
            name: "tiny".into(),
            architecture: architecture.into(),
            width: 16,
            layers: 2,
            heads: 2,
            key_value_heads: (architecture == "llama").then_some(1),
            inner: Some(32),
            texts: vec!["mill".into()],
            epochs: 1,
            learning_rate: 1e-2,
        }],
    }
}

/// A pretrained checkpoint and data to tune it on.
struct Bench {
    folder: TempDir,
    device: Device,
}

impl Bench {
    fn new(architecture: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("texts")).unwrap();
        std::fs::write(at("texts/mill.jsonl"), sentences(1_400, 0)).unwrap();
        std::fs::write(at("data.jsonl"), sentences(120, 5)).unwrap();
        let device = device();
        let places = Places {
            texts: at("texts"),
            output: at("zoo"),
            scratch: at("scratch"),
        };
        let built = zoo::build(&recipe(architecture), &[], &places, &device, &mut |_, _| ()).unwrap();
        assert_eq!(built.len(), 1);
        assert!(built[0].loss < 4.0, "it learned something: {}", built[0].loss);
        Self { folder, device }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn job(&self, method: Method, folder: Option<&str>) -> Job {
        let folder = folder.map(|name| self.at(name));
        if let Some(folder) = &folder {
            std::fs::create_dir_all(folder).unwrap();
        }
        let learning_rate = match method {
            Method::Full => 1e-3,
            Method::Lora(_) => 1e-2,
            Method::Prompt(_) => 3e-2,
        };
        Job {
            model: self.at("zoo/tiny"),
            model_digest: String::new(),
            data: self.at("data.jsonl"),
            data_digest: String::new(),
            held_out: None,
            retention: Vec::new(),
            initial_adapter: None,
            sizes: vec![0, 60],
            subset_seed: 1,
            tuning: Tuning {
                method,
                length: Length::Epochs(2),
                batch_size: 4,
                accumulation: 1,
                sequence_length: Some(40),
                learning_rate,
                warmup_ratio: 0.0,
                schedule: Schedule::Linear,
                weight_decay: 0.01,
                clip_norm: Some(1.0),
                patience: None,
                order: EpochOrder::Seeded,
                seed: 5,
            },
            folder,
            checkpoint_interval: Duration::from_hours(1),
        }
    }

    fn run(&self, job: &Job) -> Result<Seen, TrainError> {
        self.run_until(job, u64::MAX)
    }

    fn run_until(&self, job: &Job, pause_after: u64) -> Result<Seen, TrainError> {
        let mut seen = Seen {
            pause_after,
            ..Seen::default()
        };
        let ending = train::run(job, &self.device, &mut seen, &StopToken::new())?;
        seen.paused = ending == Ending::Paused;
        Ok(seen)
    }
}

fn lora() -> Method {
    Method::Lora(Lora {
        rank: 4,
        alpha: 8.0,
        dropout: 0.0,
        targets: Vec::new(),
    })
}

fn prompt() -> Method {
    Method::Prompt(Prompt {
        length: 4,
        initial_text: "The mill by the river".into(),
    })
}

#[derive(Debug, Default)]
struct Seen {
    reports: Vec<Report>,
    pause_after: u64,
    steps: u64,
    alive: usize,
    paused: bool,
}

impl Seen {
    fn losses(&self) -> Vec<f64> {
        let loss = |report: &Report| match report {
            Report::Step { loss, .. } => Some(*loss),
            _ => None,
        };
        self.reports.iter().filter_map(loss).collect()
    }

    fn held_out(&self) -> Vec<(usize, f64)> {
        let loss = |report: &Report| match report {
            Report::Evaluated {
                on: Measured::HeldOut,
                data_size,
                measurement,
            } => Some((*data_size, measurement.loss)),
            _ => None,
        };
        self.reports.iter().filter_map(loss).collect()
    }
}

impl Observer for Seen {
    fn report(&mut self, report: Report) {
        self.steps += u64::from(matches!(report, Report::Step { .. }));
        self.reports.push(report);
    }

    fn wish(&mut self) -> Wish {
        if self.steps >= self.pause_after {
            Wish::Pause
        } else {
            Wish::GoOn
        }
    }

    fn alive(&mut self) {
        self.alive += 1;
    }
}

fn loss_of(bench: &Bench, model: &Path, adapter: Option<&Path>, method: Method) -> f64 {
    let mut job = bench.job(method, None);
    model.clone_into(&mut job.model);
    job.initial_adapter = adapter.map(Path::to_owned);
    job.sizes = vec![0];
    bench.run(&job).unwrap().held_out()[0].1
}

#[test]
fn what_takes_long_shows_that_it_is_alive() {
    let bench = Bench::new("gpt2");
    let mut job = bench.job(Method::Full, None);
    let measured = bench.run(&job).unwrap().alive;
    assert!(
        measured >= 2 && measured.is_multiple_of(2),
        "{measured} batches, at two sizes"
    );
    job.tuning.accumulation = 5;
    let seen = bench.run(&job).unwrap();
    assert_eq!(seen.losses().len(), 6, "15 batches an epoch, 2 epochs");
    assert_eq!(seen.alive, measured + 30);
}

#[test]
fn every_method_improves_both_architectures_and_its_artifact_gives_the_reported_loss() {
    for architecture in ["gpt2", "llama"] {
        let bench = Bench::new(architecture);
        for method in [Method::Full, lora(), prompt()] {
            let folder = format!("run-{}", method.name());
            let job = bench.job(method.clone(), Some(&folder));
            let seen = bench.run(&job).unwrap();
            let [(0, before), (60, after)] = seen.held_out()[..] else {
                panic!("{:?}", seen.held_out())
            };
            let losses = seen.losses();
            assert_eq!(losses.len(), 30, "15 batches an epoch, 2 epochs");
            let [first, second] = [&losses[..15], &losses[15..]].map(|epoch| epoch.iter().sum::<f64>());
            let named = format!("{architecture} {}", method.name());
            assert!(second < first, "{named}: {first} → {second}");
            // A prompt begins above the checkpoint's own loss, and on a model this small it need not come below.
            assert!(after < before || method == prompt(), "{named}: {before} → {after}");
            let artifact = bench.at(&folder).join("artifact");
            let again = match &method {
                Method::Full => loss_of(&bench, &artifact, None, Method::Full),
                _ => loss_of(&bench, &job.model, Some(&artifact), method.clone()),
            };
            assert!((again - after).abs() < 1e-6, "{again} {after}");
        }
    }
}

#[test]
fn a_run_that_is_interrupted_at_any_step_ends_as_if_it_had_not_been() {
    let bench = Bench::new("gpt2");
    for method in [Method::Full, lora()] {
        let whole_folder = format!("whole-{}", method.name());
        let mut job = bench.job(method, Some(&whole_folder));
        if let Method::Lora(lora) = &mut job.tuning.method {
            lora.dropout = 0.2;
        }
        job.sizes = vec![10, 20];
        job.tuning.sequence_length = None;
        job.tuning.patience = Some(1);
        let whole = bench.run(&job).unwrap();
        let total = whole.losses().len() as u64;
        assert!(total >= 8);
        for cut in 0..total {
            let folder = format!("cut-{}-{cut}", job.tuning.method.name());
            let job = Job {
                folder: Some(bench.at(&folder)),
                ..job.clone()
            };
            std::fs::create_dir_all(bench.at(&folder)).unwrap();
            let first = bench.run_until(&job, cut).unwrap();
            assert!(first.paused);
            // What the model decided is as good as the same asked for.
            let mut job = job;
            job.tuning.sequence_length = Some(256);
            let second = bench.run(&job).unwrap();
            let losses = [first.losses(), second.losses()].concat();
            assert_eq!(losses, whole.losses(), "bit for bit, cut after step {cut}");
            let held_out = [first.held_out(), second.held_out()].concat();
            assert_eq!(held_out, whole.held_out());
        }
    }
}
