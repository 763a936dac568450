//! Deadlines, queues, and who is turned away.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use svc_kit::config::{HumanDuration, ServerConfig};
use svc_kit::server::App;
use svc_kit::status::reason;
use tonic::{Code, Request};
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

use crate::echo::{self, Echo, Running, call, call_with};

fn with_timeout(message: &'static str, timeout: Duration) -> Request<Bytes> {
    let mut request = Request::new(Bytes::from_static(message.as_bytes()));
    request.set_timeout(timeout);
    request
}

fn reason_of(status: &tonic::Status) -> String {
    status
        .get_error_details()
        .error_info()
        .map(|info| info.reason.clone())
        .unwrap_or_default()
}

#[tokio::test]
async fn the_shorter_of_both_timeouts_counts_and_the_handler_is_dropped() {
    let config = ServerConfig {
        request_timeout: HumanDuration::from_millis(100),
        ..ServerConfig::default()
    };
    let echo = Echo::default();
    let cancelled = echo.cancelled.clone();
    let server = Running::start(&config, |_| App::new().service(echo)).await;
    let transport = server.transport();
    let status = call(&transport, "Sleep", "60000")
        .await
        .expect_err("the server's limit");
    assert_eq!(
        (status.code(), reason_of(&status).as_str()),
        (Code::DeadlineExceeded, reason::DEADLINE_EXCEEDED)
    );
    assert!(status.message().contains("request_timeout"), "{}", status.message());

    let status = call_with(&transport, "Sleep", with_timeout("60000", Duration::from_millis(20)))
        .await
        .expect_err("ours");
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    echo::eventually("both handlers are dropped", async || {
        cancelled.load(Ordering::SeqCst) == 2
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn a_stream_outlives_the_servers_limit_but_not_the_callers() {
    let config = ServerConfig {
        request_timeout: HumanDuration::from_millis(50),
        ..ServerConfig::default()
    };
    let server = Running::start(&config, |_| App::new().service(Echo::default())).await;
    let transport = server.transport();
    let mut stream = echo::watch(&transport, "Count", Request::new("15".into()))
        .await
        .expect("begins")
        .into_inner();
    let mut count = 0;
    while stream.message().await.expect("no limit on a stream").is_some() {
        count += 1;
    }
    assert_eq!(count, 15);

    let request = with_timeout("1000000", Duration::from_millis(150));
    let mut stream = echo::watch(&transport, "Count", request)
        .await
        .expect("begins")
        .into_inner();
    let status = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("ended without a status"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    server.stop().await;
}

#[tokio::test]
async fn what_is_too_much_is_turned_away_and_health_is_not() {
    let mut config = ServerConfig::default();
    (config.concurrency_limit, config.queue_limit) = (1, 1);
    let echo = Echo::default();
    let begun = echo.begun.clone();
    let server = Running::start(&config, |_| App::new().service(echo)).await;
    let transport = server.transport();
    let sleep = || {
        let transport = transport.clone();
        tokio::spawn(async move { call(&transport, "Sleep", "400").await })
    };
    let first = sleep();
    echo::eventually("the slot is taken", async || begun.load(Ordering::SeqCst) == 1).await;
    // One of these two finds a place in the queue, the other one does not.
    let (turned_away, waiting) = match futures::future::select(sleep(), sleep()).await {
        futures::future::Either::Left(pair) | futures::future::Either::Right(pair) => pair,
    };
    let status = turned_away.expect("no panic").expect_err("turned away");
    assert_eq!(
        (status.code(), reason_of(&status).as_str()),
        (Code::Unavailable, reason::OVERLOADED),
        "{status:?}"
    );
    assert!(
        status
            .get_error_details()
            .retry_info()
            .expect("RetryInfo")
            .retry_delay
            .is_some()
    );

    let health = HealthClient::new(transport.clone())
        .check(tonic_health::pb::HealthCheckRequest::default())
        .await;
    assert!(health.is_ok(), "health stays open: {health:?}");
    for waited in [first, waiting] {
        assert!(waited.await.expect("no panic").is_ok(), "who has a place is served");
    }
    assert!(
        call(&transport, "Unary", "").await.is_ok(),
        "and then there is room again"
    );
    server.stop().await;
}

#[tokio::test]
async fn open_streams_are_bounded_too() {
    let config = ServerConfig {
        open_calls_limit: 1,
        ..ServerConfig::default()
    };
    let server = Running::start(&config, |_| App::new().service(Echo::default())).await;
    let transport = server.transport();
    let stream = echo::watch(&transport, "Hang", Request::new(Bytes::new()))
        .await
        .expect("begins");
    let status = call(&transport, "Unary", "").await.expect_err("turned away");
    assert_eq!(
        (status.code(), reason_of(&status).as_str()),
        (Code::Unavailable, reason::OVERLOADED)
    );
    drop(stream);
    echo::eventually("its place is free again", async || {
        call(&transport, "Unary", "").await.is_ok()
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_its_call() {
    let echo = Echo::default();
    let (begun, cancelled) = (echo.begun.clone(), echo.cancelled.clone());
    let server = Running::echo(echo).await;
    let transport = server.transport();
    let waiting = tokio::spawn(async move { call(&transport, "Sleep", "60000").await });
    echo::eventually("the call begins", async || begun.load(Ordering::SeqCst) == 1).await;
    waiting.abort();
    echo::eventually("the handler is dropped", async || cancelled.load(Ordering::SeqCst) == 1).await;
    server.stop().await;
}
