use std::sync::OnceLock;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::curve::DataSize;
use crate::fixture::{measure, nats, played, ready, size, spec};
use crate::policy::{Exclusion, ExclusionReason};
use crate::selection::{Event, transition};
use crate::simulate::SelectionPolicy;
use crate::what_if::{Measured, replay};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/certificate-1.json");

fn policy(name: &str) -> SelectionPolicy {
    SelectionPolicy::from_name(name).unwrap()
}

fn ended(name: &str) -> State {
    played(spec(5, &["full"], policy(name), 20_000)).unwrap()
}

fn certificate() -> String {
    static MADE: OnceLock<String> = OnceLock::new();
    MADE.get_or_init(|| Certificate::of("selection-1", &ended("geometric")).unwrap())
        .clone()
}

fn value(json: &str) -> Value {
    serde_json::from_str(json).unwrap()
}

/// The canonical text of a changed certificate with a seal that fits it.
fn sealed(mut value: Value) -> String {
    value["seal"] = json!("");
    value["seal"] = json!(digest(&canonical::text(&value)));
    canonical::text(&value)
}

/// What is found in a changed certificate although its seal fits.
fn found(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut changed = value(&certificate());
    change(&mut changed);
    verify(&sealed(changed), "").differences
}

#[test]
fn a_certificate_verifies_and_is_the_same_each_time() {
    for name in [
        "geometric",
        "halving",
        "halving_current",
        "ats",
        "rwl",
        "exhaustive",
        "random",
    ] {
        let Some(policy) = SelectionPolicy::from_name(name) else {
            continue;
        };
        let state = played(spec(5, &["full", "lora"], policy, 200_000)).unwrap();
        let json = Certificate::of("selection-1", &state).unwrap();
        assert_eq!(Certificate::of("selection-1", &state).unwrap(), json);
        let verified = verify(&json, &digest(&json));
        assert_eq!(verified.differences, Vec::<String>::new(), "{name}");
        assert!(verified.valid);
        assert_eq!(
            verified.choice.map(|choice| choice.named.contender),
            state.choice(),
            "{name}"
        );
    }
}

#[test]
fn only_an_ended_selection_with_a_choice_has_one() {
    let state = ready(spec(3, &["full"], policy("geometric"), 20_000));
    assert_eq!(Certificate::of("s", &state), None);
}

#[test]
fn failures_reuse_and_withdrawals_are_part_of_it() {
    // Contender 1 has no loss beyond 400 examples: it is withdrawn there.
    let known = |state: &State, contender: usize, at: DataSize| {
        let lacks = contender == 1 && at > size(400);
        measure(state, contender, at).filter(|_| !lacks)
    };
    let (state, missing) = replay(ready(spec(5, &["full"], policy("geometric"), 20_000)), known, |_| None).unwrap();
    assert!(!missing.is_empty() && !state.withdrawn.is_empty());
    let json = Certificate::of("s", &state).unwrap();
    assert_eq!(verify(&json, "").differences, Vec::<String>::new());
}

#[test]
fn the_golden_certificate_stays_valid() {
    #[expect(clippy::disallowed_methods, reason = "the switch of all golden files")]
    let update = std::env::var("FINEPICK_UPDATE_GOLDEN").is_ok();
    if update {
        std::fs::write(GOLDEN, certificate()).unwrap();
    }
    let golden = std::fs::read_to_string(GOLDEN).unwrap();
    assert_eq!(verify(&golden, &digest(&golden)).differences, Vec::<String>::new());
    // Another platform's logarithms may differ in the last digit.
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let (was, is) = (value(&golden), value(&certificate()));
    assert_eq!(keys(&was), keys(&is));
    for part in ["spec", "prepared", "choice"] {
        assert_eq!(was[part]["candidate"], is[part]["candidate"]);
    }
    assert_eq!(was["spec"], is["spec"]);
    assert_eq!(was["prepared"], is["prepared"]);
}

#[test]
fn a_wrong_digest_or_layout_is_named() {
    let json = certificate();
    let wrong = verify(&json, "sha256:00").differences;
    assert_eq!(
        wrong,
        [format!("the digest of the text is {}, not sha256:00", digest(&json))]
    );
    assert!(verify(&json, &digest(&json).to_uppercase()).valid);
    let pretty = serde_json::to_string_pretty(&value(&json)).unwrap();
    assert!(verify(&pretty, "").differences[0].contains("canonical form"));
    assert!(verify("[]", "").differences[0].starts_with("not a certificate"));
    let known = found(|v| v["format"] = json!(2));
    assert_eq!(known, ["the certificate has format 2, this version reads format 1"]);
    let big = " ".repeat(MAX_BYTES + 1);
    assert!(verify(&big, "").differences[0].contains("longest certificate"));
    let objects = "{".repeat(MAX_OBJECTS + 1);
    assert!(verify(&objects, "").differences[0].contains("JSON objects"));
}

#[test]
fn a_changed_name_is_found() {
    assert_ne!(
        found(|v| v["spec"]["candidates"][0]["id"] = json!("other")),
        Vec::<String>::new()
    );
    assert_ne!(
        found(|v| v["ranking"][1]["name"] = json!("other")),
        Vec::<String>::new()
    );
    assert_ne!(
        found(|v| v["rounds"][0]["trials"][0]["name"] = json!("other")),
        Vec::<String>::new()
    );
    let choice = found(|v| v["choice"]["candidate"] = json!("other"));
    assert!(
        choice
            .iter()
            .any(|difference| difference.contains("other with full is written")),
        "{choice:?}"
    );
}

#[test]
fn a_changed_budget_is_found() {
    let budget = found(|v| v["spec"]["budget"]["examples"] = json!(20_001));
    assert!(!budget.is_empty());
    assert_ne!(
        found(|v| v["prepared"]["plan_examples"] = json!(19_999)),
        Vec::<String>::new()
    );
    assert_ne!(found(|v| v["limits"]["examples"] = json!(40_000)), Vec::<String>::new());
}

#[test]
fn a_changed_decision_is_found() {
    let decision = |v: &mut Value| v["rounds"][0]["decision"].clone();
    let verdict = found(|v| v["rounds"][0]["decision"]["contenders"][0]["verdict"] = json!("dropped"));
    assert!(
        verdict.iter().any(|difference| difference.contains("verdict")),
        "{verdict:?}"
    );
    let order = found(|v| {
        let mut decided = decision(v);
        decided["contenders"].as_array_mut().unwrap().swap(0, 1);
        v["rounds"][0]["decision"] = decided;
    });
    assert!(
        order
            .iter()
            .any(|difference| difference.starts_with("decision 1: the order")),
        "{order:?}"
    );
    let score = found(|v| v["rounds"][0]["decision"]["contenders"][0]["log_score"] = json!(0.123));
    assert!(
        score.iter().any(|difference| difference.contains("score is")),
        "{score:?}"
    );
}

#[test]
fn a_run_that_was_left_out_is_found() {
    let gone = found(|v| {
        v["rounds"][0]["trials"].as_array_mut().unwrap().remove(0);
    });
    assert_ne!(gone, Vec::<String>::new());
}

#[test]
fn a_withdrawal_by_a_caller_of_the_store_is_covered_by_the_state() {
    let mut state = ready(spec(3, &["full"], policy("geometric"), 20_000));
    let out = Exclusion::new(ExclusionReason::RunsFailed, "failed");
    state.withdrawn.push((0, 0, out));
    assert_eq!(Certificate::of("s", &state), None);
    let ending = crate::selection::Ending::Cancelled { detail: String::new() };
    let (state, _) = transition(Some(state), Event::Ended { ending }, 1).unwrap();
    assert_eq!(Certificate::of("s", &state), None);
}

/// Paths to all losses of the certificate: (round, trial).
fn losses(value: &Value) -> Vec<(usize, usize)> {
    let rounds = value["rounds"].as_array().unwrap().iter().enumerate();
    rounds
        .flat_map(|(round, record)| (0..record["trials"].as_array().unwrap().len()).map(move |trial| (round, trial)))
        .collect()
}

/// All leaves with a value, as JSON pointers.
fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                leaves(member, &format!("{path}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                leaves(item, &format!("{path}/{place}"), found);
            }
        }
        Value::Null => {}
        _ => found.push(path.to_owned()),
    }
}

fn mutated(value: &Value, how: u8) -> Value {
    match (value, how % 3) {
        (Value::Bool(flag), _) => json!(!flag),
        (Value::String(text), 0) => json!(format!("{text}x")),
        (Value::String(_), _) => json!(""),
        (Value::Number(number), 0) => json!(number.as_f64().unwrap_or(0.0) * 1.5 + 0.25),
        (Value::Number(number), 1) => json!(number.as_u64().unwrap_or(0) ^ 1),
        (Value::Number(_), _) => json!(u64::MAX),
        _ => json!(null),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_changed_loss_is_found(place in any::<prop::sample::Index>(), factor in prop_oneof![0.5..0.999_f64, 1.001..2.0_f64]) {
        let mut changed = value(&certificate());
        let all = losses(&changed);
        let (round, trial) = all[place.index(all.len())];
        let trial = &mut changed["rounds"][round]["trials"][trial];
        let loss = json!(trial["observation"]["test_loss"].as_f64().unwrap() * factor);
        trial["observation"]["test_loss"] = loss.clone();
        let attempt = trial["attempts"].as_array_mut().unwrap().last_mut().unwrap();
        attempt["outcome"]["observed"]["observation"]["test_loss"] = loss;
        let verified = verify(&sealed(changed), "");
        prop_assert!(!verified.valid);
    }

    #[test]
    fn any_change_is_found_by_the_seal_and_none_breaks_the_check(place in any::<prop::sample::Index>(), how in any::<u8>()) {
        let original = value(&certificate());
        let mut all = Vec::new();
        leaves(&original, "", &mut all);
        let path = &all[place.index(all.len())];
        let mut changed = original.clone();
        let leaf = changed.pointer_mut(path).unwrap();
        *leaf = mutated(leaf, how);
        prop_assume!(changed != original);
        prop_assert!(!verify(&canonical::text(&changed), "").valid, "{}", path);
        // With a seal that fits it may be a matter that is not recomputed, but it must be checked without harm.
        let resealed = verify(&sealed(changed), "");
        prop_assert_eq!(resealed.valid, resealed.differences.is_empty());
    }

    #[test]
    fn no_text_breaks_the_check(text in "\\PC*", cut in any::<prop::sample::Index>()) {
        prop_assert!(!verify(&text, "").valid);
        let whole = certificate();
        let cut = cut.index(whole.len());
        prop_assert!(!verify(whole.get(..cut).unwrap_or_default(), "").valid);
    }

    #[test]
    fn whatever_was_measured_verifies(shifts in prop::collection::vec(-0.5..0.5_f64, 5), budget in 3_000_u64..60_000) {
        let shifted = |state: &State, contender: usize, at: DataSize| {
            let known = measure(state, contender, at)?;
            let loss = nats(contender, at.examples()) * shifts[contender].exp();
            Some(Measured { observation: crate::fixture::observation(at.examples(), loss), ..known })
        };
        let beginning = ready(spec(5, &["full"], policy("geometric"), budget));
        let Ok((state, _)) = replay(beginning, shifted, |_| None) else { return Ok(()) };
        let json = Certificate::of("s", &state).unwrap();
        prop_assert_eq!(verify(&json, "").differences, Vec::<String>::new());
    }
}
