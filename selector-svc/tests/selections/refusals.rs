//! What goes wrong around a selector: its store, its missing store.

use finepick_proto::selector::v1 as wire;
use selector_svc::config::SelectorConfig;
use selector_svc::store::StoreError;
use selector_svc::store::memory::fault::{Effect, Fault, Moment, Operation};
use svc_kit::client::Transport;
use svc_kit::config::EndpointConfig;
use tonic::Code;
use tonic_types::StatusExt;

use crate::support::{Served, World, create, created, ended_one, get, spec, told};

fn always(operations: &[Operation], error: StoreError) -> Fault {
    Fault {
        operations: operations.to_vec(),
        nth: 1,
        times: u64::MAX,
        moment: Moment::Before,
        effect: Effect::Fail(error),
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_used_is_unavailable_and_then_it_goes_on() {
    let mut world = World::fast().await;
    let client = &mut world.client;
    let detail = "of the test".to_owned();
    for (operations, error) in [
        (&Operation::WRITES[..], StoreError::Full { detail: detail.clone() }),
        (&Operation::ALL[..], StoreError::Unavailable { detail }),
    ] {
        world.store.inject(always(operations, error));
        let status = client.create_selection(create("one", spec())).await.unwrap_err();
        assert_eq!(told(&status), (Code::Unavailable, "STORE_UNAVAILABLE".to_owned()));
        assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
        assert!(
            !status.message().contains("of the test"),
            "internal text stays in the log"
        );
        world.store.heal();
        assert_eq!(get(client, "one").await.unwrap_err().code(), Code::NotFound);
    }
    created(client, "one", spec()).await;
    assert_eq!(ended_one(client, "one").await.state(), wire::SelectionState::Succeeded);
    world.stop().await;
}

#[tokio::test]
async fn unknown_and_malformed_ids_are_told_apart_at_every_call() {
    let mut world = World::fast().await;
    let client = &mut world.client;
    for (id, code) in [
        ("none", Code::NotFound),
        ("a/b", Code::InvalidArgument),
        ("", Code::InvalidArgument),
    ] {
        let selection_id = id.to_owned();
        let codes = [
            get(client, id).await.unwrap_err().code(),
            client
                .delete_selection(wire::DeleteSelectionRequest {
                    selection_id: selection_id.clone(),
                })
                .await
                .unwrap_err()
                .code(),
            client
                .pause_selection(wire::PauseSelectionRequest {
                    selection_id: selection_id.clone(),
                })
                .await
                .unwrap_err()
                .code(),
            client
                .get_report(wire::GetReportRequest {
                    selection_id: selection_id.clone(),
                })
                .await
                .unwrap_err()
                .code(),
            client
                .list_trials(wire::ListTrialsRequest {
                    selection_id: selection_id.clone(),
                    ..wire::ListTrialsRequest::default()
                })
                .await
                .unwrap_err()
                .code(),
            client
                .clone_selection(wire::CloneSelectionRequest {
                    selection_id,
                    ..wire::CloneSelectionRequest::default()
                })
                .await
                .unwrap_err()
                .code(),
        ];
        assert_eq!(codes, [code; 6], "{id:?}");
    }
    world.stop().await;
}

#[tokio::test]
async fn without_a_store_a_selector_ranks_and_says_so() {
    let fitter = Transport::remote(&EndpointConfig::to("http://127.0.0.1:1")).unwrap();
    let config = SelectorConfig::default();
    let served = Served::start(|context| selector_svc::grpc::app(fitter, &config, context)).await;
    let status = served
        .client()
        .create_selection(create("one", spec()))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    served.stop().await;
}
