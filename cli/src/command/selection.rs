//! Commands on selections that are there already: list, report, explain, what if, certificate, and what changes them.

mod answer;
mod list;
mod scene;
mod story;
mod table;

use std::path::Path;

use finepick_proto::selector::v1 as pb;

use self::answer::{CloneAnswer, Missing, VerifyAnswer};
use super::select::{budget, get, has_ended};
use super::{complain, json, print, write_plot};
use crate::args::{
    AmendArgs, CancelArgs, CloneArgs, ExplainArgs, GlobalArgs, HostedTrainer, IdArgs, PlainFormat, ReportArgs,
    VerifyArgs,
};
use crate::error::{CliError, EXIT_FAILED};
use crate::output::selection::{Decision, Estimate, Report, Selection, state_word};
use crate::selections::Selections;
use crate::terminal::Terminal;
use crate::{plot, request, suite};

pub(crate) use self::list::list;

/// Trials and decisions of one page.
const PAGE: i32 = 500;

/// A selection's report.
pub(super) async fn report_of(selections: &Selections, id: &str) -> Result<pb::SelectionReport, CliError> {
    let request = pb::GetReportRequest {
        selection_id: id.to_owned(),
    };
    let response = selections.client().get_report(request).await?.into_inner();
    Ok(response.report.unwrap_or_default())
}

/// Prints a selection's report, and writes its plot.
pub(super) async fn show_report(
    selections: &Selections,
    id: &str,
    format: PlainFormat,
    plot: Option<&Path>,
    terminal: &Terminal,
) -> Result<(), CliError> {
    let report = Report::from(&report_of(selections, id).await?);
    if let Some(path) = plot {
        write_plot(path, &plot::render_svg(&scene::scene(&report)), terminal)?;
    }
    print(&match format {
        PlainFormat::Json => json(&report)?,
        PlainFormat::Table => table::report(&report, terminal),
    })
}

/// Prints a plan.
pub(super) fn show_estimate(
    estimate: &pb::SelectionEstimate,
    format: PlainFormat,
    terminal: &Terminal,
) -> Result<(), CliError> {
    let estimate = Estimate::from(estimate);
    print(&match format {
        PlainFormat::Json => json(&estimate)?,
        PlainFormat::Table => table::estimate(&estimate, terminal),
    })
}

/// `finepick report`.
///
/// # Errors
/// No such selection, a call failed, or a file cannot be written.
pub(crate) async fn report(args: &ReportArgs, global: &GlobalArgs, terminal: &Terminal) -> Result<u8, CliError> {
    let selections = Selections::to_look(global, &args.local).await?;
    if let Some(path) = &args.certificate {
        let (text, digest) = certificate_of(&selections, &args.id).await?;
        std::fs::write(path, text).map_err(|error| CliError::Write {
            what: path.display().to_string(),
            error,
        })?;
        complain(&format!("certificate written to {}: {digest}", path.display()));
    }
    show_report(&selections, &args.id, args.format, args.plot.as_deref(), terminal).await?;
    selections.close().await;
    Ok(0)
}

/// `finepick explain`.
///
/// # Errors
/// As [`report`].
pub(crate) async fn explain(args: &ExplainArgs, global: &GlobalArgs, terminal: &Terminal) -> Result<u8, CliError> {
    let selections = Selections::to_look(global, &args.local).await?;
    if let Some(round) = args.round {
        let decisions = decisions(&selections, &args.id).await?;
        let Some(decision) = decisions.iter().find(|decision| decision.round == round) else {
            return Err(CliError::Usage(format!(
                "--round {round}: selection {} has judged {} rounds",
                args.id,
                decisions.len()
            )));
        };
        print(&story::round(&Decision::from(decision), terminal))?;
        selections.close().await;
        return Ok(0);
    }
    let selection = get(&selections, &args.id).await?;
    let report = Report::from(&report_of(&selections, &args.id).await?);
    print(&story::whole(&selection, &report, terminal))?;
    selections.close().await;
    Ok(0)
}

async fn decisions(selections: &Selections, id: &str) -> Result<Vec<pb::Decision>, CliError> {
    let mut request = pb::ListDecisionsRequest {
        selection_id: id.to_owned(),
        page_size: PAGE,
        page_token: String::new(),
    };
    let mut all = Vec::new();
    loop {
        let page = selections.client().list_decisions(request.clone()).await?.into_inner();
        all.extend(page.decisions);
        if page.next_page_token.is_empty() {
            return Ok(all);
        }
        request.page_token = page.next_page_token;
    }
}

/// `finepick clone`.
///
/// # Errors
/// As [`report`].
pub(crate) async fn clone(args: &CloneArgs, global: &GlobalArgs, terminal: &Terminal) -> Result<u8, CliError> {
    let budget = budget(&args.budget)?;
    let request = pb::CloneSelectionRequest {
        selection_id: args.id.clone(),
        budget: (budget != pb::SelectionBudget::default()).then_some(budget),
        policy: args
            .policy
            .map(|policy| request::online_policy(policy, &args.parameters)),
        constraints: request::constraints(&args.constraints)?,
    };
    let selections = Selections::to_look(global, &args.local).await?;
    let response = selections.client().clone_selection(request).await?.into_inner();
    let answer = CloneAnswer {
        report: Report::from(&response.report.unwrap_or_default()),
        missing: response.missing.iter().map(Missing::from).collect(),
        missing_omitted: usize::try_from(response.missing_omitted).unwrap_or(0),
    };
    print(&match args.format {
        PlainFormat::Json => json(&answer)?,
        PlainFormat::Table => answer.to_text(terminal),
    })?;
    selections.close().await;
    Ok(0)
}

async fn certificate_of(selections: &Selections, id: &str) -> Result<(String, String), CliError> {
    let mut request = pb::GetCertificateRequest {
        selection_id: id.to_owned(),
        page_token: String::new(),
    };
    let mut text = String::new();
    loop {
        let piece = selections.client().get_certificate(request.clone()).await?.into_inner();
        text.push_str(&piece.json);
        if piece.next_page_token.is_empty() {
            return Ok((text, piece.digest));
        }
        request.page_token = piece.next_page_token;
    }
}

/// `finepick certificate`.
///
/// # Errors
/// As [`report`], and the selection has no choice.
pub(crate) async fn certificate(args: &IdArgs, global: &GlobalArgs) -> Result<u8, CliError> {
    let selections = Selections::to_look(global, &args.local).await?;
    let (text, digest) = certificate_of(&selections, &args.id).await?;
    // The digest is of these very bytes: nothing is added.
    print(&text)?;
    complain(&digest);
    selections.close().await;
    Ok(0)
}

/// `finepick verify`; a certificate that does not hold is status 1.
///
/// # Errors
/// The file cannot be read, or a call failed.
pub(crate) async fn verify(args: &VerifyArgs, global: &GlobalArgs, _: &Terminal) -> Result<u8, CliError> {
    let selections = Selections::to_look(global, &args.local).await?;
    let path = Path::new(&args.what);
    let (text, digest) = if path.exists() {
        let text =
            std::fs::read_to_string(path).map_err(|error| CliError::Usage(format!("{}: {error}", path.display())))?;
        (text, args.digest.clone())
    } else if args.what.contains(['/', '\\']) {
        return Err(CliError::Usage(format!("{}: no such file", args.what)));
    } else {
        let (text, digest) = certificate_of(&selections, &args.what).await?;
        let asked = Some(args.digest.clone()).filter(|digest| !digest.is_empty());
        (text, asked.unwrap_or(digest))
    };
    let request = pb::VerifyCertificateRequest { json: text, digest };
    let response = selections.client().verify_certificate(request).await?.into_inner();
    let answer = VerifyAnswer::from(&response);
    print(&match args.format {
        PlainFormat::Json => json(&answer)?,
        PlainFormat::Table => answer.to_text(),
    })?;
    selections.close().await;
    Ok(if answer.valid { 0 } else { EXIT_FAILED })
}

/// `finepick cancel`.
///
/// # Errors
/// No such selection, or a call failed.
pub(crate) async fn cancel(args: &CancelArgs, global: &GlobalArgs) -> Result<u8, CliError> {
    let id = args.selection.id.clone();
    let selections = Selections::to_look(global, &args.selection.local).await?;
    let request = pb::CancelSelectionRequest {
        selection_id: id.clone(),
        reason: args.reason.clone(),
    };
    let selection = selections
        .client()
        .cancel_selection(request)
        .await?
        .into_inner()
        .selection;
    let selection = selection.unwrap_or_default();
    if selections.local().is_none() || has_ended(selection.state()) {
        return told(&selection);
    }
    selections.close().await;
    // Here nobody may be driving it: its last runs are ended by this command.
    let trainers = selection
        .spec
        .as_ref()
        .map(|spec| spec.trainers.clone())
        .unwrap_or_default();
    let simulated = trainers.iter().any(|name| name == suite::SIMULATED);
    let trainer = if simulated {
        HostedTrainer::Simulated
    } else {
        HostedTrainer::Onnx
    };
    match Selections::to_drive(global, &args.selection.local, trainer).await {
        Err(CliError::InUse { .. }) => told(&selection),
        Err(error) => Err(error),
        Ok(driving) => {
            let ended = ended(&driving, &id).await;
            driving.close().await;
            told(&ended?)
        }
    }
}

/// Waits until a selection that is being cancelled has ended.
async fn ended(selections: &Selections, id: &str) -> Result<pb::Selection, CliError> {
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(50);
    let begun = std::time::Instant::now();
    loop {
        let selection = get(selections, id).await?;
        if has_ended(selection.state()) || begun.elapsed() > selections.patience {
            return Ok(selection);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn told(selection: &pb::Selection) -> Result<u8, CliError> {
    print(&format!(
        "selection {}: {}\n",
        selection.selection_id,
        state_word(selection.state())
    ))?;
    Ok(0)
}

/// `finepick pause`.
///
/// # Errors
/// As [`cancel`].
pub(crate) async fn pause(args: &IdArgs, global: &GlobalArgs) -> Result<u8, CliError> {
    let selections = Selections::to_look(global, &args.local).await?;
    let request = pb::PauseSelectionRequest {
        selection_id: args.id.clone(),
    };
    let selection = selections
        .client()
        .pause_selection(request)
        .await?
        .into_inner()
        .selection;
    selections.close().await;
    told(&selection.unwrap_or_default())
}

/// `finepick resume`.
///
/// # Errors
/// As [`cancel`].
pub(crate) async fn resume(args: &IdArgs, global: &GlobalArgs) -> Result<u8, CliError> {
    let selections = Selections::to_look(global, &args.local).await?;
    let request = pb::ResumeSelectionRequest {
        selection_id: args.id.clone(),
    };
    let selection = selections
        .client()
        .resume_selection(request)
        .await?
        .into_inner()
        .selection;
    let local = selections.local().is_some();
    selections.close().await;
    told(&selection.unwrap_or_default())?;
    if local {
        complain(&format!("`finepick select --resume {}` goes on with it here", args.id));
    }
    Ok(0)
}

/// `finepick amend`.
///
/// # Errors
/// As [`cancel`].
pub(crate) async fn amend(args: &AmendArgs, global: &GlobalArgs) -> Result<u8, CliError> {
    let budget = budget(&args.budget)?;
    if budget == pb::SelectionBudget::default() {
        return Err(CliError::Usage(
            "the new limits are needed, e.g. --budget-share 20%".to_owned(),
        ));
    }
    let selections = Selections::to_look(global, &args.selection.local).await?;
    let request = pb::AmendBudgetRequest {
        selection_id: args.selection.id.clone(),
        budget: Some(budget),
    };
    let selection = selections.client().amend_budget(request).await?.into_inner().selection;
    selections.close().await;
    let answer = Selection::from(&selection.unwrap_or_default());
    let limits = answer.budget.as_ref().map_or_else(String::new, super::select::spending);
    print(&format!(
        "selection {}: {}, may spend {limits}\n",
        answer.id, answer.state
    ))?;
    Ok(0)
}

/// `finepick delete`.
///
/// # Errors
/// As [`cancel`].
pub(crate) async fn delete(args: &IdArgs, global: &GlobalArgs) -> Result<u8, CliError> {
    let selections = Selections::to_look(global, &args.local).await?;
    let request = pb::DeleteSelectionRequest {
        selection_id: args.id.clone(),
    };
    selections.client().delete_selection(request).await?;
    selections.close().await;
    print(&format!("selection {} is forgotten\n", args.id))?;
    Ok(0)
}
