//! Answers about a thousand contenders: clients that take messages of 4 MiB, as they do by default, can take them all.

use std::sync::Arc;

use finepick_proto::selector::v1 as wire;
use finepick_proto::selector::v1::selection_event::Kind;
use prost::Message as _;
use selector_svc::store::Store;

use crate::crowd;
use crate::support::{Client, created, ended_one, get, memory, selector};

/// What tonic, gRPC C++, Java, Go and Python take by default.
const TAKEN: usize = 4 << 20;

fn ats() -> Option<wire::SelectionPolicy> {
    Some(wire::SelectionPolicy {
        kind: Some(wire::selection_policy::Kind::Ats(wire::AtsOnlinePolicy::default())),
    })
}

async fn pages_of_trials(client: &mut Client) -> usize {
    let mut request = wire::ListTrialsRequest {
        selection_id: "crowd".to_owned(),
        page_size: 1_000,
        page_token: String::new(),
    };
    let mut trials = 0;
    loop {
        let page = client.list_trials(request.clone()).await.unwrap().into_inner();
        assert!(page.encoded_len() < TAKEN, "{}", page.encoded_len());
        trials += page.trials.len();
        if page.next_page_token.is_empty() {
            return trials;
        }
        request.page_token = page.next_page_token;
    }
}

async fn pages_of_decisions(client: &mut Client) -> (usize, usize) {
    let mut request = wire::ListDecisionsRequest {
        selection_id: "crowd".to_owned(),
        page_size: 1_000,
        page_token: String::new(),
    };
    let (mut decisions, mut judged) = (0, 0);
    loop {
        let page = client.list_decisions(request.clone()).await.unwrap().into_inner();
        assert!(page.encoded_len() < TAKEN, "{}", page.encoded_len());
        decisions += page.decisions.len();
        judged += page.decisions.iter().map(|found| found.contenders.len()).sum::<usize>();
        if page.next_page_token.is_empty() {
            return (decisions, judged);
        }
        request.page_token = page.next_page_token;
    }
}

/// The certificate, its digest and in how many pieces it came.
async fn certificate(client: &mut Client) -> (String, String, usize) {
    let mut request = wire::GetCertificateRequest {
        selection_id: "crowd".to_owned(),
        page_token: String::new(),
    };
    let (mut json, mut pieces) = (String::new(), 0);
    loop {
        let piece = client.get_certificate(request.clone()).await.unwrap().into_inner();
        assert!(piece.encoded_len() < TAKEN, "{}", piece.encoded_len());
        json.push_str(&piece.json);
        pieces += 1;
        if piece.next_page_token.is_empty() {
            return (json, piece.digest, pieces);
        }
        request.page_token = piece.next_page_token;
    }
}

/// Every message of a watch, and what the largest of them says.
async fn watched(client: &mut Client) -> (usize, usize) {
    let request = wire::WatchSelectionRequest {
        selection_id: "crowd".to_owned(),
        ..wire::WatchSelectionRequest::default()
    };
    let mut events = client.watch_selection(request).await.unwrap().into_inner();
    let (mut count, mut largest) = (0, 0);
    while let Some(message) = events.message().await.unwrap() {
        if count == 0 {
            let Some(Kind::Changed(first)) = message.event.as_ref().and_then(|event| event.kind.as_ref()) else {
                panic!("{message:?}")
            };
            let first = first.selection.as_ref().unwrap();
            assert_eq!(first.omitted, ["spec.candidates.candidate.attributes"]);
            assert_eq!(first.spec.as_ref().unwrap().candidates.len(), 1_000);
        }
        count += 1;
        largest = largest.max(message.encoded_len());
    }
    (count, largest)
}

#[tokio::test]
async fn a_thousand_contenders_with_long_names_are_told_within_4_mebibytes() {
    let store = memory();
    let selector = selector(Arc::clone(&store) as Arc<dyn Store>, None).await;
    let client = &mut selector.client();
    // What is asked for is larger by itself than what a client takes.
    let asked = wire::SelectionSpec {
        policy: ats(),
        data_size_full: Some(65_536),
        ..crowd::spec(1_000, 1_800, 2_100)
    };
    assert!(asked.encoded_len() > TAKEN, "{}", asked.encoded_len());
    let first = created(client, "crowd", asked).await;
    assert!(first.encoded_len() < TAKEN, "{}", first.encoded_len());
    crowd::work(&store, "crowd").await;
    let found = ended_one(client, "crowd").await;
    assert_eq!(found.state(), wire::SelectionState::Succeeded, "{}", found.detail);
    assert!(found.encoded_len() < TAKEN && found.contenders.len() == 1_000);
    assert!(
        found
            .omitted
            .contains(&"spec.candidates.candidate.attributes".to_owned())
    );

    let trials = pages_of_trials(client).await;
    let (decisions, judged) = pages_of_decisions(client).await;
    assert_eq!(decisions, usize::try_from(found.rounds).unwrap());
    assert!(trials > 3_500 && judged > 3 * 900, "{trials} trials, {judged} judged");

    let selection_id = "crowd".to_owned();
    let report = client.get_report(wire::GetReportRequest { selection_id });
    let report = report.await.unwrap().into_inner().report.unwrap();
    eprintln!(
        "{trials} trials, {decisions} decisions, a report of {} bytes",
        report.encoded_len()
    );
    assert!(report.encoded_len() < TAKEN, "{}", report.encoded_len());
    assert_eq!((report.contenders.len(), report.excluded.len()), (950, 50));
    assert_eq!(report.decisions.len(), decisions);
    assert_eq!(report.omitted, ["estimate.contenders", "decisions.contenders"]);

    let (messages, largest) = watched(client).await;
    assert!(
        messages > trials && largest < TAKEN,
        "{messages} messages, {largest} bytes"
    );

    let (json, digest, pieces) = certificate(client).await;
    assert_eq!(selector_svc::certificate::digest(&json), digest);
    assert!(pieces > 1);
    eprintln!(
        "{trials} trials, {judged} judged, a certificate of {} bytes in {pieces} pieces",
        json.len()
    );
    let question = wire::VerifyCertificateRequest { json, digest };
    let verified = client.verify_certificate(question).await.unwrap().into_inner();
    assert_eq!((verified.valid, verified.differences), (true, Vec::new()));

    let what_if = wire::CloneSelectionRequest {
        selection_id: "crowd".to_owned(),
        policy: Some(wire::SelectionPolicy {
            kind: Some(wire::selection_policy::Kind::Halving(wire::HalvingPolicy::default())),
        }),
        ..wire::CloneSelectionRequest::default()
    };
    let answer = client.clone_selection(what_if).await.unwrap().into_inner();
    assert!(answer.encoded_len() < TAKEN, "{}", answer.encoded_len());
    let same = get(client, "crowd").await.unwrap();
    assert_eq!(same, found);
    selector.stop().await;
}

#[tokio::test]
async fn a_place_in_another_certificate_is_refused() {
    let mut world = crate::support::World::fast().await;
    let client = &mut world.client;
    created(client, "one", crate::support::spec()).await;
    ended_one(client, "one").await;
    for place in [(7, "two"), (-1, "one"), (i64::MAX, "one")] {
        let request = wire::GetCertificateRequest {
            selection_id: "one".to_owned(),
            page_token: selector_svc::desk::token::write(&(place.0, place.1.to_owned())),
        };
        let status = client.get_certificate(request).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        assert_eq!(crate::support::fields(&status), ["page_token"]);
    }
    world.stop().await;
}
