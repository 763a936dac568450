//! SmolLM2-135M-Instruct, a pretrained model: what it predicts, what texts cost under it, and what tuning makes of it.
//!
//! `make test-real` fetches it and runs these tests, which take some minutes and 4 GB of memory; without it they skip and say so. The losses that
//! they are held to come from `tools/real/reference.py`, which computes them from the published file by other means. Figures of time and
//! memory are printed.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests; figures, and why they skip"
)]

mod common;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{cpu, fixtures, largest_error, logits, loss};
use serde_json::Value;
use tempfile::TempDir;
use trainer_svc::arch;
use trainer_svc::dataset::{EpochOrder, Message};
use trainer_svc::method::{Lora, Method, Starts};
use trainer_svc::session::StopToken;
use trainer_svc::tokenizer::Tokenizer;
use trainer_svc::train::schedule::Schedule;
use trainer_svc::train::{self, Ending, Job, Length, Measured, Observer, Report, Tuning, Wish};

/// The checkpoint's folder, which `make test-real` names.
#[expect(
    clippy::disallowed_methods,
    reason = "a switch of this test, not a setting of the product"
)]
fn model() -> Option<PathBuf> {
    let folder = std::env::var_os("FINEPICK_REAL_MODEL").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: `make test-real` fetches the pretrained model and runs this");
    }
    folder
}

/// A text, its tokens and its loss, according to the reference.
struct Known {
    text: String,
    ids: Vec<u32>,
    loss: f64,
}

fn known() -> Vec<Known> {
    let golden = fs::read(fixtures().join("real/smollm2.json")).unwrap();
    let golden: Value = serde_json::from_slice(&golden).unwrap();
    let entry = |entry: &Value| Known {
        text: entry["text"].as_str().unwrap().to_owned(),
        ids: serde_json::from_value(entry["ids"].clone()).unwrap(),
        loss: entry["loss"].as_f64().unwrap(),
    };
    golden["texts"].as_array().unwrap().iter().map(entry).collect()
}

/// Most memory that the process had at a time, in MB, where Linux tells.
fn peak() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kibibytes.map_or_else(|| "unknown".to_owned(), |count| (count * 1024 / 1_000_000).to_string())
}

#[test]
fn predictions_and_losses_are_those_of_the_reference() {
    let Some(folder) = model() else { return };
    let (tokenizer, known) = (Tokenizer::open(&folder).unwrap(), known());
    for text in &known {
        assert_eq!(tokenizer.encode(&text.text).unwrap(), text.ids, "{:?}", text.text);
        assert_eq!(tokenizer.decode(&text.ids).unwrap(), text.text);
    }
    let began = Instant::now();
    let (device, model) = (cpu(), arch::open(&folder).unwrap());
    eprintln!("opened in {:.2} s", began.elapsed().as_secs_f64());
    let texts: Vec<Vec<i64>> = known
        .iter()
        .map(|text| text.ids.iter().map(|&id| i64::from(id)).collect())
        .collect();
    let all = logits(&device, &model, &Method::Full, &Starts::new(), &texts);
    let pairs = texts.iter().zip(&all);
    let found: Vec<f64> = pairs.map(|(text, logits)| loss(text, logits)).collect();
    let wanted: Vec<f64> = known.iter().map(|text| text.loss).collect();
    let error = largest_error(&found, &wanted);
    eprintln!(
        "losses {found:.6?}, largest relative error {error:.1e}, peak memory {} MB",
        peak()
    );
    assert!(error < 1e-5, "{found:?} {wanted:?}");

    let begin = "The capital of France is";
    assert!(known[0].text.starts_with(begin));
    let last = tokenizer.encode(begin).unwrap().len() - 1;
    let row = all[0].chunks_exact(model.decoder.vocabulary()).nth(last).unwrap();
    let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
    assert_eq!(tokenizer.decode(&[u32::try_from(best).unwrap()]).unwrap(), " Paris");
}

#[test]
fn its_chat_template_writes_conversations_with_its_special_tokens() {
    let Some(folder) = model() else { return };
    let tokenizer = Tokenizer::open(&folder).unwrap();
    let say = |role: &str, content: &str| Message {
        role: role.into(),
        content: content.into(),
    };
    let conversation = [say("user", "How deep is it?"), say("assistant", "12 m.")];
    let system = "You are a helpful AI assistant named SmolLM, trained by Hugging Face";
    let asked = format!(
        "<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\nHow deep is it?<|im_end|>\n<|im_start|>assistant\n"
    );
    assert_eq!(tokenizer.render(&conversation[..1], true).unwrap(), asked);
    let wanted = format!("{asked}12 m.<|im_end|>\n");
    assert_eq!(tokenizer.render(&conversation, false).unwrap(), wanted);
    let start = tokenizer.id("<|im_start|>").unwrap();
    let ids = tokenizer.encode(&wanted).unwrap();
    assert_eq!(ids.iter().filter(|&&id| id == start).count(), 3);
}

/// Examples of the New Testament, fetched with the other texts: `from` to `to`, as a file of their own.
fn examples(dir: &Path, name: &str, from: usize, to: usize) -> PathBuf {
    let texts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.deps/texts/tasks/testament.jsonl");
    let texts = fs::read_to_string(texts).unwrap();
    let path = dir.join(name);
    let mut file = fs::File::create(&path).unwrap();
    for line in texts.lines().skip(from).take(to - from) {
        writeln!(file, "{line}").unwrap();
    }
    path
}

/// When steps were reported, and held-out losses; in seconds and nats per token.
struct Seen {
    began: Instant,
    steps: Vec<f64>,
    held_out: Vec<(f64, f64)>,
}

impl Observer for Seen {
    fn report(&mut self, report: Report) {
        let now = self.began.elapsed().as_secs_f64();
        match report {
            Report::Prepared {
                parameters, trained, ..
            } => eprintln!("{trained} of {parameters} parameters are trained; opened and tokenized in {now:.2} s"),
            Report::Step { .. } => self.steps.push(now),
            Report::Evaluated {
                on: Measured::HeldOut,
                measurement,
                ..
            } => self.held_out.push((measurement.loss, now)),
            _ => {}
        }
    }

    fn wish(&mut self) -> Wish {
        Wish::GoOn
    }
}

/// Held-out losses before and after tuning by so many steps of 4 sequences of at most 64 tokens.
fn tune(folder: PathBuf, method: Method, steps: u64, learning_rate: f64) -> (f64, f64) {
    let scratch = TempDir::new().unwrap();
    let name = method.name();
    let job = Job {
        model: folder,
        model_digest: String::new(),
        data: examples(scratch.path(), "data.jsonl", 0, 160),
        data_digest: String::new(),
        held_out: Some(examples(scratch.path(), "held_out.jsonl", 400, 424)),
        retention: Vec::new(),
        initial_adapter: None,
        sizes: vec![0, 120],
        subset_seed: 1,
        tuning: Tuning {
            method,
            length: Length::Steps(steps),
            batch_size: 4,
            accumulation: 1,
            sequence_length: Some(64),
            learning_rate,
            warmup_ratio: 0.1,
            schedule: Schedule::Linear,
            weight_decay: 0.0,
            clip_norm: Some(1.0),
            patience: None,
            order: EpochOrder::Seeded,
            seed: 5,
        },
        folder: None,
        checkpoint_interval: Duration::from_hours(1),
    };
    let device = cpu();
    let mut seen = Seen {
        began: Instant::now(),
        steps: Vec::new(),
        held_out: Vec::new(),
    };
    let ending = train::run(&job, &device, &mut seen, &StopToken::new()).unwrap();
    assert_eq!(ending, Ending::Done);
    let (&[(before, measured), (after, _)], Some(first), Some(last)) =
        (&seen.held_out[..], seen.steps.first(), seen.steps.last())
    else {
        panic!("{:?}", seen.held_out)
    };
    assert_eq!(seen.steps.len() as u64, steps);
    eprintln!(
        "{name}: {before:.4} → {after:.4} nats per token; measured after {measured:.2} s, first step (with its compilation) {:.2} s, then \
         {:.2} s a step; peak memory {} MB",
        first - measured,
        (last - first) / (steps - 1) as f64,
        peak()
    );
    (before, after)
}

#[test]
fn an_adapter_of_thirty_steps_improves_the_held_out_loss() {
    let Some(folder) = model() else { return };
    let lora = Lora {
        rank: 8,
        alpha: 16.0,
        dropout: 0.0,
        targets: Vec::new(),
    };
    let (before, after) = tune(folder, Method::Lora(lora), 30, 1e-3);
    assert!(after < before - 0.05, "{before} {after}");
}

#[test]
fn full_tuning_of_a_few_steps_improves_the_held_out_loss() {
    let Some(folder) = model() else { return };
    let (before, after) = tune(folder, Method::Full, 6, 5e-5);
    assert!(after < before, "{before} {after}");
}
