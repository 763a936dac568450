//! The table of expected regrets: what the policies' replays on resampled pools of the published curves give.

use std::fmt::Write as _;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use selector_svc::curve::{DataSize, Observation};
use selector_svc::policy::ats::AtsParameters;
use selector_svc::policy::ats_online::AtsOnline;
use selector_svc::policy::exhaustive::{Exhaustive, Profile};
use selector_svc::policy::full::FullSize;
use selector_svc::policy::geometric::{Geometric, GeometricParameters};
use selector_svc::policy::halving::{Halving, HalvingParameters, HalvingScore};
use selector_svc::policy::zero_shot::ZeroShotControl;
use selector_svc::policy::{Action, AdaptivePolicy, Observed, RankingPolicy};
use selector_svc::regret::{BUDGETS, POOLS, ROWS};
use selector_svc::table::{Candidate, CandidateTable};

use crate::data::{FULL, directory, size, table};

/// Pools drawn from each data set for each size.
const DRAWS: usize = 40;
const POLICIES: [&str; 12] = [
    "geometric",
    "halving",
    "halving_current",
    "ats_online",
    "exhaustive",
    "random",
    "zero_shot_control",
    "ats",
    "ats_corrected",
    "rwl",
    "sub_tuning",
    "model_size",
];

/// The policy on a pool; `None`: the budget does not pay for it.
fn build(name: &str, pool: &[&Candidate], budget: u64) -> Option<Box<dyn AdaptivePolicy>> {
    let (count, full) = (pool.len(), size(FULL));
    let rungs: Vec<DataSize> = (0..14).map(|rung| size(200 << rung)).collect();
    let halving = |score| {
        let parameters = HalvingParameters {
            score,
            ..HalvingParameters::default()
        };
        Halving::within(count, rungs.clone(), budget, parameters)
    };
    Some(match name {
        "geometric" => {
            let parameters = GeometricParameters::default();
            Box::new(Geometric::new(count, rungs, budget, parameters, None).ok()?)
        }
        "halving" => Box::new(halving(HalvingScore::Extrapolated).ok()?),
        "halving_current" => Box::new(halving(HalvingScore::Current).ok()?),
        "ats_online" => Box::new(AtsOnline::new(count, &rungs, budget, AtsParameters::default(), None).ok()?),
        "exhaustive" => Box::new(FullSize::new(count, full, budget).ok()?),
        "zero_shot_control" => Box::new(ZeroShotControl::new(count)),
        flat => {
            let profile = |candidate: &&Candidate| Profile {
                name: candidate.name().to_owned(),
                attributes: candidate.attributes().clone(),
                zero_shot: candidate.curve().zero_shot_loss(),
            };
            let profiles = pool.iter().map(profile).collect();
            let ranking = RankingPolicy::from_name(flat).unwrap().build(None);
            Box::new(Exhaustive::online(ranking, profiles, &rungs, budget).ok()?)
        }
    })
}

fn look_up(candidate: &Candidate, at: DataSize) -> Observation {
    let curve = candidate.curve();
    if at.is_zero() {
        return Observation::new(at, curve.zero_shot_loss().unwrap());
    }
    *curve.observation_at(at).unwrap()
}

/// Position of the choice.
fn choose(policy: &mut dyn AdaptivePolicy, pool: &[&Candidate]) -> usize {
    let mut observed = Observed::new(pool.len());
    let mut leader = None;
    for _ in 0..100 {
        let step = policy.next(&observed);
        leader = step.decision.and_then(|decision| decision.leader()).or(leader);
        let Action::Train(runs) = step.action else {
            return leader.unwrap();
        };
        for run in runs {
            observed.insert(run.candidate, look_up(pool[run.candidate], run.data_size));
        }
    }
    panic!("{} did not finish", policy.name());
}

/// Relative regret; `None`: the budget does not pay for the policy.
fn regret(name: &str, pool: &[&Candidate], budget: u64) -> Option<f64> {
    let truths: Vec<f64> = pool.iter().map(|c| c.true_loss(size(FULL)).unwrap().nats()).collect();
    let best = truths.iter().copied().fold(f64::INFINITY, f64::min);
    if name == "random" {
        // Exactly: each is as likely as the others.
        return Some(truths.iter().sum::<f64>() / truths.len() as f64 / best - 1.0);
    }
    let mut policy = build(name, pool, budget)?;
    Some(truths[choose(policy.as_mut(), pool)] / best - 1.0)
}

/// Non-increasing, by averaging neighbours that are not.
fn non_increasing(values: &[f64]) -> Vec<f64> {
    let mut blocks: Vec<(f64, usize)> = Vec::new();
    for value in values {
        blocks.push((*value, 1));
        while let [.., (before, n), (after, m)] = blocks[..]
            && after > before
        {
            let merged = (before * n as f64 + after * m as f64) / (n + m) as f64;
            blocks.truncate(blocks.len() - 2);
            blocks.push((merged, n + m));
        }
    }
    blocks
        .into_iter()
        .flat_map(|(value, times)| std::iter::repeat_n(value, times))
        .collect()
}

/// The same pools for all policies and budgets.
fn pools(tables: &[CandidateTable], contenders: usize) -> Vec<Vec<&Candidate>> {
    let mut pools = Vec::new();
    for table in tables {
        let mut rng = ChaCha8Rng::seed_from_u64(contenders as u64);
        for _ in 0..DRAWS {
            let mut pool: Vec<&Candidate> = table.candidates().iter().collect();
            pool.shuffle(&mut rng);
            pool.truncate(contenders);
            pools.push(pool);
        }
    }
    pools
}

/// (policy, contenders, refused budgets, regrets to five decimals)
fn replayed(tables: &[CandidateTable]) -> Vec<(&'static str, usize, usize, Vec<f64>)> {
    let mut rows = Vec::new();
    for name in POLICIES {
        for contenders in POOLS {
            let pools = pools(tables, contenders);
            let mean = |budget: &f64| {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "the table's budgets are positive and small"
                )]
                let examples = (budget * FULL as f64) as u64;
                let regrets: Option<Vec<f64>> = pools.iter().map(|pool| regret(name, pool, examples)).collect();
                regrets.map(|regrets| regrets.iter().sum::<f64>() / regrets.len() as f64)
            };
            let means: Vec<Option<f64>> = BUDGETS.iter().map(mean).collect();
            let refused = means.iter().take_while(|mean| mean.is_none()).count();
            let known: Vec<f64> = means[refused..].iter().map(|mean| mean.unwrap()).collect();
            let rounded = |value: f64| (value * 1e5).round() / 1e5;
            rows.push((
                name,
                contenders,
                refused,
                non_increasing(&known).into_iter().map(rounded).collect(),
            ));
        }
    }
    rows
}

fn written(rows: &[(&str, usize, usize, Vec<f64>)]) -> String {
    let mut text =
        "//! Written by the test `the_table_is_what_the_replays_give`; see the parent module.\n\nuse super::Row;\n\n\
                    /// All policies with all pools.\npub const ROWS: &[Row] = &[\n"
            .to_owned();
    for (policy, contenders, refused, regrets) in rows {
        let numbers: Vec<String> = regrets.iter().map(|regret| format!("{regret:?}")).collect();
        let numbers = numbers.join(", ");
        write!(
            text,
            "    Row {{\n        policy: {policy:?},\n        contenders: {contenders},\n        refused: {refused},\n        \
             regrets: &[{numbers}],\n    }},\n"
        )
        .unwrap();
    }
    text + "];\n"
}

#[test]
fn the_table_is_what_the_replays_give() {
    if directory().is_none() {
        return;
    }
    let tables: Vec<CandidateTable> = ["flan", "wmt19"].into_iter().filter_map(table).collect();
    let rows = replayed(&tables);
    #[expect(clippy::disallowed_methods, reason = "the switch of all golden files")]
    if std::env::var("FINEPICK_UPDATE_GOLDEN").is_ok_and(|value| value == "1") {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/regret/table.rs");
        std::fs::write(path, written(&rows)).unwrap();
        return;
    }
    assert_eq!(ROWS.len(), rows.len());
    for (row, (policy, contenders, refused, regrets)) in ROWS.iter().zip(rows) {
        assert_eq!((row.policy, row.contenders, row.refused), (policy, contenders, refused));
        assert_eq!(row.regrets.len(), regrets.len());
        for (committed, now) in row.regrets.iter().zip(&regrets) {
            assert!(
                (committed - now).abs() < 2e-5,
                "{policy} {contenders}: {committed} is {now}"
            );
        }
    }
}
