//! Health of the gateway and of what is behind it; reflection.

use futures::StreamExt;
use gateway::Gateway;
use svc_kit::config::ServerConfig;
use svc_kit::server::App;
use tonic::Code;
use tonic::codec::Streaming;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::echo::{self, Echo, Running};
use crate::gateway_to;

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

async fn next(watch: &mut Streaming<HealthCheckResponse>) -> Option<ServingStatus> {
    let next = tokio::time::timeout(std::time::Duration::from_secs(10), watch.message()).await;
    next.expect("in time")
        .expect("no error")
        .map(|response| response.status())
}

#[tokio::test]
async fn health_follows_the_backend_as_it_comes_and_goes() {
    let mut config = ServerConfig::default();
    let backend = Running::start(&config, |_| App::new().service(Echo::default())).await;
    config.listen = backend.address;
    let gateway = gateway_to(&backend.url()).await;
    let mut health = HealthClient::new(gateway.transport());
    let mut watch = health.watch(of(echo::NAME)).await.expect("a watch").into_inner();
    let mut own = health.watch(of("")).await.expect("a watch").into_inner();
    assert_eq!(next(&mut watch).await, Some(ServingStatus::Serving));
    assert_eq!(next(&mut own).await, Some(ServingStatus::Serving));

    backend.setting.health.set(echo::NAME, false);
    assert_eq!(next(&mut watch).await, Some(ServingStatus::NotServing));
    backend.setting.health.set(echo::NAME, true);
    assert_eq!(next(&mut watch).await, Some(ServingStatus::Serving));

    backend.stop().await;
    assert_eq!(next(&mut watch).await, Some(ServingStatus::NotServing));
    let check = health.check(of(echo::NAME)).await.expect("an answer").into_inner();
    assert_eq!(check.status(), ServingStatus::NotServing);
    assert_eq!(
        health.check(of("")).await.expect("an answer").into_inner().status(),
        ServingStatus::Serving
    );

    let backend = Running::start(&config, |_| App::new().service(Echo::default())).await;
    assert_eq!(next(&mut watch).await, Some(ServingStatus::Serving));
    assert_eq!(
        health
            .check(of(echo::NAME))
            .await
            .expect("an answer")
            .into_inner()
            .status(),
        ServingStatus::Serving
    );

    gateway.setting.shutdown.trigger();
    for watch in [&mut watch, &mut own] {
        assert_eq!(next(watch).await, Some(ServingStatus::NotServing), "the gateway drains");
        assert_eq!(next(watch).await, None);
    }
    gateway.stop().await;
    backend.stop().await;
}

#[tokio::test]
async fn a_backend_that_was_never_there_and_a_service_nobody_knows() {
    let gateway = gateway_to("http://127.0.0.1:1").await;
    let mut health = HealthClient::new(gateway.transport());
    let check = health.check(of(echo::NAME)).await.expect("an answer").into_inner();
    assert_eq!(check.status(), ServingStatus::NotServing);
    assert_eq!(
        health.check(of("no.Such")).await.expect_err("unknown").code(),
        Code::NotFound
    );
    let mut watch = health.watch(of("no.Such")).await.expect("a watch").into_inner();
    assert_eq!(next(&mut watch).await, Some(ServingStatus::ServiceUnknown));
    gateway.stop().await;
}

#[tokio::test]
async fn a_backend_without_a_health_service_counts_as_serving_while_it_answers() {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = socket.local_addr().expect("bound");
    let bare = tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(Echo::default())
            .serve_with_incoming(tonic::transport::server::TcpIncoming::from(socket)),
    );
    let gateway = gateway_to(&format!("http://{address}")).await;
    let mut health = HealthClient::new(gateway.transport());
    let check = health.check(of(echo::NAME)).await.expect("an answer").into_inner();
    assert_eq!(check.status(), ServingStatus::Serving);
    let mut watch = health.watch(of(echo::NAME)).await.expect("a watch").into_inner();
    assert_eq!(next(&mut watch).await, Some(ServingStatus::Serving));
    bare.abort();
    gateway.stop().await;
}

#[tokio::test]
async fn reflection_lists_what_is_routed_and_knows_its_files() {
    let routed = "finepick.fitter.v1.FitterService";
    let gateway = Running::start(&ServerConfig::default(), |context| {
        let transport = svc_kit::client::Transport::remote(&svc_kit::config::EndpointConfig::to("http://127.0.0.1:1"))
            .expect("URL");
        let gateway = Gateway::new().remote(routed, transport).expect("one route");
        gateway.into_app(finepick_proto::FILE_DESCRIPTOR_SET, context)
    })
    .await;
    let ask = |request| tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(request),
    };
    let requests = futures::stream::iter([
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol(routed.to_owned())),
        ask(MessageRequest::FileContainingSymbol("grpc.health.v1.Health".to_owned())),
    ]);
    let mut client = ServerReflectionClient::new(gateway.transport());
    let answers: Vec<_> = client
        .server_reflection_info(requests)
        .await
        .expect("a stream")
        .into_inner()
        .map(|answer| answer.expect("an answer").message_response)
        .collect()
        .await;
    let Some(MessageResponse::ListServicesResponse(list)) = &answers[0] else {
        panic!("{answers:?}")
    };
    let mut names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [routed, "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"]
    );
    for answer in &answers[1..] {
        assert!(
            matches!(answer, Some(MessageResponse::FileDescriptorResponse(_))),
            "{answer:?}"
        );
    }
    gateway.stop().await;
}
