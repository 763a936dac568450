//! Lists, page by page.

use finepick_proto::trainer::v1 as pb;
use finepick_proto::trainer::v1::TrainingRunState as State;

use crate::case::{Case, Needs, case};
use crate::kit::Scope;
use crate::verdict::{Refusal, Verdict, ensure, equal, fail, succeed};

pub(super) const CASES: &[Case] = &[
    case!(
        "list.pages",
        ["C-11.1"],
        Needs::Nothing,
        Shared,
        pages,
        "Page by page every run comes once, newest first."
    ),
    case!(
        "list.invalid",
        ["C-11.2"],
        Needs::Nothing,
        Shared,
        invalid,
        "Wrong page sizes, tokens and states are refused."
    ),
    case!(
        "list.states",
        ["C-11.3"],
        Needs::Nothing,
        Shared,
        states,
        "A filter returns runs in these states only."
    ),
];

/// Pages of one listing at most.
const MAX_PAGES: usize = 10_000;

/// All pages of a list.
async fn list(scope: &Scope, page_size: i32, states: &[State]) -> Verdict<Vec<pb::TrainingRun>> {
    let mut runs = Vec::new();
    let mut page_token = String::new();
    for _ in 0..MAX_PAGES {
        let request = pb::ListTrainingRunsRequest {
            page_size,
            page_token,
            states: states.iter().map(|state| *state as i32).collect(),
        };
        let page = succeed("C-11.1", "ListTrainingRuns", scope.list_training_runs(request).await)?;
        let most = if page_size == 0 {
            50
        } else {
            usize::try_from(page_size).unwrap_or(0)
        };
        ensure(
            "C-11.1",
            page.runs.len() <= most,
            format!("at most {most} runs a page"),
            page.runs.len(),
        )?;
        runs.extend(page.runs);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(runs);
        }
    }
    fail("C-11.1", "a list that ends", format!("{MAX_PAGES} pages and no end"))
}

async fn pages(scope: &Scope) -> Verdict {
    const RUNS: usize = 5;
    let mut ids = Vec::new();
    for _ in 0..RUNS {
        ids.insert(0, scope.start("listed", &scope.spec()).await?.training_run_id);
    }
    for page_size in [0, 1, 2, 1_000] {
        let runs = list(scope, page_size, &[]).await?;
        let listed: Vec<_> = runs
            .into_iter()
            .map(|run| run.training_run_id)
            .filter(|id| ids.contains(id))
            .collect();
        equal("C-11.1", &format!("newest first, {page_size} a page"), &ids, &listed)?;
    }
    Ok(())
}

async fn invalid(scope: &Scope) -> Verdict {
    let request = pb::ListTrainingRunsRequest::default();
    let rows = [
        (
            "page_size",
            pb::ListTrainingRunsRequest {
                page_size: -1,
                ..request.clone()
            },
        ),
        (
            "page_size",
            pb::ListTrainingRunsRequest {
                page_size: 1_001,
                ..request.clone()
            },
        ),
        (
            "page_token",
            pb::ListTrainingRunsRequest {
                page_token: "no token".to_owned(),
                ..request.clone()
            },
        ),
        (
            "page_token",
            pb::ListTrainingRunsRequest {
                page_token: "\u{1f9ea}".repeat(300),
                ..request.clone()
            },
        ),
        (
            "states[0]",
            pb::ListTrainingRunsRequest {
                states: vec![0],
                ..request.clone()
            },
        ),
        (
            "states[1]",
            pb::ListTrainingRunsRequest {
                states: vec![1, 77],
                ..request
            },
        ),
    ];
    for (path, request) in rows {
        let call = format!("ListTrainingRuns with a wrong {path}");
        Refusal::field(path).check("C-11.2", &call, scope.list_training_runs(request).await)?;
    }
    Ok(())
}

async fn states(scope: &Scope) -> Verdict {
    let succeeded = scope.finished().await?.run.training_run_id;
    let id = scope.start("cancelled", &scope.long_spec()).await?.training_run_id;
    super::cancel::cancel(scope, &id).await?;
    let rows: [(&[State], bool, bool); 4] = [
        (&[State::Succeeded], true, false),
        (&[State::Cancelled], false, true),
        (&[State::Cancelled, State::Succeeded], true, true),
        (&[State::Lost], false, false),
    ];
    for (filter, first, second) in rows {
        let runs = list(scope, 1_000, filter).await?;
        let stray = runs.iter().find(|run| !filter.contains(&run.state()));
        let named = |run: &pb::TrainingRun| (run.training_run_id.clone(), run.state());
        ensure(
            "C-11.3",
            stray.is_none(),
            format!("runs in {filter:?} only"),
            stray.map(named),
        )?;
        let has = |id: &str| runs.iter().any(|run| run.training_run_id == id);
        let expected = format!("with {filter:?} the run that SUCCEEDED: {first}, that was CANCELLED: {second}");
        let got = (has(&succeeded), has(&id));
        ensure("C-11.3", got == (first, second), expected, got)?;
    }
    Ok(())
}
