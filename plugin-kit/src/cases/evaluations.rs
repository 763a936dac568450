//! Losses: every size, in range, the same again.

use finepick_proto::trainer::v1 as pb;
use finepick_proto::trainer::v1::{EvaluationKind, TrainingRunState as State};

use crate::case::{Case, Needs, case};
use crate::kit::Scope;
use crate::verdict::{Verdict, ensure, equal};

pub(super) const CASES: &[Case] = &[
    case!(
        "evaluations.complete",
        ["C-7.1"],
        Needs::Nothing,
        Shared,
        complete,
        "A run that SUCCEEDED has one held-out loss for each size, ascending, and no other."
    ),
    case!(
        "evaluations.sane",
        ["C-7.2", "C-7.3"],
        Needs::Nothing,
        Shared,
        sane,
        "Losses are finite and above 0, counts are in range."
    ),
    case!(
        "evaluations.zero_shot",
        ["C-7.4"],
        Needs::Nothing,
        Shared,
        zero_shot,
        "Size 0 alone is a run: the checkpoint before tuning."
    ),
    case!(
        "evaluations.nested",
        ["C-7.6"],
        Needs::Claimed("nested_subsets"),
        Shared,
        nested,
        "One run reports several sizes; where seeds decide the losses, each is that of a run of its own."
    ),
    case!(
        "evaluations.deterministic",
        ["C-7.5"],
        Needs::Claimed("deterministic_seeds"),
        Shared,
        deterministic,
        "The same spec and seed give the same losses, to the last bit."
    ),
    case!(
        "evaluations.retention",
        ["C-7.7"],
        Needs::Claimed("retention_sets"),
        Shared,
        retention,
        "Each retention set is evaluated before and after."
    ),
];

/// Sizes of the held-out evaluations, in their order.
fn held_out(run: &pb::TrainingRun) -> Vec<i64> {
    let kept = run
        .evaluations
        .iter()
        .filter(|one| one.kind() == EvaluationKind::HeldOut);
    kept.map(|one| one.data_size).collect()
}

/// A run that must succeed.
async fn succeeded(scope: &Scope, name: &str, spec: &pb::TrainingRunSpec) -> Verdict<pb::TrainingRun> {
    let id = scope.start(name, spec).await?.training_run_id;
    let run = scope.watch_to_end(&id).await?.run;
    let got = (run.state(), run.failure(), &run.detail);
    ensure(
        "C-7.1",
        run.state() == State::Succeeded,
        format!("a run of {:?} SUCCEEDED", spec.data_sizes),
        got,
    )?;
    Ok(run)
}

async fn complete(scope: &Scope) -> Verdict {
    let run = scope.finished().await?.run;
    let asked = run
        .spec
        .as_ref()
        .map(|spec| spec.data_sizes.clone())
        .unwrap_or_default();
    equal("C-7.1", "held-out losses for the sizes", &asked, &held_out(&run))?;
    for size in scope.options.sizes.clone() {
        let spec = pb::TrainingRunSpec {
            data_sizes: vec![size],
            ..scope.spec()
        };
        let run = succeeded(scope, "size", &spec).await?;
        equal("C-7.1", "held-out losses for the sizes", &vec![size], &held_out(&run))?;
    }
    Ok(())
}

async fn sane(scope: &Scope) -> Verdict {
    let run = scope.finished().await?.run;
    ensure("C-7.1", !run.evaluations.is_empty(), "evaluations", &run.evaluations)?;
    for one in &run.evaluations {
        let loss = one.loss;
        ensure(
            "C-7.2",
            loss.is_finite() && loss > 0.0,
            "a loss that is finite and > 0",
            one,
        )?;
        let error = one.standard_error;
        let known = error.is_none_or(|error| error.is_finite() && error >= 0.0);
        ensure("C-7.3", known, "a standard_error that is finite and >= 0, or none", one)?;
        ensure("C-7.3", one.tokens > 0, "tokens > 0", one)?;
        ensure("C-7.3", one.examples > 0, "examples > 0", one)?;
        let cut = (0..=one.examples).contains(&one.truncated_examples);
        ensure("C-7.3", cut, "0 <= truncated_examples <= examples", one)?;
        let kind = one.kind();
        ensure("C-7.3", kind != EvaluationKind::Unspecified, "a kind", one)?;
        let named = one.retention_set.is_empty() == (kind == EvaluationKind::HeldOut);
        ensure("C-7.7", named, "a retention_set on retention evaluations only", one)?;
    }
    if let Some(step) = &run.progress {
        let loss = step.training_loss;
        ensure(
            "C-7.2",
            loss.is_none_or(f64::is_finite),
            "a finite training_loss, or none",
            step,
        )?;
    }
    Ok(())
}

async fn zero_shot(scope: &Scope) -> Verdict {
    let spec = pb::TrainingRunSpec {
        data_sizes: vec![0],
        ..scope.spec()
    };
    let run = succeeded(scope, "zero", &spec).await?;
    equal("C-7.4", "held-out losses for the sizes", &vec![0], &held_out(&run))
}

async fn nested(scope: &Scope) -> Verdict {
    let mut spec = scope.spec();
    let largest = scope.options.sizes.iter().copied().max().unwrap_or(2).max(2);
    spec.data_sizes = vec![0, largest / 2, largest];
    let run = succeeded(scope, "nested", &spec).await?;
    equal(
        "C-7.6",
        "held-out losses for the sizes",
        &spec.data_sizes,
        &held_out(&run),
    )?;
    if !scope.capabilities.deterministic_seeds {
        return Ok(());
    }
    let half = largest / 2;
    spec.data_sizes = vec![half];
    let alone = succeeded(scope, "alone", &spec).await?;
    let loss = |run: &pb::TrainingRun| {
        let mut all = run.evaluations.iter();
        let found = all.find(|one| one.kind() == EvaluationKind::HeldOut && one.data_size == half);
        found.map(|one| (one.loss.to_bits(), one.loss))
    };
    equal(
        "C-7.6",
        "(bits, loss) of a size alone and beside others",
        &loss(&alone),
        &loss(&run),
    )
}

async fn deterministic(scope: &Scope) -> Verdict {
    let first = scope.finished().await?.run;
    let mut spec = scope.spec_of_all_sizes();
    // Neither id nor labels may change the losses.
    spec.labels.insert("attempt".to_owned(), "2".to_owned());
    let again = succeeded(scope, "again", &spec).await?;
    let losses = |run: &pb::TrainingRun| {
        let all = run.evaluations.iter();
        all.map(|one| (one.data_size, one.loss.to_bits(), one.loss))
            .collect::<Vec<_>>()
    };
    equal("C-7.5", "(size, bits, loss)", &losses(&first), &losses(&again))
}

async fn retention(scope: &Scope) -> Verdict {
    let mut spec = scope.spec();
    let data = spec.data.clone();
    let set = |name: &str| pb::RetentionSet {
        name: name.to_owned(),
        data: data.clone(),
    };
    spec.retention_sets = vec![set("first"), set("zw\u{f6}lf")];
    let run = succeeded(scope, "retention", &spec).await?;
    let mut got: Vec<_> = run
        .evaluations
        .iter()
        .filter(|one| one.kind() != EvaluationKind::HeldOut)
        .map(|one| (one.retention_set.as_str(), one.kind()))
        .collect();
    got.sort_by_key(|(name, kind)| (*name, *kind as i32));
    let mut expected = Vec::new();
    for set in &spec.retention_sets {
        expected.push((set.name.as_str(), EvaluationKind::RetentionBefore));
        expected.push((set.name.as_str(), EvaluationKind::RetentionAfter));
    }
    equal("C-7.7", "retention evaluations", &expected, &got)?;
    equal(
        "C-7.1",
        "held-out losses for the sizes",
        &spec.data_sizes,
        &held_out(&run),
    )
}
