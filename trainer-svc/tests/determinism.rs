//! The same run, ten times, with two threads: not a bit may differ.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use trainer_svc::dataset::EpochOrder;
use trainer_svc::method::{Lora, Method};
use trainer_svc::session::{DeviceOptions, Runtime, StopToken};
use trainer_svc::train::schedule::Schedule;
use trainer_svc::train::{self, Ending, Job, Length, Measured, Observer, Report, Tuning, Wish};

const RUNS: usize = 10;
const STEPS: u64 = 8;
const BATCH: usize = 8;

/// Lines in which words come again and again; each line stands there three times, so that a batch of neighbours holds some more than once.
fn lines(count: usize, from: usize) -> String {
    let words = ["water", "king", "night", "and the", "love", "crown", "sea", "heart"];
    let mut text = String::new();
    for i in (from..from + count).flat_map(|i| [i, i, i]) {
        let at = |step: usize| words[(i * 5 + i / 8 + step * 3) % words.len()];
        let line = format!("The {} and the {}, the {} of my {} {i}.", at(0), at(1), at(2), at(3));
        writeln!(text, "{}", serde_json::json!({ "text": line })).unwrap();
    }
    text
}

#[derive(Default)]
struct Losses {
    /// Bits of every step's loss.
    steps: Vec<u64>,
    /// Bits of the held-out losses, before and after.
    held_out: Vec<u64>,
}

impl Observer for Losses {
    fn report(&mut self, report: Report) {
        match report {
            Report::Step { loss, .. } => self.steps.push(loss.to_bits()),
            Report::Evaluated {
                on: Measured::HeldOut,
                measurement,
                ..
            } => self.held_out.push(measurement.loss.to_bits()),
            _ => (),
        }
    }

    fn wish(&mut self) -> Wish {
        Wish::GoOn
    }
}

fn job(folder: &Path, model: &str, method: Method) -> Job {
    Job {
        model: Path::new(env!("CARGO_MANIFEST_DIR")).join("../zoo").join(model),
        model_digest: String::new(),
        data: folder.join("data.jsonl"),
        data_digest: String::new(),
        held_out: Some(folder.join("held-out.jsonl")),
        retention: Vec::new(),
        initial_adapter: None,
        sizes: vec![0, 120],
        subset_seed: 1,
        tuning: Tuning {
            method,
            length: Length::Steps(STEPS),
            batch_size: BATCH,
            accumulation: 1,
            sequence_length: Some(32),
            learning_rate: 3e-3,
            warmup_ratio: 0.1,
            schedule: Schedule::Cosine,
            weight_decay: 0.01,
            clip_norm: Some(1.0),
            patience: None,
            order: EpochOrder::AsIs,
            seed: 11,
        },
        folder: None,
        checkpoint_interval: Duration::from_hours(1),
    }
}

#[test]
fn ten_runs_with_two_threads_have_the_same_losses_to_the_last_bit() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("data.jsonl"), lines(40, 0)).unwrap();
    std::fs::write(folder.path().join("held-out.jsonl"), lines(8, 100)).unwrap();
    let runtime = Runtime::load(&Runtime::locate(None).unwrap()).unwrap();
    let options = DeviceOptions {
        threads: Some(2),
        ..DeviceOptions::default()
    };
    let lora = Method::Lora(Lora {
        rank: 4,
        alpha: 8.0,
        dropout: 0.1,
        targets: Vec::new(),
    });
    for (model, method) in [
        ("gpt2-verse-xs", Method::Full),
        ("llama-verse-s", Method::Full),
        ("llama-verse-s", lora),
    ] {
        let job = job(folder.path(), model, method);
        let mut first: Option<Losses> = None;
        for run in 1..=RUNS {
            // A device of its own, as a process of its own would have.
            let device = runtime.open("cpu", &options).unwrap();
            let mut losses = Losses::default();
            let ending = train::run(&job, &device, &mut losses, &StopToken::new()).unwrap();
            assert_eq!(ending, Ending::Done);
            assert_eq!((losses.steps.len() as u64, losses.held_out.len()), (STEPS, 2));
            let named = format!("{model}, {}, run {run}", job.tuning.method.name());
            match &first {
                None => {
                    let [before, after] = [losses.held_out[0], losses.held_out[1]].map(f64::from_bits);
                    assert!(after < before, "{named}: it learned something: {before} {after}");
                    first = Some(losses);
                }
                Some(first) => {
                    assert_eq!(losses.steps, first.steps, "{named}");
                    assert_eq!(losses.held_out, first.held_out, "{named}");
                }
            }
        }
    }
}
