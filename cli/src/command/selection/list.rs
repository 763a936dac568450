//! `finepick selections`.

use finepick_proto::selector::v1 as pb;

use crate::args::{GlobalArgs, PlainFormat, SelectionsArgs, StateName};
use crate::command::select::labels;
use crate::command::{json, print};
use crate::error::CliError;
use crate::output::selection::Selection;
use crate::selections::Selections;
use crate::table::{Align, Cell, Column, Style, Table};
use crate::terminal::Terminal;
use crate::text::{examples, loss};

/// Selections of one page.
const PAGE: i32 = 200;

/// Lists selections, newest first.
///
/// # Errors
/// A call failed.
pub(crate) async fn list(args: &SelectionsArgs, global: &GlobalArgs, terminal: &Terminal) -> Result<u8, CliError> {
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let mut request = pb::ListSelectionsRequest {
        page_size: PAGE.min(i32::try_from(args.limit).unwrap_or(PAGE)),
        page_token: String::new(),
        states: args.states.iter().map(|state| wire(*state).into()).collect(),
        labels: labels(&args.labels)?,
    };
    let selections = Selections::to_look(global, &args.local).await?;
    let mut found: Vec<Selection> = Vec::new();
    loop {
        let page = selections.client().list_selections(request.clone()).await?.into_inner();
        found.extend(page.selections.iter().map(Selection::from));
        if page.next_page_token.is_empty() || found.len() >= limit {
            break;
        }
        request.page_token = page.next_page_token;
    }
    selections.close().await;
    found.truncate(limit);
    print(&match args.format {
        PlainFormat::Json => json(&found)?,
        PlainFormat::Table => table(&found).render(terminal.width, terminal.colour),
    })?;
    Ok(0)
}

fn wire(state: StateName) -> pb::SelectionState {
    match state {
        StateName::Preparing => pb::SelectionState::Preparing,
        StateName::Running => pb::SelectionState::Running,
        StateName::Paused => pb::SelectionState::Paused,
        StateName::Cancelling => pb::SelectionState::Cancelling,
        StateName::Succeeded => pb::SelectionState::Succeeded,
        StateName::BudgetExhausted => pb::SelectionState::BudgetExhausted,
        StateName::Failed => pb::SelectionState::Failed,
        StateName::Cancelled => pb::SelectionState::Cancelled,
    }
}

fn table(selections: &[Selection]) -> Table {
    let columns = vec![
        Column::new("id", Align::Left, 0),
        Column::new("state", Align::Left, 1),
        Column::new("choice", Align::Left, 2),
        Column::new("predicted", Align::Right, 3),
        Column::new("rounds", Align::Right, 5),
        Column::new("spent", Align::Right, 4),
        Column::new("budget", Align::Right, 4),
        Column::new("created", Align::Left, 6),
        Column::new("name", Align::Left, 7),
    ];
    Table {
        columns,
        rows: selections.iter().map(row).collect(),
    }
}

fn row(selection: &Selection) -> Vec<Cell> {
    let dash = || "-".to_owned();
    let spent = |spending: &Option<crate::output::selection::Spending>| {
        spending
            .as_ref()
            .map_or_else(dash, |spending| examples(spending.examples))
    };
    let state = match &selection.wait_reason {
        Some(reason) if reason != "runs" => format!("{} ({reason})", selection.state),
        _ => selection.state.clone(),
    };
    let style = if selection.state == "failed" {
        Style::Warning
    } else {
        Style::Plain
    };
    let choice = selection.choice.as_ref();
    vec![
        Cell::plain(selection.id.clone()),
        Cell::styled(state, style),
        Cell::styled(
            choice.map_or_else(dash, |choice| choice.candidate.clone()),
            Style::Strong,
        ),
        Cell::plain(choice.and_then(|choice| choice.predicted_loss).map_or_else(dash, loss)),
        Cell::plain(selection.rounds.to_string()),
        Cell::plain(spent(&selection.spent)),
        Cell::plain(spent(&selection.budget)),
        Cell::plain(selection.create_time.clone().unwrap_or_else(dash)),
        Cell::plain(selection.name.clone()),
    ]
}
