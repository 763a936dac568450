//! Calls that are given up.

use std::time::Duration;

use finepick_proto::trainer::v1 as pb;
use finepick_proto::trainer::v1::TrainingRunState as State;
use futures::future::join_all;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::Request;

use crate::case::{Case, Needs, case};
use crate::kit::Scope;
use crate::verdict::{Verdict, ensure, equal, fail, succeed};
use crate::watch::has_ended;

pub(super) const CASES: &[Case] = &[
    case!(
        "deadlines.lost_create",
        ["C-14.3"],
        Needs::Nothing,
        Shared,
        lost_create,
        "A create whose answer was lost is repeated and finds its run."
    ),
    case!(
        "deadlines.watch",
        ["C-14.3"],
        Needs::Nothing,
        Shared,
        watch,
        "A watch with a deadline ends at it; the run goes on."
    ),
    case!(
        "deadlines.abandoned",
        ["C-6.8", "C-14.3", "C-14.4"],
        Needs::Nothing,
        Shared,
        abandoned,
        "200 calls and watches that are abandoned leave the trainer well and the run alive."
    ),
];

async fn lost_create(scope: &Scope) -> Verdict {
    let (id, spec) = (scope.new_id("lost"), scope.spec());
    for micros in [50, 200, 500, 1_000, 2_000, 5_000] {
        // Whether the trainer has heard of it by then is open.
        let _ = timeout(Duration::from_micros(micros), scope.create(&id, &spec)).await;
    }
    let answer = scope.create_patiently(&id, &spec).await;
    let run = succeed("C-14.3", "CreateTrainingRun after answers that were lost", answer)?;
    equal("C-14.3", "the id", &id, &run.training_run_id)?;
    let record = scope.watch_to_end(&id).await?;
    equal("C-14.3", "the state", &State::Succeeded, &record.run.state())
}

async fn watch(scope: &Scope) -> Verdict {
    let id = scope.start("deadline", &scope.long_spec()).await?.training_run_id;
    let mut request = Request::new(pb::WatchTrainingRunRequest {
        training_run_id: id.clone(),
        after_sequence: 0,
    });
    let deadline = Duration::from_millis(500);
    request.set_timeout(deadline);
    let until = Instant::now() + deadline + scope.options.call_timeout;
    // Our own side must not end it: the deadline travels to the trainer, and the trainer gives up.
    let mut stream = match timeout_at(until, scope.stub().watch_training_run(request)).await {
        Ok(Ok(answer)) => answer.into_inner(),
        Ok(Err(status)) if status.code() == tonic::Code::DeadlineExceeded => return alive(scope, &id).await,
        Ok(Err(status)) => return succeed("C-14.3", "WatchTrainingRun with a deadline", Err(status)),
        Err(_) => return fail("C-14.3", "the watch ends at its deadline", "it does not"),
    };
    loop {
        match timeout_at(until, stream.message()).await {
            Ok(Ok(Some(_))) => {}
            Ok(Ok(None)) => return fail("C-14.3", "an error at the deadline", "the end of the stream, with OK"),
            Ok(Err(_)) => break,
            Err(_) => {
                return fail(
                    "C-14.3",
                    format!("the watch ends at its deadline of {deadline:?}"),
                    "it goes on",
                );
            }
        }
    }
    alive(scope, &id).await
}

/// Fails unless the run is live and the trainer answers.
async fn alive(scope: &Scope, id: &str) -> Verdict {
    let run = succeed("C-14.3", "GetTrainingRun", scope.get(id).await)?;
    ensure("C-14.3", !has_ended(run.state()), "the run goes on", run.state())
}

async fn abandoned(scope: &Scope) -> Verdict {
    const CALLS: usize = 100;
    let id = scope.start("abandoned", &scope.long_spec()).await?.training_run_id;
    let watches = join_all((0..CALLS).map(|_| timeout(Duration::from_millis(200), scope.watch(&id, 0)))).await;
    let gets = join_all((0..CALLS).map(|_| timeout(Duration::from_micros(300), scope.get(&id)))).await;
    drop((watches, gets));
    let answer = scope.get_trainer_info(pb::GetTrainerInfoRequest {}).await;
    succeed("C-14.4", "GetTrainerInfo after abandoned calls", answer)?;
    alive(scope, &id).await
}
