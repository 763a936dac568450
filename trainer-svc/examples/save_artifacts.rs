//! Writes tuned models and adapters for `tools/fixtures/check_artifacts.py`, which loads them in transformers and PEFT.
//!
//! `cargo run -p trainer-svc --no-default-features --example save_artifacts -- FOLDER` changes the weights of all committed checkpoints and
//! adapters a little, saves them below the folder, and notes in `losses.json` what they lose by our own computation.

#![expect(
    clippy::unwrap_used,
    reason = "a tool run by hand: it stops where something is wrong"
)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Golden, cpu, fixtures, losses, names};
use serde_json::{Map, Value, json};
use trainer_svc::arch::{self, Model};
use trainer_svc::artifact::{Existing, SaveOptions, read_adapter, save_lora, save_model, save_prompt};
use trainer_svc::method::{GraphShape, Method, Starts};
use trainer_svc::session::Device;
use trainer_svc::tensor::{Elements, HostTensor};

fn changed(tensor: &HostTensor) -> HostTensor {
    let elements = tensor.as_f32().unwrap().iter().enumerate();
    let elements = elements.map(|(i, x)| x * 1.01 + if i % 3 == 0 { 0.01 } else { -0.005 });
    HostTensor::new(tensor.shape(), Elements::F32(elements.collect())).unwrap()
}

fn tune_model(device: &Device, kind: &str, name: &str, target: &Path) -> Value {
    let dir = fixtures().join(kind).join(name);
    let model = arch::open(&dir).unwrap();
    let read = |parameter: &arch::Parameter| {
        let tensor = model.checkpoint.read(&parameter.name, &parameter.shape).unwrap();
        (parameter.name.clone(), changed(&tensor))
    };
    let weights: Starts = model.parameters.iter().map(read).collect();
    let mut fetch = |name: &str| Ok(weights[name].clone());
    let options = SaveOptions {
        shard_bytes: if name == "llama" { 10_000 } else { 5_000_000_000 },
        ..SaveOptions::default()
    };
    save_model(target, &model.checkpoint, &model.parameters, &mut fetch, options).unwrap();
    let texts = Golden::read(&dir).texts;
    json!({"texts": texts, "losses": losses(device, &model, &Method::Full, &weights, &texts)})
}

fn save_adapter(target: &Path, model: &Model, base: &str, method: &Method, weights: &Starts) {
    let mut fetch = |name: &str| Ok(weights[name].clone());
    let decoder = model.decoder.as_ref();
    match method {
        Method::Lora(lora) => {
            let shape = GraphShape {
                rows: 1,
                length: 1,
                training: false,
            };
            let trainable = method.build(decoder, shape).unwrap().trainable;
            let layers = arch::outline(decoder).unwrap().layers;
            save_lora(target, lora, base, &layers, &trainable, &mut fetch, Existing::Refuse).unwrap();
        }
        Method::Prompt(prompt) => {
            let width = decoder.embedding_width();
            save_prompt(target, prompt, width, base, &mut fetch, Existing::Refuse).unwrap();
        }
        Method::Full => {}
    }
}

fn tune_adapter(device: &Device, name: &str, target: &Path) -> Value {
    let dir = fixtures().join("adapters").join(name);
    let golden = Golden::read(&dir);
    let base = fixtures().join("models").join(golden.base.unwrap());
    let model = arch::open(&base).unwrap();
    let adapter = read_adapter(&dir).unwrap();
    let weights: Starts = adapter
        .weights
        .iter()
        .map(|(name, tensor)| (name.clone(), changed(tensor)))
        .collect();
    save_adapter(target, &model, base.to_str().unwrap(), &adapter.method, &weights);
    let losses = losses(device, &model, &adapter.method, &weights, &golden.texts);
    json!({"texts": golden.texts, "losses": losses, "base": base})
}

fn main() {
    let target = PathBuf::from(std::env::args_os().nth(1).unwrap());
    let device = cpu();
    let mut found = Map::new();
    for kind in ["models", "exported"] {
        for name in names(kind) {
            let value = tune_model(&device, kind, &name, &target.join(&name));
            found.insert(name, value);
        }
    }
    for name in names("adapters") {
        let value = tune_adapter(&device, &name, &target.join(&name));
        found.insert(name, value);
    }
    fs::write(target.join("losses.json"), Value::Object(found).to_string()).unwrap();
}
