//! Selections through real processes: from the command line and from Python, with everything killed in the middle.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Stdio};

use e2e::{Server, binary, command, finepick, finepick_json, generate_stubs, python, root};
use serde_json::Value;
use tempfile::TempDir;

/// The candidates, by the laws that the simulated trainer derives from their URIs.
const MODELS: [&str; 6] = [
    "a=sim://tiny-20m",
    "b=sim://small-60m",
    "c=sim://base-160m",
    "d=sim://other-70m",
    "e=sim://large-400m",
    "f=sim://wide-300m",
];

/// A suite of processes whose selections outlive them, on addresses that stay.
struct Stage {
    folder: TempDir,
    addresses: [String; 4],
    /// Trainer, fitter, selector, gateway.
    servers: Vec<Server>,
    prepare: &'static str,
}

impl Stage {
    /// Starts it. `prepare`: simulated time of a run's preparation; a second of it takes 10 ms.
    fn start(prepare: &'static str) -> Self {
        let addresses = std::array::from_fn(|_| "127.0.0.1:0".to_owned());
        let mut stage = Self {
            folder: TempDir::new().expect("a folder"),
            addresses,
            servers: Vec::new(),
            prepare,
        };
        stage.begin();
        stage
    }

    fn trainer(&self) -> Server {
        let prepare = format!("simulation.prepare={}", self.prepare);
        // One run at a time: what a kill costs is one run, and the budget has room for it.
        let flags = [
            "--set",
            "simulation.speed=100",
            "--set",
            "simulation.devices=1",
            "--set",
            "simulation.slots_per_device=1",
            "--set",
            &prepare,
        ];
        Server::start_on("trainer-sim", &self.addresses[0], &flags)
    }

    fn begin(&mut self) {
        let trainer = self.trainer();
        let fitter = Server::start_on("fitter-svc", &self.addresses[1], &[]);
        let store = self.folder.path().join("selections.db");
        let selector = Server::start_on(
            "selector-svc",
            &self.addresses[2],
            &sets(&[
                format!("store.path={}", store.display()),
                format!("fitter.endpoint={}", fitter.url()),
                format!("trainers.sim.endpoint={}", trainer.url()),
                "selector.lease=1s".to_owned(),
                "selector.poll_interval=100ms".to_owned(),
                "selector.backoff_min=50ms".to_owned(),
            ]),
        );
        let gateway = Server::start_on(
            "gateway",
            &self.addresses[3],
            &sets(&[
                format!("backends.fitter.endpoint={}", fitter.url()),
                format!("backends.selector.endpoint={}", selector.url()),
            ]),
        );
        self.servers = vec![trainer, fitter, selector, gateway];
        let addresses: Vec<String> = self.servers.iter().map(|server| server.address().to_owned()).collect();
        self.addresses = addresses.try_into().expect("four servers");
    }

    fn kill_trainer(&mut self) {
        self.servers.remove(0).kill();
        let trainer = self.trainer();
        self.servers.insert(0, trainer);
    }

    fn kill_all(&mut self) {
        for server in self.servers.drain(..) {
            server.kill();
        }
        self.begin();
    }

    fn url(&self) -> String {
        format!("http://{}", self.addresses[3])
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// The flags of a selection.
    fn select(&self, id: &str, more: &[&str]) -> Vec<String> {
        let mut flags = vec!["select".to_owned(), "--endpoint".to_owned(), self.url()];
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
            "--no-reuse",
            "--id",
            id,
        ];
        flags.extend(common.iter().chain(more).map(|flag| (*flag).to_owned()));
        flags
    }

    /// A command on selections, its answer as JSON.
    fn json(&self, arguments: &[&str]) -> Value {
        finepick_json(&[arguments, &["--endpoint", &self.url(), "--format", "json"]].concat())
    }

    /// A command, its standard output as text.
    fn text(&self, arguments: &[&str]) -> String {
        let output = finepick(&[arguments, &["--endpoint", &self.url()]].concat());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

fn sets(settings: &[String]) -> Vec<&str> {
    settings
        .iter()
        .flat_map(|setting| ["--set", setting.as_str()])
        .collect()
}

fn strs(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}

/// Names with their forecasts, best first.
fn ranking(report: &Value) -> Vec<(String, f64)> {
    let contenders = report["contenders"].as_array().expect("contenders");
    contenders
        .iter()
        .map(|contender| {
            let name = contender["candidate"].as_str().expect("a name").to_owned();
            (name, contender["predicted_loss"].as_f64().expect("a forecast"))
        })
        .collect()
}

/// `finepick` at work, its standard error read line by line.
struct Following {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStderr>>,
}

impl Following {
    fn start(arguments: &[&str]) -> Self {
        let mut child = command(&binary("finepick"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("finepick can be started");
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        Self { child, lines }
    }

    /// Reads until so many lines hold the text.
    fn until(&mut self, text: &str, times: usize) {
        let mut left = times;
        let mut read = Vec::new();
        for line in self.lines.by_ref() {
            let line = line.expect("text");
            left -= usize::from(line.contains(text));
            read.push(line);
            if left == 0 {
                return;
            }
        }
        panic!("{text:?} comes not {times} times: {read:#?}");
    }

    /// The exit status, the JSON that was printed, and the rest of standard error.
    fn end(self) -> (i32, Value, Vec<String>) {
        let rest = self.lines.map(|line| line.expect("text")).collect();
        let output = self.child.wait_with_output().expect("it ends");
        let answer = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        (output.status.code().expect("no signal"), answer, rest)
    }
}

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
    stage.text(&["report", "first", "--certificate", &path]);
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
fn whatever_is_killed_the_ranking_is_the_same() {
    let calm = Stage::start("1s");
    let undisturbed = finepick_json(&strs(&calm.select("calm", &["--format", "json", "--quiet"])));
    drop(calm);

    // Runs of half a second: there is time to kill.
    let mut stage = Stage::start("50s");
    let flags = stage.select("storm", &["--format", "json"]);
    let mut following = Following::start(&strs(&flags));
    following.until(": loss ", 2);
    stage.kill_trainer();
    following.until(": loss ", 4);
    stage.kill_all();
    following.until(": loss ", 3);
    stage.kill_trainer();
    let (status, report, rest) = following.end();
    assert_eq!(status, 0, "{rest:#?}");
    assert_eq!(report["state"], "succeeded", "{report}");
    assert_eq!(ranking(&report), ranking(&undisturbed));
    assert_eq!(report["choice"], undisturbed["choice"]);
}

#[test]
fn left_paused_amended_and_cancelled() {
    let stage = Stage::start("200s");
    let url = stage.url();
    let accepted = finepick_json(&strs(&stage.select("slow", &["--detach", "--format", "json"])));
    assert_eq!(accepted["id"], "slow");
    let mut following = Following::start(&["watch", "slow", "--endpoint", &url]);
    following.until("plan: ", 1);
    let id = following.child.id().to_string();
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
            &stage.addresses[3],
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
    let mut killed = Following::start(&strs(&flags(&["--id", "here"])));
    killed.until(": loss ", 2);
    killed.child.kill().expect("killed");
    assert_eq!(killed.end_of_killed(), None, "by a signal");
    let report = finepick_json(&[
        "select",
        "--resume",
        "here",
        "--state-dir",
        &state,
        "--format",
        "json",
        "--quiet",
    ]);
    assert_eq!(report["state"], "succeeded", "{report}");
    let whole = finepick_json(&strs(&flags(&["--id", "whole", "--quiet"])));
    assert_eq!(ranking(&report), ranking(&whole));
    let listed = finepick_json(&["selections", "--state-dir", &state, "--format", "json"]);
    assert_eq!(listed.as_array().map(Vec::len), Some(2));
    let story = finepick(&["explain", "here", "--state-dir", &state]);
    assert!(String::from_utf8_lossy(&story.stdout).contains("Fine-tune "));
    assert!(Path::new(&state).join("selector/selections.db").exists());
}

impl Following {
    /// Waits for a process that was killed.
    fn end_of_killed(mut self) -> Option<i32> {
        self.child.wait().expect("it ends").code()
    }
}
