//! Every architecture against what transformers computes on the same weights: logits, and losses text by text.
//!
//! `tools/fixtures/models.py` makes the checkpoints; losses of random weights with a large spread differ from text to text, so that no
//! mean hides an error.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Golden, cpu, fixtures, gradients, largest_error, logits, loss, losses, names, relative};
use trainer_svc::arch;
use trainer_svc::method::{Method, Starts};
use trainer_svc::session::Device;
use trainer_svc::tensor::Elements;

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
