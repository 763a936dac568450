//! What tests of whole models share: the committed checkpoints, what transformers computes with them, and our own results.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and not every test uses everything"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use trainer_svc::arch::Model;
use trainer_svc::autodiff;
use trainer_svc::method::{GraphShape, INPUT_IDS, Method, PROMPT_EMBEDDINGS, Prompt, Starts};
use trainer_svc::session::{Device, DeviceOptions, Runtime, StopToken};
use trainer_svc::tensor::{ElementType, Elements, HostTensor};

pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Names of all committed checkpoints or adapters.
pub(crate) fn names(kind: &str) -> Vec<String> {
    let entries = std::fs::read_dir(fixtures().join(kind)).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

pub(crate) fn cpu() -> Device {
    let runtime = Runtime::load(&Runtime::locate(None).unwrap()).unwrap();
    let options = DeviceOptions {
        threads: Some(2),
        ..DeviceOptions::default()
    };
    runtime.open("cpu", &options).unwrap()
}

/// What transformers computes.
pub(crate) struct Golden {
    /// The checkpoint that an adapter belongs to.
    pub(crate) base: Option<String>,
    pub(crate) texts: Vec<Vec<i64>>,
    /// Mean over the predicted tokens of each text.
    pub(crate) losses: Vec<f64>,
    /// `[length, vocabulary]` of each text.
    pub(crate) logits: Vec<Vec<f32>>,
    /// Embeddings of virtual tokens.
    pub(crate) prompt: Starts,
    pub(crate) losses_behind_prompt: Vec<f64>,
    /// Of the mean loss per predicted token: norm, and product with cos(0), cos(1), ….
    pub(crate) gradients: BTreeMap<String, [f64; 2]>,
}

fn floats(value: &Value) -> Vec<f64> {
    let items = value.as_array().into_iter().flatten();
    items.map(|x| x.as_f64().unwrap()).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "goldens are f32")]
fn matrix(value: &Value) -> Vec<Vec<f32>> {
    let rows = value.as_array().into_iter().flatten();
    rows.map(|row| floats(row).into_iter().map(|x| x as f32).collect())
        .collect()
}

impl Golden {
    pub(crate) fn read(dir: &Path) -> Self {
        let golden: Value = serde_json::from_slice(&std::fs::read(dir.join("golden.json")).unwrap()).unwrap();
        let prompt = matrix(&golden["prompt"]);
        let shape = [prompt.len(), prompt.first().map_or(0, Vec::len)];
        let prompt = HostTensor::new(shape, Elements::F32(prompt.concat())).unwrap();
        let ids = |text: &Value| text.as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect();
        Self {
            base: golden["base"].as_str().map(str::to_owned),
            texts: golden["texts"].as_array().unwrap().iter().map(ids).collect(),
            losses: floats(&golden["losses"]),
            logits: matrix(&golden["logits"]),
            prompt: Starts::from([(PROMPT_EMBEDDINGS.to_owned(), prompt)]),
            losses_behind_prompt: floats(&golden["losses_behind_prompt"]),
            gradients: serde_json::from_value(golden["gradients"].clone()).unwrap_or_default(),
        }
    }

    /// The method whose weights [`Self::prompt`] holds.
    pub(crate) fn prompt_method(&self) -> Method {
        let length = self.prompt[PROMPT_EMBEDDINGS].shape()[0];
        let initial_text = String::new();
        Method::Prompt(Prompt { length, initial_text })
    }
}

/// All texts, padded on the right: `[texts, longest]`.
fn batch(texts: &[Vec<i64>]) -> HostTensor {
    let length = texts.iter().map(Vec::len).max().unwrap();
    let pad = |text: &Vec<i64>| {
        let mut row = text.clone();
        // Any token may stand there: it changes nothing.
        row.resize(length, 7);
        row
    };
    let rows: Vec<i64> = texts.iter().flat_map(pad).collect();
    HostTensor::new([texts.len(), length], Elements::I64(rows)).unwrap()
}

/// Logits of every text, `[length, vocabulary]` each, without the padding. `weights`: what the method adds; empty where it adds none.
pub(crate) fn logits(
    device: &Device,
    model: &Model,
    method: &Method,
    weights: &Starts,
    texts: &[Vec<i64>],
) -> Vec<Vec<f32>> {
    let ids = batch(texts);
    let &[rows, length] = ids.shape() else { unreachable!() };
    let training = false;
    let shape = GraphShape { rows, length, training };
    let mut tuned = method.build(model.decoder.as_ref(), shape).unwrap();
    tuned.graph.rename(tuned.logits, "logits").unwrap();
    tuned.graph.output(tuned.logits);
    let vocabulary = model.decoder.vocabulary();
    assert_eq!(tuned.graph.shape(tuned.logits), [rows * length, vocabulary]);

    let mut inputs = vec![(INPUT_IDS.to_owned(), device.upload(&ids).unwrap())];
    for parameter in &tuned.frozen {
        let tensor = model.checkpoint.read(&parameter.name, &parameter.shape).unwrap();
        inputs.push((parameter.name.clone(), device.upload(&tensor).unwrap()));
    }
    for trainable in &tuned.trainable {
        let tensor = match weights.get(&trainable.name) {
            Some(tensor) => tensor.clone(),
            None => model.checkpoint.read(&trainable.name, &trainable.shape).unwrap(),
        };
        inputs.push((trainable.name.clone(), device.upload(&tensor).unwrap()));
    }
    let inputs: Vec<_> = inputs.iter().map(|(name, buffer)| (name.as_str(), buffer)).collect();
    let result = device.zeros(ElementType::F32, &[rows * length, vocabulary]).unwrap();
    let mut program = device.compile(&tuned.graph).unwrap();
    program.run(&inputs, &[("logits", &result)], &StopToken::new()).unwrap();
    let result = device.download(&result).unwrap();
    let sequences = result.as_f32().unwrap().chunks_exact(length * vocabulary);
    let own = |(row, text): (&[f32], &Vec<i64>)| row[..text.len() * vocabulary].to_vec();
    sequences.zip(texts).map(own).collect()
}

/// Targets and weights of all positions of a padded batch: the mean over all predicted tokens.
fn predicted(texts: &[Vec<i64>], length: usize) -> (HostTensor, HostTensor) {
    let count: usize = texts.iter().map(|text| text.len() - 1).sum();
    let weight = 1.0 / count as f32;
    let (mut targets, mut weights) = (Vec::new(), Vec::new());
    for text in texts {
        for position in 0..length {
            let next = text.get(position + 1);
            targets.push(next.copied().unwrap_or(0));
            weights.push(if next.is_some() { weight } else { 0.0 });
        }
    }
    (HostTensor::indices(targets), HostTensor::vector(weights))
}

/// Gradients of the mean loss by all parameters.
pub(crate) fn gradients(device: &Device, model: &Model, texts: &[Vec<i64>]) -> BTreeMap<String, HostTensor> {
    let ids = batch(texts);
    let &[rows, length] = ids.shape() else { unreachable!() };
    let shape = GraphShape {
        rows,
        length,
        training: true,
    };
    let mut tuned = Method::Full.build(model.decoder.as_ref(), shape).unwrap();
    let graph = &mut tuned.graph;
    let (targets, weights) = predicted(texts, length);
    let targets_value = graph.input("targets", ElementType::I64, targets.shape()).unwrap();
    let weights_value = graph.input("weights", ElementType::F32, weights.shape()).unwrap();
    let loss = autodiff::cross_entropy(graph, tuned.logits, targets_value, weights_value).unwrap();
    let wrt: Vec<_> = tuned.trainable.iter().map(|trainable| trainable.value).collect();
    let found = autodiff::gradients(graph, &[(tuned.logits, loss.logits_cotangent)], &wrt).unwrap();

    let mut inputs = vec![
        (INPUT_IDS.to_owned(), device.upload(&ids).unwrap()),
        ("targets".to_owned(), device.upload(&targets).unwrap()),
        ("weights".to_owned(), device.upload(&weights).unwrap()),
    ];
    let mut outputs = Vec::new();
    for (trainable, gradient) in tuned.trainable.iter().zip(found) {
        let name = format!("gradient/{}", trainable.name);
        let gradient = gradient.unwrap();
        graph.rename(gradient, &name).unwrap();
        graph.output(gradient);
        outputs.push((name, device.zeros(ElementType::F32, &trainable.shape).unwrap()));
        let tensor = model.checkpoint.read(&trainable.name, &trainable.shape).unwrap();
        inputs.push((trainable.name.clone(), device.upload(&tensor).unwrap()));
    }
    let inputs: Vec<_> = inputs.iter().map(|(name, buffer)| (name.as_str(), buffer)).collect();
    let bound: Vec<_> = outputs.iter().map(|(name, buffer)| (name.as_str(), buffer)).collect();
    let mut program = device.compile(graph).unwrap();
    program.run(&inputs, &bound, &StopToken::new()).unwrap();
    let download = |(name, buffer): &(String, _)| {
        let name = name.trim_start_matches("gradient/").to_owned();
        (name, device.download(buffer).unwrap())
    };
    outputs.iter().map(download).collect()
}

/// Mean negative log-likelihood of all tokens but the first.
pub(crate) fn loss(text: &[i64], logits: &[f32]) -> f64 {
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

/// Mean losses of all texts.
pub(crate) fn losses(
    device: &Device,
    model: &Model,
    method: &Method,
    weights: &Starts,
    texts: &[Vec<i64>],
) -> Vec<f64> {
    let logits = logits(device, model, method, weights, texts);
    texts
        .iter()
        .zip(&logits)
        .map(|(text, logits)| loss(text, logits))
        .collect()
}

/// The largest relative difference.
pub(crate) fn largest_error(found: &[f64], wanted: &[f64]) -> f64 {
    assert_eq!(found.len(), wanted.len());
    assert!(!found.is_empty());
    let pairs = found.iter().zip(wanted);
    pairs.map(|(a, b)| (a / b - 1.0).abs()).fold(0.0, f64::max)
}

/// Norm of the difference by the norm of what is wanted.
pub(crate) fn relative(found: &[f32], wanted: &[f32]) -> f64 {
    assert_eq!(found.len(), wanted.len());
    let square = |x: f32| f64::from(x).powi(2);
    let error: f64 = found.iter().zip(wanted).map(|(a, b)| square(a - b)).sum();
    let norm: f64 = wanted.iter().map(|&b| square(b)).sum();
    (error / norm).sqrt()
}

/// Copies a flat folder.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
