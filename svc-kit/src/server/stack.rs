//! How the layers stand around the services.

use std::collections::HashSet;
use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Request, Response};
use tonic::body::Body;
use tonic::service::Routes;
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, ServiceBuilder};

use super::{App, Context, RpcService, ServeError};
use crate::config::ServerConfig;
use crate::health;
use crate::limits::{AdmissionLayer, CatchPanicLayer, DeadlineLayer, refuse};
use crate::status::{self, reason};
use crate::telemetry::RpcLayer;

/// The reflection service's full name.
const REFLECTION: &str = "grpc.reflection.v1.ServerReflection";

impl App {
    /// Puts the stack together and reports the services as SERVING.
    pub(super) fn compose(mut self, config: &ServerConfig, context: &Context) -> Result<RpcService, ServeError> {
        for name in &self.names {
            context.health.set(name, true);
        }
        self.add_reflection()?;
        let health = self
            .health
            .take()
            .unwrap_or_else(|| Routes::new(health::HealthServer::new(health::Service::new(context.health.clone()))));
        let in_routes: HashSet<String> = self.in_routes.iter().cloned().collect();
        let services = ByService {
            in_routes: Arc::new(in_routes),
            routes: self.routes.prepare(),
            fallback: self.fallback,
        };
        let bounded = ServiceBuilder::new()
            .layer(DeadlineLayer::new(config.request_timeout.non_zero()))
            .layer(AdmissionLayer::new(config, context.shutdown.clone()))
            .service(services);
        let open = DeadlineLayer::new(None).layer(health.prepare());
        let mut known = self.names;
        known.extend([health::SERVICE_NAME.to_owned(), REFLECTION.to_owned()]);
        let stack = ServiceBuilder::new()
            .layer(RpcLayer::new(known))
            .layer(CatchPanicLayer)
            .service(HealthApart {
                health: BoxCloneSyncService::new(open),
                rest: BoxCloneSyncService::new(bounded),
            });
        Ok(BoxCloneSyncService::new(stack))
    }

    fn add_reflection(&mut self) -> Result<(), ServeError> {
        let mut builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name(health::SERVICE_NAME)
            .with_service_name(REFLECTION);
        for encoded in &self.descriptor_sets {
            builder = builder.register_encoded_file_descriptor_set(encoded);
        }
        for name in &self.names {
            builder = builder.with_service_name(name);
        }
        let reflection = builder.build_v1().map_err(ServeError::Reflection)?;
        self.routes = std::mem::take(&mut self.routes).add_service(reflection);
        self.in_routes.push(REFLECTION.to_owned());
        Ok(())
    }
}

/// The service a path belongs to: `/package.Service/Method` → `package.Service`; empty for other paths.
#[must_use]
pub fn service_of(path: &str) -> &str {
    path.strip_prefix('/')
        .and_then(|path| path.split_once('/'))
        .map_or("", |(service, _)| service)
}

/// Health on one side, everything else on the other.
#[derive(Clone)]
struct HealthApart {
    health: RpcService,
    rest: RpcService,
}

impl Service<Request<Body>> for HealthApart {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        // Both sides are ready at any time: waiting happens within the call, where its deadline counts.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let side = if service_of(request.uri().path()) == health::SERVICE_NAME {
            &self.health
        } else {
            &self.rest
        };
        Box::pin(tower::ServiceExt::oneshot(side.clone(), request))
    }
}

/// Registered services by the router, others by the fallback, and a typed error where there is none.
#[derive(Clone)]
struct ByService {
    in_routes: Arc<HashSet<String>>,
    routes: Routes,
    fallback: Option<RpcService>,
}

impl Service<Request<Body>> for ByService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let service = service_of(request.uri().path());
        if self.in_routes.contains(service) {
            return Box::pin(tower::ServiceExt::oneshot(self.routes.clone(), request));
        }
        if let Some(fallback) = &self.fallback {
            return Box::pin(tower::ServiceExt::oneshot(fallback.clone(), request));
        }
        ready(Ok(refuse(unknown_service(service)))).boxed()
    }
}

/// UNIMPLEMENTED for a service that is not served here.
#[must_use]
pub fn unknown_service(service: &str) -> tonic::Status {
    status::Failure::new(
        tonic::Code::Unimplemented,
        reason::UNKNOWN_SERVICE,
        "no such service is served here",
    )
    .metadata("service", service)
    .into_status()
}
