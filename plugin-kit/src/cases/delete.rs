//! Forgetting runs.

use finepick_proto::trainer::v1 as pb;

use super::fields::first_of_watch;
use crate::case::{Case, Needs, case};
use crate::kit::Scope;
use crate::verdict::{Refusal, Verdict, ensure, equal, succeed};

pub(super) const CASES: &[Case] = &[
    case!(
        "delete.live",
        ["C-11.4"],
        Needs::Nothing,
        Shared,
        live,
        "A live run is not deleted."
    ),
    case!(
        "delete.ended",
        ["C-11.4"],
        Needs::Nothing,
        Shared,
        ended,
        "A deleted run is gone, for every call and in lists."
    ),
    case!(
        "delete.id_again",
        ["C-11.5"],
        Needs::Nothing,
        Shared,
        id_again,
        "A deleted id may be created anew, with another spec; numbers begin at 1."
    ),
];

async fn live(scope: &Scope) -> Verdict {
    let id = scope.start("live", &scope.long_spec()).await?.training_run_id;
    let refused = scope.delete(&id).await;
    Refusal::state(&id).check("C-11.4", "DeleteTrainingRun of a live run", refused)?;
    let run = succeed("C-11.4", "GetTrainingRun", scope.get(&id).await)?;
    ensure(
        "C-11.4",
        !crate::watch::has_ended(run.state()),
        "the run is live",
        run.state(),
    )
}

async fn ended(scope: &Scope) -> Verdict {
    let id = scope.start("ended", &scope.long_spec()).await?.training_run_id;
    super::cancel::cancel(scope, &id).await?;
    succeed("C-11.4", "DeleteTrainingRun of an ended run", scope.delete(&id).await)?;
    let gone = Refusal::not_found(&id);
    gone.check("C-11.4", "GetTrainingRun after delete", scope.get(&id).await)?;
    gone.check("C-11.4", "CancelTrainingRun after delete", scope.cancel(&id).await)?;
    gone.check(
        "C-11.4",
        "WatchTrainingRun after delete",
        first_of_watch(scope, &id, 0).await,
    )?;
    gone.check("C-11.4", "DeleteTrainingRun after delete", scope.delete(&id).await)?;
    let request = pb::ListTrainingRunsRequest {
        page_size: 1_000,
        ..pb::ListTrainingRunsRequest::default()
    };
    let page = succeed("C-11.4", "ListTrainingRuns", scope.list_training_runs(request).await)?;
    let listed = page.runs.iter().any(|run| run.training_run_id == id);
    ensure("C-11.4", !listed, "the deleted run is not listed", &id)
}

async fn id_again(scope: &Scope) -> Verdict {
    let id = scope.start("again", &scope.long_spec()).await?.training_run_id;
    super::cancel::cancel(scope, &id).await?;
    succeed("C-11.5", "DeleteTrainingRun of an ended run", scope.delete(&id).await)?;
    let mut spec = scope.spec();
    spec.seed += 1;
    let answer = scope.create_patiently(&id, &spec).await;
    succeed("C-11.5", "CreateTrainingRun of a deleted id with another spec", answer)?;
    let record = scope.watch_to_end(&id).await?;
    let first = record.events.first().map(|event| event.sequence);
    equal("C-11.5", "the first event's number", &Some(1), &first)?;
    equal(
        "C-11.5",
        "the new run's seed",
        &Some(spec.seed),
        &record.run.spec.map(|spec| spec.seed),
    )
}
