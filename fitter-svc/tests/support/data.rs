//! Reads the published benchmark and its golden results where they are present.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests, outside of any test function"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use fitter_svc::curve::LearningCurve;

/// The data folder: `FINEPICK_BENCHMARK_DIR`, else `../shared/data` beside the repository; `None` (with a message) without one.
#[expect(
    clippy::disallowed_methods,
    reason = "a test finds its data; this is no configuration of a service"
)]
pub(crate) fn folder() -> Option<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let folder = std::env::var_os("FINEPICK_BENCHMARK_DIR").map_or_else(beside, PathBuf::from);
    if folder.is_dir() {
        Some(folder)
    } else {
        eprintln!("skipped: no benchmark data at {}", folder.display());
        None
    }
}

/// A model of the benchmark.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) curve: LearningCurve,
    pub(crate) parameters: f64,
    pub(crate) family: String,
}

/// The models of one benchmark file by name; size 0 included.
pub(crate) fn models(file: &str) -> Option<BTreeMap<String, Model>> {
    let rows = rows(&format!("benchmark/{file}"))?;
    let model = |row: &BTreeMap<String, String>| {
        let mut pairs: Vec<(u64, f64)> = row
            .iter()
            .filter_map(|(key, value)| Some((key.parse().ok()?, value.parse().ok()?)))
            .collect();
        pairs.sort_by_key(|(size, _)| *size);
        let curve = LearningCurve::from_pairs(&pairs).unwrap();
        Model {
            curve,
            parameters: row["size"].parse().unwrap(),
            family: row["family"].clone(),
        }
    };
    Some(
        rows.iter()
            .map(|row| (row["config name"].clone(), model(row)))
            .collect(),
    )
}

/// The rows of a CSV file below the data folder, by column name.
pub(crate) fn rows(path: &str) -> Option<Vec<BTreeMap<String, String>>> {
    let mut reader = csv::Reader::from_path(folder()?.join(path)).unwrap();
    let header = reader.headers().unwrap().clone();
    let named = |record: csv::StringRecord| {
        header
            .iter()
            .zip(record.iter())
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect()
    };
    Some(reader.records().map(|record| named(record.unwrap())).collect())
}

/// A number of a row.
pub(crate) fn number(row: &BTreeMap<String, String>, column: &str) -> f64 {
    row[column].parse().unwrap()
}
