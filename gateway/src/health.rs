//! Health of the gateway (`""`) and, by service name, of what is behind it: of several trainers, the default one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use svc_kit::client::Transport;
use svc_kit::health::{self, HealthCheckRequest, HealthCheckResponse, Reporter, WatchStream};
use svc_kit::server::Context;
use svc_kit::shutdown::{Token, within};
use tonic::codec::Streaming;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::route::Route;

/// Time a backend may take to tell how it is.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// Waits between two attempts to watch a backend: doubled from the first to the last.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(2);

/// The gateway's health service.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    routes: Arc<HashMap<String, Route>>,
    reporter: Reporter,
    shutdown: Token,
}

impl Health {
    pub(crate) fn new(routes: Arc<HashMap<String, Route>>, context: &Context) -> Self {
        Self {
            routes,
            reporter: context.health.clone(),
            shutdown: context.shutdown.clone(),
        }
    }
}

#[tonic::async_trait]
impl tonic_health::pb::health_server::Health for Health {
    type WatchStream = WatchStream;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        let status = match self.routes.get(&service).and_then(Route::default) {
            Some(_) if self.shutdown.is_triggered() => ServingStatus::NotServing,
            Some(backend) => check(backend, &service).await,
            None => match self.reporter.status(&service) {
                ServingStatus::ServiceUnknown => return Err(health::unknown(&service)),
                status => status,
            },
        };
        Ok(Response::new(health::response(status)))
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<WatchStream>, Status> {
        let service = request.into_inner().service;
        let Some(backend) = self.routes.get(&service).and_then(Route::default) else {
            return Ok(Response::new(self.reporter.watch(&service)));
        };
        let watch = Watch {
            backend: backend.clone(),
            service,
            shutdown: self.shutdown.clone(),
            source: None,
            retry: RETRY_FIRST,
            last: None,
        };
        let statuses = stream::unfold(Some(watch), |watch| async move {
            let mut watch = watch?;
            let (status, more) = watch.next().await;
            Some((Ok(health::response(status)), more.then_some(watch)))
        });
        Ok(Response::new(statuses.boxed()))
    }
}

/// The backend's own word on a service; a backend that is away is not serving, one without a health service is.
async fn check(backend: &Transport, service: &str) -> ServingStatus {
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let mut client = HealthClient::new(backend.clone());
    match within(CHECK_TIMEOUT, client.check(request)).await {
        Ok(Ok(response)) if response.get_ref().status() == ServingStatus::Serving => ServingStatus::Serving,
        Ok(Err(status)) if status.code() == Code::Unimplemented => ServingStatus::Serving,
        _ => ServingStatus::NotServing,
    }
}

/// One client's watch of one backend, kept up while the backend comes and goes.
struct Watch {
    backend: Transport,
    service: String,
    shutdown: Token,
    source: Option<Streaming<HealthCheckResponse>>,
    retry: Duration,
    last: Option<ServingStatus>,
}

impl Watch {
    /// The next status that differs from the last one, and whether more will come.
    async fn next(&mut self) -> (ServingStatus, bool) {
        let shutdown = self.shutdown.clone();
        loop {
            let status = tokio::select! {
                () = shutdown.triggered() => return (ServingStatus::NotServing, false),
                status = self.read() => status,
            };
            if self.last.replace(status) != Some(status) {
                return (status, true);
            }
        }
    }

    /// What the backend says next. Without a backend: `NOT_SERVING`, at most once per retry interval.
    async fn read(&mut self) -> ServingStatus {
        if self.source.is_none() {
            if self.last == Some(ServingStatus::NotServing) {
                tokio::time::sleep(self.retry).await;
                self.retry = (self.retry * 2).min(RETRY_LAST);
            }
            let request = HealthCheckRequest {
                service: self.service.clone(),
            };
            let mut client = HealthClient::new(self.backend.clone());
            let Ok(answer) = within(CHECK_TIMEOUT, client.watch(request)).await else {
                return ServingStatus::NotServing;
            };
            match answer {
                Ok(response) => self.source = Some(response.into_inner()),
                Err(status) if status.code() == Code::Unimplemented && self.last != Some(ServingStatus::Serving) => {
                    return ServingStatus::Serving;
                }
                Err(status) if status.code() == Code::Unimplemented => {
                    // No watch to hold on to: ask again now and then.
                    tokio::time::sleep(RETRY_LAST).await;
                    return check(&self.backend, &self.service).await;
                }
                Err(_) => return ServingStatus::NotServing,
            }
        }
        let Some(source) = &mut self.source else {
            return ServingStatus::NotServing;
        };
        if let Ok(Some(response)) = source.message().await {
            self.retry = RETRY_FIRST;
            if response.status() == ServingStatus::Serving {
                ServingStatus::Serving
            } else {
                ServingStatus::NotServing
            }
        } else {
            self.source = None;
            ServingStatus::NotServing
        }
    }
}
