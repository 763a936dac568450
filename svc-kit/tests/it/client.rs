//! Channels: backends that come and go, and what a call takes along.

use std::time::Duration;

use bytes::Bytes;
use svc_kit::client::Transport;
use svc_kit::config::{EndpointConfig, ServerConfig};
use svc_kit::server::App;
use svc_kit::status::reason;
use tonic::{Code, Request};
use tonic_types::StatusExt;

use crate::echo::{self, Echo, Running, call, call_with};

#[tokio::test]
async fn a_backend_may_come_late_and_come_again() {
    let mut config = ServerConfig::default();
    let first = Running::start(&config, |_| App::new().service(Echo::default())).await;
    config.listen = first.address;
    let transport = first.transport();
    assert!(call(&transport, "Unary", "").await.is_ok());
    first.stop().await;

    let status = call(&transport, "Unary", "").await.expect_err("nobody is there");
    let details = status.get_error_details();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(
        details.error_info().expect("ErrorInfo").reason,
        reason::BACKEND_UNAVAILABLE
    );
    assert!(details.retry_info().is_some());

    let second = Running::start(&config, |_| App::new().service(Echo::default())).await;
    assert!(
        call(&transport, "Unary", "").await.is_ok(),
        "the same transport reaches the new process"
    );
    second.stop().await;
}

#[tokio::test]
async fn a_connection_that_breaks_mid_stream_is_unavailable() {
    // A proxy that cuts every connection when told to: nothing of the server's own ordered shutdown is seen.
    let server = Running::echo(Echo::default()).await;
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = socket.local_addr().expect("bound");
    let backend = server.address;
    let (cut, cutting) = tokio::sync::watch::channel(false);
    let proxy = tokio::spawn(async move {
        let (mut near, _) = socket.accept().await.expect("a client");
        let mut far = tokio::net::TcpStream::connect(backend).await.expect("the backend");
        let mut cutting = cutting;
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
            _ = cutting.wait_for(|cut| *cut) => {}
        }
    });
    let transport = Transport::remote(&EndpointConfig::to(format!("http://{address}"))).expect("URL");
    let mut stream = echo::watch(&transport, "Hang", Request::new(Bytes::new()))
        .await
        .expect("begins")
        .into_inner();
    assert!(stream.message().await.expect("first").is_some());
    cut.send(true).expect("the proxy listens");
    proxy.await.expect("ended");
    let status = stream.message().await.expect_err("broken");
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(
        status.get_error_details().error_info().expect("ErrorInfo").reason,
        reason::BACKEND_UNAVAILABLE
    );
    server.stop().await;
}

#[tokio::test]
async fn a_call_takes_its_id_deadline_and_trace_along() {
    let backend = Running::echo(Echo::default()).await;
    let front = Running::echo(Echo {
        next: Some(backend.transport()),
        ..Echo::default()
    })
    .await;
    let mut request = Request::new(Bytes::new());
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    request
        .metadata_mut()
        .insert("x-request-id", "along".parse().expect("ascii"));
    request
        .metadata_mut()
        .insert("traceparent", trace.parse().expect("ascii"));
    request
        .metadata_mut()
        .insert("tracestate", "vendor=1".parse().expect("ascii"));
    request.set_timeout(Duration::from_secs(30));
    let answer = call_with(&front.transport(), "Relay", request).await.expect("relayed");
    let text = String::from_utf8(answer.get_ref().to_vec()).expect("text");
    let header = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(&format!("{name}: ")))
            .unwrap_or_else(|| panic!("{name} in {text}"))
    };
    assert_eq!(header("x-request-id"), "along");
    // Nothing is exported here, so the caller's context is handed on as it is.
    assert_eq!(header("traceparent"), trace);
    assert_eq!(header("tracestate"), "vendor=1");
    let left = svc_kit::limits::parse_timeout(header("grpc-timeout")).expect("a timeout");
    assert!(
        left <= Duration::from_secs(30) && left > Duration::from_secs(10),
        "{left:?}"
    );
    front.stop().await;
    backend.stop().await;
}

#[tokio::test]
async fn an_address_where_nobody_answers_fails_in_time() {
    let mut config = EndpointConfig::to("http://127.0.0.1:1");
    config.connect_timeout = svc_kit::config::HumanDuration::from_millis(200);
    let transport = Transport::remote(&config).expect("URL");
    assert_eq!(
        call(&transport, "Unary", "").await.expect_err("refused").code(),
        Code::Unavailable
    );
}
