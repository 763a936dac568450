//! How often intervals hold on the published curves. The figures are those of the documentation of
//! `selector_svc::ranking::rank` and of `docs/adr/0004`.

use selector_svc::policy::RankingPolicy;
use selector_svc::ranking::{RankRequest, rank};
use selector_svc::simulate::{Budget, SelectionPolicy, SimulateRequest, simulate};

use crate::data::{FULL, GAMMA_INVERSES, size, table};

/// Share of candidates whose true loss is within the interval, over the given budgets.
fn coverage(set: &str, policy: &str, gamma_inverses: &[u64]) -> Option<f64> {
    let table = table(set)?;
    let (mut held, mut all) = (0_u32, 0_u32);
    for gamma_inverse in gamma_inverses {
        let policy = RankingPolicy::from_name(policy).unwrap();
        let request = RankRequest::new(size(FULL / gamma_inverse), size(FULL), policy);
        for candidate in rank(&table, &request, None).unwrap().candidates {
            let (interval, truth) = (candidate.interval.unwrap(), candidate.true_loss.unwrap());
            held += u32::from((interval.lower..=interval.upper).contains(&truth));
            all += 1;
        }
    }
    Some(f64::from(held) / f64::from(all))
}

#[test]
fn ninety_percent_intervals_hold_about_as_often_as_they_say() {
    for policy in ["ats", "ats_corrected", "rwl", "local_trend"] {
        let mut pooled = 0.0;
        for set in ["flan", "wmt19"] {
            let (near, far) = GAMMA_INVERSES.split_at(4);
            let Some(near) = coverage(set, policy, near) else {
                return;
            };
            let far = coverage(set, policy, far).unwrap();
            println!("{policy:14} {set:6} near {near:.3} far {far:.3}");
            assert!(near > 0.85 && far > 0.80, "{policy} {set}: {near} {far}");
            pooled += (4.0 * near + 3.0 * far) / 14.0;
        }
        println!("{policy:14} pooled {pooled:.3}");
        assert!((0.88..0.98).contains(&pooled), "{policy}: {pooled}");
    }
}

#[test]
fn intervals_of_the_geometric_survivors_hold() {
    let (mut held, mut all) = (0_u32, 0_u32);
    for set in ["flan", "wmt19"] {
        let Some(table) = table(set) else { return };
        for gamma_inverse in GAMMA_INVERSES {
            for fraction in [1.0, 0.5, 0.25] {
                let budget = Budget::RelativeToAts {
                    ratio: 1.0 / gamma_inverse as f64,
                    fraction,
                };
                let policy = SelectionPolicy::from_name("geometric").unwrap();
                let found = simulate(&table, &SimulateRequest::new(size(FULL), budget, policy), None).unwrap();
                for candidate in found.candidates.iter().filter(|c| c.dropped_at_rung != Some(0)) {
                    let truth = table
                        .find(&candidate.candidate)
                        .unwrap()
                        .true_loss(size(FULL))
                        .unwrap()
                        .nats();
                    let interval = candidate.interval.unwrap();
                    held +=
                        u32::from(interval.lower <= truth * (1.0 + 1e-12) && truth <= interval.upper * (1.0 + 1e-12));
                    all += 1;
                }
            }
        }
    }
    let share = f64::from(held) / f64::from(all);
    println!("geometric, candidates of the second round: {share:.3} of {all}");
    assert!((0.80..=1.0).contains(&share), "{share}");
}

/// The table of `docs/adr/0003`: means over the budgets of (`PearCorr`, `RelAcc`, relative regret).
#[test]
fn the_policies_choose_as_well_as_documented() {
    let documented = [
        ("flan", "ats", [0.627, 0.921, 0.0237]),
        ("flan", "ats_corrected", [0.620, 0.921, 0.0237]),
        ("flan", "rwl", [0.662, 0.940, 0.0181]),
        ("flan", "local_trend", [0.680, 0.922, 0.0236]),
        ("flan", "sub_tuning", [0.335, 0.788, 0.0639]),
        ("wmt19", "ats", [0.846, 0.992, 0.0225]),
        ("wmt19", "ats_corrected", [0.836, 0.992, 0.0225]),
        ("wmt19", "rwl", [0.874, 0.992, 0.0205]),
        ("wmt19", "local_trend", [0.867, 0.992, 0.0225]),
        ("wmt19", "sub_tuning", [0.644, 0.991, 0.0245]),
    ];
    for (set, policy, expected) in documented {
        let Some(table) = table(set) else { return };
        let mut means = [0.0; 3];
        for gamma_inverse in GAMMA_INVERSES {
            let policy = RankingPolicy::from_name(policy).unwrap();
            let request = RankRequest::new(size(FULL / gamma_inverse), size(FULL), policy);
            let metrics = rank(&table, &request, None).unwrap().metrics.unwrap();
            let (correlation, accuracy) = (metrics.pearson_correlation.unwrap(), metrics.relative_accuracy.unwrap());
            for (mean, value) in means.iter_mut().zip([correlation, accuracy, metrics.relative_regret]) {
                *mean += value / GAMMA_INVERSES.len() as f64;
            }
        }
        for (mean, (expected, tolerance)) in means.iter().zip(expected.iter().zip([6e-4, 6e-4, 6e-5])) {
            assert!((mean - expected).abs() < tolerance, "{set} {policy}: {means:?}");
        }
    }
}
