//! Selections through real processes, from the command line and from Python: all that can be asked of them and changed about them.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use e2e::following::Following;
use e2e::stage::{MODELS, Part, Stage, ranking, strs};
use e2e::{command, finepick, finepick_json, generate_stubs, python, root};
use serde_json::Value;
use tempfile::TempDir;

#[test]
fn a_selection_from_the_command_line_and_all_that_can_be_asked_of_it() {
    let stage = Stage::start("1s");
    let plot = stage.path("selection.svg");
    let flags = stage.select("first", &["--format", "json", "--plot", &plot]);
    let report = finepick_json(&strs(&flags));
    assert_eq!(report["state"], "succeeded", "{report}");
    let ranked = ranking(&report);
    assert_eq!(ranked.len(), MODELS.len());
    assert_eq!(report["choice"]["candidate"], Value::from(ranked[0].0.clone()));
    let share = report["spent_share"].as_f64().expect("a share");
    assert!(share > 0.0 && share <= 0.2 + 1e-9, "{share}");
    let svg = std::fs::read_to_string(&plot).expect("a plot");
    assert!(svg.starts_with("<svg") && svg.contains("round 1"), "{}", &svg[..200]);

    // The same command again trains nothing and answers the same; with another question the id is taken.
    assert_eq!(ranking(&finepick_json(&strs(&flags))), ranked);
    let other = finepick(&strs(&stage.select("first", &["--seed", "7"])));
    let told = String::from_utf8_lossy(&other.stderr);
    assert!(
        other.status.code() == Some(1) && told.contains("SELECTION_EXISTS"),
        "{told}"
    );

    let listed = stage.json(&["selections", "--state", "succeeded"]);
    assert_eq!(listed[0]["id"], "first");
    assert_eq!(stage.json(&["selections", "--state", "failed"]), serde_json::json!([]));
    assert_eq!(stage.json(&["report", "first"])["choice"], report["choice"]);
    asked_of_it(&stage, &report);
    certificate(&stage);
    assert!(stage.text(&["delete", "first"]).contains("forgotten"));
    let gone = finepick(&["report", "first", "--endpoint", &stage.url()]);
    assert!(String::from_utf8_lossy(&gone.stderr).contains("SELECTION_NOT_FOUND"));
}

/// Plan, story, events after a cursor, what if.
fn asked_of_it(stage: &Stage, report: &Value) {
    let plan = finepick_json(&strs(&stage.select("plan", &["--dry-run", "--format", "json"])));
    assert_eq!(plan["full_size"], 8192);
    assert_eq!(plan["contenders"].as_array().map(Vec::len), Some(MODELS.len()));
    let chosen = report["choice"]["candidate"].as_str().expect("a choice");
    let story = stage.text(&["explain", "first"]);
    for heading in [
        "What was asked",
        "What happened",
        "The answer",
        "What it cost",
        "How sure it is",
    ] {
        assert!(story.contains(heading), "{heading}: {story}");
    }
    assert!(
        story.contains(&format!("Fine-tune {chosen}")) && story.contains("Round 1:"),
        "{story}"
    );
    assert!(stage.text(&["explain", "first", "--round", "1"]).contains("verdict"));
    let beyond = finepick(&["explain", "first", "--round", "99", "--endpoint", &stage.url()]);
    assert!(beyond.status.code() == Some(2) && String::from_utf8_lossy(&beyond.stderr).contains("--round 99"));

    let url = stage.url();
    let watched = finepick(&["watch", "first", "--after", "1", "--endpoint", &url]);
    assert!(watched.status.success());
    let lines = String::from_utf8_lossy(&watched.stderr).into_owned();
    assert!(lines.contains("Round 1:") && lines.contains("succeeded"), "{lines}");
    let beyond = finepick(&["watch", "first", "--after", "999999", "--endpoint", &url]);
    assert_eq!(
        beyond.status.code(),
        Some(2),
        "{}",
        String::from_utf8_lossy(&beyond.stderr)
    );

    let what_if = stage.json(&["clone", "first", "--budget-share", "40%", "--policy", "halving"]);
    assert!(
        what_if["report"]["policy"]
            .as_str()
            .is_some_and(|name| name.starts_with("halving")),
        "{what_if}"
    );
    assert!(what_if["missing"].is_array());
}

/// A certificate holds, and one that was tampered with does not.
fn certificate(stage: &Stage) {
    let path = stage.path("certificate.json");
    assert!(
        stage
            .text(&["report", "first", "--certificate", &path])
            .contains("Fine-tune ")
    );
    assert_eq!(stage.json(&["verify", &path])["valid"], true);
    assert_eq!(stage.json(&["verify", "first"])["valid"], true);
    let text = std::fs::read_to_string(&path).expect("a certificate");
    assert_eq!(stage.text(&["certificate", "first"]), text, "to the byte");
    let at = text
        .find("\"test_loss\":")
        .or_else(|| text.find("0."))
        .expect("a number");
    let digit = text[at..].find(|c: char| c.is_ascii_digit()).expect("a digit") + at;
    let mut tampered = text.clone();
    let other = if &text[digit..=digit] == "9" { "1" } else { "9" };
    tampered.replace_range(digit..=digit, other);
    std::fs::write(&path, tampered).expect("written");
    let output = finepick(&["verify", &path, "--endpoint", &stage.url()]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.code() == Some(1) && told.contains("NOT valid"), "{told}");
}

#[test]
fn left_paused_amended_and_cancelled() {
    let stage = Stage::start("200s");
    let url = stage.url();
    let accepted = finepick_json(&strs(&stage.select("slow", &["--detach", "--format", "json"])));
    assert_eq!(accepted["id"], "slow");
    let mut following = Following::start(&["watch", "slow", "--endpoint", &url]);
    following.until("plan: ", 1);
    let id = following.id().to_string();
    let signal = std::process::Command::new("kill").args(["-INT", &id]).status();
    assert!(signal.expect("kill can be started").success());
    let (status, _, rest) = following.end();
    assert_eq!(status, 5, "left before its end: {rest:#?}");
    assert!(
        rest.iter().any(|line| line.contains("finepick watch slow")),
        "{rest:#?}"
    );

    assert!(stage.text(&["pause", "slow"]).contains("paused"));
    let listed = stage.json(&["selections"]);
    assert_eq!(
        (&listed[0]["id"], &listed[0]["state"]),
        (&"slow".into(), &"paused".into())
    );
    assert!(
        stage
            .text(&["amend", "slow", "--budget-examples", "20000"])
            .contains("20,000 examples")
    );
    assert!(!stage.text(&["resume", "slow"]).contains("paused"));

    assert!(
        stage
            .text(&["cancel", "slow", "--reason", "seen enough"])
            .contains("cancel")
    );
    let ended = finepick(&["watch", "slow", "--endpoint", &url]);
    assert_eq!(
        ended.status.code(),
        Some(4),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
}

#[test]
fn the_same_selection_from_python_through_the_gateway() {
    let Some(python) = python() else { return };
    let stubs = TempDir::new().expect("a folder");
    generate_stubs(&python, stubs.path());
    let stage = Stage::start("1s");
    let here = finepick_json(&strs(&stage.select("rust", &["--format", "json", "--quiet"])));
    let mut ask = command(&python);
    ask.arg(root().join("examples/python/finepick_select.py"))
        .args([
            "--target",
            stage.address(Part::Gateway),
            "--data",
            "sim://data",
            "--full-size",
            "8192",
        ])
        .args(["--budget-share", "0.2", "--id", "python"])
        .env("PYTHONPATH", stubs.path())
        .env("PYTHONDONTWRITEBYTECODE", "1");
    for model in MODELS {
        ask.args(["--model", model]);
    }
    let output = ask.output().expect("python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let there: Value = serde_json::from_slice(&output.stdout).expect("the client prints JSON");
    assert_eq!(there["state"], "SELECTION_STATE_SUCCEEDED");
    assert_eq!(there["choice"], here["choice"]["candidate"]);
    assert_eq!(there["in_order"], true);
    let pairs: Vec<(String, f64)> = serde_json::from_value(there["ranking"].clone()).expect("pairs");
    assert_eq!(pairs, ranking(&here));
}
