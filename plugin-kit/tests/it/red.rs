//! Each mutant is caught by the case meant for it.

use std::collections::BTreeSet;

use futures::{StreamExt as _, stream};
use plugin_kit::{Failure, Format, Needs, Options, Outcome, Report};

use crate::mutant::Flaw;
use crate::mutants::{MUTANTS, Row};
use crate::server::{config, options, serve};

/// The report of the one case that is meant to catch it.
async fn judge(row: &Row) -> Report {
    let mut config = config();
    config.checkpoint_resume = row.caught_by.starts_with("checkpoint");
    let served = serve(&config, Some(row.flaw)).await;
    let options = Options {
        cases: vec![row.caught_by.to_owned()],
        ..options(served.target.clone())
    };
    plugin_kit::run(options).await.expect("the mutant answers")
}

fn failure(report: &Report) -> Option<&Failure> {
    match &report.cases.first()?.outcome {
        Outcome::Failed(failure) => Some(failure),
        Outcome::Passed | Outcome::Skipped(_) => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_mutant_is_caught_by_the_case_meant_for_it() {
    const AT_ONCE: usize = 6;
    let missed: Vec<String> = stream::iter(MUTANTS)
        .map(|row| async move {
            let report = judge(row).await;
            let ids: Vec<_> = report.cases.iter().map(|case| case.id).collect();
            assert_eq!(ids, [row.caught_by]);
            match failure(&report) {
                Some(failure) if failure.clause == row.clause => {
                    eprintln!(
                        "{:?}: {} {}: expected {}; got {}",
                        row.flaw, row.caught_by, failure.clause, failure.expected, failure.got
                    );
                    assert!(!failure.expected.is_empty() && !failure.got.is_empty(), "{failure:?}");
                    None
                }
                other => Some(format!("{:?} by {} {}: {other:?}", row.flaw, row.caught_by, row.clause)),
            }
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await;
    assert!(
        missed.is_empty(),
        "{} of {} missed:\n{}",
        missed.len(),
        MUTANTS.len(),
        missed.join("\n")
    );
}

#[test]
fn every_case_has_a_mutant_and_every_flaw_a_row() {
    let caught: BTreeSet<_> = MUTANTS.iter().map(|row| row.caught_by).collect();
    let cases: BTreeSet<_> = plugin_kit::cases().into_iter().map(|case| case.id).collect();
    assert_eq!(caught, cases);
    let flaws: BTreeSet<_> = MUTANTS.iter().map(|row| format!("{:?}", row.flaw)).collect();
    assert_eq!(flaws.len(), Flaw::ALL.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_case_reads_like_this() {
    let served = serve(&config(), Some(Flaw::PreparingSkipped)).await;
    let options = Options {
        cases: vec![
            "states.legal".to_owned(),
            "identity.versions".to_owned(),
            "pause.unclaimed".to_owned(),
        ],
        ..options(served.target.clone())
    };
    let report = plugin_kit::run(options).await.expect("the mutant answers");
    assert!(!report.is_green());
    let text = report.render(Format::Text).replace(&served.target, "TARGET");
    // All but the last line's time, which differs.
    let (text, _) = text.rsplit_once(", in ").expect("a time");
    assert_eq!(text, include_str!("failing.golden").trim_end());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_must_be_claimed_and_is_not_fails() {
    let mut config = config();
    config.pause = false;
    let served = serve(&config, None).await;
    let cases: Vec<_> = plugin_kit::cases()
        .into_iter()
        .filter(|case| case.needs == Needs::Claimed("pause"))
        .collect();
    let options = Options {
        cases: cases.iter().map(|case| case.id.to_owned()).collect(),
        ..options(served.target.clone())
    };
    let report = plugin_kit::run(options.clone()).await.expect("it answers");
    assert_eq!(report.counts(), (0, 0, cases.len()));
    let options = Options {
        capabilities: vec!["pause".to_owned()],
        ..options
    };
    let report = plugin_kit::run(options).await.expect("it answers");
    assert_eq!(report.counts(), (0, cases.len(), 0));
}
