//! Trainers behind the gateway: in one process and as processes of their own, several by name, replicas, kill −9.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use e2e::following::Following;
use e2e::{Server, finepick, finepick_json};
use serde_json::Value;

const SERVICE: &str = "finepick.trainer.v1.TrainerService";

/// A simulated trainer that is quick.
fn trainer(listen: &str, arguments: &[&str]) -> Server {
    let quick = ["--set", "simulation.speed=6000"];
    Server::start_on("trainer-sim", listen, &[&quick[..], arguments].concat())
}

/// A gateway to trainers by name; each may have several endpoints.
fn gateway(trainers: &[(&str, &[&Server])]) -> Server {
    let mut settings = Vec::new();
    for (name, endpoints) in trainers {
        let urls: Vec<String> = endpoints.iter().map(|server| format!("{:?}", server.url())).collect();
        settings.push(format!("backends.{name}.services=[\"{SERVICE}\"]"));
        settings.push(format!("backends.{name}.endpoint={}", endpoints[0].url()));
        settings.push(format!("backends.{name}.replicas=[{}]", urls[1..].join(", ")));
    }
    let flags: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    Server::start("gateway", &flags)
}

/// The flags of a run of two sizes.
fn train<'a>(url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let common = [
        "train",
        "--endpoint",
        url,
        "--model",
        "sim://tiny-20m",
        "--data",
        "sim://data",
        "--size",
        "0,200,400",
    ];
    [&common[..], more].concat()
}

fn losses(run: &Value) -> Vec<i64> {
    let evaluations = run["evaluations"].as_array().expect("a list").iter();
    evaluations
        .map(|evaluation| evaluation["data_size"].as_i64().expect("a number"))
        .collect()
}

#[test]
fn the_suite_in_one_process_trains_on_its_simulated_trainer() {
    let server = Server::start(
        "finepick",
        &["--trainer", "simulated", "--set", "trainer.simulation.speed=6000"],
    );
    let url = server.url();
    let listed = finepick_json(&["trainers", "list", "--endpoint", &url, "--format", "json"]);
    assert_eq!(listed[0]["trainer"], "simulated");
    assert_eq!(listed[0]["info"]["ready"], true);

    let mut following = Following::start(&train(&url, &["--format", "json", "--method", "lora"]));
    following.until("QUEUED", 1);
    following.until("RUNNING", 1);
    let (status, run, rest) = following.end();
    assert_eq!((status, &run["state"]), (0, &Value::from("SUCCEEDED")), "{rest:#?}");
    assert_eq!(losses(&run), [0, 200, 400]);
    assert!(rest.iter().any(|line| line.starts_with("step ")), "{rest:#?}");
    assert!(
        rest.iter().any(|line| line.contains("held-out loss at 400 examples")),
        "{rest:#?}"
    );
    // What is not the trainer's is answered as ever.
    assert!(server.terminate().success());
}

#[test]
fn exit_codes_say_how_a_run_ended() {
    let trainer = trainer("127.0.0.1:0", &[]);
    let url = trainer.url();
    let ended = |more: &[&str]| finepick(&train(&url, more)).status.code();
    assert_eq!(ended(&[]), Some(0));
    assert_eq!(ended(&["--label", "sim.fault=out_of_memory"]), Some(1));
    assert_eq!(ended(&["--label", "sim.fault=preempted"]), Some(5));
    assert_eq!(ended(&["--label", "sim.fault=lost"]), Some(5));
    assert_eq!(ended(&["--size", "-1"]), Some(2));
    assert_eq!(
        ended(&["--trainer", "anything"]),
        Some(0),
        "a trainer without a gateway has no name to heed"
    );
    let here = ["train", "--model", "/nowhere/m", "--data", "/nowhere/d", "--size", "1"];
    assert_eq!(
        finepick(&[&here[..], &["--trainer", "a"]].concat()).status.code(),
        Some(2),
        "on this machine trainers have no names"
    );
    let output = finepick(&here);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("MODEL_UNREADABLE"));
}

#[test]
fn a_run_can_be_left_alone_watched_again_listed_and_cancelled() {
    let trainer = Server::start("trainer-sim", &["--set", "simulation.speed=20"]);
    let url = trainer.url();
    let flags = [
        "--id",
        "run-1",
        "--format",
        "json",
        "--label",
        "sim.seconds_per_example=1",
    ];
    let detached = finepick_json(&train(&url, &[&flags[..], &["--detach"]].concat()));
    assert_eq!(detached["id"], "run-1");
    let queue = finepick_json(&["trainers", "queue", "--endpoint", &url, "--format", "json"]);
    assert_eq!(queue[0]["id"], "run-1");
    let info = finepick_json(&["trainers", "info", "--endpoint", &url, "--format", "json"]);
    assert_eq!(info["active_runs"], 1);

    let mut following = Following::start(&train(&url, &flags));
    following.until("RUNNING", 1);
    let interrupted = std::process::Command::new("kill")
        .args(["-INT", &following.id().to_string()])
        .status()
        .expect("kill can be started");
    assert!(interrupted.success());
    let (status, run, rest) = following.end();
    assert_eq!((status, &run["state"]), (4, &Value::from("CANCELLED")), "{rest:#?}");

    let other = finepick(&train(&url, &["--id", "run-1", "--seed", "7"]));
    let told = String::from_utf8_lossy(&other.stderr);
    assert!(
        other.status.code() == Some(1) && told.contains("TRAINING_RUN_EXISTS"),
        "{told}"
    );
    for what in ["capabilities", "info", "queue", "list"] {
        let shown = finepick(&["trainers", what, "--endpoint", &url]);
        assert!(shown.status.success() && !shown.stdout.is_empty(), "{what}: {shown:?}");
    }
}

#[test]
fn two_trainers_go_by_their_names() {
    let (a, b) = (trainer("127.0.0.1:0", &[]), trainer("127.0.0.1:0", &[]));
    let gateway = gateway(&[("a", &[&a]), ("b", &[&b])]);
    let url = gateway.url();
    let instance = |name: &str| {
        let info = finepick_json(&[
            "trainers",
            "info",
            "--endpoint",
            &url,
            "--trainer",
            name,
            "--format",
            "json",
        ]);
        info["instance_id"].as_str().expect("text").to_owned()
    };
    assert_ne!(instance("a"), instance("b"));
    for name in ["a", "b"] {
        let run = finepick_json(&train(&url, &["--trainer", name, "--id", "same", "--format", "json"]));
        assert_eq!(
            (&run["state"], &run["instance_id"]),
            (&Value::from("SUCCEEDED"), &Value::from(instance(name)))
        );
    }
    let unknown = finepick(&train(&url, &["--trainer", "c"]));
    let told = String::from_utf8_lossy(&unknown.stderr);
    assert!(
        unknown.status.code() == Some(2) && told.contains("there are: a, b"),
        "{told}"
    );

    a.kill();
    let listed = finepick_json(&["trainers", "list", "--endpoint", &url, "--format", "json"]);
    assert_eq!(
        (&listed[0]["trainer"], &listed[1]["trainer"]),
        (&Value::from("a"), &Value::from("b"))
    );
    assert!(
        listed[0]["info"].is_null() && listed[0]["error"].is_string(),
        "{listed}"
    );
    assert_eq!(listed[1]["info"]["ready"], true);
    let shown = String::from_utf8_lossy(&finepick(&["trainers", "list", "--endpoint", &url]).stdout).into_owned();
    assert!(shown.contains("a (default)") && shown.contains("away"), "{shown}");
}

#[test]
fn streams_that_break_all_the_time_are_not_noticed() {
    let trainer = trainer("127.0.0.1:0", &["--set", "simulation.stream_break=1"]);
    let gateway = gateway(&[("only", &[&trainer])]);
    let (status, run, rest) = Following::start(&train(&gateway.url(), &["--format", "json"])).end();
    assert_eq!((status, &run["state"]), (0, &Value::from("SUCCEEDED")), "{rest:#?}");
    let shown = |beginning: &str| rest.iter().filter(|line| line.starts_with(beginning)).count();
    for once in ["QUEUED", "PREPARING", "RUNNING", "SUCCEEDED"] {
        assert_eq!(shown(once), 1, "{once}: {rest:#?}");
    }
    assert_eq!(shown("held-out"), 3);
}

#[test]
fn a_run_whose_trainer_is_killed_is_told_and_the_next_one_goes_well() {
    let trainer = Server::start("trainer-sim", &["--set", "simulation.speed=20"]);
    let address = trainer.address().to_owned();
    let gateway = gateway(&[("only", &[&trainer])]);
    let url = gateway.url();
    let slow = ["--id", "run-1", "--label", "sim.seconds_per_example=1"];
    let mut following = Following::start(&train(&url, &slow));
    following.until("RUNNING", 1);
    trainer.kill();
    // It keeps nothing over a restart: the run is unknown to the new process, and nobody waits for ever.
    let trainer = self::trainer(&address, &[]);
    let (status, _, rest) = following.end();
    assert_eq!(status, 1, "{rest:#?}");
    assert!(
        rest.iter().any(|line| line.contains("TRAINING_RUN_NOT_FOUND")),
        "{rest:#?}"
    );
    let run = finepick_json(&train(&url, &["--id", "run-1", "--format", "json"]));
    assert_eq!(run["state"], "SUCCEEDED");
    drop(trainer);
}

#[test]
fn replicas_share_the_runs_and_one_that_dies_is_missed_until_it_returns() {
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(trainer("127.0.0.1:0", &[]));
    }
    let gateway = gateway(&[("set", &[&replicas[0], &replicas[1], &replicas[2]])]);
    let url = gateway.url();
    let run = |id: &str| finepick(&train(&url, &["--id", id, "--format", "json"]));
    // Which replica has a run follows from its id.
    let mut homes = std::collections::BTreeMap::new();
    for number in 0..12 {
        let id = format!("run-{number}");
        let answer = finepick_json(&train(&url, &["--id", &id, "--format", "json"]));
        assert_eq!(answer["state"], "SUCCEEDED");
        homes.insert(id, answer["instance_id"].as_str().expect("text").to_owned());
    }
    let instances: std::collections::BTreeSet<_> = homes.values().cloned().collect();
    assert!(instances.len() > 1, "the runs are spread: {homes:?}");

    let dead = replicas.remove(0);
    let address = dead.address().to_owned();
    let info = finepick_json(&["trainers", "info", "--endpoint", &dead.url(), "--format", "json"]);
    let instance = info["instance_id"].as_str().expect("text").to_owned();
    dead.kill();
    for (id, home) in &homes {
        if *home != instance {
            assert!(run(id).status.success(), "{id} is elsewhere");
        }
    }
    for _ in 0..5 {
        assert!(
            finepick(&["trainers", "info", "--endpoint", &url]).status.success(),
            "somebody answers"
        );
    }
    let back = trainer(&address, &[]);
    let deadline = Instant::now() + Duration::from_secs(30);
    for (id, home) in &homes {
        // Those of the dead one are created anew: it has kept nothing.
        while !run(id).status.success() {
            assert!(*home == instance && Instant::now() < deadline, "{id} does not return");
        }
    }
    drop((back, replicas));
}
