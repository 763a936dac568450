//! Creating runs, once.

use std::collections::HashSet;

use finepick_proto::trainer::v1 as pb;
use futures::future::join_all;
use tonic::Code;

use crate::case::{Case, Needs, case};
use crate::kit::Scope;
use crate::verdict::{Refusal, Verdict, describe, ensure, equal, fail, succeed};

pub(super) const CASES: &[Case] = &[
    case!(
        "create.answer",
        ["C-3.1", "C-3.2", "C-14.4"],
        Needs::Nothing,
        Shared,
        answer,
        "A new run is answered at once, QUEUED, with what was asked for."
    ),
    case!(
        "create.repeat",
        ["C-3.3", "C-14.3"],
        Needs::Nothing,
        Shared,
        repeat,
        "The same id and spec return the same run, whatever the request_id."
    ),
    case!(
        "create.race",
        ["C-3.4"],
        Needs::Nothing,
        Shared,
        race,
        "Of 16 creates at the same time one makes the run and all return it."
    ),
    case!(
        "create.other_body",
        ["C-3.5"],
        Needs::Nothing,
        Shared,
        other_body,
        "The same id with another spec is refused, and the run stays as it is."
    ),
    case!(
        "create.race_of_bodies",
        ["C-3.5"],
        Needs::Nothing,
        Shared,
        race_of_bodies,
        "Of 16 creates at the same time with 16 specs exactly one wins."
    ),
    case!(
        "create.after_end",
        ["C-3.3", "C-3.5"],
        Needs::Nothing,
        Shared,
        after_end,
        "The id of an ended run stays taken."
    ),
];

/// Creates at the same time.
const RACERS: u64 = 16;

async fn answer(scope: &Scope) -> Verdict {
    let spec = scope.spec();
    let run = scope.start("answer", &spec).await?;
    equal("C-3.1", "state", &pb::TrainingRunState::Queued, &run.state())?;
    ensure("C-3.2", run.last_sequence >= 1, "last_sequence >= 1", run.last_sequence)?;
    ensure("C-3.2", run.create_time.is_some(), "a create_time", run.create_time)?;
    equal("C-3.2", "instance_id", &scope.info.instance_id, &run.instance_id)?;
    let Some(kept) = run.spec else {
        return fail("C-3.2", "the spec", "none");
    };
    equal("C-3.2", "spec.candidate_id", &spec.candidate_id, &kept.candidate_id)?;
    equal("C-3.2", "spec.model", &spec.model, &kept.model)?;
    equal("C-3.2", "spec.data", &spec.data, &kept.data)?;
    equal("C-3.2", "spec.data_sizes", &spec.data_sizes, &kept.data_sizes)?;
    equal("C-3.2", "spec.seed", &spec.seed, &kept.seed)?;
    equal("C-3.2", "spec.subset_seed", &spec.subset_seed, &kept.subset_seed)?;
    let got = scope.get(&run.training_run_id).await;
    let got = succeed("C-3.1", "GetTrainingRun of a new run", got)?;
    equal("C-3.2", "training_run_id", &run.training_run_id, &got.training_run_id)
}

async fn repeat(scope: &Scope) -> Verdict {
    let spec = scope.spec();
    let first = scope.start("repeat", &spec).await?;
    for request_id in ["", "again", "and again"] {
        let request = pb::CreateTrainingRunRequest {
            training_run_id: first.training_run_id.clone(),
            spec: Some(spec.clone()),
            request_id: request_id.to_owned(),
        };
        let answer = scope.create_training_run(request).await;
        let run = succeed("C-3.3", "a repeated CreateTrainingRun", answer)?
            .run
            .unwrap_or_default();
        equal("C-3.3", "the id", &first.training_run_id, &run.training_run_id)?;
        equal("C-3.3", "the same create_time", &first.create_time, &run.create_time)?;
    }
    let record = scope.watch_to_end(&first.training_run_id).await?;
    let creations = record
        .changes()
        .filter(|change| change.from() == pb::TrainingRunState::Unspecified);
    equal("C-3.3", "events that create the run", &1, &creations.count())
}

async fn race(scope: &Scope) -> Verdict {
    let (id, spec) = (scope.new_id("race"), scope.spec());
    let answers = join_all((0..RACERS).map(|_| scope.create_patiently(&id, &spec))).await;
    let mut times = HashSet::new();
    for answer in answers {
        let run = succeed("C-3.4", "each of 16 creates at the same time", answer)?;
        equal("C-3.4", "the id", &id, &run.training_run_id)?;
        times.insert(run.create_time.map(|time| (time.seconds, time.nanos)));
    }
    ensure("C-3.4", times.len() == 1, "one run with one create_time", &times)?;
    let record = scope.watch_to_end(&id).await?;
    let creations = record
        .changes()
        .filter(|change| change.from() == pb::TrainingRunState::Unspecified);
    equal("C-3.4", "events that create the run", &1, &creations.count())
}

async fn other_body(scope: &Scope) -> Verdict {
    let spec = scope.spec();
    let id = scope.start("other", &spec).await?.training_run_id;
    let changes: [fn(&mut pb::TrainingRunSpec); 4] = [
        |spec| spec.seed += 1,
        |spec| spec.candidate_id.push('x'),
        |spec| spec.data_sizes = spec.data_sizes.iter().map(|size| size + 1).collect(),
        |spec| {
            spec.labels.insert("another".to_owned(), "body".to_owned());
        },
    ];
    for change in changes {
        let mut other = spec.clone();
        change(&mut other);
        let refused = scope.create(&id, &other).await;
        Refusal::exists(&id).check("C-3.5", "CreateTrainingRun with another spec", refused)?;
    }
    let run = succeed("C-3.5", "GetTrainingRun", scope.get(&id).await)?;
    equal(
        "C-3.5",
        "the first spec's seed",
        &Some(spec.seed),
        &run.spec.map(|spec| spec.seed),
    )
}

async fn race_of_bodies(scope: &Scope) -> Verdict {
    let id = scope.new_id("bodies");
    let specs: Vec<_> = (0..RACERS)
        .map(|seed| pb::TrainingRunSpec { seed, ..scope.spec() })
        .collect();
    let answers = join_all(specs.iter().map(|spec| scope.create_patiently(&id, spec))).await;
    let mut winners = Vec::new();
    for (spec, answer) in specs.iter().zip(answers) {
        match answer {
            Ok(_) => winners.push(spec.seed),
            Err(status) if status.code() == Code::AlreadyExists => {}
            Err(status) => return fail("C-3.5", "OK or ALREADY_EXISTS", describe(&status)),
        }
    }
    ensure("C-3.5", winners.len() == 1, "exactly one create wins", &winners)?;
    let run = succeed("C-3.5", "GetTrainingRun", scope.get(&id).await)?;
    equal(
        "C-3.5",
        "the winner's seed",
        &winners,
        &run.spec.iter().map(|spec| spec.seed).collect(),
    )
}

async fn after_end(scope: &Scope) -> Verdict {
    let spec = scope.spec();
    let id = scope.start("ended", &spec).await?.training_run_id;
    let ended = scope.watch_to_end(&id).await?.run;
    let again = succeed(
        "C-3.3",
        "CreateTrainingRun of an ended run",
        scope.create(&id, &spec).await,
    )?;
    equal("C-3.3", "the run as it stands", &ended, &again)?;
    let other = pb::TrainingRunSpec {
        seed: spec.seed + 1,
        ..spec
    };
    let refused = scope.create(&id, &other).await;
    Refusal::exists(&id).check("C-3.5", "CreateTrainingRun with another spec", refused)
}
