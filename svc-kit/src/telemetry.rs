//! What a process tells about itself: logs on stderr; traces, metrics and logs over OTLP where a collector is set.

mod otlp;
mod propagation;
mod rpc;

use std::io::IsTerminal;

use opentelemetry::trace::TracerProvider;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

pub(crate) use self::propagation::{client_span, inject};
pub use self::rpc::RpcLayer;

use self::otlp::Exporters;
use crate::config::{LogFormat, TelemetryConfig};

/// Telemetry cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The exporters cannot be built.
    #[error("telemetry.otlp_endpoint: {0}")]
    Exporter(String),
    /// The log filter cannot be read.
    #[error("telemetry.log_level: {0}")]
    Filter(String),
    /// The process has a subscriber already.
    #[error("telemetry is initialised twice")]
    Twice,
}

/// Keeps the exporters; call [`Guard::flush`] before the process ends.
#[derive(Debug)]
#[must_use = "what is buffered is lost unless the guard is flushed"]
pub struct Guard {
    exporters: Option<Exporters>,
    timeout: std::time::Duration,
}

impl Guard {
    /// Exports what is buffered, within `telemetry.flush_timeout` even when the collector is gone. Blocks: call it
    /// outside the runtime, while the runtime still runs.
    pub fn flush(self) {
        if let Some(exporters) = self.exporters {
            exporters.shutdown(self.timeout);
        }
    }
}

/// Installs the process's subscriber and exporters. `name` is the `service.name` unless one is configured.
///
/// Must be called within a tokio runtime when a collector is configured, before any server stack is built, and once.
///
/// # Errors
/// [`TelemetryError`].
pub fn init(config: &TelemetryConfig, name: &str) -> Result<Guard, TelemetryError> {
    let filter = || parse_filter(&config.log_level).map_err(TelemetryError::Filter);
    let terminal = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match config.log_format {
        LogFormat::Text => lines.with_ansi(terminal).boxed(),
        LogFormat::Auto if terminal => lines.with_ansi(true).boxed(),
        LogFormat::Auto | LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let registry = tracing_subscriber::registry().with(lines.with_filter(filter()?));

    let mut guard = Guard {
        exporters: None,
        timeout: config.flush_timeout.get(),
    };
    let installed = match &config.otlp_endpoint {
        None => registry.try_init(),
        Some(endpoint) => {
            let service_name = config.service_name.as_deref().unwrap_or(name);
            let exporters = otlp::build(config, endpoint, service_name).map_err(TelemetryError::Exporter)?;
            let traces = tracing_opentelemetry::layer()
                .with_tracer(exporters.traces.tracer("svc-kit"))
                .with_location(false)
                .with_threads(false)
                .with_filter(without_plumbing(LevelFilter::INFO));
            let bridge = opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge::new(&exporters.logs);
            let logs = bridge
                .with_filter(without_plumbing(LevelFilter::TRACE))
                .with_filter(filter()?);
            opentelemetry::global::set_meter_provider(exporters.metrics.clone());
            guard.exporters = Some(exporters);
            registry.with(traces).with(logs).try_init()
        }
    };
    installed.map_err(|_| TelemetryError::Twice)?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(guard)
}

/// Everything up to `level` but what the exporters themselves are made of: they must not report on their own reports.
fn without_plumbing(level: LevelFilter) -> Targets {
    [
        "h2",
        "hyper",
        "hyper_util",
        "tonic",
        "tower",
        "opentelemetry",
        "opentelemetry_sdk",
        "opentelemetry_otlp",
    ]
    .into_iter()
    .fold(Targets::new().with_default(level), |targets, target| {
        targets.with_target(target, LevelFilter::OFF)
    })
}

fn log_panic(info: &std::panic::PanicHookInfo<'_>) {
    let payload = info.payload();
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)");
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(message, location, "panic");
}

/// Reads `telemetry.log_level`. A word that is no level is refused: the filter's own syntax would take a misspelt
/// level for the name of a target.
pub(crate) fn parse_filter(text: &str) -> Result<EnvFilter, String> {
    for directive in text.split(',').map(str::trim) {
        if !directive.contains(['=', '[']) && directive.parse::<LevelFilter>().is_err() {
            return Err(format!(
                "{directive:?} is not one of off, error, warn, info, debug, trace"
            ));
        }
    }
    EnvFilter::builder().parse(text).map_err(|error| error.to_string())
}
