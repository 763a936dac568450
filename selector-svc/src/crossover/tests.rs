use proptest::prelude::*;

use super::*;
use crate::fixture::{FULL, observe, ready, spec};
use crate::simulate::SelectionPolicy;

const METHODS: [&str; 2] = ["full", "lora"];

/// One candidate, two methods with straight curves ln L = level − slope · log₂(D/100), at these sizes.
fn state(first: (f64, f64), second: (f64, f64), sizes: &[u64], noise: f64) -> State {
    let mut state = ready(spec(1, &METHODS, SelectionPolicy::Exhaustive, 1_000_000));
    let mut losses = Vec::new();
    for (method, (level, slope)) in [first, second].into_iter().enumerate() {
        for (place, examples) in sizes.iter().enumerate() {
            let sign = if (place + method) % 2 == 0 { 1.0 } else { -1.0 };
            let x = ((*examples).max(50) as f64 / 100.0).log2();
            losses.push((method, *examples, (level - slope * x + sign * noise).exp()));
        }
    }
    observe(&mut state, &losses);
    state
}

fn only(state: &State) -> Crossover {
    let found = crossovers(state);
    assert_eq!(found.len(), 1);
    found.into_iter().next().unwrap()
}

#[test]
fn lines_that_meet_within_the_range_have_a_critical_size() {
    // 0.1 apart at 100 examples, 0.04 closer per doubling: they meet after 2.5 doublings.
    let found = only(&state((1.0, 0.14), (0.9, 0.10), &[100, 200, 400, 800, 1_600], 0.0));
    assert_eq!(
        (found.method_below.as_str(), found.method_above.as_str()),
        ("lora", "full")
    );
    let critical = found.critical_data_size.unwrap();
    assert!((critical - 100.0 * 2.5_f64.exp2()).abs() < 1e-6, "{critical}");
    let (lower, upper) = (found.lower.unwrap(), found.upper.unwrap());
    assert!(lower < critical && critical < upper, "{found:?}");
    assert!(lower > 300.0 && upper < 1_100.0, "{found:?}");
    assert_eq!(
        found.detail,
        format!(
            "lora is better up to about 570 examples, full beyond; the 90 % interval is {} to {}",
            explain::grouped(rounded(lower)),
            explain::grouped(rounded(upper))
        )
    );
}

#[test]
fn lines_that_do_not_meet_say_who_is_better() {
    let found = only(&state((1.0, 0.1), (1.2, 0.1), &[100, 200, 400], 0.0));
    assert_eq!(
        (found.method_below.as_str(), found.method_above.as_str()),
        ("full", "full")
    );
    assert_eq!((found.critical_data_size, found.lower, found.upper), (None, None, None));
    assert_eq!(
        found.detail,
        "by the trends full stays better than lora from 100 to 12,800 examples: no crossing in this range"
    );
    // They meet, but beyond the full size.
    let found = only(&state((1.0, 0.1), (1.2, 0.12), &[100, 200, 400], 0.0));
    assert_eq!(found.critical_data_size, None);
}

#[test]
fn noise_widens_the_interval_up_to_none() {
    let width = |noise: f64| {
        let found = only(&state((1.0, 0.14), (0.9, 0.10), &[100, 200, 400, 800, 1_600], noise));
        found.upper.map_or(f64::INFINITY, f64::log2) - found.lower.map_or(0.0, f64::log2)
    };
    assert!(
        width(0.0) < width(0.01) && width(0.01) < width(0.03),
        "{} {} {}",
        width(0.0),
        width(0.01),
        width(0.03)
    );
    let found = only(&state((1.0, 0.11), (0.9, 0.10), &[100, 200, 400], 0.2));
    assert!(found.lower.is_none() || found.upper.is_none(), "{found:?}");
}

#[test]
fn the_same_seed_gives_the_same_interval() {
    let make = |seed| {
        let mut state = state((1.0, 0.14), (0.9, 0.10), &[100, 200, 400], 0.0);
        state.spec.seed = seed;
        only(&state)
    };
    assert_eq!(make(1), make(1));
    assert_ne!(make(1).lower, make(2).lower);
}

#[test]
fn what_cannot_be_judged_is_left_out() {
    assert_eq!(crossovers(&state((1.0, 0.1), (1.2, 0.1), &[100], 0.0)), []);
    assert_eq!(crossovers(&state((1.0, 0.1), (1.2, 0.1), &[0, 100], 0.0)), []);
    let mut one_method = state((1.0, 0.1), (1.2, 0.1), &[100, 200], 0.0);
    one_method.spec.methods.truncate(1);
    assert_eq!(crossovers(&one_method), []);
    let mut unprepared = state((1.0, 0.1), (1.2, 0.1), &[100, 200], 0.0);
    unprepared.prepared = None;
    assert_eq!(crossovers(&unprepared), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn nothing_breaks_it_and_its_ends_are_in_order(
        losses in prop::collection::vec((0_usize..6, 0_u64..2 * FULL, 1e-3..1e3_f64), 0..30),
        level in 0.01..0.999_f64,
    ) {
        let mut state = ready(spec(2, &["a", "b", "c"], SelectionPolicy::Exhaustive, 1));
        state.spec.interval_level = level;
        observe(&mut state, &losses);
        for found in crossovers(&state) {
            prop_assert!(!found.detail.is_empty());
            if let Some(critical) = found.critical_data_size {
                prop_assert!(critical.is_finite() && critical > 0.0 && critical <= FULL as f64 * (1.0 + 1e-9));
                prop_assert!(found.method_below != found.method_above);
            }
            if let (Some(lower), Some(upper)) = (found.lower, found.upper) {
                prop_assert!(lower <= upper);
            }
        }
    }
}
