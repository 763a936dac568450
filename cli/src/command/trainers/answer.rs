//! What is printed of trainers: documents for scripts, tables for people.

use finepick_proto::trainer::v1 as pb;
use finepick_proto::types::v1::Money;
use serde::Serialize;
use trainer_client::{TrainerError, state_name};

use crate::table::{Align, Cell, Column, Style, Table};

/// One line of `trainers list`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Listed {
    /// The name at the gateway; `null` where the endpoint is the trainer.
    trainer: Option<String>,
    /// Whether calls that name nobody go there.
    default: bool,
    /// Who it is; `null` when it does not answer.
    info: Option<Info>,
    /// Why it does not answer.
    error: Option<String>,
}

impl Listed {
    pub(super) fn new(
        name: Option<&str>,
        default: bool,
        info: Result<pb::GetTrainerInfoResponse, TrainerError>,
    ) -> Self {
        let (info, error) = match info {
            Ok(info) => (Some(Info::from(info)), None),
            Err(error) => (None, Some(error.to_string())),
        };
        Self {
            trainer: name.map(str::to_owned),
            default,
            info,
            error,
        }
    }
}

/// `trainers info`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Info {
    name: String,
    version: String,
    contract_versions: Vec<String>,
    instance_id: String,
    ready: bool,
    ready_reason: String,
    active_runs: i32,
    queued_runs: i32,
    queue_limit: i32,
    devices: Vec<Device>,
}

/// A device.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Device {
    name: String,
    description: String,
    memory_bytes: Option<i64>,
    slots: i32,
}

impl From<pb::GetTrainerInfoResponse> for Info {
    fn from(info: pb::GetTrainerInfoResponse) -> Self {
        let device = |device: pb::Device| Device {
            name: device.name,
            description: device.description,
            memory_bytes: device.memory_bytes,
            slots: device.slots,
        };
        Self {
            name: info.name,
            version: info.version,
            contract_versions: info.contract_versions,
            instance_id: info.instance_id,
            ready: info.ready,
            ready_reason: info.ready_reason,
            active_runs: info.active_runs,
            queued_runs: info.queued_runs,
            queue_limit: info.queue_limit,
            devices: info.devices.into_iter().map(device).collect(),
        }
    }
}

impl Info {
    fn readiness(&self) -> String {
        if self.ready {
            "ready".to_owned()
        } else {
            format!("not ready: {}", self.ready_reason)
        }
    }

    pub(super) fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = vec![
            ("implementation", format!("{} {}", self.name, self.version)),
            ("contract", self.contract_versions.join(", ")),
            ("instance", self.instance_id.clone()),
            ("state", self.readiness()),
            ("active runs", self.active_runs.to_string()),
            (
                "queued runs",
                format!("{} of at most {}", self.queued_runs, self.queue_limit),
            ),
        ];
        facts.extend(self.devices.iter().map(|device| ("device", device.to_line())));
        facts
    }
}

impl Device {
    fn to_line(&self) -> String {
        let memory = self.memory_bytes.map_or_else(String::new, |bytes| {
            format!(", {:.1} GiB", bytes as f64 / f64::from(1 << 30))
        });
        let slots = if self.slots == 1 { "slot" } else { "slots" };
        format!("{}: {}{memory}, {} {slots}", self.name, self.description, self.slots)
    }
}

/// The table of `trainers list`.
pub(super) fn list_table(listed: &[Listed]) -> Table {
    let row = |one: &Listed| {
        let name = one.trainer.clone().unwrap_or_else(|| "-".to_owned());
        let name = if one.default && listed.len() > 1 {
            format!("{name} (default)")
        } else {
            name
        };
        let Some(info) = &one.info else {
            let error = one.error.clone().unwrap_or_default();
            let empty = || Cell::plain(String::new());
            return vec![
                Cell::plain(name),
                Cell::styled(format!("away: {error}"), Style::Warning),
                empty(),
                empty(),
                empty(),
            ];
        };
        let style = if info.ready { Style::Plain } else { Style::Warning };
        let slots: i32 = info.devices.iter().map(|device| device.slots).sum();
        vec![
            Cell::plain(name),
            Cell::styled(info.readiness(), style),
            Cell::plain(format!("{} of {slots}", info.active_runs)),
            Cell::plain(format!("{} of {}", info.queued_runs, info.queue_limit)),
            Cell::plain(format!("{} {}", info.name, info.version)),
        ]
    };
    Table {
        columns: vec![
            Column::new("trainer", Align::Left, 0),
            Column::new("state", Align::Left, 1),
            Column::new("active", Align::Right, 2),
            Column::new("queued", Align::Right, 2),
            Column::new("implementation", Align::Left, 3),
        ],
        rows: listed.iter().map(row).collect(),
    }
}

/// `trainers capabilities`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "claims are independent, as in the contract"
)]
pub(super) struct Capabilities {
    methods: Vec<String>,
    model_formats: Vec<String>,
    uri_schemes: Vec<String>,
    precisions: Vec<String>,
    pause: bool,
    checkpoint_resume: bool,
    nested_subsets: bool,
    deterministic_seeds: bool,
    estimate: bool,
    retention_sets: bool,
    prices: Vec<Price>,
    heartbeat_seconds: Option<f64>,
    data_size_max: Option<i64>,
}

/// A line of the price table.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Price {
    unit: String,
    device: Option<String>,
    amount: f64,
    currency: String,
}

/// An enum value's name without its prefix, in lower case.
fn short(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase()
}

/// Money as a number; cents are exact enough for people, scripts have the currency beside it.
pub(in crate::command) fn amount(money: &Money) -> f64 {
    money.units as f64 + f64::from(money.nanos) / 1e9
}

impl From<pb::ListCapabilitiesResponse> for Capabilities {
    fn from(claimed: pb::ListCapabilitiesResponse) -> Self {
        let methods = claimed
            .methods()
            .map(|method| short(method.as_str_name(), "METHOD_KIND_"))
            .collect();
        let price = |line: &pb::Price| {
            let money = line.price.clone().unwrap_or_default();
            Price {
                unit: short(line.unit().as_str_name(), "PRICE_UNIT_"),
                device: Some(line.device.clone()).filter(|device| !device.is_empty()),
                amount: amount(&money),
                currency: money.currency_code,
            }
        };
        Self {
            methods,
            prices: claimed.prices.iter().map(price).collect(),
            heartbeat_seconds: claimed
                .heartbeat_interval
                .map(|wait| wait.seconds as f64 + f64::from(wait.nanos) / 1e9),
            model_formats: claimed.model_formats,
            uri_schemes: claimed.uri_schemes,
            precisions: claimed.precisions,
            pause: claimed.pause,
            checkpoint_resume: claimed.checkpoint_resume,
            nested_subsets: claimed.nested_subsets,
            deterministic_seeds: claimed.deterministic_seeds,
            estimate: claimed.estimate,
            retention_sets: claimed.retention_sets,
            data_size_max: claimed.data_size_max,
        }
    }
}

impl Capabilities {
    pub(super) fn facts(&self) -> Vec<(&'static str, String)> {
        let yes = |claimed: bool| if claimed { "yes" } else { "no" }.to_owned();
        let listed = |names: &[String], none: &str| {
            if names.is_empty() {
                none.to_owned()
            } else {
                names.join(", ")
            }
        };
        let unbounded = || "the data".to_owned();
        let mut facts = vec![
            ("methods", listed(&self.methods, "none")),
            ("model formats", listed(&self.model_formats, "not told")),
            ("URI schemes", listed(&self.uri_schemes, "local paths only")),
            ("precisions", listed(&self.precisions, "the default only")),
            ("pause and resume", yes(self.pause)),
            ("resume after a restart", yes(self.checkpoint_resume)),
            ("several sizes in one run", yes(self.nested_subsets)),
            ("deterministic by seed", yes(self.deterministic_seeds)),
            ("estimates", yes(self.estimate)),
            ("retention sets", yes(self.retention_sets)),
            (
                "largest size",
                self.data_size_max.map_or_else(unbounded, crate::text::examples),
            ),
        ];
        facts.extend(
            self.heartbeat_seconds
                .map(|seconds| ("heartbeat", format!("{seconds} s"))),
        );
        facts.extend(self.prices.iter().map(|price| {
            let device = price
                .device
                .as_ref()
                .map_or_else(String::new, |device| format!(" on {device}"));
            (
                "price",
                format!(
                    "{} {} per {}{device}",
                    price.amount,
                    price.currency,
                    price.unit.replace('_', " ")
                ),
            )
        }));
        facts
    }
}

/// One line of `trainers queue`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Queued {
    id: String,
    candidate: String,
    state: &'static str,
    wait_reason: Option<String>,
    queue_position: Option<i32>,
    step: Option<i64>,
    total_steps: Option<i64>,
    device: Option<String>,
    create_time: Option<String>,
}

impl From<pb::TrainingRun> for Queued {
    fn from(run: pb::TrainingRun) -> Self {
        let waits = run.wait_reason() != pb::WaitReason::Unspecified;
        Self {
            state: state_name(run.state()),
            wait_reason: waits.then(|| short(run.wait_reason().as_str_name(), "WAIT_REASON_")),
            candidate: run.spec.map(|spec| spec.candidate_id).unwrap_or_default(),
            id: run.training_run_id,
            queue_position: run.queue_position,
            step: run.progress.as_ref().map(|progress| progress.step),
            total_steps: run.progress.and_then(|progress| progress.total_steps),
            device: Some(run.device).filter(|device| !device.is_empty()),
            create_time: run.create_time.map(|time| time.to_string()),
        }
    }
}

/// The table of `trainers queue`.
pub(super) fn queue_table(runs: &[Queued]) -> Table {
    let row = |run: &Queued| {
        let ahead = run
            .queue_position
            .map_or_else(String::new, |position| position.to_string());
        let steps = match (run.step, run.total_steps) {
            (Some(step), Some(total)) => format!("{step} of {total}"),
            (Some(step), None) => step.to_string(),
            _ => String::new(),
        };
        vec![
            Cell::plain(run.id.clone()),
            Cell::plain(run.state.to_owned()),
            Cell::plain(run.wait_reason.clone().unwrap_or_default().replace('_', " ")),
            Cell::plain(ahead),
            Cell::plain(steps),
            Cell::plain(run.device.clone().unwrap_or_default()),
            Cell::plain(run.candidate.clone()),
            Cell::plain(run.create_time.clone().unwrap_or_default()),
        ]
    };
    Table {
        columns: vec![
            Column::new("run", Align::Left, 0),
            Column::new("state", Align::Left, 1),
            Column::new("waits for", Align::Left, 4),
            Column::new("ahead", Align::Right, 3),
            Column::new("step", Align::Right, 2),
            Column::new("device", Align::Left, 5),
            Column::new("candidate", Align::Left, 6),
            Column::new("created", Align::Left, 7),
        ],
        rows: runs.iter().map(row).collect(),
    }
}
