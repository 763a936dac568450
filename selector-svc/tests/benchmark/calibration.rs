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
