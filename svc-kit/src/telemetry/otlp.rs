//! The exporters: traces, metrics and logs to one collector over OTLP gRPC.

use std::sync::mpsc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{ExporterBuildError, LogExporter, MetricExporter, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};

use crate::config::TelemetryConfig;

/// Time one export may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// The three providers.
#[derive(Debug)]
pub(super) struct Exporters {
    pub(super) traces: SdkTracerProvider,
    pub(super) metrics: SdkMeterProvider,
    pub(super) logs: SdkLoggerProvider,
}

/// Builds the exporters; connects nothing yet.
pub(super) fn build(config: &TelemetryConfig, endpoint: &str, service_name: &str) -> Result<Exporters, String> {
    let say = |error: ExporterBuildError| error.to_string();
    let resource = Resource::builder()
        .with_service_name(service_name.to_owned())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let spans = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(say)?;
    let metrics = MetricExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(say)?;
    let logs = LogExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(say)?;
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.sample_ratio)));
    let reader = PeriodicReader::builder(metrics)
        .with_interval(config.metrics_interval.get())
        .build();
    Ok(Exporters {
        traces: SdkTracerProvider::builder()
            .with_batch_exporter(spans)
            .with_sampler(sampler)
            .with_resource(resource.clone())
            .build(),
        metrics: SdkMeterProvider::builder()
            .with_reader(reader)
            .with_resource(resource.clone())
            .build(),
        logs: SdkLoggerProvider::builder()
            .with_batch_exporter(logs)
            .with_resource(resource)
            .build(),
    })
}

impl Exporters {
    /// Exports what is buffered and stops, all three at once, within `timeout`: a collector that is gone must not
    /// keep the process from ending.
    pub(super) fn shutdown(self, timeout: Duration) {
        let (done, finished) = mpsc::channel();
        let Self { traces, metrics, logs } = self;
        let jobs: [Box<dyn FnOnce() + Send>; 3] = [
            Box::new(move || drop(traces.shutdown_with_timeout(timeout))),
            Box::new(move || drop(metrics.shutdown_with_timeout(timeout))),
            Box::new(move || drop(logs.shutdown_with_timeout(timeout))),
        ];
        let count = jobs.len();
        for job in jobs {
            let done = done.clone();
            std::thread::spawn(move || {
                job();
                let _ = done.send(());
            });
        }
        let end = std::time::Instant::now() + timeout;
        for _ in 0..count {
            let left = end.saturating_duration_since(std::time::Instant::now());
            if finished.recv_timeout(left).is_err() {
                return;
            }
        }
    }
}
