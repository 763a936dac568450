//! The edge of the suite: one address in front of all services.
//!
//! Calls are routed by service name (`/finepick.fitter.v1.FitterService/…`) to backends, which are other processes or
//! services in this one. What passes through is not decoded: bytes, metadata and trailers arrive as they were sent.
//! The gateway adds a request id and trace context, keeps deadlines, and answers UNAVAILABLE with `RetryInfo` for a
//! backend that is away. It serves health (its own, and each backend's by service name) and reflection of what it
//! routes. It has no domain.
//!
//! Trainers are the one kind of service of which there may be several: [`route`] says how a caller picks one by name. A
//! backend may have replicas, over which calls are spread by least pending.

pub mod config;
mod forward;
mod health;
pub mod route;

use std::collections::HashMap;
use std::sync::Arc;

use svc_kit::BoxError;
use svc_kit::client::Transport;
use svc_kit::health::HealthServer;
use svc_kit::server::{App, Context, RpcService};

use crate::config::Config;
use crate::route::{Route, TRAINER_SERVICE};

/// Routes in the making: which service is behind which transport.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Gateway {
    routes: HashMap<String, Route>,
}

/// Two routes for one service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is routed twice")]
pub struct DuplicateRoute(String);

impl Gateway {
    /// A gateway to nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The routes of a configuration. Connects nothing yet.
    ///
    /// # Errors
    /// When an endpoint or a certificate cannot be used, or a service is routed twice.
    pub fn from_config(config: &Config) -> Result<Self, BoxError> {
        let mut gateway = Self::new();
        for (name, backend) in &config.backends {
            if backend.services.is_empty() {
                continue;
            }
            let transport = backend.transport()?;
            for service in &backend.services {
                gateway = if service == TRAINER_SERVICE {
                    gateway.trainer(name, transport.clone())?
                } else {
                    gateway.remote(service, transport.clone())?
                };
            }
        }
        Ok(gateway)
    }

    /// Adds a trainer, which callers may pick by this name. The first by name is the default.
    ///
    /// # Errors
    /// [`DuplicateRoute`] when the name is taken.
    pub fn trainer(mut self, name: &str, transport: Transport) -> Result<Self, DuplicateRoute> {
        let route = self
            .routes
            .entry(TRAINER_SERVICE.to_owned())
            .or_insert_with(Route::to_nobody);
        if route.add(name, transport) {
            Ok(self)
        } else {
            Err(DuplicateRoute(format!("{TRAINER_SERVICE} as {name}")))
        }
    }

    /// Routes a service (full name, `package.Service`) to a transport, e.g. another process.
    ///
    /// # Errors
    /// [`DuplicateRoute`].
    pub fn remote(mut self, service: &str, transport: Transport) -> Result<Self, DuplicateRoute> {
        if self.routes.insert(service.to_owned(), Route::One(transport)).is_some() {
            return Err(DuplicateRoute(service.to_owned()));
        }
        Ok(self)
    }

    /// Routes a service to a stack in this process (see [`App::into_local`]).
    ///
    /// # Errors
    /// [`DuplicateRoute`].
    pub fn local(self, service: &str, stack: RpcService) -> Result<Self, DuplicateRoute> {
        self.remote(service, Transport::local(stack))
    }

    /// What to serve: the routes, their health, and reflection of the routed services as far as `descriptor_set`
    /// (an encoded `FileDescriptorSet`) describes them.
    pub fn into_app(self, descriptor_set: &'static [u8], context: &Context) -> App {
        let names: Vec<String> = self.routes.keys().cloned().collect();
        let routes = Arc::new(self.routes);
        App::new()
            .fallback(forward::service(Arc::clone(&routes)), names)
            .health_server(HealthServer::new(health::Health::new(routes, context)))
            .descriptor_set(descriptor_set)
    }
}

/// What the binary serves.
///
/// # Errors
/// When an endpoint or a certificate of the configuration cannot be used.
#[expect(clippy::unused_async, reason = "the signature svc_kit::run takes")]
pub async fn assemble(config: Config, context: Context) -> Result<App, BoxError> {
    Ok(Gateway::from_config(&config)?.into_app(finepick_proto::FILE_DESCRIPTOR_SET, &context))
}
