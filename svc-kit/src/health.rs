//! `grpc.health.v1`: what is served here, and whether it is well.
//!
//! Own implementation over tonic-health's messages, for two things: a watcher of an unknown service is told
//! `SERVICE_UNKNOWN` and kept (as the protocol says), and watch streams end when the server drains, so that a
//! watching load balancer does not hold up the shutdown.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
pub use tonic_health::pb::health_server::HealthServer;
pub use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// The health service's full name.
pub const SERVICE_NAME: &str = "grpc.health.v1.Health";

/// The stream of a `Watch` call.
pub type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

/// Where health is reported and read; clones share one state. The service `""` stands for the whole process.
#[derive(Debug, Clone)]
pub struct Reporter {
    state: Arc<watch::Sender<State>>,
}

#[derive(Debug, Default)]
struct State {
    serving: HashMap<String, bool>,
    draining: bool,
}

impl State {
    fn of(&self, service: &str) -> ServingStatus {
        match self.serving.get(service) {
            Some(true) if !self.draining => ServingStatus::Serving,
            Some(_) => ServingStatus::NotServing,
            None => ServingStatus::ServiceUnknown,
        }
    }
}

impl Default for Reporter {
    fn default() -> Self {
        Self::new()
    }
}

impl Reporter {
    /// A process that serves nothing yet and is well.
    #[must_use]
    pub fn new() -> Self {
        let state = State {
            serving: HashMap::from([(String::new(), true)]),
            draining: false,
        };
        Self {
            state: Arc::new(watch::Sender::new(state)),
        }
    }

    /// Reports a service; watchers hear of a change.
    pub fn set(&self, service: &str, serving: bool) {
        self.state
            .send_if_modified(|state| state.serving.insert(service.to_owned(), serving) != Some(serving));
    }

    /// Everything is `NOT_SERVING` from now on, and watch streams end after saying so.
    pub fn drain(&self) {
        self.state
            .send_if_modified(|state| !std::mem::replace(&mut state.draining, true));
    }

    /// The status of a service now; `ServiceUnknown` when it was never reported.
    #[must_use]
    pub fn status(&self, service: &str) -> ServingStatus {
        self.state.borrow().of(service)
    }

    /// The status of a service now and at each change, until the server drains.
    #[must_use]
    pub fn watch(&self, service: &str) -> WatchStream {
        let (receiver, service) = (self.state.subscribe(), service.to_owned());
        stream::unfold(Some((receiver, None)), move |position| {
            let service = service.clone();
            async move {
                let (mut receiver, last) = position?;
                loop {
                    let (now, draining) = {
                        let state = receiver.borrow_and_update();
                        (state.of(&service), state.draining)
                    };
                    if last != Some(now) {
                        return Some((Ok(response(now)), (!draining).then_some((receiver, Some(now)))));
                    }
                    if draining || receiver.changed().await.is_err() {
                        return None;
                    }
                }
            }
        })
        .boxed()
    }
}

/// A `HealthCheckResponse` with this status.
#[must_use]
pub fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

/// The health service over a [`Reporter`].
#[derive(Debug, Clone)]
pub struct Service {
    reporter: Reporter,
}

impl Service {
    /// Answers with what the reporter knows.
    #[must_use]
    pub fn new(reporter: Reporter) -> Self {
        Self { reporter }
    }
}

#[tonic::async_trait]
impl Health for Service {
    type WatchStream = WatchStream;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        match self.reporter.status(&request.get_ref().service) {
            ServingStatus::ServiceUnknown => Err(unknown(&request.get_ref().service)),
            status => Ok(Response::new(response(status))),
        }
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<WatchStream>, Status> {
        Ok(Response::new(self.reporter.watch(&request.get_ref().service)))
    }
}

/// `NOT_FOUND`, as the health protocol asks for when an unknown service is checked.
#[must_use]
pub fn unknown(service: &str) -> Status {
    crate::status::not_found(
        crate::status::reason::UNKNOWN_SERVICE,
        &crate::status::ResourceInfo {
            resource_type: "grpc.service".to_owned(),
            resource_name: service.to_owned(),
            description: "no such service is served here".to_owned(),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn next(watch: &mut WatchStream) -> Option<ServingStatus> {
        watch.next().await.map(|item| item.expect("no error").status())
    }

    #[tokio::test]
    async fn a_watcher_hears_of_each_change_once_and_the_stream_ends_with_the_server() {
        let reporter = Reporter::new();
        let mut watch = reporter.watch("a.Service");
        assert_eq!(next(&mut watch).await, Some(ServingStatus::ServiceUnknown));
        reporter.set("a.Service", true);
        assert_eq!(next(&mut watch).await, Some(ServingStatus::Serving));
        reporter.set("another.Service", false);
        reporter.set("a.Service", false);
        assert_eq!(next(&mut watch).await, Some(ServingStatus::NotServing));
        reporter.set("a.Service", true);
        assert_eq!(next(&mut watch).await, Some(ServingStatus::Serving));
        reporter.drain();
        assert_eq!(next(&mut watch).await, Some(ServingStatus::NotServing));
        assert_eq!(next(&mut watch).await, None);
        assert_eq!(reporter.status(""), ServingStatus::NotServing);
    }

    #[tokio::test]
    async fn an_unknown_service_is_not_found() {
        let service = Service::new(Reporter::new());
        let check = |name: &str| {
            service.check(Request::new(HealthCheckRequest {
                service: name.to_owned(),
            }))
        };
        assert_eq!(
            check("").await.expect("known").into_inner().status(),
            ServingStatus::Serving
        );
        assert_eq!(
            check("no.Such").await.expect_err("unknown").code(),
            tonic::Code::NotFound
        );
    }
}
