//! Real fine-tuning over real sockets: a zoo checkpoint, the trainer on ONNX Runtime behind the gateway, killed in the middle.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use e2e::{Server, binary, command, finepick, finepick_json, root};
use serde_json::Value;
use tempfile::TempDir;

/// Sentences in which there is something to learn.
fn data(folder: &Path) -> String {
    let words = [
        "mill", "river", "stone", "grain", "wheel", "water", "miller", "house", "bread", "road",
    ];
    let mut text = String::new();
    for i in 0..400_usize {
        let at = |step: usize| words[(i * 7 + i / 10 + step * 3) % words.len()];
        let sentence = format!(
            "The {} by the {} turns the {} and the {} again. Line {i}.",
            at(0),
            at(1),
            at(2),
            at(3)
        );
        writeln!(text, "{}", serde_json::json!({ "text": sentence })).expect("a string takes everything");
    }
    let path = folder.join("data.jsonl");
    std::fs::write(&path, text).expect("a file");
    path.display().to_string()
}

fn zoo(name: &str) -> String {
    root().join("zoo").join(name).display().to_string()
}

/// A trainer that keeps its runs in a folder, and saves states often.
fn trainer(listen: &str, state: &Path) -> Server {
    let state = format!("trainer.state_dir={}", state.display());
    let often = "trainer.checkpoint_interval=100ms";
    let told = "trainer.progress_interval=0s";
    Server::start_on("trainer-svc", listen, &["--set", &state, "--set", often, "--set", told])
}

fn gateway(trainer: &Server) -> Server {
    let services = "backends.onnx.services=[\"finepick.trainer.v1.TrainerService\"]";
    let endpoint = format!("backends.onnx.endpoint={}", trainer.url());
    Server::start("gateway", &["--set", services, "--set", &endpoint])
}

fn losses(run: &Value) -> Vec<(i64, f64)> {
    let evaluations = run["evaluations"].as_array().expect("evaluations");
    evaluations
        .iter()
        .map(|one| {
            (
                one["data_size"].as_i64().expect("a size"),
                one["loss"].as_f64().expect("a loss"),
            )
        })
        .collect()
}

/// Reads lines until one begins so.
fn until(child: &mut Child, beginning: &str) {
    let stderr = child.stderr.as_mut().expect("piped");
    for line in BufReader::new(stderr).lines() {
        if line.expect("text").starts_with(beginning) {
            return;
        }
    }
    panic!("no line begins with {beginning:?}");
}

#[test]
fn a_trainer_that_is_killed_goes_on_and_ends_with_the_same_losses() {
    let folder = TempDir::new().expect("a folder");
    let (state, data, model) = (folder.path().join("state"), data(folder.path()), zoo("gpt2-verse-xs"));
    let first = trainer("127.0.0.1:0", &state);
    let address = first.address().to_owned();
    let gateway = gateway(&first);
    let url = gateway.url();
    let flags = |id: &'static str| {
        let size = [
            "--size",
            "0,100,300",
            "--epochs",
            "6",
            "--lr",
            "1e-3",
            "--sequence-length",
            "48",
            "--format",
            "json",
        ];
        let mut flags = vec![
            "train".to_owned(),
            "--endpoint".into(),
            url.clone(),
            "--id".into(),
            id.into(),
        ];
        flags.extend(["--model".into(), model.clone(), "--data".into(), data.clone()]);
        flags.extend(size.map(str::to_owned));
        flags
    };
    let arguments = |flags: &[String]| -> Vec<String> { flags.to_vec() };
    let mut following = command(&binary("finepick"))
        .args(arguments(&flags("killed")))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("finepick can be started");
    until(&mut following, "checkpoint step-");
    first.kill();
    let _second = trainer(&address, &state);
    let mut errors = following.stderr.take().expect("piped");
    // Read on, or the command would wait for a reader.
    let reader = std::thread::spawn(move || std::io::copy(&mut errors, &mut std::io::sink()));
    let output = following.wait_with_output().expect("it ends");
    reader.join().expect("a thread").expect("read");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let killed: Value = serde_json::from_slice(&output.stdout).expect("JSON");

    let whole = flags("whole");
    let whole: Vec<&str> = whole.iter().map(String::as_str).collect();
    let whole = finepick_json(&whole);
    assert_eq!(losses(&killed), losses(&whole), "to the last bit");
    let [(0, before), (100, some), (300, all)] = losses(&whole)[..] else {
        panic!("{whole}")
    };
    assert!(all < some && some < before, "{before} → {some} → {all}");
}

#[test]
fn every_method_runs_from_the_command_line_and_its_result_can_be_evaluated() {
    let folder = TempDir::new().expect("a folder");
    let data = data(folder.path());
    for (name, method, rate) in [
        ("gpt2-verse-xs", "full", "1e-3"),
        ("llama-verse-s", "lora", "1e-2"),
        ("llama-verse-s", "prompt", "3e-2"),
    ] {
        let model = zoo(name);
        let output: PathBuf = folder.path().join(format!("tuned-{method}"));
        let output = output.display().to_string();
        let common = [
            "train",
            "--model",
            &model,
            "--data",
            &data,
            "--size",
            "0,64",
            "--sequence-length",
            "48",
        ];
        let more = [
            "--method", method, "--lr", rate, "--epochs", "2", "--output", &output, "--format", "json",
        ];
        let run = finepick_json(&[&common[..], &more[..]].concat());
        let [(0, before), (64, after)] = losses(&run)[..] else {
            panic!("{run}")
        };
        assert!(after < before, "{name} {method}: {before} → {after}");
        assert_eq!(run["steps"].as_array().map(Vec::len), Some(16), "every step is told");
        let evaluate = if method == "full" {
            finepick_json(&["evaluate", "--model", &output, "--data", &data, "--format", "json"])
        } else {
            let flags = [
                "--model",
                &model,
                "--adapter",
                &output,
                "--data",
                &data,
                "--format",
                "json",
            ];
            finepick_json(&[&["evaluate"][..], &flags].concat())
        };
        // The data hold what was trained on, too.
        assert!(evaluate["loss"].as_f64().expect("a loss") < before);
        assert_eq!(evaluate["examples"], 400);
        let again = finepick(&[&common[..], &["--output", &output]].concat());
        assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("exists already"));
    }
}

#[test]
fn the_trainer_conforms() {
    let folder = TempDir::new().expect("a folder");
    let data = data(folder.path());
    let server = trainer("127.0.0.1:0", &folder.path().join("state"));
    let output = command(&binary("finepick-conformance"))
        .args([
            "--target",
            &server.url(),
            "--model",
            &zoo("gpt2-verse-xs"),
            "--data",
            &data,
        ])
        .args([
            "--size",
            "8",
            "--size",
            "16",
            "--long-size",
            "300",
            "--long-epochs",
            "2000",
        ])
        .args(["--run-timeout", "60s", "--case-timeout", "120s"])
        .output()
        .expect("the kit can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn wrong_models_data_and_flags_are_told() {
    let folder = TempDir::new().expect("a folder");
    let (data, model) = (data(folder.path()), zoo("gpt2-verse-xs"));
    let broken = folder.path().join("broken");
    std::fs::create_dir(&broken).expect("a folder");
    for name in ["config.json", "tokenizer.json"] {
        std::fs::copy(root().join("zoo/gpt2-verse-xs").join(name), broken.join(name)).expect("copied");
    }
    let whole = std::fs::read(root().join("zoo/gpt2-verse-xs/model.safetensors")).expect("weights");
    std::fs::write(broken.join("model.safetensors"), &whole[..whole.len() / 2]).expect("written");
    let broken = broken.display().to_string();
    for (flags, wanted) in [
        (
            ["--model", &broken, "--data", &data, "--size", "10"],
            "model.safetensors",
        ),
        (
            ["--model", &model, "--data", "/nowhere.jsonl", "--size", "10"],
            "/nowhere.jsonl",
        ),
        (["--model", &model, "--data", &data, "--size", "1000"], "1000"),
    ] {
        let output = finepick(&[&["train"][..], &flags].concat());
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && told.contains(wanted), "{flags:?}: {told}");
        assert!(!told.contains("panicked"), "{told}");
    }
    let exploding = [
        "--model", &model, "--data", &data, "--size", "64", "--lr", "1000", "--epochs", "50",
    ];
    let output = finepick(&[&["train"][..], &exploding].concat());
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("LOSS_NOT_FINITE") && told.contains("at step"), "{told}");
}
