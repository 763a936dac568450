//! Runs the cases that are wanted: those that share the trainer side by side, the others one after the other.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{FutureExt as _, StreamExt as _, stream};

use crate::case::{CAPABILITIES, Case, Company, Needs};
use crate::kit::{Kit, StartError};
use crate::options::Options;
use crate::report::{CaseReport, Outcome, Report};
use crate::verdict::{Failure, Stop, short};

/// Runs the kit.
///
/// # Errors
/// [`StartError`] when an option makes no sense or nothing answers as a trainer. Cases that fail are in the report.
pub async fn run(options: Options) -> Result<Report, StartError> {
    let cases: Vec<Case> = crate::cases::all()
        .into_iter()
        .filter(|case| options.wants(case.id))
        .collect();
    check(&options, &cases)?;
    let begun = Instant::now();
    let kit = Kit::connect(options).await?;
    let (shared, alone): (Vec<_>, Vec<_>) = cases
        .into_iter()
        .enumerate()
        .partition(|(_, case)| case.company == Company::Shared);
    let mut reports: Vec<(usize, CaseReport)> = stream::iter(shared)
        .map(|(place, case)| judge(&kit, place, case))
        .buffer_unordered(kit.options.parallel.max(1))
        .collect()
        .await;
    for (place, case) in alone {
        reports.push(judge(&kit, place, case).await);
    }
    kit.close().await;
    reports.sort_by_key(|(place, _)| *place);
    Ok(Report {
        target: kit.options.target.clone(),
        trainer: format!("{} {}", kit.info.name, kit.info.version),
        elapsed: begun.elapsed(),
        cases: reports.into_iter().map(|(_, report)| report).collect(),
    })
}

fn check(options: &Options, cases: &[Case]) -> Result<(), StartError> {
    let usage = |text: String| Err(StartError::Usage(text));
    if cases.is_empty() {
        return usage(format!("no case matches {}", options.cases.join(" ")));
    }
    if let Some(name) = options
        .capabilities
        .iter()
        .find(|name| !CAPABILITIES.contains(&name.as_str()))
    {
        return usage(format!(
            "{name:?} is no capability: there are {}",
            CAPABILITIES.join(", ")
        ));
    }
    let ascending = options.sizes.is_sorted_by(|a, b| a < b) && options.sizes.first().is_some_and(|size| *size >= 0);
    if !ascending {
        return usage("sizes must be ascending, unique and not negative, at least one".to_owned());
    }
    Ok(())
}

/// Whether the trainer claims a capability.
fn claims(kit: &Kit, name: &str) -> bool {
    let claimed = &kit.capabilities;
    match name {
        "pause" => claimed.pause,
        "checkpoint_resume" => claimed.checkpoint_resume,
        "nested_subsets" => claimed.nested_subsets,
        "deterministic_seeds" => claimed.deterministic_seeds,
        "estimate" => claimed.estimate,
        "retention_sets" => claimed.retention_sets,
        _ => false,
    }
}

async fn judge(kit: &Arc<Kit>, place: usize, case: Case) -> (usize, CaseReport) {
    let begun = Instant::now();
    let outcome = match applies(kit, &case) {
        Err(outcome) => outcome,
        Ok(()) => attempt(kit, &case).await,
    };
    let report = CaseReport {
        id: case.id,
        clauses: case.clauses,
        proves: case.proves,
        outcome,
        elapsed: begun.elapsed(),
    };
    (place, report)
}

/// Whether the case is for this trainer; if not, what it comes to.
fn applies(kit: &Kit, case: &Case) -> Result<(), Outcome> {
    match case.needs {
        Needs::Claimed(name) if !claims(kit, name) => {
            if kit.options.capabilities.iter().any(|wanted| wanted == name) {
                return Err(Outcome::Failed(Failure {
                    clause: case.clauses.first().copied().unwrap_or_default(),
                    expected: format!("the capability {name} (--capability {name})"),
                    got: "it is not claimed".to_owned(),
                }));
            }
            Err(Outcome::Skipped(format!("{name} is not claimed")))
        }
        Needs::Unclaimed(name) if claims(kit, name) => Err(Outcome::Skipped(format!("{name} is claimed"))),
        _ => Ok(()),
    }
}

async fn attempt(kit: &Arc<Kit>, case: &Case) -> Outcome {
    let scope = kit.scope();
    let limit = kit.options.case_timeout;
    let clause = case.clauses.first().copied().unwrap_or_default();
    let run = AssertUnwindSafe((case.run)(&scope)).catch_unwind();
    let outcome = match tokio::time::timeout(limit, run).await {
        Ok(Ok(Ok(()))) => Outcome::Passed,
        Ok(Ok(Err(Stop::Failed(failure)))) => Outcome::Failed(failure),
        Ok(Ok(Err(Stop::Skipped(reason)))) => Outcome::Skipped(reason),
        Ok(Err(panic)) => {
            let text = panic.downcast_ref::<String>().map_or("no text", String::as_str);
            Outcome::Failed(Failure {
                clause,
                expected: "a case that ends".to_owned(),
                got: format!("a defect of the kit: {}", short(text)),
            })
        }
        Err(_) => Outcome::Failed(Failure {
            clause,
            expected: format!("the case ends within {limit:?} (--case-timeout)"),
            got: "it does not".to_owned(),
        }),
    };
    // A trainer that does not answer must not hold up the cases that are left.
    let _ = tokio::time::timeout(limit.min(Duration::from_secs(20)), scope.clean()).await;
    outcome
}
