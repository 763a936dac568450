//! Decoders exported to ONNX by PyTorch's old and new exporters: losses, gradients, low-rank adapters, and the way back to a file.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;

use common::{Golden, copy_folder, cpu, fixtures, gradients, largest_error, losses, names};
use proptest::prelude::*;
use trainer_svc::arch::{self, Model};
use trainer_svc::artifact::{SaveOptions, read_adapter, save_model};
use trainer_svc::graph::Graph;
use trainer_svc::graph::onnx::{export, with_weights};
use trainer_svc::method::{GraphShape, Lora, Method, Prompt, Starts};
use trainer_svc::tensor::{ElementType, Elements, HostTensor};

fn fixture(name: &str) -> (Model, Golden) {
    let dir = fixtures().join("exported").join(name);
    (arch::open(&dir).unwrap(), Golden::read(&dir))
}

#[test]
fn an_exported_model_loses_what_its_source_loses() {
    let device = cpu();
    for name in names("exported") {
        let (model, golden) = fixture(&name);
        let found = losses(&device, &model, &Method::Full, &Starts::new(), &golden.texts);
        let error = largest_error(&found, &golden.losses);
        assert!(error < 2e-6, "{name}: {error}");
        assert_eq!(model.decoder.vocabulary(), 40);
        assert_eq!(model.decoder.model_type(), "onnx");
    }
}

#[test]
fn its_gradients_are_those_of_its_source() {
    let device = cpu();
    for name in names("exported") {
        let (model, golden) = fixture(&name);
        let source = Golden::read(&fixtures().join("models").join(golden.base.unwrap()));
        let found = gradients(&device, &model, &golden.texts);
        assert!(
            found.keys().all(|name| !name.contains("inv_freq")),
            "{:?}",
            found.keys()
        );
        let mut compared = 0;
        for (parameter, tensor) in &found {
            // Exporters give transposed weights names of their own, and a tied table is two weights.
            let Some(&[norm, _]) = source
                .gradients
                .get(parameter.strip_prefix("model.").unwrap_or_default())
            else {
                continue;
            };
            if !parameter.contains("layers.") && !parameter.contains(".h.") {
                continue;
            }
            let Elements::F32(gradient) = tensor.elements() else {
                unreachable!()
            };
            let found_norm = gradient.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            assert!(
                (found_norm / norm - 1.0).abs() < 5e-6,
                "{name} {parameter}: {found_norm} {norm}"
            );
            compared += 1;
        }
        assert!(compared >= 4, "{name}: {:?}", found.keys());
    }
}

#[test]
fn adapters_work_on_its_weights() {
    let device = cpu();
    let dir = fixtures().join("adapters/lora-gpt2");
    let (adapter, golden) = (read_adapter(&dir).unwrap(), Golden::read(&dir));
    let Method::Lora(lora) = adapter.method else {
        unreachable!()
    };
    let below = |name: &String| format!("model.{name}");
    let lora = Lora {
        targets: lora.targets.iter().map(below).collect(),
        ..lora
    };
    let weights: Starts = adapter
        .weights
        .iter()
        .map(|(name, tensor)| (below(name), tensor.clone()))
        .collect();
    for name in ["gpt2-old", "gpt2-new"] {
        let (model, _) = fixture(name);
        let found = losses(&device, &model, &Method::Lora(lora.clone()), &weights, &golden.texts);
        let error = largest_error(&found, &golden.losses);
        assert!(error < 2e-6, "{name}: {error}");
    }
}

#[test]
fn all_its_layers_can_be_adapted_but_the_head() {
    for (name, layers) in [("gpt2-old", 8), ("gpt2-new", 8), ("llama-old", 14), ("llama-new", 14)] {
        let (model, _) = fixture(name);
        let lora = Method::Lora(Lora {
            rank: 2,
            alpha: 4.0,
            dropout: 0.0,
            targets: Vec::new(),
        });
        let shape = GraphShape {
            rows: 1,
            length: 3,
            training: true,
        };
        let tuned = lora.build(model.decoder.as_ref(), shape).unwrap();
        assert_eq!(tuned.trainable.len(), 2 * layers, "{name}");

        let prompt = Method::Prompt(Prompt {
            length: 2,
            initial_text: String::new(),
        });
        let refused = prompt.build(model.decoder.as_ref(), shape).unwrap_err();
        assert!(refused.to_string().contains("takes no prompt"), "{refused}");
    }
}

#[test]
fn a_tuned_model_is_written_as_it_came() {
    let device = cpu();
    for name in names("exported") {
        let (model, golden) = fixture(&name);
        let change = |tensor: &HostTensor| {
            let elements = tensor.as_f32().unwrap().iter().map(|x| x * 1.01 + 0.01).collect();
            HostTensor::new(tensor.shape(), Elements::F32(elements)).unwrap()
        };
        let read = |parameter: &arch::Parameter| {
            let tensor = model.checkpoint.read(&parameter.name, &parameter.shape).unwrap();
            (parameter.name.clone(), change(&tensor))
        };
        let weights: Starts = model.parameters.iter().map(read).collect();
        let wanted = losses(&device, &model, &Method::Full, &weights, &golden.texts);
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("tuned");
        let mut fetch = |name: &str| Ok(weights[name].clone());
        let options = SaveOptions::default();
        save_model(&target, &model.checkpoint, &model.parameters, &mut fetch, options).unwrap();
        assert_eq!(fs::read_dir(&target).unwrap().count(), 1);

        let back = arch::open(&target).unwrap();
        let found = losses(&device, &back, &Method::Full, &Starts::new(), &golden.texts);
        assert_eq!(found, wanted, "{name}");
    }
}

/// What is said of a model with these inputs, whose output has the first one's shape.
fn refusal(inputs: &[(&str, ElementType)]) -> String {
    let mut graph = Graph::new();
    for &(name, element) in inputs {
        graph.input(name, element, [1, 2]).unwrap();
    }
    let first = graph.inputs()[0];
    let to = ElementType::F32;
    let output = graph.one(trainer_svc::graph::Op::Cast { to }, &[first]).unwrap();
    let sum = inputs.len() > 1 && inputs[1].1 == to;
    let second = graph.inputs().get(1).copied();
    let output = if sum {
        graph.add(output, second.unwrap()).unwrap()
    } else {
        output
    };
    graph.output(output);
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("model.onnx"), export(&graph)).unwrap();
    arch::open(dir.path()).unwrap_err().to_string()
}

#[test]
fn models_that_are_no_decoders_are_refused() {
    let ids = ("input_ids", ElementType::I64);
    assert!(refusal(&[("pixels", ElementType::I64)]).contains("no input input_ids"));
    assert!(refusal(&[ids, ("past_key_values.0.key", ElementType::F32)]).contains("without a cache of keys"));
    assert!(refusal(&[ids]).contains("is not [batch, sequence, vocabulary]"));

    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("model.onnx"), b"\xff\xff\xff").unwrap();
    let message = arch::open(dir.path()).unwrap_err().to_string();
    assert!(message.contains("model.onnx cannot be used"), "{message}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn no_byte_of_a_model_panics(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in 0_usize..4) {
        let dir = tempfile::tempdir().unwrap();
        copy_folder(&fixtures().join("exported/gpt2-new"), dir.path());
        let path = dir.path().join("model.onnx");
        let mut bytes = fs::read(&path).unwrap();
        let place = at.index(bytes.len());
        bytes[place] = byte;
        if cut == 0 {
            bytes.truncate(place);
        }
        fs::write(&path, &bytes).unwrap();
        if let Err(error) = arch::open(dir.path()) {
            prop_assert!(!error.to_string().is_empty());
        }
        let weights = Starts::from([("model.transformer.ln_f.bias".to_owned(), HostTensor::zeros([16]))]);
        if let Ok(written) = with_weights(&bytes, dir.path(), &weights) {
            prop_assert!(!written.is_empty());
        }
    }
}
