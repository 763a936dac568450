//! Every architecture against what transformers computes on the same weights: logits, and losses text by text.
//!
//! `tools/fixtures/models.py` makes the checkpoints; losses of random weights with a large spread differ from text to text, so that no
//! mean hides an error.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use serde_json::Value;
use trainer_svc::arch::{self, Adapt, Forward, Model, Unadapted};
use trainer_svc::graph::Graph;
use trainer_svc::session::{Device, DeviceOptions, Runtime, StopToken};
use trainer_svc::tensor::{ElementType, Elements, HostTensor};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn cpu() -> Device {
    let runtime = Runtime::load(&Runtime::locate(None).unwrap()).unwrap();
    let options = DeviceOptions {
        threads: Some(2),
        ..DeviceOptions::default()
    };
    runtime.open("cpu", &options).unwrap()
}

/// What transformers computes.
struct Golden {
    texts: Vec<Vec<i64>>,
    losses: Vec<f64>,
    logits: Vec<Vec<f32>>,
    prompt: HostTensor,
    losses_behind_prompt: Vec<f64>,
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "goldens are f32")]
fn matrix(value: &Value) -> Vec<Vec<f32>> {
    let rows = value.as_array().unwrap().iter();
    rows.map(|row| floats(row).into_iter().map(|x| x as f32).collect())
        .collect()
}

impl Golden {
    fn read(dir: &Path) -> Self {
        let golden: Value = serde_json::from_slice(&std::fs::read(dir.join("golden.json")).unwrap()).unwrap();
        let prompt = matrix(&golden["prompt"]);
        let texts = golden["texts"].as_array().unwrap().iter();
        Self {
            texts: texts
                .map(|text| text.as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect())
                .collect(),
            losses: floats(&golden["losses"]),
            logits: matrix(&golden["logits"]),
            prompt: HostTensor::new([prompt.len(), prompt[0].len()], Elements::F32(prompt.concat())).unwrap(),
            losses_behind_prompt: floats(&golden["losses_behind_prompt"]),
        }
    }

    /// All texts, padded on the right: `[texts, longest]`.
    fn batch(&self) -> HostTensor {
        let length = self.texts.iter().map(Vec::len).max().unwrap();
        let pad = |text: &Vec<i64>| {
            let mut row = text.clone();
            // Any token may stand there: it changes nothing.
            row.resize(length, 7);
            row
        };
        let rows: Vec<i64> = self.texts.iter().flat_map(pad).collect();
        HostTensor::new([self.texts.len(), length], Elements::I64(rows)).unwrap()
    }
}

/// Logits of every text, `[length, vocabulary]` each, without the padding.
fn logits(device: &Device, model: &Model, golden: &Golden, prompt: Option<&HostTensor>) -> Vec<Vec<f32>> {
    let ids = golden.batch();
    let mut graph = Graph::new();
    let ids_value = graph.input("ids", ElementType::I64, ids.shape()).unwrap();
    let prompt_value = prompt.map(|prompt| graph.input("prompt", ElementType::F32, prompt.shape()).unwrap());
    let mut unadapted = Unadapted;
    let adapt: &mut dyn Adapt = &mut unadapted;
    let mut forward = Forward::new(&mut graph, adapt);
    let out = model.decoder.forward(&mut forward, ids_value, prompt_value).unwrap();
    let parameters = forward.into_parameters();
    graph.rename(out, "logits").unwrap();
    graph.output(out);
    assert_eq!(
        graph.shape(out),
        [ids.shape().iter().product(), model.decoder.vocabulary()]
    );

    let mut program = device.compile(&graph).unwrap();
    let mut inputs = vec![("ids", device.upload(&ids).unwrap())];
    if let Some(prompt) = prompt {
        inputs.push(("prompt", device.upload(prompt).unwrap()));
    }
    for parameter in &parameters {
        let weights = model.checkpoint.read(&parameter.name, &parameter.shape).unwrap();
        inputs.push((&parameter.name, device.upload(&weights).unwrap()));
    }
    let inputs: Vec<_> = inputs.iter().map(|(name, buffer)| (*name, buffer)).collect();
    let result = device.zeros(ElementType::F32, graph.shape(out)).unwrap();
    program.run(&inputs, &[("logits", &result)], &StopToken::new()).unwrap();
    let result = device.download(&result).unwrap();
    let rows = result
        .as_f32()
        .unwrap()
        .chunks_exact(ids.shape()[1] * model.decoder.vocabulary());
    rows.zip(&golden.texts)
        .map(|(row, text)| row[..text.len() * model.decoder.vocabulary()].to_vec())
        .collect()
}

/// Mean negative log-likelihood of all tokens but the first.
fn loss(text: &[i64], logits: &[f32]) -> f64 {
    let vocabulary = logits.len() / text.len();
    let rows = logits.chunks_exact(vocabulary).zip(&text[1..]);
    let total: f64 = rows
        .map(|(row, &target)| {
            let exponentials: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
            exponentials.ln() - f64::from(row[usize::try_from(target).unwrap()])
        })
        .sum();
    total / (text.len() - 1) as f64
}

fn relative(found: &[f32], wanted: &[f32]) -> f64 {
    assert_eq!(found.len(), wanted.len());
    let square = |x: f32| f64::from(x).powi(2);
    let error: f64 = found.iter().zip(wanted).map(|(a, b)| square(a - b)).sum();
    let norm: f64 = wanted.iter().map(|&b| square(b)).sum();
    (error / norm).sqrt()
}

/// Relative error of logits, of losses and of losses behind a prompt, the largest of any text.
fn errors(device: &Device, name: &str) -> [f64; 3] {
    let dir = fixtures().join("models").join(name);
    let model = arch::open(&dir).unwrap();
    let golden = Golden::read(&dir);
    let plain = logits(device, &model, &golden, None);
    let behind = logits(device, &model, &golden, Some(&golden.prompt));
    let mut worst = [0.0_f64; 3];
    for (i, text) in golden.texts.iter().enumerate() {
        let loss_error = (loss(text, &plain[i]) / golden.losses[i] - 1.0).abs();
        let behind_error = (loss(text, &behind[i]) / golden.losses_behind_prompt[i] - 1.0).abs();
        let found = [relative(&plain[i], &golden.logits[i]), loss_error, behind_error];
        worst = std::array::from_fn(|i| worst[i].max(found[i]));
    }
    worst
}

#[test]
fn logits_and_losses_are_those_of_transformers() {
    let device = cpu();
    let mut names: Vec<String> = std::fs::read_dir(fixtures().join("models"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names.len() >= 16, "{names:?}");
    let failed: Vec<_> = names
        .into_iter()
        .map(|name| (errors(&device, &name), name))
        .filter(|(worst, _)| !worst.iter().all(|error| *error < 2e-6))
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
}
