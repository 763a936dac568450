//! Several trainers behind one gateway, and backends with replicas.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use finepick_proto::types::v1::ErrorReason;
use gateway::Gateway;
use gateway::config::{BackendConfig, Config};
use gateway::route::{TRAINER_SERVICE, TRAINERS_KEY, is_trainer_name};
use svc_kit::config::ServerConfig;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::echo::{self, Echo, Running, call, call_with};

/// A gateway with these backends.
async fn gateway(backends: &[(&str, BackendConfig)]) -> Running {
    let backends = backends
        .iter()
        .map(|(name, backend)| ((*name).to_owned(), backend.clone()))
        .collect();
    let config = Config {
        backends,
        ..Config::default()
    };
    svc_kit::config::ServiceConfig::validate(&config).expect("valid");
    let gateway = Gateway::from_config(&config).expect("valid");
    Running::start(&ServerConfig::default(), |context| gateway.into_app(&[], context)).await
}

/// A call of a method of the trainers' service; the stand-in behind it answers by method alone.
fn to(name: Option<&str>) -> Request<Bytes> {
    let mut request = Request::new(Bytes::from_static(b"0"));
    if let Some(name) = name {
        request
            .metadata_mut()
            .insert("finepick-trainer", name.parse().expect("ascii"));
    }
    request
}

fn method(name: &str) -> String {
    format!("/{TRAINER_SERVICE}/{name}")
}

fn names(status: &Status) -> &str {
    status
        .metadata()
        .get(TRAINERS_KEY.as_str())
        .and_then(|names| names.to_str().ok())
        .unwrap_or("")
}

/// The stand-in under the trainers' name.
#[derive(Debug, Clone, Default)]
struct Trainer(Echo);

impl tonic::server::NamedService for Trainer {
    const NAME: &'static str = TRAINER_SERVICE;
}

impl tower::Service<http::Request<tonic::body::Body>> for Trainer {
    type Response = http::Response<tonic::body::Body>;
    type Error = std::convert::Infallible;
    type Future = <Echo as tower::Service<http::Request<tonic::body::Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        self.0.call(request)
    }
}

async fn trainer() -> (Running, Trainer) {
    let trainer = Trainer::default();
    let app = svc_kit::server::App::new().service(trainer.clone());
    (Running::start(&ServerConfig::default(), |_| app).await, trainer)
}

fn begun(trainer: &Trainer) -> usize {
    trainer.0.begun.load(Ordering::SeqCst)
}

#[tokio::test]
async fn a_caller_picks_a_trainer_by_name() {
    let ((a, seen_by_a), (b, seen_by_b)) = (trainer().await, trainer().await);
    let gateway = gateway(&[
        ("b", BackendConfig::new(TRAINER_SERVICE, &b.url())),
        ("a", BackendConfig::new(TRAINER_SERVICE, &a.url())),
    ])
    .await;
    let transport = gateway.transport();
    for (name, expected) in [
        (None, (1, 0)),
        (Some("b"), (1, 1)),
        (Some("a"), (2, 1)),
        (Some("b"), (2, 2)),
    ] {
        call_with(&transport, &method("Sleep"), to(name))
            .await
            .expect("answered");
        assert_eq!((begun(&seen_by_a), begun(&seen_by_b)), expected, "{name:?}");
    }
    for unknown in ["c", "", "A"] {
        let status = call_with(&transport, &method("Sleep"), to(Some(unknown)))
            .await
            .expect_err("unknown");
        let details = status.get_error_details();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(
            details.error_info().expect("ErrorInfo").reason,
            ErrorReason::InvalidField.as_reason()
        );
        let violation = &details.bad_request().expect("BadRequest").field_violations[0];
        assert_eq!(violation.field, "finepick-trainer");
        assert!(violation.description.contains("a, b"), "{violation:?}");
    }
}

#[tokio::test]
async fn the_names_are_in_the_answers_to_get_trainer_info_also_when_nobody_is_there() {
    let (a, _) = trainer().await;
    let backends = [
        ("a", BackendConfig::new(TRAINER_SERVICE, &a.url())),
        ("b", BackendConfig::new(TRAINER_SERVICE, "http://127.0.0.1:1")),
    ];
    let gateway = gateway(&backends).await;
    let transport = gateway.transport();
    // The stand-in does not know the method: what counts is what the gateway adds.
    let status = call_with(&transport, &method("GetTrainerInfo"), to(None))
        .await
        .expect_err("not there");
    assert_eq!((status.code(), names(&status)), (Code::Unimplemented, "a,b"));
    let status = call_with(&transport, &method("GetTrainerInfo"), to(Some("b")))
        .await
        .expect_err("away");
    assert_eq!((status.code(), names(&status)), (Code::Unavailable, "a,b"));
    let answer = call_with(&transport, &method("Unary"), to(None))
        .await
        .expect("answered");
    assert!(
        answer.metadata().get(TRAINERS_KEY.as_str()).is_none(),
        "other calls pass untouched"
    );
}

#[tokio::test]
async fn a_backend_with_replicas_goes_on_when_one_dies() {
    let (first, second) = (Echo::default(), Echo::default());
    let (one, two) = (Running::echo(first.clone()).await, Running::echo(second.clone()).await);
    let backend = BackendConfig {
        replicas: Some(vec![two.url()]),
        ..BackendConfig::new(echo::NAME, &one.url())
    };
    let gateway = gateway(&[("echo", backend)]).await;
    let transport = gateway.transport();
    for _ in 0..30 {
        call(&transport, "Sleep", "0").await.expect("answered");
    }
    let count = |echo: &Echo| echo.begun.load(Ordering::SeqCst);
    assert!(
        count(&first) > 0 && count(&second) > 0,
        "{} and {}",
        count(&first),
        count(&second)
    );
    one.stop().await;
    for _ in 0..30 {
        call(&transport, "Sleep", "0").await.expect("answered");
    }
    assert_eq!(count(&first) + count(&second), 60);
}

#[test]
fn names_that_metadata_and_lists_can_hold() {
    for good in ["a", "gpu-a.site_1", &"x".repeat(64)] {
        assert!(is_trainer_name(good), "{good}");
    }
    for bad in ["", "a,b", "a b", "é", &"x".repeat(65)] {
        assert!(!is_trainer_name(bad), "{bad}");
    }
}
