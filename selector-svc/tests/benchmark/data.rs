//! Reading the benchmark's files.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use selector_svc::curve::{DataSize, LearningCurve, Loss, Observation};
use selector_svc::table::{Attributes, Candidate, CandidateTable};

/// Full size of all published curves.
pub(crate) const FULL: u64 = 1_638_400;
/// full / budget of the published table.
pub(crate) const GAMMA_INVERSES: [u64; 7] = [8, 16, 32, 64, 128, 256, 512];

pub(crate) fn size(examples: u64) -> DataSize {
    DataSize::new(examples).unwrap()
}

/// The data folder, or `None` with a message.
pub(crate) fn directory() -> Option<PathBuf> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test's data is no configuration of a service"
    )]
    let named = std::env::var("FINEPICK_BENCHMARK_DIR").ok().map(PathBuf::from);
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let found = named.unwrap_or_else(beside);
    if found.join("benchmark").is_dir() {
        return Some(found);
    }
    println!(
        "skipped: no benchmark data at {} (set FINEPICK_BENCHMARK_DIR)",
        found.display()
    );
    None
}

/// A wide table of losses, or `None` with a message.
pub(crate) fn table(name: &str) -> Option<CandidateTable> {
    let path = directory()?.join("benchmark").join(format!("{name}.csv"));
    let mut reader = csv::Reader::from_path(path).unwrap();
    let headers: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let mut candidates = Vec::new();
    for record in reader.records() {
        let record = record.unwrap();
        let (mut points, mut family, mut parameters) = (Vec::new(), None, None);
        for (header, value) in headers.iter().zip(record.iter()).skip(1) {
            match (header.parse::<u64>(), header.as_str()) {
                (Ok(examples), _) => {
                    points.push(Observation::new(
                        size(examples),
                        Loss::new(value.parse().unwrap()).unwrap(),
                    ));
                }
                (_, "size") => parameters = value.parse().ok(),
                (_, "family") => family = Some(value.to_owned()),
                _ => {}
            }
        }
        let attributes = Attributes::new(family, parameters, BTreeMap::new());
        let curve = LearningCurve::new(points).unwrap();
        candidates.push(Candidate::new(record[0].to_owned(), attributes, curve).unwrap());
    }
    Some(CandidateTable::new(candidates).unwrap())
}

/// The rows of a golden file as maps from column to text, or `None` with a message.
pub(crate) fn golden(name: &str) -> Option<Vec<HashMap<String, String>>> {
    let path = directory()?.join("golden").join(format!("{name}.csv"));
    let mut reader = csv::Reader::from_path(path).unwrap();
    Some(reader.deserialize().map(Result::unwrap).collect())
}

/// A number of a golden row.
pub(crate) fn number(row: &HashMap<String, String>, column: &str) -> f64 {
    row[column]
        .parse()
        .unwrap_or_else(|_| panic!("{column} = {:?}", row[column]))
}

pub(crate) fn integer(row: &HashMap<String, String>, column: &str) -> u64 {
    row[column]
        .parse()
        .unwrap_or_else(|_| panic!("{column} = {:?}", row[column]))
}

/// Equal to 1e-9 relative.
#[track_caller]
pub(crate) fn assert_close(actual: f64, expected: f64, what: &str) {
    assert!(
        (actual - expected).abs() <= 1e-9 * expected.abs().max(1e-3),
        "{what}: {actual} instead of {expected}"
    );
}
