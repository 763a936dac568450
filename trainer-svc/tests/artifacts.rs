//! Tuned weights as folders: what is written is what is read, by us and by another reader; PEFT's own adapters give the losses that
//! PEFT computes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use common::{Golden, copy_folder, cpu, fixtures, largest_error, losses, names};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use trainer_svc::arch::{self, Model};
use trainer_svc::artifact::{
    ArtifactError, Existing, SaveOptions, WeightType, read_adapter, save_lora, save_model, save_prompt,
};
use trainer_svc::method::{GraphShape, Method, Starts, Trainable};
use trainer_svc::tensor::HostTensor;

fn fixture(name: &str) -> Model {
    arch::open(&fixtures().join("models").join(name)).unwrap()
}

fn weights(model: &Model) -> BTreeMap<String, HostTensor> {
    let read = |parameter: &arch::Parameter| {
        let tensor = model.checkpoint.read(&parameter.name, &parameter.shape).unwrap();
        (parameter.name.clone(), tensor)
    };
    model.parameters.iter().map(read).collect()
}

/// The weights, all a little larger: as f32 they fit no narrower type any more.
fn tuned(model: &Model) -> Starts {
    let change = |(name, tensor): (String, HostTensor)| {
        let values: Vec<f32> = tensor.as_f32().unwrap().iter().map(|x| x * 1.001 + 1e-4).collect();
        let tensor = HostTensor::new(tensor.shape(), trainer_svc::tensor::Elements::F32(values)).unwrap();
        (name, tensor)
    };
    weights(model).into_iter().map(change).collect()
}

fn save(target: &Path, source: &Model, weights: &Starts, options: SaveOptions) -> Result<(), ArtifactError> {
    let mut fetch = |name: &str| Ok(weights[name].clone());
    save_model(target, &source.checkpoint, &source.parameters, &mut fetch, options)
}

fn trainable(model: &Model, method: &Method) -> Vec<Trainable> {
    let shape = GraphShape {
        rows: 1,
        length: 2,
        training: false,
    };
    method.build(model.decoder.as_ref(), shape).unwrap().trainable
}

#[test]
fn a_saved_model_is_read_back_under_the_names_of_its_source() {
    for name in names("models") {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("tuned");
        let source = fixture(&name);
        let tuned = tuned(&source);
        save(&target, &source, &tuned, SaveOptions::default()).unwrap();

        let back = arch::open(&target).unwrap();
        assert_eq!(weights(&back), tuned, "{name}");
        let bytes = fs::read(target.join("model.safetensors")).unwrap();
        let other = SafeTensors::deserialize(&bytes).unwrap();
        let buffers = if name == "gpt2" { 4 } else { 0 };
        assert_eq!(other.len(), source.checkpoint.tensors().count() - buffers, "{name}");
        assert!(
            other
                .names()
                .iter()
                .all(|own| source.checkpoint.tensors().any(|(known, _)| known == *own))
        );
        let config: Value = serde_json::from_slice(&fs::read(target.join("config.json")).unwrap()).unwrap();
        let stored = config.get("dtype").or(config.get("torch_dtype")).unwrap();
        assert_eq!(stored, "float32", "{name}");
    }
}

#[test]
fn the_type_of_the_source_is_kept_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let source = fixture("llama-grouped-tied");
    let options = SaveOptions {
        weights: WeightType::Source,
        ..SaveOptions::default()
    };
    save(&dir.path().join("tuned"), &source, &weights(&source), options).unwrap();
    let back = arch::open(&dir.path().join("tuned")).unwrap();
    assert!(
        back.checkpoint
            .tensors()
            .all(|(_, tensor)| tensor.stored.name() == "BF16")
    );
    assert_eq!(weights(&back), weights(&source));
    assert_eq!(back.checkpoint.config(), source.checkpoint.config());
}

#[test]
fn large_models_are_spread_over_files() {
    let dir = tempfile::tempdir().unwrap();
    let (target, source) = (dir.path().join("tuned"), fixture("qwen2"));
    let options = SaveOptions {
        shard_bytes: 4_000,
        ..SaveOptions::default()
    };
    save(&target, &source, &tuned(&source), options).unwrap();
    let files = fs::read_dir(&target).unwrap().count();
    assert!(files > 4, "{files}");
    assert!(!target.join("model.safetensors").exists());
    assert_eq!(weights(&arch::open(&target).unwrap()), tuned(&source));
}

#[test]
fn the_tokenizer_comes_along_and_nothing_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let (from, target) = (dir.path().join("source"), dir.path().join("tuned"));
    copy_folder(&fixtures().join("models/opt"), &from);
    fs::write(from.join("tokenizer.json"), "{}").unwrap();
    fs::write(from.join("notes.txt"), "private").unwrap();
    let source = arch::open(&from).unwrap();
    save(&target, &source, &tuned(&source), SaveOptions::default()).unwrap();
    assert_eq!(fs::read_to_string(target.join("tokenizer.json")).unwrap(), "{}");
    assert!(!target.join("notes.txt").exists());

    let again = save(&target, &source, &weights(&source), SaveOptions::default());
    assert!(matches!(again, Err(ArtifactError::Exists { .. })));
    let options = SaveOptions {
        existing: Existing::Replace,
        ..SaveOptions::default()
    };
    save(&target, &source, &weights(&source), options).unwrap();
    assert_eq!(weights(&arch::open(&target).unwrap()), weights(&source));
}

#[test]
fn a_weight_that_cannot_be_had_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (target, source) = (dir.path().join("tuned"), fixture("opt"));
    let mut asked = 0;
    let mut fetch = |_: &str| {
        asked += 1;
        if asked > 3 {
            Err("the device is gone".into())
        } else {
            Ok(HostTensor::zeros([16]))
        }
    };
    let failed = save_model(
        &target,
        &source.checkpoint,
        &source.parameters,
        &mut fetch,
        SaveOptions::default(),
    );
    assert!(matches!(failed, Err(ArtifactError::Weight { .. })), "{failed:?}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn adapters_made_by_peft_give_the_losses_that_peft_computes() {
    let device = cpu();
    for name in names("adapters") {
        let dir = fixtures().join("adapters").join(&name);
        let golden = Golden::read(&dir);
        let model = fixture(golden.base.as_deref().unwrap());
        let adapter = read_adapter(&dir).unwrap();
        adapter.check(&trainable(&model, &adapter.method)).unwrap();
        let found = losses(&device, &model, &adapter.method, &adapter.weights, &golden.texts);
        let error = largest_error(&found, &golden.losses);
        assert!(error < 2e-6, "{name}: {error}");
        assert_eq!(adapter.base_model.unwrap(), format!("models/{}", golden.base.unwrap()));
    }
}

#[test]
fn a_saved_adapter_is_read_back() {
    for name in names("adapters") {
        let from = fixtures().join("adapters").join(&name);
        let model = fixture(&Golden::read(&from).base.unwrap());
        let adapter = read_adapter(&from).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("again");
        let mut fetch = |name: &str| Ok(adapter.weights[name].clone());
        let trainable = trainable(&model, &adapter.method);
        match &adapter.method {
            Method::Lora(lora) => {
                let layers = arch::outline(model.decoder.as_ref()).unwrap().layers;
                save_lora(&target, lora, "base", &layers, &trainable, &mut fetch, Existing::Refuse).unwrap();
            }
            Method::Prompt(prompt) => {
                let width = model.decoder.embedding_width();
                save_prompt(&target, prompt, width, "base", &mut fetch, Existing::Refuse).unwrap();
            }
            Method::Full => unreachable!(),
        }
        let back = read_adapter(&target).unwrap();
        assert_eq!(
            (&back.method, &back.weights),
            (&adapter.method, &adapter.weights),
            "{name}"
        );
        if name == "lora-llama" {
            let config: Value = serde_json::from_slice(&fs::read(target.join("adapter_config.json")).unwrap()).unwrap();
            assert_eq!(config["target_modules"], json!(["down_proj", "q_proj", "v_proj"]));
        }
    }
}

/// The message of an adapter with a changed setting.
fn refusal(base: &str, field: &str, value: Value) -> String {
    let dir = tempfile::tempdir().unwrap();
    copy_folder(&fixtures().join("adapters").join(base), dir.path());
    let path = dir.path().join("adapter_config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config[field] = value;
    fs::write(&path, config.to_string()).unwrap();
    read_adapter(dir.path()).unwrap_err().to_string()
}

#[test]
fn settings_that_change_the_formula_are_refused_by_name() {
    for (field, value) in [
        ("peft_type", json!("IA3")),
        ("use_dora", json!(true)),
        ("bias", json!("all")),
        ("rank_pattern", json!({"c_attn": 5})),
        ("alpha_pattern", json!({"c_attn": 5})),
        ("modules_to_save", json!(["lm_head"])),
        ("init_lora_weights", json!("pissa")),
        ("layer_replication", json!([[0, 2]])),
        ("some_future_variant", json!(true)),
        ("r", json!(0)),
        ("r", json!(-3)),
        ("r", json!(1e30)),
        ("lora_alpha", json!("five")),
    ] {
        let message = refusal("lora-gpt2", field, value);
        assert!(
            message.contains(field) && message.contains("adapter_config.json"),
            "{message}"
        );
    }
    assert!(refusal("lora-gpt2", "r", json!(4)).contains("of another rank than 4"));
    assert!(refusal("prompt-gpt2", "num_virtual_tokens", json!(4)).contains("[4, 16]"));
    assert!(refusal("prompt-gpt2", "num_transformer_submodules", json!(2)).contains("num_transformer_submodules"));
    assert!(refusal("prompt-gpt2", "peft_type", json!("LORA")).contains("num_attention_heads"));
}

#[test]
fn an_adapter_of_another_model_is_refused() {
    let adapter = read_adapter(&fixtures().join("adapters/prompt-gpt2")).unwrap();
    let mut wanted = trainable(&fixture("gpt2"), &adapter.method);
    wanted[0].shape = vec![3, 99];
    let message = adapter.check(&wanted).unwrap_err().to_string();
    assert!(message.contains("[3, 16]") && message.contains("[3, 99]"), "{message}");

    let adapter = read_adapter(&fixtures().join("adapters/lora-gpt2")).unwrap();
    let message = adapter.check(&[]).unwrap_err().to_string();
    assert!(
        message.contains("transformer.h.1.mlp.c_fc.lora_B.weight belongs to no module"),
        "{message}"
    );

    let none = read_adapter(&fixtures().join("models/gpt2")).unwrap_err().to_string();
    assert!(none.contains("adapter_config.json"), "{none}");
}
