//! The kit is green on the simulated trainer, whatever it claims, and leaves nothing behind.

use std::process::Command;

use finepick_proto::trainer::v1 as pb;
use finepick_proto::trainer::v1::trainer_service_client::TrainerServiceClient;
use plugin_kit::{Format, Options, StartError};
use trainer_sim::SimulationConfig;

use crate::server::{config, options, serve};

async fn green(config: &SimulationConfig) -> plugin_kit::Report {
    let served = serve(config, None).await;
    let report = plugin_kit::run(options(served.target.clone()))
        .await
        .expect("it answers");
    assert!(report.is_green(), "{}", report.render(Format::Text));
    let mut client = TrainerServiceClient::connect(served.target.clone())
        .await
        .expect("it answers");
    let left = client
        .list_training_runs(pb::ListTrainingRunsRequest::default())
        .await
        .expect("a list");
    let left: Vec<_> = left
        .into_inner()
        .runs
        .into_iter()
        .map(|run| run.training_run_id)
        .collect();
    assert_eq!(left, Vec::<String>::new(), "runs are removed");
    report
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_simulated_trainer_conforms() {
    let report = green(&config()).await;
    let skipped: Vec<_> = report
        .cases
        .iter()
        .filter(|case| matches!(case.outcome, plugin_kit::Outcome::Skipped(_)))
        .map(|case| case.id)
        .collect();
    assert_eq!(
        skipped,
        ["pause.unclaimed", "checkpoint.reported", "estimate.unclaimed"]
    );
    eprintln!("{} cases in {:?}", report.cases.len(), report.elapsed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trainer_with_one_slot_that_claims_nothing_conforms() {
    let config = SimulationConfig {
        devices: 1,
        slots_per_device: 1,
        queue_limit: 3,
        methods: vec!["full".to_owned()],
        pause: false,
        nested_subsets: false,
        deterministic_seeds: false,
        estimate: false,
        retention_sets: false,
        currency: String::new(),
        ..config()
    };
    green(&config).await;
}

#[tokio::test]
async fn what_cannot_be_used_is_said() {
    let unreachable = plugin_kit::run(options("http://127.0.0.1:1".to_owned())).await;
    assert!(
        matches!(unreachable, Err(StartError::Unreachable { .. })),
        "{unreachable:?}"
    );
    let options = options("http://127.0.0.1:1".to_owned());
    for wrong in [
        Options {
            target: "no url".to_owned(),
            ..options.clone()
        },
        Options {
            cases: vec!["no.such.case".to_owned()],
            ..options.clone()
        },
        Options {
            capabilities: vec!["levitation".to_owned()],
            ..options.clone()
        },
        Options {
            sizes: vec![2, 1],
            ..options.clone()
        },
        Options {
            sizes: Vec::new(),
            ..options
        },
    ] {
        let refused = plugin_kit::run(wrong).await;
        assert!(matches!(refused, Err(StartError::Usage(_))), "{refused:?}");
    }
}

/// The binary, with these arguments: exit code, standard output.
fn kit(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_finepick-conformance"))
        .args(arguments)
        .output()
        .expect("it starts");
    (output.status.code(), String::from_utf8(output.stdout).expect("text"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_tells_by_its_exit_code() {
    let whole = serve(&config(), None).await;
    let spoilt = serve(&config(), Some(crate::mutant::Flaw::NoVersions)).await;
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let path = file.path().to_string_lossy().into_owned();
    let (targets, case) = ([whole.target.clone(), spoilt.target.clone()], "identity.versions");
    let work = tokio::task::spawn_blocking(move || {
        let (code, text) = kit(&["--target", &targets[0], "--case", case]);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("conforms: 1 passed, 0 failed, 0 skipped"), "{text}");
        let (code, text) = kit(&["--target", &targets[1], "--case", case, "--format", "json"]);
        let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((code, &document["cases"][0]["clause"]), (Some(1), &"C-1.2".into()));
        let (code, text) = kit(&[
            "--target",
            &targets[1],
            "--case",
            case,
            "--format",
            "junit",
            "--output",
            &path,
        ]);
        assert_eq!((code, text.as_str()), (Some(1), ""));
        let xml = std::fs::read_to_string(&path).expect("a report");
        assert!(xml.contains("<failure type=\"C-1.2\""), "{xml}");
        assert_eq!(kit(&["--target", "http://127.0.0.1:1"]).0, Some(2));
        assert_eq!(kit(&["--no-such-flag"]).0, Some(2));
        assert_eq!(kit(&[]).0, Some(2));
        let (code, text) = kit(&["--list"]);
        assert_eq!((code, text.lines().count()), (Some(0), plugin_kit::cases().len()));
    });
    work.await.expect("the command line does as it should");
}
