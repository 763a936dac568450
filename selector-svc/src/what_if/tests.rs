use super::*;
use crate::fixture::{FULL, observe, played, ready, size, spec};
use crate::selection::Ending;

fn policy(name: &str) -> SelectionPolicy {
    SelectionPolicy::from_name(name).unwrap()
}

fn examples(budget: u64) -> BudgetSpec {
    BudgetSpec {
        examples: Some(budget),
        ..BudgetSpec::default()
    }
}

/// A selection in which everything was measured that geometric could ask for.
fn everything() -> State {
    let mut spec = spec(5, &["full"], policy("ats"), 5 * 2 * FULL);
    spec.policy = policy("rwl");
    played(spec).unwrap()
}

#[test]
fn the_same_question_has_the_same_answer() {
    for name in ["geometric", "halving", "ats"] {
        let state = played(spec(5, &["full"], policy(name), 20_000)).unwrap();
        let (report, missing) = what_if("s", &state, None, None, None, 0).unwrap();
        assert_eq!(missing, [], "{name}");
        let was = Report::of("s", &state, 0);
        assert_eq!(
            (report.choice, report.spent, report.contenders),
            (was.choice, was.spent, was.contenders),
            "{name}"
        );
        assert_eq!(report.accuracy, None);
    }
}

#[test]
fn a_smaller_budget_is_decided_from_what_was_measured() {
    let state = everything();
    let (report, missing) = what_if("s", &state, Some(examples(20_000)), Some(policy("geometric")), None, 0).unwrap();
    assert_eq!(missing, []);
    assert!(report.spent.examples <= 20_000 && report.spent.examples > 0);
    assert_eq!(report.policy, "geometric");
    let directly = played(spec(5, &["full"], policy("geometric"), 20_000)).unwrap();
    assert_eq!(report.choice, Report::of("s", &directly, 0).choice);
}

#[test]
fn runs_that_were_never_made_are_listed_and_their_contenders_are_out() {
    let state = played(spec(5, &["full"], policy("geometric"), 20_000)).unwrap();
    let (report, missing) = what_if("s", &state, Some(examples(70_000)), None, None, 0).unwrap();
    assert!(!missing.is_empty());
    for (contender, data_size) in &missing {
        assert!(state.trial(*contender, *data_size).is_none());
        assert!(
            report.excluded.iter().any(|out| out.named.contender == *contender),
            "{contender}"
        );
    }
    let said = report
        .warnings
        .iter()
        .find(|warning| warning.code == WarningCode::TooFewPoints)
        .unwrap();
    assert!(said.detail.contains("never made"), "{}", said.detail);
}

#[test]
fn where_nothing_was_measured_there_is_no_choice() {
    let mut state = ready(spec(3, &["full"], policy("geometric"), 20_000));
    let (report, missing) = what_if("s", &state, None, None, None, 0).unwrap();
    assert!(report.choice.is_none() && !missing.is_empty());
    assert!(
        matches!(report.phase, Phase::Ended(Ending::Failed { .. })),
        "{:?}",
        report.phase
    );
    state.prepared = None;
    assert_eq!(
        what_if("s", &state, None, None, None, 0).unwrap_err(),
        WhatIfError::NotPrepared
    );
}

#[test]
fn new_constraints_rule_out_and_let_in() {
    let state = everything();
    let only = Constraints {
        include_families: vec!["family-1".to_owned()],
        ..Constraints::default()
    };
    let (report, missing) = what_if("s", &state, None, None, Some(only), 0).unwrap();
    assert_eq!(missing, []);
    let out: Vec<_> = report
        .excluded
        .iter()
        .map(|out| (out.named.contender, out.exclusion.reason))
        .collect();
    assert_eq!(out, [0, 2, 4].map(|contender| (contender, ExclusionReason::Family)));
    assert!([1, 3].contains(&report.choice.unwrap().named.contender));
    // What was ruled out is let in again by empty constraints; its losses are known here.
    let mut narrow = everything();
    if let Some(prepared) = &mut narrow.prepared {
        prepared.contenders[2].exclusion = Some(Exclusion::new(ExclusionReason::Family, "ruled out"));
        prepared.contenders[3].exclusion = Some(Exclusion::new(ExclusionReason::TrainerCannot, "no trainer"));
    }
    let (report, _) = what_if("s", &narrow, None, None, Some(Constraints::default()), 0).unwrap();
    assert_eq!(
        report
            .excluded
            .iter()
            .map(|out| out.named.contender)
            .collect::<Vec<_>>(),
        [3]
    );
}

#[test]
fn memory_is_what_the_trainer_says_where_it_tells() {
    let mut state = everything();
    if let Some(cost) = state
        .prepared
        .as_mut()
        .and_then(|prepared| prepared.contenders[0].costs.get_mut("local"))
    {
        cost.memory_bytes = 3 << 30;
    }
    let limit = |bytes| Constraints {
        memory_limit: Some(crate::constraint::MemoryLimit {
            bytes,
            method: crate::constraint::TuningMethod::Full,
            bytes_per_parameter: None,
        }),
        ..Constraints::default()
    };
    let (report, _) = what_if("s", &state, None, None, Some(limit(2 << 30)), 0).unwrap();
    let out: Vec<_> = report
        .excluded
        .iter()
        .map(|out| out.exclusion.detail.as_str())
        .collect();
    assert_eq!(out, ["the trainer says that it takes 3.0 GiB, the limit is 2.0 GiB"]);
}

#[test]
fn senseless_questions_are_refused() {
    let state = everything();
    let none = what_if("s", &state, Some(BudgetSpec::default()), None, None, 0).unwrap_err();
    assert!(
        matches!(none, WhatIfError::Spec { .. } | WhatIfError::Parameter(_)),
        "{none:?}"
    );
    let small = what_if("s", &state, Some(examples(1)), Some(policy("geometric")), None, 0).unwrap_err();
    assert!(small.to_string().contains("example"), "{small}");
    let fits = what_if("s", &state, None, Some(policy("rectified_fit")), None, 0).unwrap_err();
    assert_eq!(
        fits,
        WhatIfError::NeedsFitter {
            policy: "rectified_fit"
        }
    );
}

#[test]
fn a_loss_from_an_earlier_selection_costs_what_it_would_have() {
    let mut state = ready(spec(1, &["full"], policy("sub_tuning"), 300));
    observe(&mut state, &[(0, 100, 3.0), (0, 200, 2.9)]);
    let (report, _) = what_if("s", &state, None, None, None, 0).unwrap();
    assert_eq!(report.spent.examples, 300);
    assert_eq!(report.choice.unwrap().named.contender, 0);
    assert_eq!(size(100), report.contenders[0].observations[0].data_size());
}

#[test]
fn what_is_expected_is_that_of_the_changed_question() {
    let mut state = everything();
    if let Some(prepared) = &mut state.prepared {
        prepared.expected_relative_regret = Some(0.123);
    }
    let expected = |budget: u64, name: &str| {
        let (report, _) = what_if("s", &state, Some(examples(budget)), Some(policy(name)), None, 0).unwrap();
        report.estimate.unwrap()
    };
    let (small, large) = (expected(20_000, "geometric"), expected(60_000, "geometric"));
    let regret = |prepared: &Prepared| prepared.expected_relative_regret.unwrap();
    assert!(regret(&large) <= regret(&small) && regret(&small) < 0.1, "{small:?}");
    assert!(small.planned.examples <= 20_000 && small.planned.examples < large.planned.examples);
    assert!(small.wall_seconds.unwrap() < large.wall_seconds.unwrap());
    assert_eq!(small.limits.examples, Some(20_000));
    // No replay says anything of that one.
    assert_eq!(expected(5 * 2 * FULL, "local_trend").expected_relative_regret, None);
    // With one contender nothing can be chosen wrongly.
    let only = Constraints {
        max_parameters: Some(1_000),
        ..Constraints::default()
    };
    let (report, _) = what_if(
        "s",
        &state,
        Some(examples(20_000)),
        Some(policy("geometric")),
        Some(only),
        0,
    )
    .unwrap();
    let estimate = report.estimate.unwrap();
    assert_eq!(estimate.expected_relative_regret, Some(0.0));
    assert_eq!((estimate.exhaustive.examples, report.exhaustive.examples), (FULL, FULL));
}
