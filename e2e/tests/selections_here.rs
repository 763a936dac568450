//! Selections on this machine: what is wrong is named before anything is made, and the demo checks itself.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::path::Path;

use e2e::{finepick, root};
use tempfile::TempDir;

#[test]
fn wrong_flags_and_files_are_named() {
    let folder = TempDir::new().expect("a folder");
    let state = folder.path().display().to_string();
    let good = [
        "select",
        "--model",
        "a=sim://a",
        "--model",
        "b=sim://b",
        "--data",
        "sim://d",
        "--state-dir",
        &state,
    ];
    for (more, named) in [
        (&["--model", "/nowhere/model"][..], "--model /nowhere/model"),
        (&["--models", "/nowhere"], "--models /nowhere"),
        (&["--model", "a=sim://c"], "--model"),
        (&["--held-out", "/nowhere.jsonl"], "--held-out /nowhere.jsonl"),
        (&["--method", "lore"], "--method \"lore\""),
        (&["--method", "lora:rank=x"], "--method"),
        (&["--budget-ratio", "0"], "--budget-ratio"),
        (&["--budget-money", "12"], "--budget-money"),
        (&["--deadline", "soon"], "--deadline"),
        (&["--where", "family"], "--where"),
        (&["--label", "x"], "--label"),
        (&["--policy", "best"], "--policy"),
        (&["--trainer", "gpu"], "--trainer"),
        (&["--detach"], "--detach"),
        (&["--timeout", "0"], "--timeout"),
    ] {
        let output = finepick(&[&good[..], more].concat());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.code() == Some(2) && told.contains(named),
            "{more:?}: {told}"
        );
        assert!(!told.contains("panicked"), "{told}");
    }
    for wrong in [
        &["select", "--data", "d"][..],
        &["amend", "x"],
        &["verify", "/nowhere/certificate.json"],
    ] {
        let output = finepick(&[wrong, &["--state-dir", &state]].concat());
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
    for unknown in ["report", "explain", "cancel", "pause", "certificate"] {
        let output = finepick(&[unknown, "nobody", "--state-dir", &state]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.code() == Some(2) && told.contains("--state-dir"),
            "{unknown}: {told}"
        );
    }
}

#[test]
fn the_demo_selects_and_checks_itself() {
    let folder = TempDir::new().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let words = [
        "mill", "river", "stone", "grain", "wheel", "water", "miller", "house", "bread", "road",
    ];
    let line = |i: usize| {
        let at = |step: usize| words[(i * 7 + i / 10 + step * 3) % words.len()];
        let text = format!("The {} by the {} turns the {} again. Line {i}.", at(0), at(1), at(2));
        serde_json::json!({ "text": text }).to_string()
    };
    let lines: Vec<String> = (0..400).map(line).collect();
    std::fs::write(path("data.jsonl"), lines.join("\n")).expect("a file");
    let zoo = root().join("zoo").display().to_string();
    let (data, plot, state) = (path("data.jsonl"), path("plot.svg"), path("state"));
    let demo = [
        "demo",
        "--quick",
        "--models",
        &zoo,
        "--data",
        &data,
        "--plot",
        &plot,
        "--state-dir",
        &state,
    ];
    let output = finepick(&demo);
    let (told, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{errors}");
    assert!(told.contains("Fine-tune ") && told.contains("The choice, "), "{told}");
    assert!(Path::new(&plot).exists());
    let absent = finepick(&["demo", "--models", &zoo, "--data", "/nowhere.jsonl"]);
    let told = String::from_utf8_lossy(&absent.stderr);
    assert!(
        absent.status.code() == Some(2) && told.contains("--data /nowhere.jsonl"),
        "{told}"
    );
}
