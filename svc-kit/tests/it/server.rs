//! What every server does: health, reflection, request ids, errors, draining.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use svc_kit::client::Transport;
use svc_kit::config::ServerConfig;
use svc_kit::server::{App, Context};
use svc_kit::shutdown::Token;
use svc_kit::status::reason;
use tonic::{Code, Request};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_types::StatusExt;

use crate::echo::{self, Echo, Running, call, call_with};

fn local(echo: Echo) -> Transport {
    let config = ServerConfig::default();
    let stack = App::new()
        .service(echo)
        .into_local(&config, &Context::new(&config, Token::new()))
        .expect("a stack");
    Transport::local(stack)
}

#[tokio::test]
async fn the_same_calls_work_over_a_socket_and_in_process() {
    let server = Running::echo(Echo::default()).await;
    for transport in [server.transport(), local(Echo::default())] {
        let answer = call(&transport, "Unary", "hello").await.expect("an answer");
        assert_eq!(answer.get_ref().as_ref(), b"hello");
        let mut stream = echo::watch(&transport, "Count", Request::new("3".into()))
            .await
            .expect("a stream")
            .into_inner();
        let mut got = Vec::new();
        while let Some(message) = stream.message().await.expect("no error") {
            got.push(message);
        }
        assert_eq!(got, ["0", "1", "2"]);
        let status = call(&transport, "Fail", "").await.expect_err("fails");
        assert_eq!(
            status
                .get_error_details()
                .bad_request()
                .expect("details")
                .field_violations[0]
                .field,
            "a.b"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn request_ids_are_kept_made_and_echoed() {
    let transport = local(Echo::default());
    let mut request = Request::new(Bytes::new());
    request
        .metadata_mut()
        .insert("x-request-id", "my-id".parse().expect("ascii"));
    let answer = call_with(&transport, "RequestId", request).await.expect("an answer");
    assert_eq!(answer.get_ref().as_ref(), b"my-id");
    assert_eq!(answer.metadata().get("x-request-id").expect("echoed"), "my-id");

    let answer = call(&transport, "RequestId", "").await.expect("an answer");
    let made = String::from_utf8(answer.get_ref().to_vec()).expect("ascii");
    assert!(!made.is_empty());
    assert_eq!(answer.metadata().get("x-request-id").expect("echoed"), &made);
}

#[tokio::test]
async fn a_panic_becomes_internal_with_an_id_and_without_internal_text() {
    let server = Running::echo(Echo::default()).await;
    let transport = server.transport();
    let mut request = Request::new(Bytes::new());
    request
        .metadata_mut()
        .insert("x-request-id", "find-me".parse().expect("ascii"));
    let status = call_with(&transport, "Panic", request).await.expect_err("panics");
    assert_eq!(status.code(), Code::Internal);
    assert_eq!(
        status
            .get_error_details()
            .request_info()
            .expect("RequestInfo")
            .request_id,
        "find-me"
    );
    assert!(!format!("{status:?}").contains("secret"), "{status:?}");

    let mut stream = echo::watch(&transport, "PanicLater", Request::new(Bytes::new()))
        .await
        .expect("begins")
        .into_inner();
    assert_eq!(stream.message().await.expect("first"), Some(Bytes::from_static(b"0")));
    let status = stream.message().await.expect_err("panics");
    assert_eq!(status.code(), Code::Internal);
    assert!(status.get_error_details().request_info().is_some(), "{status:?}");

    assert!(call(&transport, "Unary", "still alive").await.is_ok());
    server.stop().await;
}

#[tokio::test]
async fn unknown_services_and_methods_are_unimplemented() {
    let transport = local(Echo::default());
    let status = call(&transport, "/no.such.Service/Method", "")
        .await
        .expect_err("unknown");
    assert_eq!(status.code(), Code::Unimplemented);
    let details = status.get_error_details();
    let info = details.error_info().expect("ErrorInfo");
    assert_eq!(
        (info.reason.as_str(), info.metadata["service"].as_str()),
        (reason::UNKNOWN_SERVICE, "no.such.Service")
    );
    for path in [
        "/",
        "//",
        "/x",
        "/test.v1.Echo",
        "/test.v1.Echo/",
        "/test.v1.Echo/NoSuchMethod",
        "/%00/x",
    ] {
        let status = call(&transport, path, "").await.expect_err("unknown");
        assert_eq!(status.code(), Code::Unimplemented, "{path}");
    }
}

#[tokio::test]
async fn reflection_lists_what_is_served() {
    let server = Running::start(&ServerConfig::default(), |_| {
        App::new()
            .service(Echo::default())
            .descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    })
    .await;
    let mut client = ServerReflectionClient::new(server.transport());
    let ask = |request| tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(request),
    };
    let requests = futures::stream::iter([
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol("grpc.health.v1.Health".into())),
    ]);
    let answers: Vec<_> = client
        .server_reflection_info(requests)
        .await
        .expect("a stream")
        .into_inner()
        .collect::<Vec<_>>()
        .await;
    let answers: Vec<_> = answers
        .into_iter()
        .map(|answer| answer.expect("an answer").message_response)
        .collect();
    let Some(MessageResponse::ListServicesResponse(list)) = &answers[0] else {
        panic!("{answers:?}")
    };
    let mut names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            echo::NAME
        ]
    );
    assert!(
        matches!(&answers[1], Some(MessageResponse::FileDescriptorResponse(_))),
        "{answers:?}"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_server_drains_in_order() {
    let echo = Echo::default();
    let begun = echo.begun.clone();
    let server = Running::echo(echo).await;
    let (transport, url) = (server.transport(), server.url());
    let mut health = HealthClient::new(server.transport());
    let request = tonic_health::pb::HealthCheckRequest {
        service: echo::NAME.to_owned(),
    };
    let mut watch = health.watch(request).await.expect("a watch").into_inner();
    assert_eq!(
        watch.message().await.expect("ok").expect("first").status(),
        ServingStatus::Serving
    );

    let slow = tokio::spawn({
        let transport = transport.clone();
        async move { call(&transport, "Sleep", "600").await }
    });
    echo::eventually("the call begins", async || {
        begun.load(std::sync::atomic::Ordering::SeqCst) == 1
    })
    .await;

    server.setting.shutdown.trigger();
    assert_eq!(
        watch.message().await.expect("ok").expect("told").status(),
        ServingStatus::NotServing
    );
    assert_eq!(
        watch.message().await.expect("ok"),
        None,
        "the watch does not hold up the drain"
    );
    let status = call(&transport, "Unary", "late").await.expect_err("refused");
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(status.get_error_details().retry_info().is_some(), "{status:?}");

    assert_eq!(
        slow.await.expect("no panic").expect("finishes").get_ref().as_ref(),
        b"slept"
    );
    server.stop().await;
    let gone = Transport::remote(&svc_kit::config::EndpointConfig::to(url)).expect("URL");
    assert_eq!(
        call(&gone, "Unary", "").await.expect_err("closed").code(),
        Code::Unavailable
    );
}

#[tokio::test]
async fn a_drain_is_bounded() {
    let config = ServerConfig {
        drain_timeout: svc_kit::config::HumanDuration::from_millis(200),
        ..ServerConfig::default()
    };
    let server = Running::start(&config, |_| App::new().service(Echo::default())).await;
    let transport = server.transport();
    let mut stream = echo::watch(&transport, "Hang", Request::new(Bytes::new()))
        .await
        .expect("begins")
        .into_inner();
    assert!(stream.message().await.expect("first").is_some());
    tokio::time::timeout(Duration::from_secs(10), server.stop())
        .await
        .expect("ends although a stream hangs");
}
