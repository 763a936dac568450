//! Selections on trainers that are several processes under one name, and on trainers behind TLS.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;

use e2e::finepick;
use e2e::following::Following;
use e2e::stage::{Part, Simulated, Stage, assert_undisturbed, losses, ranking, strs};
use finepick_proto::trainer::v1::ListTrainingRunsRequest;
use finepick_proto::trainer::v1::trainer_service_client::TrainerServiceClient;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

const REPLICAS: [Part; 2] = [Part::Trainer(0), Part::Trainer(1)];
/// A policy whose plan leaves room for runs that are lost.
const ROOMY: [&str; 2] = ["--policy", "halving"];

/// Two replicas, each with a run of one size at a time, and further settings of the selector.
fn replicas(selector: &[&str]) -> Stage {
    let replica = || Simulated::new("sim", "20s");
    let settings = [&["trainers.sim.nested_runs=false"], selector].concat();
    Stage::of(vec![replica(), replica()], &settings)
}

/// Ids of the runs that a trainer knows of a selection.
fn runs_at(url: String, selection: &str) -> BTreeSet<String> {
    let request = ListTrainingRunsRequest {
        page_size: 1_000,
        ..ListTrainingRunsRequest::default()
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let runs = runtime.block_on(async move {
        let mut client = TrainerServiceClient::connect(url).await.expect("it listens");
        client
            .list_training_runs(request)
            .await
            .expect("runs")
            .into_inner()
            .runs
    });
    let ids = runs.into_iter().map(|run| run.training_run_id);
    ids.filter(|id| id.starts_with(selection)).collect()
}

#[test]
fn runs_are_spread_over_replicas_and_those_of_a_killed_one_made_again() {
    let mut stage = replicas(&[]);
    let calm = stage.selected("calm", &ROOMY);
    let [first, second] = REPLICAS.map(|part| runs_at(stage.url_of(part), "calm"));
    assert!(!first.is_empty() && !second.is_empty(), "{first:?} {second:?}");
    assert!(first.is_disjoint(&second), "{first:?} {second:?}");
    assert_eq!(first.len() + second.len(), losses(&calm));

    let flags = stage.select("storm", &[&ROOMY[..], &["--format", "json"]].concat());
    let mut following = Following::start(&strs(&flags));
    for part in REPLICAS {
        following.until(": loss ", 3);
        stage.restart(part);
    }
    let (status, report, rest) = following.end();
    assert_eq!(status, 0, "{rest:#?}");
    assert_eq!(report["state"], "succeeded", "{report}");
    assert_eq!(ranking(&report), ranking(&calm));
    assert_eq!(report["choice"], calm["choice"]);
    let share = report["spent_share"].as_f64().expect("a share");
    assert!(share <= 0.2 + 1e-9, "{share}");
}

#[test]
fn a_selection_goes_on_at_the_replicas_that_are_left() {
    let mut stage = replicas(&["selector.trainer_patience=1s"]);
    let calm = stage.selected("calm", &ROOMY);
    let flags = stage.select("storm", &[&ROOMY[..], &["--format", "json"]].concat());
    let mut following = Following::start(&strs(&flags));
    following.until(": loss ", 3);
    stage.kill(Part::Trainer(1));
    let (status, report, rest) = following.end();
    assert_eq!(status, 0, "{rest:#?}");
    assert_eq!(report["state"], "succeeded", "{report}");
    assert_eq!(ranking(&report), ranking(&calm));
    // What was in its hands is lost, and no more.
    let failed = report["failed_attempts"].as_u64().expect("a count");
    assert!(failed <= 2, "{failed}: {rest:#?}");
}

/// An authority, and a certificate for `localhost` that it has signed, as PEM files in a folder.
fn certificates(folder: &Path) {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
    let certificate = params.signed_by(&key, &authority).expect("a certificate");
    for (name, text) in [
        ("ca.pem", authority.pem()),
        ("server.pem", certificate.pem()),
        ("server.key", key.serialize_pem()),
    ] {
        std::fs::write(folder.join(name), text).expect("written");
    }
}

#[test]
fn a_trainer_behind_tls_trains_for_those_who_trust_it() {
    let (ours, theirs) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
    certificates(ours.path());
    certificates(theirs.path());
    let path = |folder: &TempDir, name: &str| folder.path().join(name).display().to_string();
    let secured = |authority: &TempDir| {
        let certificate = format!("server.tls.cert={}", path(&ours, "server.pem"));
        let key = format!("server.tls.key={}", path(&ours, "server.key"));
        let simulated = Simulated::new("sim", "1s").with(&[&certificate, &key]);
        simulated.secured_by(&path(authority, "ca.pem"))
    };
    let plain = Stage::start("1s").selected("plain", &[]);
    let stage = Stage::of(vec![secured(&ours)], &[]);
    assert_undisturbed(&stage.selected("secured", &[]), &plain);
    drop(stage);

    // Somebody whom the selector does not trust is away, whatever he says.
    let stage = Stage::of(vec![secured(&theirs)], &[]);
    let plan = finepick(&strs(&stage.select("refused", &["--dry-run"])));
    let told = String::from_utf8_lossy(&plan.stderr).into_owned();
    assert!(plan.status.code() == Some(1) && told.contains("sim"), "{told}");
}
