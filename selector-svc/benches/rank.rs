//! Speed of the rankings and replays on 30 candidates: published curves where present, else curves drawn from a law.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]
#![allow(clippy::expect_used, reason = "a benchmark stops where its own data are wrong")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use selector_svc::curve::{DataSize, LearningCurve, Loss, Observation};
use selector_svc::policy::RankingPolicy;
use selector_svc::ranking::{RankRequest, rank};
use selector_svc::simulate::{Budget, SelectionPolicy, SimulateRequest, simulate};
use selector_svc::table::{Attributes, Candidate, CandidateTable};

const FULL: u64 = 1_638_400;

fn size(examples: u64) -> DataSize {
    DataSize::new(examples).expect("in range")
}

fn candidate(name: String, losses: impl Iterator<Item = (u64, f64)>) -> Candidate {
    let points = losses
        .map(|(d, l)| Observation::new(size(d), Loss::new(l).expect("positive")))
        .collect();
    let curve = LearningCurve::new(points).expect("unique sizes");
    Candidate::new(name, Attributes::new(None, Some(1_000_000), BTreeMap::new()), curve).expect("a name")
}

/// Rectified laws `L = B/(D_l + D^β) + E` with coefficients spread over the pool and 1 % ripple.
fn synthetic() -> CandidateTable {
    let candidates = (0..30_u32).map(|k| {
        let spread = f64::from(k) / 30.0;
        let (b, d_l, beta, e) = (
            400.0 + 300.0 * spread,
            80.0 + 60.0 * spread,
            0.45 - 0.1 * spread,
            0.8 + 0.3 * spread,
        );
        let losses = (0..14_u32).map(move |i| {
            let d = 200_u64 << i;
            let ripple = 1.0 + 0.01 * f64::from((i * 7 + k * 3) % 5) / 5.0;
            (d, (b / (d_l + (d as f64).powf(beta)) + e) * ripple)
        });
        candidate(format!("synthetic-{k}"), losses)
    });
    CandidateTable::new(candidates.collect()).expect("unique names")
}

fn published() -> Option<CandidateTable> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a benchmark's data is no configuration of a service"
    )]
    let named = std::env::var("FINEPICK_BENCHMARK_DIR").ok();
    let folder = named.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data").to_owned());
    let mut reader = csv::Reader::from_path(Path::new(&folder).join("benchmark/flan.csv")).ok()?;
    let headers = reader.headers().ok()?.clone();
    let mut candidates = Vec::new();
    for record in reader.records() {
        let record = record.ok()?;
        let losses = headers
            .iter()
            .zip(record.iter())
            .filter_map(|(h, v)| Some((h.parse().ok()?, v.parse().ok()?)));
        candidates.push(candidate(record.get(0)?.to_owned(), losses));
    }
    CandidateTable::new(candidates).ok()
}

fn benches(criterion: &mut Criterion) {
    let table = published().unwrap_or_else(synthetic);
    for name in ["ats", "rwl", "local_trend"] {
        let policy = RankingPolicy::from_name(name).expect("a known policy");
        let request = RankRequest::new(size(FULL / 8), size(FULL), policy);
        criterion.bench_function(&format!("rank/{name}/30"), |bencher| {
            bencher.iter(|| rank(black_box(&table), black_box(&request), None));
        });
    }
    for name in ["geometric", "halving"] {
        let policy = SelectionPolicy::from_name(name).expect("a known policy");
        let budget = Budget::RelativeToAts {
            ratio: 1.0 / 64.0,
            fraction: 1.0,
        };
        let request = SimulateRequest::new(size(FULL), budget, policy);
        criterion.bench_function(&format!("simulate/{name}/30"), |bencher| {
            bencher.iter(|| simulate(black_box(&table), black_box(&request), None));
        });
    }
}

criterion_group!(all, benches);
criterion_main!(all);
