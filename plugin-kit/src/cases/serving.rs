//! Health and reflection.

use std::collections::BTreeSet;

use futures::{StreamExt as _, stream};
use prost::Message as _;
use prost_types::FileDescriptorProto;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{FileDescriptorResponse, ServerReflectionRequest, ServerReflectionResponse};

use crate::case::{Case, Needs, case};
use crate::kit::Scope;
use crate::verdict::{Verdict, describe, ensure, equal, fail, succeed};

pub(super) const CASES: &[Case] = &[
    case!(
        "serving.health",
        ["C-15.1"],
        Needs::Nothing,
        Shared,
        health,
        "Health is SERVING for the process and for the service, NOT_FOUND for others."
    ),
    case!(
        "serving.reflection",
        ["C-15.2"],
        Needs::Nothing,
        Shared,
        reflection,
        "Reflection lists the service and gives all its calls."
    ),
];

/// The service's full name.
const SERVICE: &str = "finepick.trainer.v1.TrainerService";

async fn health(scope: &Scope) -> Verdict {
    let mut client = HealthClient::new(scope.channel.clone());
    for service in ["", SERVICE] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = succeed(
            "C-15.1",
            &format!("Health/Check of {service:?}"),
            client.check(request).await,
        )?;
        equal(
            "C-15.1",
            &format!("health of {service:?}"),
            &ServingStatus::Serving,
            &answer.into_inner().status(),
        )?;
    }
    let request = HealthCheckRequest {
        service: "no.such.Service".to_owned(),
    };
    match client.check(request).await {
        Err(status) if status.code() == Code::NotFound => Ok(()),
        Err(status) => fail(
            "C-15.1",
            "Health/Check of an unknown service: NOT_FOUND",
            describe(&status),
        ),
        Ok(answer) => fail(
            "C-15.1",
            "Health/Check of an unknown service: NOT_FOUND",
            format!("{:?}", answer.get_ref()),
        ),
    }
}

/// One question, one answer; by `v1` of the protocol, or by `v1alpha`, which says the same on the wire.
async fn ask(scope: &Scope, question: MessageRequest) -> Verdict<Option<MessageResponse>> {
    let mut refused = None;
    for version in ["v1", "v1alpha"] {
        match ask_by(scope, version, question.clone()).await {
            Err(status) if status.code() == Code::Unimplemented => refused = Some(status),
            answer => return succeed("C-15.2", "ServerReflectionInfo", answer),
        }
    }
    let got = refused.as_ref().map(describe).unwrap_or_default();
    fail("C-15.2", "grpc.reflection.v1 or v1alpha is served", got)
}

async fn ask_by(scope: &Scope, version: &str, question: MessageRequest) -> Result<Option<MessageResponse>, Status> {
    let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
    let path = path.parse().map_err(|_| Status::internal("no path"))?;
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(question),
    };
    let mut client = tonic::client::Grpc::new(scope.channel.clone());
    let ready = client.ready().await;
    ready.map_err(|error| Status::unavailable(error.to_string()))?;
    let questions = tonic::Request::new(stream::iter([request]).chain(stream::pending()));
    let codec = tonic_prost::ProstCodec::<_, ServerReflectionResponse>::default();
    let answers = client.streaming(questions, path, codec).await?;
    let answer = answers.into_inner().message().await?;
    Ok(answer.and_then(|answer| answer.message_response))
}

async fn reflection(scope: &Scope) -> Verdict {
    let names = match ask(scope, MessageRequest::ListServices(String::new())).await? {
        Some(MessageResponse::ListServicesResponse(list)) => list.service.into_iter().map(|one| one.name).collect(),
        _ => Vec::new(),
    };
    ensure(
        "C-15.2",
        names.iter().any(|name| name == SERVICE),
        format!("{SERVICE} is listed"),
        &names,
    )?;
    let file = ask(scope, MessageRequest::FileContainingSymbol(SERVICE.to_owned())).await?;
    let Some(MessageResponse::FileDescriptorResponse(FileDescriptorResponse { file_descriptor_proto })) = file else {
        return fail("C-15.2", format!("the file of {SERVICE}"), format!("{file:?}"));
    };
    let served: BTreeSet<String> = file_descriptor_proto
        .iter()
        .filter_map(|bytes| FileDescriptorProto::decode(bytes.as_slice()).ok())
        .flat_map(methods)
        .collect();
    let contract = prost_types::FileDescriptorSet::decode(finepick_proto::FILE_DESCRIPTOR_SET).unwrap_or_default();
    let expected: BTreeSet<String> = contract.file.into_iter().flat_map(methods).collect();
    let missing: Vec<_> = expected.difference(&served).collect();
    ensure(
        "C-15.2",
        missing.is_empty(),
        "all calls of the contract",
        format!("without {missing:?}"),
    )
}

/// Names of the calls of the trainer service in a file.
fn methods(file: FileDescriptorProto) -> Vec<String> {
    if file.package() != "finepick.trainer.v1" {
        return Vec::new();
    }
    let services = file
        .service
        .into_iter()
        .filter(|service| service.name() == "TrainerService");
    services
        .flat_map(|service| service.method)
        .map(|method| method.name().to_owned())
        .collect()
}
