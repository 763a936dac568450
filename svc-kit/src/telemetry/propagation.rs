//! W3C trace context: read from the caller, passed on to the next process.

use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::server::Call;

static PROPAGATOR: LazyLock<TraceContextPropagator> = LazyLock::new(TraceContextPropagator::new);

/// Makes the caller's span the parent of `span`, if the caller sent one and traces are exported.
pub(super) fn set_parent(span: &Span, headers: &HeaderMap) {
    if headers.contains_key("traceparent") {
        // Fails where no exporter listens to the span; then there is nothing to connect.
        let _ = span.set_parent(PROPAGATOR.extract(&Headers(headers)));
    }
}

/// The span of an outgoing call. Outside of any served call a trace context in the request's own headers is continued.
pub(crate) fn client_span(path: &str, headers: &HeaderMap) -> Span {
    let name = path.trim_start_matches('/');
    let span = tracing::info_span!(
        "rpc.client",
        otel.name = name,
        otel.kind = "client",
        rpc.system = "grpc"
    );
    if Call::current().is_none() {
        set_parent(&span, headers);
    }
    span
}

/// Writes the trace context of `span` into the headers. Without one (nothing is exported here) the headers of the
/// call being served are passed on as they came, so that a trace survives a process that does not take part in it.
pub(crate) fn inject(headers: &mut HeaderMap, span: &Span, call: Option<&Call>) {
    let context = span.context();
    if context.span().span_context().is_valid() {
        PROPAGATOR.inject_context(&context, &mut HeadersMut(headers));
    } else if let Some(call) = call {
        let (traceparent, tracestate) = call.trace_headers();
        for (name, value) in [("traceparent", traceparent), ("tracestate", tracestate)] {
            if let (Some(value), false) = (value, headers.contains_key(name)) {
                headers.insert(name, value.clone());
            }
        }
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct HeadersMut<'a>(&'a mut HeaderMap);

impl Injector for HeadersMut<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}
