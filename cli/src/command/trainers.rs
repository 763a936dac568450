//! `finepick trainers`: who is there, what they can do, what they have to do.

pub(in crate::command) mod answer;

use std::process::ExitCode;
use std::time::Duration;

use finepick_proto::trainer::v1 as pb;
use svc_kit::client::{Retry, Transport};
use svc_kit::config::{ClientTls, EndpointConfig};
use trainer_client::{Limits, TrainerClient, TrainerError};

use self::answer::{Capabilities, Info, Listed, Queued};
use super::{complain, json, print};
use crate::args::{GlobalArgs, PlainFormat, TrainerArgs, TrainersCommand};
use crate::error::CliError;
use crate::table::{Align, Cell, Column, Table};
use crate::terminal::Terminal;

/// Runs of one page.
const PAGE_SIZE: i32 = 100;

/// Looks at trainers; returns the exit status.
#[must_use]
pub fn main(what: &TrainersCommand, global: &GlobalArgs) -> ExitCode {
    let terminal = Terminal::detect(global);
    let answered = block_on(async {
        match what {
            TrainersCommand::List { format } => list(global, *format, &terminal).await,
            TrainersCommand::Info(args) => info(args, global, &terminal).await,
            TrainersCommand::Capabilities(args) => capabilities(args, global, &terminal).await,
            TrainersCommand::Queue { trainer, limit } => queue(trainer, *limit, global, &terminal).await,
        }
    });
    match answered {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("error: {error}"));
            ExitCode::from(error.exit_status())
        }
    }
}

/// Runs a command's work to its end.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime
        .map_err(|error| CliError::Connection(format!("cannot start: {error}")))?
        .block_on(work)
}

/// A client of the trainer, or of the gateway to it, at `--endpoint`.
pub(super) fn connect(global: &GlobalArgs, trainer: Option<&str>) -> Result<TrainerClient, CliError> {
    let Some(endpoint) = &global.endpoint else {
        return Err(CliError::Usage(
            "--endpoint is needed: the URL of a gateway (see `finepick up --trainer simulated`) or of a trainer"
                .to_owned(),
        ));
    };
    if !(global.timeout.is_finite() && global.timeout > 0.0 && global.timeout < 1e6) {
        return Err(CliError::Usage(
            "--timeout must be a positive number of seconds".to_owned(),
        ));
    }
    let config = EndpointConfig {
        endpoint: endpoint.to_owned(),
        tls: ClientTls {
            ca: global.ca_certificate.clone(),
            ..ClientTls::default()
        },
        ..EndpointConfig::default()
    };
    let transport = Transport::remote(&config).map_err(|error| CliError::Usage(error.to_string()))?;
    let timeout = Duration::from_secs_f64(global.timeout);
    let limits = Limits {
        describe: timeout,
        estimate: timeout,
        create: timeout,
        get: timeout,
        list: timeout,
        change: timeout,
        ..Limits::default()
    };
    let client = TrainerClient::new(transport).with_limits(limits);
    match trainer {
        Some(name) => client.for_trainer(name).map_err(told),
        None => Ok(client),
    }
}

/// A trainer's error as the command line tells it.
pub(super) fn told(error: TrainerError) -> CliError {
    match error {
        TrainerError::Refused { status, .. } => CliError::Call(status),
        other => CliError::Connection(other.to_string()),
    }
}

async fn list(global: &GlobalArgs, format: PlainFormat, terminal: &Terminal) -> Result<(), CliError> {
    // A listing says who is away; waiting for them to return is not its business.
    let client = connect(global, None)?.with_retry(Retry::never());
    let first = client.info_with_metadata().await;
    let metadata = match &first {
        Ok(answer) => answer.metadata(),
        Err(TrainerError::Refused { status, .. }) => status.metadata(),
        Err(_) => &tonic::metadata::MetadataMap::new(),
    };
    let names = trainer_client::names(metadata);
    let mut listed = Vec::new();
    if names.is_empty() {
        // No gateway on the way: the endpoint is the trainer.
        let answer = first.map_err(told)?;
        listed.push(Listed::new(None, true, Ok(answer.into_inner())));
    }
    for (index, name) in names.iter().enumerate() {
        let info = client.clone().for_trainer(name).map_err(told)?.info().await;
        listed.push(Listed::new(Some(name), index == 0, info));
    }
    print(&match format {
        PlainFormat::Json => json(&listed)?,
        PlainFormat::Table => answer::list_table(&listed).render(terminal.width, terminal.colour),
    })
}

async fn info(args: &TrainerArgs, global: &GlobalArgs, terminal: &Terminal) -> Result<(), CliError> {
    let answer = connect(global, args.trainer.as_deref())?.info().await.map_err(told)?;
    let info = Info::from(answer);
    print(&match args.format {
        PlainFormat::Json => json(&info)?,
        PlainFormat::Table => facts(&info.facts(), terminal),
    })
}

async fn capabilities(args: &TrainerArgs, global: &GlobalArgs, terminal: &Terminal) -> Result<(), CliError> {
    let answer = connect(global, args.trainer.as_deref())?
        .capabilities()
        .await
        .map_err(told)?;
    let capabilities = Capabilities::from(answer);
    print(&match args.format {
        PlainFormat::Json => json(&capabilities)?,
        PlainFormat::Table => facts(&capabilities.facts(), terminal),
    })
}

async fn queue(args: &TrainerArgs, limit: u32, global: &GlobalArgs, terminal: &Terminal) -> Result<(), CliError> {
    use pb::TrainingRunState as State;
    let client = connect(global, args.trainer.as_deref())?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let live = [State::Queued, State::Preparing, State::Running, State::Paused];
    let mut request = pb::ListTrainingRunsRequest {
        page_size: PAGE_SIZE,
        page_token: String::new(),
        states: live.map(i32::from).to_vec(),
    };
    let mut runs: Vec<Queued> = Vec::new();
    loop {
        let page = client.list(request.clone()).await.map_err(told)?;
        runs.extend(page.runs.into_iter().map(Queued::from));
        if page.next_page_token.is_empty() || runs.len() >= limit {
            break;
        }
        request.page_token = page.next_page_token;
    }
    runs.truncate(limit);
    print(&match args.format {
        PlainFormat::Json => json(&runs)?,
        PlainFormat::Table => answer::queue_table(&runs).render(terminal.width, terminal.colour),
    })
}

/// Names and values, one a line.
fn facts(facts: &[(&str, String)], terminal: &Terminal) -> String {
    let row = |(name, value): &(&str, String)| vec![Cell::plain((*name).to_owned()), Cell::plain(value.clone())];
    let table = Table {
        columns: vec![
            Column::new("what", Align::Left, 1),
            Column::new("value", Align::Left, 0),
        ],
        rows: facts.iter().map(row).collect(),
    };
    table.render(terminal.width, terminal.colour)
}
