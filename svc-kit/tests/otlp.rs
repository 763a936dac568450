//! Telemetry against a stand-in collector: a span, a metric and a log record arrive, a trace crosses processes, and a
//! collector that is gone does not keep anybody from ending. One test: a process has one subscriber.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a broken expectation is a failed test"
)]

#[path = "it/echo.rs"]
mod echo;

use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1 as logs;
use opentelemetry_proto::tonic::collector::metrics::v1 as metrics;
use opentelemetry_proto::tonic::collector::trace::v1 as trace;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use svc_kit::config::{HumanDuration, TelemetryConfig};
use tonic::{Request, Response, Status};

use crate::echo::{Echo, Running, call_with, eventually};

#[derive(Debug, Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<Span>>>,
    services: Arc<Mutex<Vec<String>>>,
    metrics: Arc<Mutex<Vec<opentelemetry_proto::tonic::metrics::v1::Metric>>>,
    logs: Arc<Mutex<Vec<opentelemetry_proto::tonic::logs::v1::LogRecord>>>,
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let value = attributes
        .iter()
        .find(|attribute| attribute.key == key)
        .and_then(|attribute| attribute.value.clone());
    match value.and_then(|value| value.value) {
        Some(any_value::Value::StringValue(text)) => text,
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        _ => String::new(),
    }
}

#[tonic::async_trait]
impl trace::trace_service_server::TraceService for Collector {
    async fn export(
        &self,
        request: Request<trace::ExportTraceServiceRequest>,
    ) -> Result<Response<trace::ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let name = text(&resource.resource.expect("a resource").attributes, "service.name");
            self.services.lock().expect("lock").push(name);
            let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.spans.lock().expect("lock").extend(spans);
        }
        Ok(Response::new(trace::ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl metrics::metrics_service_server::MetricsService for Collector {
    async fn export(
        &self,
        request: Request<metrics::ExportMetricsServiceRequest>,
    ) -> Result<Response<metrics::ExportMetricsServiceResponse>, Status> {
        let resources = request.into_inner().resource_metrics.into_iter();
        let all = resources
            .flat_map(|resource| resource.scope_metrics)
            .flat_map(|scope| scope.metrics);
        self.metrics.lock().expect("lock").extend(all);
        Ok(Response::new(metrics::ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl logs::logs_service_server::LogsService for Collector {
    async fn export(
        &self,
        request: Request<logs::ExportLogsServiceRequest>,
    ) -> Result<Response<logs::ExportLogsServiceResponse>, Status> {
        let resources = request.into_inner().resource_logs.into_iter();
        let all = resources
            .flat_map(|resource| resource.scope_logs)
            .flat_map(|scope| scope.log_records);
        self.logs.lock().expect("lock").extend(all);
        Ok(Response::new(logs::ExportLogsServiceResponse::default()))
    }
}

/// The metric's data points as (method, status code).
fn requests(collector: &Collector) -> Vec<(String, String)> {
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;
    let all = collector.metrics.lock().expect("lock");
    all.iter()
        .filter(|metric| metric.name == "rpc.server.requests")
        .filter_map(|metric| match &metric.data {
            Some(Data::Sum(sum)) => Some(sum.data_points.clone()),
            _ => None,
        })
        .flatten()
        .map(|point| {
            (
                text(&point.attributes, "rpc.method"),
                text(&point.attributes, "rpc.grpc.status_code"),
            )
        })
        .collect()
}

impl Collector {
    /// Serves until the sender is used or dropped. A bare server: with our stack its own calls would be reported to it,
    /// and those again.
    async fn serve(self) -> (String, tokio::sync::oneshot::Sender<()>) {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = format!("http://{}", socket.local_addr().expect("bound"));
        let server = tonic::transport::Server::builder()
            .add_service(trace::trace_service_server::TraceServiceServer::new(self.clone()))
            .add_service(metrics::metrics_service_server::MetricsServiceServer::new(self.clone()))
            .add_service(logs::logs_service_server::LogsServiceServer::new(self))
            .serve_with_incoming(tonic::transport::server::TcpIncoming::from(socket));
        tokio::spawn(async move {
            tokio::select! {
                _ = server => {}
                _ = stopped => {}
            }
        });
        (endpoint, stop)
    }

    /// The span of this method and kind.
    fn span(&self, method: &str, kind: SpanKind) -> Span {
        let spans = self.spans.lock().expect("lock");
        let name = format!("{}/{method}", echo::NAME);
        let found = spans.iter().find(|span| span.name == name && span.kind() == kind);
        found
            .cloned()
            .unwrap_or_else(|| panic!("{kind:?} {name} in {spans:#?}"))
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a string");
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn telemetry_reaches_the_collector_and_its_death_harms_nobody() {
    let collector = Collector::default();
    let (endpoint, stop) = collector.clone().serve().await;
    let config = TelemetryConfig {
        otlp_endpoint: Some(endpoint),
        metrics_interval: HumanDuration::from_millis(100),
        flush_timeout: HumanDuration::from_secs(2),
        ..TelemetryConfig::default()
    };
    let guard = svc_kit::telemetry::init(&config, "echo-svc").expect("telemetry starts");

    let backend = Running::echo(Echo::default()).await;
    let front = Running::echo(Echo {
        next: Some(backend.transport()),
        ..Echo::default()
    })
    .await;
    let mut request = Request::new(Bytes::new());
    let trace_id = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{trace_id}-b7ad6b7169203331-01");
    request
        .metadata_mut()
        .insert("traceparent", parent.parse().expect("ascii"));
    call_with(&front.transport(), "Relay", request).await.expect("relayed");
    tracing::warn!(answer = 42, "something worth a log record");

    eventually("spans arrive", async || {
        collector.spans.lock().expect("lock").len() >= 4
    })
    .await;
    eventually("metrics arrive", async || {
        requests(&collector).contains(&("Relay".into(), "0".into()))
    })
    .await;
    eventually("logs arrive", async || {
        let logs = collector.logs.lock().expect("lock");
        logs.iter().any(|record| text(&record.attributes, "answer") == "42")
    })
    .await;
    assert!(
        collector
            .services
            .lock()
            .expect("lock")
            .iter()
            .all(|name| name == "echo-svc")
    );

    // The caller's trace goes through: client → front (Relay) → client → backend (Headers).
    let mut parent_id = "b7ad6b7169203331".to_owned();
    for (method, kind) in [
        ("Relay", SpanKind::Client),
        ("Relay", SpanKind::Server),
        ("Headers", SpanKind::Client),
        ("Headers", SpanKind::Server),
    ] {
        let span = collector.span(method, kind);
        assert_eq!(
            (hex(&span.trace_id).as_str(), hex(&span.parent_span_id)),
            (trace_id, parent_id),
            "{}",
            span.name
        );
        parent_id = hex(&span.span_id);
    }

    front.stop().await;
    backend.stop().await;
    stop.send(()).expect("the stand-in runs");
    let flushed = tokio::task::spawn_blocking(move || guard.flush());
    let flushed = tokio::time::timeout(Duration::from_secs(10), flushed).await;
    flushed
        .expect("a dead collector must not hold up the end")
        .expect("no panic");
}
