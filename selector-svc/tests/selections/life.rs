//! A selection from its creation to its certificate.

use finepick_proto::selector::v1 as wire;
use tonic::Code;

use crate::support::{FULL, World, created, ended_one, fraction, get, spec, told};

#[tokio::test]
async fn a_selection_is_driven_to_its_choice_and_can_be_recomputed() {
    let mut world = World::fast().await;
    let client = &mut world.client;
    let new = created(client, "first", spec()).await;
    assert_eq!((new.selection_id.as_str(), new.last_sequence >= 1), ("first", true));
    assert_eq!(new.contenders.len(), 4);

    let found = ended_one(client, "first").await;
    assert_eq!(found.state(), wire::SelectionState::Succeeded, "{found:#?}");
    let choice = found.choice.clone().unwrap();
    assert_eq!(
        (choice.candidate_id.as_str(), choice.method_id.as_str()),
        ("steep", "full")
    );
    assert!(choice.predicted_loss.unwrap() > 0.9);
    assert_eq!(found.data_size_full, Some(FULL));
    let (budget, spent) = (found.budget.clone().unwrap(), found.spent.clone().unwrap());
    assert!(
        spent.examples > 0 && spent.examples <= budget.examples,
        "{spent:?} of {budget:?}"
    );
    assert_eq!(found.reserved.clone().unwrap().examples, 0);
    assert_eq!(found.wait_reason(), wire::SelectionWaitReason::Unspecified);
    let chosen: Vec<&str> = found
        .contenders
        .iter()
        .filter(|contender| contender.state() == wire::ContenderState::Chosen)
        .map(|contender| contender.candidate_id.as_str())
        .collect();
    assert_eq!(chosen, ["steep"]);
    assert!(
        found
            .contenders
            .iter()
            .all(|contender| !contender.observations.is_empty())
    );

    trials_and_decisions_agree(client, &found).await;
    report_and_certificate_agree(client, &found).await;

    let selection_id = "first".to_owned();
    client
        .delete_selection(wire::DeleteSelectionRequest { selection_id })
        .await
        .unwrap();
    let status = get(client, "first").await.unwrap_err();
    assert_eq!(told(&status), (Code::NotFound, "SELECTION_NOT_FOUND".to_owned()));
    world.stop().await;
}

async fn trials_and_decisions_agree(client: &mut crate::support::Client, found: &wire::Selection) {
    let mut request = wire::ListTrialsRequest {
        selection_id: found.selection_id.clone(),
        page_size: 3,
        page_token: String::new(),
    };
    let mut trials = Vec::new();
    loop {
        let page = client.list_trials(request.clone()).await.unwrap().into_inner();
        assert!(page.trials.len() <= 3);
        trials.extend(page.trials);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let examples: i64 = trials.iter().map(|trial| trial.data_size).sum();
    assert_eq!(
        examples,
        found.spent.clone().unwrap().examples,
        "each run was paid once"
    );
    for trial in &trials {
        assert_eq!(trial.state(), wire::TrialState::Observed);
        let [attempt] = trial.attempts.as_slice() else {
            panic!("{trial:#?}")
        };
        assert_eq!(
            (attempt.trainer.as_str(), attempt.outcome()),
            ("sim", wire::AttemptOutcome::Observed)
        );
        assert!(
            attempt.training_run_id.starts_with("first."),
            "{}",
            attempt.training_run_id
        );
        assert!(trial.model_digest.starts_with("sim:"), "{}", trial.model_digest);
    }
    // A token belongs to its list.
    let status = client
        .list_decisions(wire::ListDecisionsRequest {
            selection_id: found.selection_id.clone(),
            page_size: 0,
            page_token: "made up".to_owned(),
        })
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let decisions = client
        .list_decisions(wire::ListDecisionsRequest {
            selection_id: found.selection_id.clone(),
            ..wire::ListDecisionsRequest::default()
        })
        .await
        .unwrap()
        .into_inner()
        .decisions;
    assert_eq!(decisions.len(), usize::try_from(found.rounds).unwrap());
    let last = decisions.last().unwrap();
    assert_eq!(last.contenders.first().unwrap().candidate_id, "steep");
    assert!(!last.explanation.is_empty() && last.next_data_sizes.is_empty());
}

async fn report_and_certificate_agree(client: &mut crate::support::Client, found: &wire::Selection) {
    let selection_id = found.selection_id.clone();
    let report = client.get_report(wire::GetReportRequest {
        selection_id: selection_id.clone(),
    });
    let report = report.await.unwrap().into_inner().report.unwrap();
    assert_eq!(report.choice, found.choice);
    assert_eq!(report.contenders.first().unwrap().candidate_id, "steep");
    assert_eq!(report.spent, found.spent);
    assert!(report.spent_share > 0.0 && report.spent_share <= 0.5);
    assert!(report.estimate.is_some() && report.accuracy.is_some() && report.elapsed.is_some());

    let certificate = client.get_certificate(wire::GetCertificateRequest {
        selection_id,
        ..wire::GetCertificateRequest::default()
    });
    let certificate = certificate.await.unwrap().into_inner();
    assert!(certificate.digest.starts_with("sha256:"));
    let check = |json: String, digest: String| wire::VerifyCertificateRequest { json, digest };
    let verified = client
        .verify_certificate(check(certificate.json.clone(), certificate.digest.clone()))
        .await
        .unwrap()
        .into_inner();
    assert!(verified.valid, "{:?}", verified.differences);
    assert_eq!(verified.choice.unwrap().candidate_id, "steep");
    let forged = certificate.json.replace("steep", "cheap");
    let verified = client.verify_certificate(check(forged, certificate.digest)).await;
    let verified = verified.unwrap().into_inner();
    assert!(!verified.valid && !verified.differences.is_empty());
}

#[tokio::test]
async fn what_if_decides_anew_from_the_recorded_losses() {
    let mut world = World::fast().await;
    let client = &mut world.client;
    created(client, "one", spec()).await;
    let found = ended_one(client, "one").await;
    let same = wire::CloneSelectionRequest {
        selection_id: "one".to_owned(),
        ..wire::CloneSelectionRequest::default()
    };
    let answer = client.clone_selection(same.clone()).await.unwrap().into_inner();
    assert_eq!(answer.missing, []);
    assert_eq!(answer.report.unwrap().choice.unwrap().candidate_id, "steep");

    let without = wire::CloneSelectionRequest {
        constraints: Some(wire::Constraints {
            exclude_families: vec!["STEEP".to_owned()],
            ..wire::Constraints::default()
        }),
        ..same.clone()
    };
    let answer = client
        .clone_selection(without)
        .await
        .unwrap()
        .into_inner()
        .report
        .unwrap();
    assert_eq!(answer.choice.unwrap().candidate_id, "middling");
    let steep = answer.excluded.iter().find(|found| found.candidate_id == "steep");
    assert_eq!(steep.unwrap().reason(), wire::ExclusionReason::Family);

    let more = wire::CloneSelectionRequest {
        budget: fraction(1.0),
        policy: Some(wire::SelectionPolicy {
            kind: Some(wire::selection_policy::Kind::Exhaustive(wire::ExhaustivePolicy {})),
        }),
        ..same
    };
    let answer = client.clone_selection(more).await.unwrap().into_inner();
    assert!(
        answer.missing.iter().all(|run| run.data_size == FULL),
        "{:?}",
        answer.missing
    );
    assert!(!answer.missing.is_empty());
    // Nothing was trained for any of this.
    assert_eq!(get(client, "one").await.unwrap().spent, found.spent);
    world.stop().await;
}
