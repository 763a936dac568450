//! Selections whose processes are killed in the middle, one at a time and all at once: the answer is that of an undisturbed one.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use e2e::following::Following;
use e2e::stage::{MODELS, Part, Simulated, Stage, assert_undisturbed, losses, ranking, strs};
use e2e::{finepick, finepick_json};
use serde_json::Value;
use tempfile::TempDir;

/// Longer than the lease of a stage's selector.
const LONGER_THAN_A_LEASE: Duration = Duration::from_millis(1_500);
/// Longer than anything here takes on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_mins(1);

/// A selection as the list has it, asked at this address until it is as wanted.
fn listed(url: &str, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let all = finepick_json(&["selections", "--endpoint", url, "--format", "json"]);
        let mut all = all.as_array().expect("a list").iter();
        let found = all.find(|selection| selection["id"] == id).expect("it is there");
        if wanted(found) {
            return found.clone();
        }
        assert!(begun.elapsed() < PATIENCE, "not as wanted: {found}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn spent(selection: &Value) -> i64 {
    selection["spent"]["examples"].as_i64().unwrap_or(0)
}

/// That every loss was told, and told once.
fn told_once(lines: &[String], report: &Value) {
    let told: Vec<&String> = lines.iter().filter(|line| line.contains(": loss ")).collect();
    let different: BTreeSet<&String> = told.iter().copied().collect();
    assert_eq!(told.len(), different.len(), "told twice: {told:#?}");
    assert_eq!(told.len(), losses(report), "{lines:#?}");
}

/// A suite, what it chose while nothing happened to it, and the same selection again, which is followed.
fn storm(run: &str, flags: &[&str]) -> (Stage, Value, Following) {
    let stage = Stage::start(run);
    let calm = stage.selected("calm", flags);
    let asked = stage.select("storm", &[flags, &["--format", "json"]].concat());
    let following = Following::start(&strs(&asked));
    (stage, calm, following)
}

#[test]
fn a_killed_selector_takes_its_selection_up_where_it_is() {
    let (mut stage, calm, mut following) = storm("40s", &[]);
    let mut lines = following.until(": loss ", 3);
    // In the middle of a round; a run ends while nobody listens.
    stage.kill(Part::Selector);
    std::thread::sleep(LONGER_THAN_A_LEASE);
    stage.set_up(Part::Selector);
    lines.extend(following.until("Round 1:", 1));
    lines.extend(following.until(": loss ", 1));
    // In a later round; its lease has not run out when it is back.
    stage.restart(Part::Selector);
    let (status, report, rest) = following.end();
    lines.extend(rest);
    assert_eq!(status, 0, "{lines:#?}");
    assert_undisturbed(&report, &calm);
    let share = report["spent_share"].as_f64().expect("a share");
    assert!(share <= 0.2 + 1e-9, "{share}");
    told_once(&lines, &report);
    assert!(
        lines.iter().any(|line| line.contains("taking it up again")),
        "{lines:#?}"
    );
    // What is left of it says the same.
    let watched = finepick(&["watch", "storm", "--endpoint", &stage.url()]);
    let told: Vec<String> = String::from_utf8_lossy(&watched.stderr)
        .lines()
        .map(str::to_owned)
        .collect();
    assert!(watched.status.success(), "{told:#?}");
    told_once(&told, &report);
    assert_eq!(stage.json(&["verify", "storm"])["valid"], true);
}

#[test]
fn a_selection_waits_for_a_killed_fitter() {
    let (mut stage, calm, mut following) = storm("50s", &["--policy", "flat-rectified-fit"]);
    following.until("plan: ", 1);
    stage.kill(Part::Fitter);
    let url = stage.url();
    let waiting = listed(&url, "storm", |selection| {
        selection["wait_reason"] == "fitter_unavailable"
    });
    assert_eq!(waiting["state"], "running", "{waiting}");
    assert!(!waiting["detail"].as_str().expect("a detail").is_empty(), "{waiting}");
    following.until("waits for the fitter to answer", 1);
    // What needs no fitter goes on meanwhile.
    let other = stage.selected("other", &["--policy", "zero-shot"]);
    assert_eq!(other["state"], "succeeded", "{other}");
    stage.set_up(Part::Fitter);
    let (status, report, rest) = following.end();
    assert_eq!(status, 0, "{rest:#?}");
    assert_undisturbed(&report, &calm);
}

#[test]
fn a_killed_gateway_disturbs_only_those_who_watch() {
    let (mut stage, calm, mut following) = storm("40s", &[]);
    let mut lines = following.until(": loss ", 3);
    // There at once.
    stage.restart(Part::Gateway);
    lines.extend(following.until("taking it up again", 1));
    lines.extend(following.until(": loss ", 1));
    // Away for a while: the selection goes on without it.
    stage.kill(Part::Gateway);
    let selector = stage.url_of(Part::Selector);
    let before = spent(&listed(&selector, "storm", |_| true));
    listed(&selector, "storm", |selection| spent(selection) > before);
    stage.set_up(Part::Gateway);
    let (status, report, rest) = following.end();
    lines.extend(rest);
    assert_eq!(status, 0, "{lines:#?}");
    assert_undisturbed(&report, &calm);
    told_once(&lines, &report);
}

#[test]
fn who_cannot_reach_the_gateway_any_more_is_told_how_to_go_on() {
    let mut stage = Stage::start("40s");
    let flags = stage.select("left", &["--timeout", "1"]);
    let mut following = Following::start(&strs(&flags));
    following.until(": loss ", 2);
    stage.kill(Part::Gateway);
    let url = stage.url();
    let (status, _, rest) = following.end();
    assert_eq!(status, 1, "{rest:#?}");
    let again = format!("`finepick watch left --endpoint {url}`");
    assert!(rest.iter().any(|line| line.contains(&again)), "{rest:#?}");
    stage.set_up(Part::Gateway);
    assert_eq!(stage.json(&["watch", "left", "--quiet"])["state"], "succeeded");
}

#[test]
fn whatever_is_killed_the_ranking_is_the_same() {
    // Runs of half a second, each of one size: there is time to kill, and the budget has room for what a kill costs.
    let one_size = ["trainers.sim.nested_runs=false"];
    let mut stage = Stage::of(vec![Simulated::new("sim", "50s")], &one_size);
    let flags = stage.select("storm", &["--format", "json"]);
    let mut following = Following::start(&strs(&flags));
    following.until(": loss ", 2);
    stage.restart(Part::Trainer(0));
    following.until(": loss ", 4);
    stage.restart_all();
    following.until(": loss ", 3);
    stage.restart(Part::Trainer(0));
    let (status, report, rest) = following.end();
    assert_eq!(status, 0, "{rest:#?}");
    assert_eq!(report["state"], "succeeded", "{report}");
    drop(stage);

    let undisturbed = Stage::start("1s").selected("calm", &[]);
    assert_eq!(ranking(&report), ranking(&undisturbed));
    assert_eq!(report["choice"], undisturbed["choice"]);
}

#[test]
fn a_selection_on_this_machine_goes_on_after_it_was_killed() {
    let folder = TempDir::new().expect("a folder");
    let state = folder.path().join("state").display().to_string();
    let flags = |more: &[&str]| -> Vec<String> {
        let mut flags = vec!["select".to_owned()];
        for model in MODELS {
            flags.extend(["--model".to_owned(), model.to_owned()]);
        }
        let common = [
            "--data",
            "sim://data",
            "--full-size",
            "8192",
            "--budget-share",
            "20%",
            "--trainer",
            "simulated",
            "--state-dir",
            &state,
            "--format",
            "json",
            "--no-reuse",
        ];
        flags.extend(common.iter().chain(more).map(|flag| (*flag).to_owned()));
        flags
    };
    let resume = ["select", "--resume", "here", "--state-dir", &state, "--format", "json"];
    // The trainer dies with the command, and its run with it: one at a time, so that the budget has room for it.
    let mut killed = Following::start(&strs(&flags(&["--id", "here", "--parallelism", "1"])));
    killed.until("plan: ", 1);
    killed.kill();
    let mut killed = Following::start(&resume);
    killed.until(": loss ", 3);
    killed.kill();
    let report = finepick_json(&[&resume[..], &["--quiet"]].concat());
    assert_eq!(report["state"], "succeeded", "{report}");
    let share = report["spent_share"].as_f64().expect("a share");
    assert!(share <= 0.2 + 1e-9, "{share}");
    let whole = finepick_json(&strs(&flags(&["--id", "whole", "--quiet"])));
    assert_eq!(ranking(&report), ranking(&whole));
    assert_eq!(losses(&report), losses(&whole));
    let listed = finepick_json(&["selections", "--state-dir", &state, "--format", "json"]);
    assert_eq!(listed.as_array().map(Vec::len), Some(2));
    let story = finepick(&["explain", "here", "--state-dir", &state]);
    assert!(String::from_utf8_lossy(&story.stdout).contains("Fine-tune "));
    assert!(Path::new(&state).join("selector/selections.db").exists());
}
