//! Certificates of selections that were driven through everything: each is valid, and no leaf of its text can be changed unseen.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use selector_svc::certificate::{Certificate, digest, verify};
use selector_svc::diagnostics::{Warning, WarningCode};
use selector_svc::policy::fitted::{FittedForecast, FittedForecasts};
use selector_svc::policy::{ExclusionReason, Interval, Prediction};
use selector_svc::ports::{BoxFuture, FitRequest, Fitter, FitterError};
use selector_svc::selection::spec::MethodSpec;
use selector_svc::selection::{BudgetSpec, Ending, Event, Outcome, Phase, SelectionSpec, State};
use trainer_kit::spec::{Hyperparameters, Method, Reference};

use crate::leaves::{leaves, others};
use crate::trainer::Behaviour;
use crate::world::{AtWork, World, check_books, spec_with, succeeded};

/// Leaves that digest and seal protect and nothing else: what follows from nothing, and what nothing need follow from. All others are
/// recomputed, or compared with what is. `**`: all that is below.
const BY_DIGEST_ALONE: &[&str] = &[
    // Names and words.
    "finepick",
    "selection_id",
    "rounds.*.decision.explanation",
    "rounds.*.decision.contenders.*.reason",
    // What the losses were measured on, with and by: a recomputation believes the losses.
    "prepared.contenders.*.model_digest",
    "prepared.contenders.*.parameters",
    "prepared.data_digest",
    "prepared.trainers.*.deterministic",
    "prepared.trainers.*.implementation",
    "prepared.trainers.*.nested_subsets",
    "prepared.trainers.*.slots",
    "rounds.*.trials.*.attempts.*.run_id",
    "rounds.*.trials.*.attempts.*.outcome.observed.data_digest",
    "rounds.*.trials.*.attempts.*.outcome.observed.model_digest",
    "spec.candidates.*.attributes.**",
    "spec.candidates.*.model.**",
    "spec.data.**",
    "spec.device",
    "spec.methods.**",
    "spec.subset_seed",
    // How it was gone about.
    "spec.display_name",
    "spec.max_attempts",
    "spec.max_run_millis",
    "spec.parallelism",
    "spec.reuse",
    "spec.warm_start",
    // What was expected to be spent: a plan in examples follows from it only where another unit binds.
    "prepared.contenders.*.costs.**",
    "prepared.exhaustive.**",
    "prepared.expected_relative_regret",
    "prepared.planned.**",
    "prepared.wall_seconds",
    // What binds nobody at these values: constraints, parameters of policies, limits beside a narrower one.
    "spec.constraints.**",
    "spec.policy.**",
    "spec.budget.**",
];

/// The same, of selections that have them.
const OF_SOME: &[&str] = &[
    "ending.budget_exhausted.detail",
    "prepared.contenders.*.exclusion.detail",
    "rounds.*.fitted.by_name.*.Err",
    "rounds.*.fitted.by_name.*.Ok.predictions.*.interval.**",
    "rounds.*.fitted.by_name.*.Ok.warnings.**",
    "rounds.*.trials.*.attempts.*.outcome.failed.failure",
    "rounds.*.trials.*.reused_from",
    // Of a policy that draws nothing.
    "spec.seed",
    // Losses on other data, where they do not change the order.
    "prepared.history.**",
    // Limits beside a narrower one.
    "amendments.*.change.before.**",
    "amendments.*.change.after.**",
    // Times count from a creation that is not told.
    "limits.deadline",
    "amendments.*.change.limits.deadline",
    // Between what was spent when the last round was judged and the limit.
    "amendments.*.change.taken_examples",
];

/// What of a certificate's question and preparation is the same for every selection of these tests: it is changed in one of them.
const ALIKE: [&str; 4] = [
    "spec.candidates",
    "spec.methods",
    "prepared.contenders",
    "prepared.trainers",
];

fn by_digest_alone(kind: &str) -> bool {
    BY_DIGEST_ALONE
        .iter()
        .chain(OF_SOME)
        .any(|known| match known.strip_suffix("**") {
            Some(above) => kind.starts_with(above),
            None => *known == kind,
        })
}

/// The text with a seal that fits it.
fn sealed(text: &str) -> String {
    let begin = text.find(r#""seal":""#).expect("a seal") + r#""seal":""#.len();
    let end = begin + text[begin..].find('"').expect("its end");
    let open = format!("{}{}", &text[..begin], &text[end..]);
    format!("{}{}{}", &open[..begin], digest(&open), &open[begin..])
}

/// It is valid; a change of one leaf of each kind is found; and where a forger has sealed it anew, that of all but the known kinds.
fn check(json: &str) {
    check_but(json, &ALIKE);
}

fn check_but(json: &str, alike: &[&str]) {
    let whole = verify(json, &digest(json));
    assert_eq!(whole.differences, Vec::<String>::new());
    assert_eq!(sealed(json), json);
    let (mut seen, mut unseen) = (BTreeSet::new(), BTreeSet::new());
    for leaf in leaves(json) {
        let same = alike.iter().any(|part| leaf.kind.starts_with(part));
        if same || !seen.insert(leaf.kind.clone()) {
            continue;
        }
        let with = |other: &str| format!("{}{other}{}", &json[..leaf.value.start], &json[leaf.value.end..]);
        let others = others(&json[leaf.value.clone()]);
        assert!(!verify(&with(&others[0]), "").valid, "{}: {}", leaf.kind, others[0]);
        if leaf.kind == "seal" || by_digest_alone(&leaf.kind) {
            continue;
        }
        for other in &others {
            if verify(&sealed(&with(other)), "").valid {
                unseen.insert(format!("{}: {other}", leaf.kind));
            }
        }
        // Of a map whose members are data, one less is another map.
        if let Some(member) = leaf.member.clone().filter(|_| !leaf.kind.ends_with('*')) {
            let removed = format!("{}{}", &json[..member.start], &json[member.end..]);
            if verify(&sealed(&removed), "").valid {
                unseen.insert(format!("{}: removed", leaf.kind));
            }
        }
    }
    assert!(unseen.is_empty(), "protected by the digest alone: {unseen:#?}");
}

/// Drives a selection to its end.
async fn driven(world: &mut World, id: &str, asked: SelectionSpec) -> State {
    world.create(id, asked).await;
    let at_work = world.start();
    world.until_ended(&[id], at_work).await.kill().await;
    check_books(&world.events(id).await)
}

fn certificate(id: &str, state: &State) -> String {
    Certificate::of(id, state).unwrap_or_else(|| panic!("no certificate: {:?}", state.phase))
}

#[tokio::test(start_paused = true)]
async fn of_every_policy_that_needs_nobody_else() {
    for (policy, examples) in [
        ("geometric", 4 * 4_096),
        ("halving", 4 * 4_096),
        ("halving_current", 4 * 4_096),
        ("ats_online", 4 * 4_096),
        ("rwl", 4 * 4_096),
        ("model_size", 4 * 4_096),
        ("exhaustive", 4 * 4_096),
        ("zero_shot_control", 4_096),
        ("random", 4_096),
    ] {
        let state = driven(&mut World::new(2, 2), "s", spec_with(4, policy, examples)).await;
        assert!(succeeded(&state), "{policy}: {:?}", state.phase);
        let json = certificate("s", &state);
        if policy == "geometric" {
            check_but(&json, &[]);
        } else {
            check(&json);
        }
    }
}

/// The list of what is protected by the digest alone is no longer than it must be.
#[tokio::test(start_paused = true)]
async fn what_the_digest_alone_protects_is_known() {
    let state = driven(&mut World::new(2, 2), "s", spec_with(3, "geometric", 3 * 4_096)).await;
    let json = certificate("s", &state);
    let mut alone = BTreeSet::new();
    for leaf in leaves(&json).into_iter().filter(|leaf| by_digest_alone(&leaf.kind)) {
        if alone.contains(&leaf.kind) {
            continue;
        }
        let with = |other: &String| format!("{}{other}{}", &json[..leaf.value.start], &json[leaf.value.end..]);
        let changed = others(&json[leaf.value.clone()]);
        if changed.iter().any(|other| verify(&sealed(&with(other)), "").valid) {
            alone.insert(leaf.kind);
        }
    }
    let unused = BY_DIGEST_ALONE.iter().filter(|known| {
        let below = known.trim_end_matches("**");
        !alone.iter().any(|kind| kind.starts_with(below))
    });
    assert_eq!(unused.copied().collect::<Vec<_>>(), Vec::<&str>::new());
}

fn examples(count: u64) -> BudgetSpec {
    BudgetSpec {
        examples: Some(count),
        ..BudgetSpec::default()
    }
}

async fn amended(world: &mut World, asked: SelectionSpec, budgets: &[(u64, BudgetSpec)]) -> State {
    world.create("s", asked).await;
    let at_work: AtWork = world.start();
    for (millis, budget) in budgets {
        tokio::time::sleep(Duration::from_millis(*millis)).await;
        world.amend("s", budget.clone()).await;
        at_work.driver.nudge("s");
    }
    world.until_ended(&["s"], at_work).await.kill().await;
    let state = check_books(&world.events("s").await);
    assert_eq!(state.amendments.len(), budgets.len());
    state
}

#[tokio::test(start_paused = true)]
async fn of_a_budget_that_was_raised() {
    let budgets = [(300, examples(6 * 4_096)), (4_000, examples(8 * 4_096))];
    let state = amended(&mut World::new(2, 2), spec_with(4, "geometric", 2 * 4_096), &budgets).await;
    assert!(
        succeeded(&state) && state.spent.examples > 2 * 4_096,
        "{:?}",
        state.spent
    );
    check(&certificate("s", &state));
}

#[tokio::test(start_paused = true)]
async fn of_a_budget_that_was_cut_below_what_is_spent_and_below_any_plan() {
    let state = amended(
        &mut World::new(1, 2),
        spec_with(4, "geometric", 4 * 4_096),
        &[(6_000, examples(40))],
    )
    .await;
    assert!(state.spent.examples > 40);
    check(&certificate("s", &state));
}

#[tokio::test(start_paused = true)]
async fn of_budgets_in_other_units_with_a_deadline() {
    let mut asked = spec_with(4, "halving", 4 * 4_096);
    asked.budget.device_seconds = Some(1e4);
    asked.budget.exhaustive_fraction = Some(0.99);
    let budgets = [
        (
            300,
            BudgetSpec {
                device_seconds: Some(90.0),
                relative: Some((0.5, 1.5)),
                ..BudgetSpec::default()
            },
        ),
        (
            300,
            BudgetSpec {
                example_parameters: Some(1e13),
                exhaustive_fraction: Some(0.9),
                wall_millis: Some(3_600_000),
                ..BudgetSpec::default()
            },
        ),
    ];
    let state = amended(&mut World::new(2, 2), asked, &budgets).await;
    check(&certificate("s", &state));
}

#[tokio::test(start_paused = true)]
async fn of_a_budget_that_was_amended_before_the_plan() {
    let mut world = World::new(1, 2);
    world.create("s", spec_with(4, "geometric", 2 * 4_096)).await;
    world.amend("s", examples(4 * 4_096)).await;
    let at_work = world.start();
    world.until_ended(&["s"], at_work).await.kill().await;
    let state = check_books(&world.events("s").await);
    assert!(state.amendments.is_empty(), "it is the first plan's budget");
    assert_eq!(state.limits.examples, Some(4 * 4_096));
    check(&certificate("s", &state));
}

#[tokio::test(start_paused = true)]
async fn of_losses_that_were_taken_over() {
    let mut world = World::new(2, 2);
    let asked = SelectionSpec {
        reuse: true,
        ..spec_with(4, "halving", 2 * 4_096)
    };
    let first = driven(&mut world, "s", asked.clone()).await;
    check(&certificate("s", &first));
    let more = SelectionSpec {
        budget: examples(4 * 4_096),
        ..asked
    };
    let second = driven(&mut world, "t", more).await;
    assert!(second.saved.examples > 0 && second.spent.examples > 0, "some of both");
    check(&certificate("t", &second));
}

#[tokio::test(start_paused = true)]
async fn of_a_warm_start() {
    let mut world = World::new(2, 2);
    driven(&mut world, "s", spec_with(5, "exhaustive", 5 * 4_096)).await;
    let asked = SelectionSpec {
        warm_start: true,
        data: Some(Reference {
            uri: "other.jsonl".to_owned(),
            digest: String::new(),
        }),
        ..spec_with(5, "geometric", 2 * 4_096)
    };
    let state = driven(&mut world, "t", asked).await;
    let history = &state.prepared.as_ref().expect("it is prepared").history;
    assert_eq!(history.len(), 1, "the other data's losses");
    check(&certificate("t", &state));
}

/// Fits anything, but for one.
struct Fits;

impl Fitter for Fits {
    fn forecast(&self, request: FitRequest) -> BoxFuture<'_, Result<FittedForecasts, FitterError>> {
        let answer = |(name, curve): (String, Vec<selector_svc::curve::Observation>)| {
            let last = curve.last().map_or(9.0, |point| point.test_loss().nats());
            if name == "model-3" {
                return (name, Err("the optimum is at a bound".to_owned()));
            }
            let predictions = request.data_sizes.iter().map(|size| Prediction {
                data_size: *size,
                predicted_loss: last * 0.9,
                interval: Some(Interval {
                    lower: last * 0.85,
                    upper: last * 0.95,
                    level: 0.9,
                }),
            });
            let forecast = FittedForecast {
                predictions: predictions.collect(),
                warnings: vec![Warning::new(WarningCode::TooFewPoints, "few points")],
            };
            (name, Ok(forecast))
        };
        let answers = FittedForecasts::new(request.curves.clone().into_iter().map(answer));
        Box::pin(async move { Ok(answers) })
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_policy_that_asks_the_fitter() {
    let mut world = World::new(2, 2);
    world.fitter = Arc::new(Fits);
    let state = driven(&mut world, "s", spec_with(5, "rectified_fit", 6 * 4_096)).await;
    assert!(succeeded(&state), "{:?}", state.phase);
    check(&certificate("s", &state));
}

#[tokio::test(start_paused = true)]
async fn of_contenders_that_were_kept_out() {
    let method = |id: &str, method| MethodSpec {
        id: id.to_owned(),
        method,
        hyperparameters: Hyperparameters::default(),
    };
    let mut asked = spec_with(3, "geometric", 4 * 4_096);
    asked.methods = vec![
        method("full", Method::Full),
        method(
            "lora",
            Method::Lora {
                rank: 4,
                alpha: None,
                dropout: None,
                target_modules: Vec::new(),
            },
        ),
    ];
    asked.constraints.max_parameters = Some(10_000_000);
    let state = driven(&mut World::new(1, 2), "s", asked).await;
    let prepared = state.prepared.as_ref().expect("it is prepared");
    let out = prepared.contenders.iter().filter_map(|facts| facts.exclusion.as_ref());
    // Nobody tells how large they are tuned so, and no trainer does it.
    assert_eq!(out.filter(|out| out.reason == ExclusionReason::Parameters).count(), 3);
    check(&certificate("s", &state));
}

fn failed(name: &str) -> Outcome {
    Outcome::Failed {
        failure: name.to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn of_runs_that_failed() {
    let mut world = World::new(2, 2);
    for trainer in &world.trainers {
        trainer.behave(|run_id, spec| match spec.candidate_id.as_str() {
            "model-1" => Behaviour::End(failed("LOSS_NOT_FINITE"), false),
            "model-2" if run_id.ends_with(".1") => Behaviour::End(failed("INTERNAL"), true),
            "model-4" => Behaviour::Refuse,
            _ => Behaviour::Succeed,
        });
    }
    let state = driven(&mut world, "s", spec_with(6, "geometric", 5 * 4_096)).await;
    assert!(state.wasted.examples > 0 && state.withdrawn.len() >= 2);
    check(&certificate("s", &state));
}

#[tokio::test(start_paused = true)]
async fn of_a_deadline_in_the_middle_of_a_round() {
    let mut asked = spec_with(5, "geometric", 4 * 4_096);
    let whole = driven(&mut World::new(1, 1), "s", asked.clone()).await;
    let first = whole.rounds[0].decision.as_ref().expect("it was judged").1;
    asked.budget.wall_millis = Some(first - whole.created + 100);
    let state = driven(&mut World::new(1, 1), "s", asked).await;
    assert!(
        matches!(state.phase, Phase::Ended(Ending::BudgetExhausted { .. })),
        "{:?}",
        state.phase
    );
    assert!(state.rounds.last().is_some_and(|round| round.decision.is_none()));
    check(&certificate("s", &state));
}

#[tokio::test(start_paused = true)]
async fn of_a_cancelled_selection_there_is_none() {
    let mut world = World::new(1, 1);
    world.create("s", spec_with(4, "geometric", 4 * 4_096)).await;
    let at_work = world.start();
    while world.state("s").await.leader().is_none() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let ending = Ending::Cancelled { detail: String::new() };
    world.command("s", Event::Stopping { ending }).await;
    world.until_ended(&["s"], at_work).await.kill().await;
    let state = check_books(&world.events("s").await);
    assert!(state.leader().is_some(), "it had judged a round");
    assert_eq!(Certificate::of("s", &state), None);
}
