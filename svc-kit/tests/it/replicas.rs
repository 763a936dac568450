//! Replicas that die and return, over real sockets.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use svc_kit::client::{AFFINITY_KEY, Retry, Transport, retry_delay};
use svc_kit::config::{EndpointConfig, ServerConfig};
use svc_kit::server::App;
use svc_kit::status::reason;
use tonic::{Code, Request};
use tonic_types::StatusExt;

use crate::echo::{self, Echo, Running, call, call_with, eventually};

/// Three servers, what each has counted, and a transport over them.
async fn three() -> (Vec<Option<Running>>, Vec<Echo>, Transport) {
    let mut servers = Vec::new();
    let mut echoes = Vec::new();
    for _ in 0..3 {
        let echo = Echo::default();
        servers.push(Some(Running::echo(echo.clone()).await));
        echoes.push(echo);
    }
    let endpoints: Vec<_> = servers
        .iter()
        .flatten()
        .map(|server| EndpointConfig::to(server.url()))
        .collect();
    let transport = Transport::replicas(&endpoints).expect("URLs");
    (servers, echoes, transport)
}

fn begun(echo: &Echo) -> usize {
    echo.begun.load(Ordering::SeqCst)
}

async fn again_on(address: std::net::SocketAddr, echo: &Echo) -> Running {
    let config = ServerConfig {
        listen: address,
        ..ServerConfig::default()
    };
    Running::start(&config, |_| App::new().service(echo.clone())).await
}

#[tokio::test]
async fn no_call_is_lost_to_replicas_that_die_and_return() {
    let (mut servers, echoes, transport) = three().await;
    for _ in 0..30 {
        call(&transport, "Sleep", "0").await.expect("three are there");
    }
    assert!(echoes.iter().all(|echo| begun(echo) > 0), "all take part");

    // One after the other goes, then comes back.
    for index in 0..3 {
        let server = servers[index].take().expect("it runs");
        let address = server.address;
        server.stop().await;
        let before = begun(&echoes[index]);
        for _ in 0..100 {
            call(&transport, "Sleep", "0").await.expect("two are there");
        }
        assert_eq!(begun(&echoes[index]), before, "it is gone");
        servers[index] = Some(again_on(address, &echoes[index]).await);
        eventually("the replica takes part again", async || {
            call(&transport, "Sleep", "0").await.expect("two or three are there");
            begun(&echoes[index]) > before
        })
        .await;
    }
}

#[tokio::test]
async fn without_a_replica_calls_are_unavailable_until_one_returns() {
    let (mut servers, echoes, transport) = three().await;
    let address = servers[1].as_ref().expect("it runs").address;
    for server in servers.iter_mut().filter_map(Option::take) {
        server.stop().await;
    }
    let status = call(&transport, "Unary", "").await.expect_err("nobody is there");
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(
        status.get_error_details().error_info().expect("ErrorInfo").reason,
        reason::BACKEND_UNAVAILABLE
    );
    assert!(retry_delay(&status).is_some());

    // A call that is tried again outlives the gap.
    let waiting = {
        let transport = transport.clone();
        tokio::spawn(async move { Retry::default().run(None, || call(&transport, "Unary", "hello")).await })
    };
    servers[1] = Some(again_on(address, &echoes[1]).await);
    assert_eq!(
        waiting.await.expect("no panic").expect("answered").into_inner(),
        "hello"
    );
}

#[tokio::test]
async fn a_large_request_reaches_the_replica_that_is_left() {
    let (mut servers, _echoes, transport) = three().await;
    for server in servers.iter_mut().take(2).filter_map(Option::take) {
        server.stop().await;
    }
    // Never connected before: whoever is tried first, the message arrives whole.
    let large = Bytes::from(vec![7_u8; 5 << 20]);
    for _ in 0..5 {
        let answer = call(&transport, "Unary", large.clone()).await.expect("one is there");
        assert!(answer.get_ref() == &large);
    }
}

#[tokio::test]
async fn calls_with_a_key_wait_for_their_replica() {
    let (mut servers, echoes, transport) = three().await;
    let keyed = || {
        let mut request = Request::new(Bytes::from_static(b"0"));
        request
            .metadata_mut()
            .insert(AFFINITY_KEY, "run-1".parse().expect("ascii"));
        request
    };
    for _ in 0..20 {
        call_with(&transport, "Sleep", keyed()).await.expect("answered");
    }
    let home = echoes
        .iter()
        .position(|echo| begun(echo) == 20)
        .expect("one has them all");
    let finds = || (transport.reaches(Some("run-1")), transport.reaches(None));
    assert_eq!(finds(), (Some(true), Some(true)));
    let server = servers[home].take().expect("it runs");
    let address = server.address;
    server.stop().await;
    for _ in 0..5 {
        let status = call_with(&transport, "Sleep", keyed())
            .await
            .expect_err("its replica is away");
        assert_eq!(status.code(), Code::Unavailable);
        assert!(retry_delay(&status).is_some());
    }
    call(&transport, "Sleep", "0").await.expect("others go elsewhere");
    assert_eq!(finds(), (Some(false), Some(true)), "known without asking");
    let others = (0..20).map(|n| format!("run-1-{n}"));
    assert!(
        others
            .into_iter()
            .any(|key| transport.reaches(Some(&key)) == Some(true))
    );
    let back = again_on(address, &echoes[home]).await;
    eventually("the key's replica answers again", async || {
        call_with(&transport, "Sleep", keyed()).await.is_ok()
    })
    .await;
    assert_eq!(begun(&echoes[home]), 21);
    assert_eq!(finds(), (Some(true), Some(true)));
    assert_eq!(back.transport().reaches(None), None, "of one process nothing is known");
    drop(back);
}

#[tokio::test]
async fn streams_are_spread_and_a_broken_one_is_unavailable() {
    let (mut servers, echoes, transport) = three().await;
    let mut streams = Vec::new();
    for _ in 0..30 {
        let stream = echo::watch(&transport, "Hang", Request::new(Bytes::new()))
            .await
            .expect("begins");
        streams.push(stream.into_inner());
    }
    // Streams are counted where they are given up.
    drop(streams);
    eventually("all are given up", async || {
        echoes
            .iter()
            .map(|echo| echo.cancelled.load(Ordering::SeqCst))
            .sum::<usize>()
            == 30
    })
    .await;
    let spread: Vec<_> = echoes
        .iter()
        .map(|echo| echo.cancelled.load(Ordering::SeqCst))
        .collect();
    assert!(spread.iter().all(|count| (8..=12).contains(count)), "{spread:?}");
    servers.clear();
}
