//! Every architecture against what transformers computes on the same weights: logits, and losses text by text.
//!
//! `tools/fixtures/models.py` makes the checkpoints; losses of random weights with a large spread differ from text to text, so that no
//! mean hides an error.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeMap;

use common::{Golden, batch, cpu, fixtures, largest_error, logits, loss, losses, names, relative};
use trainer_svc::arch::{self, Model};
use trainer_svc::autodiff;
use trainer_svc::method::{GraphShape, INPUT_IDS, Method, Starts};
use trainer_svc::session::{Device, StopToken};
use trainer_svc::tensor::{ElementType, Elements, HostTensor};

/// Relative errors of logits, of losses and of losses behind a prompt, the largest of any text.
fn errors(device: &Device, name: &str) -> [f64; 3] {
    let dir = fixtures().join("models").join(name);
    let model = arch::open(&dir).unwrap();
    let golden = Golden::read(&dir);
    let texts = &golden.texts;
    let plain = logits(device, &model, &Method::Full, &Starts::new(), texts);
    let differences = plain
        .iter()
        .zip(&golden.logits)
        .map(|(found, wanted)| relative(found, wanted));
    let found: Vec<f64> = texts
        .iter()
        .zip(&plain)
        .map(|(text, logits)| loss(text, logits))
        .collect();
    let behind = losses(device, &model, &golden.prompt_method(), &golden.prompt, texts);
    [
        differences.fold(0.0, f64::max),
        largest_error(&found, &golden.losses),
        largest_error(&behind, &golden.losses_behind_prompt),
    ]
}

#[test]
fn logits_and_losses_are_those_of_transformers() {
    let device = cpu();
    let names = names("models");
    assert!(names.len() >= 16, "{names:?}");
    let failed: Vec<_> = names
        .into_iter()
        .map(|name| (errors(&device, &name), name))
        .filter(|(worst, _)| !worst.iter().all(|error| *error < 2e-6))
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
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
fn gradients(device: &Device, model: &Model, texts: &[Vec<i64>]) -> BTreeMap<String, HostTensor> {
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

#[test]
fn gradients_of_all_weights_are_those_of_pytorch() {
    let device = cpu();
    let mut failed = Vec::new();
    for name in names("models") {
        let dir = fixtures().join("models").join(&name);
        let golden = Golden::read(&dir);
        let found = gradients(&device, &arch::open(&dir).unwrap(), &golden.texts);
        assert!(found.keys().eq(golden.gradients.keys()), "{name}: {:?}", found.keys());
        // A key's bias moves all scores of a query alike: its gradient is nothing but rounding.
        let scale = golden
            .gradients
            .values()
            .map(|[norm, _]| norm)
            .fold(0.0, |a: f64, b| a.max(*b));
        for (parameter, &[norm, waves]) in &golden.gradients {
            let Elements::F32(gradient) = found[parameter].elements() else {
                unreachable!()
            };
            let values = || gradient.iter().map(|&x| f64::from(x));
            let found_norm = values().map(|x| x * x).sum::<f64>().sqrt();
            let found_waves: f64 = values().enumerate().map(|(i, x)| x * (i as f64).cos()).sum();
            let error = (found_norm - norm).abs().max((found_waves - waves).abs());
            if error > 5e-6 * norm + 1e-7 * scale {
                failed.push(format!("{name} {parameter}: {:.1e} of {norm:.1e}", error / norm));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}
