//! Checkpoint folders made by others: broken, hostile or merely unusual ones are read or refused with the file's or tensor's name.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::path::Path;

use common::{copy_folder, fixtures};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;
use trainer_svc::arch::{self, OpenError, Parameter};
use trainer_svc::checkpoint::{Checkpoint, CheckpointError};
use trainer_svc::tensor::HostTensor;

const INDEX: &str = "model.safetensors.index.json";

/// A copy of a committed checkpoint.
fn copy(name: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy_folder(&fixtures().join("models").join(name), dir.path());
    dir
}

fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

fn refusal(dir: &Path) -> String {
    arch::open(dir).unwrap_err().to_string()
}

fn with_config(name: &str, change: impl FnOnce(&mut Value)) -> Result<arch::Model, OpenError> {
    let dir = copy(name);
    edit(&dir.path().join("config.json"), change);
    arch::open(dir.path())
}

#[test]
fn folders_without_usable_weights_say_what_to_do() {
    let dir = copy("gpt2");
    fs::rename(
        dir.path().join("model.safetensors"),
        dir.path().join("pytorch_model.bin"),
    )
    .unwrap();
    let message = refusal(dir.path());
    assert!(
        message.contains("pytorch_model.bin") && message.contains("convert them"),
        "{message}"
    );
    fs::remove_file(dir.path().join("pytorch_model.bin")).unwrap();
    assert!(refusal(dir.path()).contains("holds no model.safetensors"));
    fs::remove_file(dir.path().join("config.json")).unwrap();
    assert!(refusal(dir.path()).contains("no config.json"));
    assert!(refusal(&fixtures().join("adapters/lora-llama")).contains("holds an adapter"));
    assert!(refusal(&dir.path().join("config.json")).contains("config.json"));
    fs::write(dir.path().join("config.json"), "[1]").unwrap();
    assert!(refusal(dir.path()).contains("is no JSON object"));
    fs::write(dir.path().join("config.json"), " ".repeat(5 << 20)).unwrap();
    assert!(refusal(dir.path()).contains("longer than"));
}

#[test]
fn an_index_cannot_name_files_elsewhere() {
    let dir = copy("mistral");
    let outside = copy("mistral");
    let shard = "model-00001-of-00003.safetensors";
    let absolute = outside.path().join(shard).display().to_string();
    let sideways = format!("../{}/{shard}", outside.path().file_name().unwrap().to_str().unwrap());
    for name in [
        sideways.as_str(),
        &absolute,
        "./../x.safetensors",
        "a/../../x.safetensors",
        "/.safetensors",
    ] {
        edit(&dir.path().join(INDEX), |index| {
            index["weight_map"]["model.norm.weight"] = json!(name);
        });
        assert!(refusal(dir.path()).contains("leads out of the folder"), "{name}");
    }
    for name in ["", "missing.safetensors", "config.json", "\u{7}"] {
        edit(&dir.path().join(INDEX), |index| {
            index["weight_map"]["model.norm.weight"] = json!(name);
        });
        assert!(refusal(dir.path()).contains(INDEX), "{name}");
    }
    edit(&dir.path().join(INDEX), |index| {
        index["weight_map"]["model.norm.weight"] = json!(shard);
    });
    let message = refusal(dir.path());
    assert!(
        message.contains("model.norm.weight") && message.contains("lacks it"),
        "{message}"
    );
    fs::write(dir.path().join(INDEX), r#"{"weight_map": ["model.safetensors"]}"#).unwrap();
    assert!(refusal(dir.path()).contains("is no index"));
}

#[cfg(unix)]
#[test]
fn links_lead_to_a_hub_cache_and_nowhere_else() {
    use std::os::unix::fs::symlink;

    let outside = copy("llama");
    let dir = copy("llama");
    fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    symlink(
        outside.path().join("model.safetensors"),
        dir.path().join("model.safetensors"),
    )
    .unwrap();
    assert!(refusal(dir.path()).contains("leads out of the folder"));

    // Within the folder a link is harmless.
    fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    fs::copy(outside.path().join("model.safetensors"), dir.path().join("weights")).unwrap();
    symlink("weights", dir.path().join("model.safetensors")).unwrap();
    arch::open(dir.path()).unwrap();

    // A local hub cache: snapshots of links to blobs.
    let cache = tempfile::tempdir().unwrap();
    let (snapshot, blobs) = (cache.path().join("snapshots/0f3a"), cache.path().join("blobs"));
    fs::create_dir_all(&snapshot).unwrap();
    copy_folder(outside.path(), &blobs);
    for name in ["config.json", "model.safetensors"] {
        symlink(format!("../../blobs/{name}"), snapshot.join(name)).unwrap();
    }
    arch::open(&snapshot).unwrap();
}

#[test]
fn all_missing_tensors_and_wrong_shapes_are_named_at_once() {
    let Err(OpenError::Checkpoint(error)) = with_config("opt", |config| {
        config["num_hidden_layers"] = json!(4);
        config["ffn_dim"] = json!(31);
    }) else {
        panic!("opened");
    };
    let message = error.to_string();
    let CheckpointError::Mismatch { missing, shapes, .. } = error else {
        panic!("{message}");
    };
    assert_eq!((missing.len(), shapes.len()), (32, 6));
    assert!(missing.contains(&"model.decoder.layers.3.self_attn.q_proj.weight".to_owned()));
    assert!(
        message.contains("32 missing") && message.contains("is F32 [32, 16], wanted [31, 16]"),
        "{message}"
    );

    let checkpoint = Checkpoint::open(&fixtures().join("models/llama")).unwrap();
    let failed = checkpoint.read("model.norm.weight", &[17]).unwrap_err();
    assert!(failed.to_string().contains("[16], wanted [17]"));
    assert!(
        checkpoint
            .read("model.nothing", &[17])
            .unwrap_err()
            .to_string()
            .contains("1 missing: model.nothing")
    );
}

#[test]
fn a_file_cut_off_after_it_was_opened_is_an_error() {
    let dir = copy("llama");
    let model = arch::open(dir.path()).unwrap();
    let path = dir.path().join("model.safetensors");
    let length = fs::metadata(&path).unwrap().len();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(length - 4).unwrap();
    let read = |parameter: &Parameter| model.checkpoint.read(&parameter.name, &parameter.shape);
    let failures: Vec<String> = model
        .parameters
        .iter()
        .filter_map(|parameter| Some(read(parameter).err()?.to_string()))
        .collect();
    assert_eq!(failures.len(), 1);
    assert!(
        failures[0].contains("cut off") && failures[0].contains("tensor"),
        "{failures:?}"
    );
    assert!(refusal(dir.path()).contains("cut off"));
}

#[test]
fn masks_of_old_files_are_no_unused_weights() {
    let model = arch::open(&fixtures().join("models/gpt2")).unwrap();
    assert!(model.checkpoint.tensors().any(|(name, _)| name == "h.0.attn.bias"));
    assert_eq!(model.checkpoint.unused(&model.parameters), Vec::<&str>::new());
    let (name, _) = model.checkpoint.find("transformer.h.1.attn.c_attn.weight").unwrap();
    assert_eq!(name, "h.1.attn.c_attn.weight");

    let model = with_config("llama-biases", |config| config["mlp_bias"] = json!(false)).unwrap();
    assert_eq!(model.checkpoint.unused(&model.parameters).len(), 6);
}

#[test]
fn weights_of_any_float_type_are_widened() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.json"), "{}").unwrap();
    let header = json!({
        "a": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]},
        "b": {"dtype": "F16", "shape": [1], "data_offsets": [8, 10]},
        "c": {"dtype": "BF16", "shape": [1], "data_offsets": [10, 12]},
        "d": {"dtype": "I64", "shape": [], "data_offsets": [12, 20]},
    })
    .to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.bytes());
    bytes.extend((-0.75_f64).to_le_bytes());
    bytes.extend(0x3A00_u16.to_le_bytes());
    bytes.extend(0xBF40_u16.to_le_bytes());
    bytes.extend(1_i64.to_le_bytes());
    fs::write(dir.path().join("model.safetensors"), bytes).unwrap();
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    for (name, value) in [("a", -0.75), ("b", 0.75), ("c", -0.75)] {
        assert_eq!(checkpoint.read(name, &[1]).unwrap(), HostTensor::vector(vec![value]));
    }
    let failed = checkpoint.read("d", &[]).unwrap_err().to_string();
    assert!(failed.contains("I64"), "{failed}");
}

#[test]
fn what_would_change_the_results_is_refused_by_name() {
    for (name, field, value) in [
        ("gpt2", "model_type", json!("mamba")),
        ("gpt2", "model_type", json!(7)),
        ("gpt2", "activation_function", json!("mish")),
        ("gpt2", "add_cross_attention", json!(true)),
        ("gpt2", "n_head", json!(0)),
        ("gpt2", "n_head", json!(3)),
        ("gpt2", "n_layer", json!(10_000_000)),
        ("gpt2", "n_embd", json!(u64::MAX)),
        ("gpt2", "layer_norm_epsilon", json!(-1)),
        ("gpt2", "layer_norm_epsilon", json!("tiny")),
        ("gpt2", "scale_attn_weights", json!(1)),
        ("llama", "quantization_config", json!({"quant_method": "gptq"})),
        ("llama", "num_key_value_heads", json!(3)),
        ("llama", "head_dim", json!(1_u64 << 40)),
        ("llama", "vocab_size", json!(null)),
        ("llama", "partial_rotary_factor", json!(0.5)),
        (
            "llama-linear",
            "rope_scaling",
            json!({"rope_type": "yarn", "factor": 2}),
        ),
        ("llama-linear", "rope_scaling", json!({"type": "dynamic", "factor": 2})),
        ("llama-linear", "rope_scaling", json!({"type": "linear"})),
        (
            "llama-linear",
            "rope_scaling",
            json!({"full_attention": {"rope_theta": 5}}),
        ),
        ("llama-linear", "rope_scaling", json!("linear")),
        ("qwen2-sliding", "layer_types", json!(["full_attention"])),
        (
            "qwen2-sliding",
            "layer_types",
            json!(["full_attention", "linear_attention"]),
        ),
        ("gpt-neox", "rotary_pct", json!(0.01)),
        ("opt", "ffn_dim", json!(2.5)),
    ] {
        let refused = with_config(name, |config| config[field] = value.clone()).unwrap_err();
        let message = refused.to_string();
        let named = [field, "rope_type", "linear", "full_attention", "rotated part"];
        assert!(
            matches!(refused, OpenError::Config { .. }),
            "{field} {value}: {message}"
        );
        assert!(
            named.iter().any(|name| message.contains(name)),
            "{field} {value}: {message}"
        );
    }
}

#[test]
fn a_window_may_be_listed_layer_by_layer() {
    let kinds = json!(["sliding_attention", "full_attention"]);
    with_config("qwen2-sliding", |config| config["layer_types"] = kinds).unwrap();
}

/// Values that somebody might put into a configuration.
fn hostile() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (0_u64..70).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0.0..3.0_f64).prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!({"rope_type": "llama3", "factor": 1e300})),
        Just(json!([["sliding_attention"], 3, null])),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_configuration_panics(model in 0_usize..16, field in any::<prop::sample::Index>(), value in hostile()) {
        let names = common::names("models");
        let dir = copy(&names[model % names.len()]);
        edit(&dir.path().join("config.json"), |config| {
            let fields = config.as_object_mut().unwrap();
            let name = fields.keys().nth(field.index(fields.len())).cloned().unwrap();
            fields.insert(name, value);
        });
        if let Err(error) = arch::open(dir.path()) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn no_byte_of_the_weights_panics(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in 0_usize..3) {
        let dir = copy("llama");
        let path = dir.path().join("model.safetensors");
        let mut bytes = fs::read(&path).unwrap();
        let header = 8 + usize::from(bytes[0]) + 256 * usize::from(bytes[1]);
        let place = at.index(header);
        bytes[place] = byte;
        if cut == 0 {
            bytes.truncate(place);
        }
        fs::write(&path, bytes).unwrap();
        if let Ok(model) = arch::open(dir.path()) {
            for parameter in &model.parameters {
                prop_assert!(model.checkpoint.read(&parameter.name, &parameter.shape).is_ok());
            }
        }
    }
}
