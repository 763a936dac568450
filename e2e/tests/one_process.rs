//! `finepick up`: the suite in one process, on one port.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use e2e::{Server, binary, command, finepick, root};
use finepick_proto::fitter::v1::fitter_service_client::FitterServiceClient;
use finepick_proto::fitter::v1::{FitCurveRequest, ListLawsRequest};
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt as _;

#[tokio::test]
async fn one_port_serves_everything_with_health_and_typed_errors() {
    let server = tokio::task::spawn_blocking(|| Server::start("finepick", &[]))
        .await
        .expect("the suite starts");
    let channel = tonic::transport::Endpoint::from_shared(server.url())
        .expect("a URL")
        .connect()
        .await
        .expect("it listens");

    let mut health = HealthClient::new(channel.clone());
    for service in [
        "",
        "finepick.fitter.v1.FitterService",
        "finepick.selector.v1.SelectorService",
    ] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = health.check(request).await.expect("health is open").into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
    }
    let unknown = HealthCheckRequest {
        service: "finepick.unknown.v1.Nothing".to_owned(),
    };
    assert_eq!(
        health.check(unknown).await.expect_err("it is not served").code(),
        Code::NotFound
    );

    let mut fitter = FitterServiceClient::new(channel);
    let laws = fitter
        .list_laws(ListLawsRequest {
            page_size: 3,
            page_token: String::new(),
        })
        .await
        .expect("laws")
        .into_inner();
    assert_eq!(laws.laws.len(), 3);
    assert!(!laws.next_page_token.is_empty());

    let status = fitter
        .fit_curve(FitCurveRequest::default())
        .await
        .expect_err("a curve is required");
    assert_eq!(status.code(), Code::InvalidArgument);
    let details = status.get_error_details();
    assert_eq!(details.error_info().expect("a reason").reason, "INVALID_FIELD");
    let violations = &details.bad_request().expect("the fields").field_violations;
    assert!(
        violations.iter().any(|violation| violation.field.starts_with("curve")),
        "{violations:?}"
    );
}

#[test]
fn the_same_answers_as_in_process() {
    let server = Server::start("finepick", &[]);
    let curves = root().join("demo/curves.csv").display().to_string();
    for question in [
        vec![
            "rank",
            "--curves",
            &curves,
            "--budget-size",
            "16000",
            "--full-size",
            "1024000",
            "--format",
            "csv",
        ],
        vec!["fit", "--curves", &curves, "--predict", "1024000", "--format", "csv"],
    ] {
        let here = finepick(&question);
        let there = finepick(&[&question[..], &["--endpoint", &server.url()]].concat());
        assert!(
            here.status.success() && there.status.success(),
            "{}",
            String::from_utf8_lossy(&there.stderr)
        );
        assert_eq!(here.stdout, there.stdout);
    }
    assert_eq!(server.terminate().code(), Some(0));
}

#[test]
fn wrong_configuration_is_refused_with_its_place() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = dir.path().join("finepick.toml");
    std::fs::write(&file, "[server]\nlisten = \"127.0.0.1:0\"\nlissten = 3\n").expect("the file is written");
    let path = file.display().to_string();
    let refused = finepick(&["up", "--config", &path]);
    let told = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{told}");
    assert!(told.contains("lissten") && told.contains("finepick.toml"), "{told}");

    let refused = command(&binary("finepick"))
        .arg("up")
        .env("FINEPICK_SERVER__LISSTEN", "x")
        .output()
        .expect("it starts");
    let told = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{told}");
    assert!(told.contains("FINEPICK_SERVER__LISSTEN"), "{told}");

    let printed = finepick(&["up", "--print-config", "--set", "server.listen=127.0.0.1:7777"]);
    assert!(printed.status.success());
    let text = String::from_utf8_lossy(&printed.stdout);
    assert!(
        text.contains("127.0.0.1:7777") && text.contains("[telemetry]"),
        "{text}"
    );
}

#[test]
fn a_port_in_use_is_told() {
    let server = Server::start("finepick", &[]);
    let refused = finepick(&["up", "--listen", server.address()]);
    let told = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{told}");
    assert!(told.contains(server.address()), "{told}");
}

/// Idle memory is a promise of the README; the bound here is looser than the release build's, which `bench/` measures.
#[test]
#[cfg(target_os = "linux")]
fn idle_memory_is_small() {
    let server = Server::start("finepick", &[]);
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).expect("it runs");
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("Linux tells");
    let kilobytes: u64 = resident.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(kilobytes < 120_000, "{kilobytes} kB resident");
}
