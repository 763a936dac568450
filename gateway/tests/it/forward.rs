//! What passes through the gateway arrives as it was sent.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use gateway::Gateway;
use http_body_util::BodyExt;
use svc_kit::client::Transport;
use svc_kit::config::{EndpointConfig, ServerConfig};
use svc_kit::server::{App, Context};
use svc_kit::shutdown::Token;
use svc_kit::status::reason;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request};
use tonic_types::StatusExt;
use tower::ServiceExt;

use crate::echo::{self, Echo, Running, call, call_with};
use crate::{gateway_to, gateway_with};

#[tokio::test]
async fn bytes_metadata_and_trailers_pass_untouched() {
    let backend = Running::echo(Echo::default()).await;
    let gateway = gateway_to(&backend.url()).await;
    let transport = gateway.transport();

    // Not a valid protobuf message of anything: nobody on the way may want to understand it.
    let odd = Bytes::from_static(&[0xff, 0x00, 0x07, 0xfa, 0x80]);
    let mut request = Request::new(odd.clone());
    request
        .metadata_mut()
        .insert("x-ascii", "plain".parse().expect("ascii"));
    request
        .metadata_mut()
        .insert_bin("x-binary-bin", MetadataValue::from_bytes(&[0, 159, 146, 150]));
    let answer = call_with(&transport, "Unary", request).await.expect("an answer");
    assert_eq!(answer.get_ref(), &odd);
    assert_eq!(answer.metadata().get("x-ascii").expect("kept"), "plain");
    let binary = answer
        .metadata()
        .get_bin("x-binary-bin")
        .expect("kept")
        .to_bytes()
        .expect("base64");
    assert_eq!(binary.as_ref(), &[0, 159, 146, 150]);

    let direct = call(&backend.transport(), "Fail", "").await.expect_err("fails");
    let through = call(&transport, "Fail", "").await.expect_err("fails");
    assert_eq!(
        (through.code(), through.message(), through.details()),
        (direct.code(), direct.message(), direct.details())
    );
    assert_eq!(through.metadata().get("x-trailer").expect("kept"), "kept");

    let unknown = call(&transport, "NoSuchMethod", "")
        .await
        .expect_err("the backend's word");
    assert_eq!(unknown.code(), Code::Unimplemented);
    assert!(
        unknown.get_error_details().error_info().is_none(),
        "the gateway does not interfere: {unknown:?}"
    );
    gateway.stop().await;
    backend.stop().await;
}

#[tokio::test]
async fn compressed_frames_pass_untouched() {
    let backend = Running::echo(Echo::default()).await;
    let gateway = gateway_to(&backend.url()).await;
    // One frame flagged as compressed, in an encoding nobody here speaks: the backend must see the flag and say so.
    let frame = Bytes::from_static(&[1, 0, 0, 0, 3, 9, 9, 9]);
    let request = http::Request::post(format!("/{}/Unary", echo::NAME))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-encoding", "snappy")
        .body(tonic::body::Body::new(http_body_util::Full::new(frame)))
        .expect("request");
    let response = gateway.transport().oneshot(request).await.expect("a response");
    let headers = response.headers().clone();
    let trailers = response
        .into_body()
        .collect()
        .await
        .expect("a body")
        .trailers()
        .cloned()
        .unwrap_or_default();
    let status = headers
        .get("grpc-status")
        .or(trailers.get("grpc-status"))
        .expect("a status");
    assert_eq!(status, "12", "the backend's UNIMPLEMENTED: {headers:?} {trailers:?}");
    gateway.stop().await;
    backend.stop().await;
}

#[tokio::test]
async fn streams_flow_both_ways_while_they_are_open() {
    let backend = Running::echo(Echo::default()).await;
    let gateway = gateway_to(&backend.url()).await;
    let transport = gateway.transport();

    let mut stream = echo::watch(&transport, "Count", Request::new("5".into()))
        .await
        .expect("begins")
        .into_inner();
    let mut got = Vec::new();
    while let Some(message) = stream.message().await.expect("no error") {
        got.push(message);
    }
    assert_eq!(got, ["0", "1", "2", "3", "4"]);

    // Each answer comes before the next question is asked: nothing is held back until the end.
    let (ask, questions) = tokio::sync::mpsc::channel::<Bytes>(1);
    let questions = tokio_stream::wrappers::ReceiverStream::new(questions).boxed();
    let mut answers = echo::chat(&transport, questions).await.expect("begins").into_inner();
    for question in ["one", "two", "three"] {
        ask.send(Bytes::from(question)).await.expect("open");
        assert_eq!(answers.message().await.expect("ok"), Some(Bytes::from(question)));
    }
    drop(ask);
    assert_eq!(answers.message().await.expect("ok"), None);
    gateway.stop().await;
    backend.stop().await;
}

#[tokio::test]
async fn large_messages_pass() {
    let backend = Running::echo(Echo::default()).await;
    let gateway = gateway_to(&backend.url()).await;
    let large = Bytes::from(vec![7_u8; 20 << 20]);
    let answer = call(&gateway.transport(), "Unary", large.clone())
        .await
        .expect("an answer");
    assert!(answer.get_ref() == &large, "20 MiB there and back");
    gateway.stop().await;
    backend.stop().await;
}

#[tokio::test]
async fn a_backend_that_dies_is_unavailable_and_works_again_when_it_is_back() {
    let mut config = ServerConfig::default();
    let backend = Running::start(&config, |_| App::new().service(Echo::default())).await;
    config.listen = backend.address;
    let gateway = gateway_to(&backend.url()).await;
    let transport = gateway.transport();
    assert!(call(&transport, "Unary", "").await.is_ok());
    backend.stop().await;

    let status = call(&transport, "Unary", "").await.expect_err("nobody is there");
    let details = status.get_error_details();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(
        details.error_info().expect("ErrorInfo").reason,
        reason::BACKEND_UNAVAILABLE
    );
    assert!(details.retry_info().expect("RetryInfo").retry_delay.is_some());
    let status = echo::watch(&transport, "Count", Request::new("1".into()))
        .await
        .expect_err("streams too");
    assert_eq!(status.code(), Code::Unavailable);

    let backend = Running::start(&config, |_| App::new().service(Echo::default())).await;
    assert!(call(&transport, "Unary", "").await.is_ok(), "without any action");
    gateway.stop().await;
    backend.stop().await;
}

#[tokio::test]
async fn deadlines_and_cancellations_reach_the_backend() {
    let echo = Echo::default();
    let (begun, cancelled) = (echo.begun.clone(), echo.cancelled.clone());
    let backend = Running::echo(echo).await;
    let gateway = gateway_to(&backend.url()).await;
    let transport = gateway.transport();

    let mut request = Request::new(Bytes::from_static(b"60000"));
    request.set_timeout(Duration::from_millis(100));
    let status = call_with(&transport, "Sleep", request).await.expect_err("too late");
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    echo::eventually("the backend gives up", async || cancelled.load(Ordering::SeqCst) == 1).await;

    let waiting = tokio::spawn({
        let transport = transport.clone();
        async move { call(&transport, "Sleep", "60000").await }
    });
    echo::eventually("the second call begins", async || begun.load(Ordering::SeqCst) == 2).await;
    waiting.abort();
    echo::eventually("the backend hears of it", async || {
        cancelled.load(Ordering::SeqCst) == 2
    })
    .await;

    let mut stream = echo::watch(&transport, "Hang", Request::new(Bytes::new()))
        .await
        .expect("begins")
        .into_inner();
    assert!(stream.message().await.expect("first").is_some());
    drop(stream);
    echo::eventually("the stream is dropped there", async || {
        cancelled.load(Ordering::SeqCst) == 3
    })
    .await;
    gateway.stop().await;
    backend.stop().await;
}

#[tokio::test]
async fn calls_abandoned_by_the_hundreds_do_not_harm_their_neighbours() {
    let backend = Running::echo(Echo::default()).await;
    let gateway = gateway_to(&backend.url()).await;
    let transport = gateway.transport();
    // The neighbour shares both connections with the others.
    let (ask, questions) = tokio::sync::mpsc::channel::<Bytes>(1);
    let questions = tokio_stream::wrappers::ReceiverStream::new(questions).boxed();
    let mut answers = echo::chat(&transport, questions).await.expect("begins").into_inner();
    for round in 0..5_u64 {
        let calls: Vec<_> = (0..200)
            .map(|_| tokio::spawn(call(&transport, "Sleep", "60000")))
            .collect();
        // Some have not left yet when they are given up, some are under way, some have arrived.
        tokio::time::sleep(Duration::from_millis(3 * round)).await;
        for call in &calls {
            call.abort();
        }
        ask.send(Bytes::from(round.to_string())).await.expect("open");
        assert_eq!(
            answers.message().await.expect("unharmed"),
            Some(Bytes::from(round.to_string()))
        );
    }
    assert!(call(&transport, "Unary", "").await.is_ok());
    drop(ask);
    gateway.stop().await;
    backend.stop().await;
}

#[tokio::test]
async fn clients_that_do_not_read_do_not_stall_their_neighbours() {
    let backend = Running::echo(Echo::default()).await;
    let gateway = gateway_to(&backend.url()).await;
    let large = Bytes::from(vec![7_u8; 4 << 20]);
    let mut unread = Vec::new();
    for _ in 0..20 {
        // Each on a connection of its own; behind the gateway they share one.
        unread.push(
            echo::watch(&gateway.transport(), "Unary", Request::new(large.clone()))
                .await
                .expect("begins"),
        );
    }
    let small = tokio::time::timeout(Duration::from_secs(10), call(&gateway.transport(), "Unary", "small")).await;
    assert_eq!(small.expect("in time").expect("an answer").get_ref().as_ref(), b"small");
    drop(unread);
    gateway.stop().await;
    backend.stop().await;
}

#[tokio::test]
async fn ids_and_traces_go_along_and_connection_headers_do_not() {
    let backend = Running::echo(Echo::default()).await;
    let gateway = gateway_to(&backend.url()).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut request = Request::new(Bytes::new());
    request
        .metadata_mut()
        .insert("traceparent", trace.parse().expect("ascii"));
    let answer = call_with(&gateway.transport(), "Headers", request)
        .await
        .expect("an answer");
    let id = answer
        .metadata()
        .get("x-request-id")
        .expect("made")
        .to_str()
        .expect("ascii")
        .to_owned();
    let seen = String::from_utf8(answer.get_ref().to_vec()).expect("text");
    assert!(seen.contains(&format!("x-request-id: {id}\n")), "{seen}");
    assert!(seen.contains(&format!("traceparent: {trace}\n")), "{seen}");
    assert!(!seen.contains("connection:") && !seen.contains("host:"), "{seen}");
    gateway.stop().await;
    backend.stop().await;
}

#[tokio::test]
async fn a_service_without_a_route_is_unimplemented() {
    let gateway = gateway_to("http://127.0.0.1:1").await;
    let status = call(&gateway.transport(), "/no.such.Service/Method", "")
        .await
        .expect_err("unknown");
    let details = status.get_error_details();
    let info = details.error_info().expect("ErrorInfo");
    assert_eq!(
        (status.code(), info.reason.as_str()),
        (Code::Unimplemented, reason::UNKNOWN_SERVICE)
    );
    assert_eq!(info.metadata["service"], "no.such.Service");
    gateway.stop().await;
}

#[tokio::test]
async fn services_in_process_and_remote_ones_share_a_port() {
    let config = ServerConfig::default();
    let remote = Running::echo(Echo::default()).await;
    let local = App::new()
        .service(tonic_health::pb::health_server::HealthServer::new(
            svc_kit::health::Service::new(svc_kit::health::Reporter::new()),
        ))
        .service(Echo::default())
        .into_local(&config, &Context::new(&config, Token::new()))
        .expect("a stack");
    let gateway = Running::start(&config, |context| {
        Gateway::new()
            .local(echo::NAME, local)
            .and_then(|gateway| {
                let elsewhere = Transport::remote(&EndpointConfig::to(remote.url())).expect("URL");
                gateway.remote("test.v1.Elsewhere", elsewhere)
            })
            .expect("two routes")
            .into_app(&[], context)
    })
    .await;
    let transport = gateway.transport();
    assert_eq!(
        call(&transport, "Unary", "hello")
            .await
            .expect("local")
            .get_ref()
            .as_ref(),
        b"hello"
    );
    let status = call(&transport, "/test.v1.Elsewhere/Unary", "")
        .await
        .expect_err("not served there");
    assert_eq!(
        status.get_error_details().error_info().expect("ErrorInfo").metadata["service"],
        "test.v1.Elsewhere"
    );
    let mut stream = echo::watch(&transport, "Count", Request::new("3".into()))
        .await
        .expect("begins")
        .into_inner();
    assert_eq!(stream.message().await.expect("ok"), Some(Bytes::from_static(b"0")));
    gateway.stop().await;
    remote.stop().await;
}

#[tokio::test]
async fn too_many_calls_are_turned_away_at_the_edge() {
    let echo = Echo::default();
    let begun = echo.begun.clone();
    let backend = Running::echo(echo).await;
    let config = ServerConfig {
        concurrency_limit: 1,
        queue_limit: 0,
        ..ServerConfig::default()
    };
    let gateway = gateway_with(&config, &backend.url()).await;
    let transport = gateway.transport();
    let first = tokio::spawn({
        let transport = transport.clone();
        async move { call(&transport, "Sleep", "300").await }
    });
    echo::eventually("the slot is taken", async || begun.load(Ordering::SeqCst) == 1).await;
    let status = call(&transport, "Unary", "").await.expect_err("turned away");
    assert_eq!(
        status.get_error_details().error_info().expect("ErrorInfo").reason,
        reason::OVERLOADED
    );
    assert!(status.get_error_details().retry_info().is_some());
    assert!(first.await.expect("no panic").is_ok());
    gateway.stop().await;
    backend.stop().await;
}

#[test]
fn a_service_has_one_route() {
    let transport = || Transport::remote(&EndpointConfig::to("http://127.0.0.1:1"));
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let _entered = runtime.enter();
    let gateway = Gateway::new().remote("a.B", transport().expect("URL")).expect("first");
    assert!(gateway.remote("a.B", transport().expect("URL")).is_err());
}
