//! Passing calls on, untouched.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Request, Response};
use svc_kit::server::{RpcService, service_of, unknown_service};
use tonic::body::Body;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

use crate::route::{Route, TRAINERS_KEY};

/// Headers that speak of one connection, not of the call.
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    header::HOST,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// The service that forwards every call to the route of its service name.
pub(crate) fn service(routes: Arc<HashMap<String, Route>>) -> RpcService {
    BoxCloneSyncService::new(tower::service_fn(move |request| {
        let routes = Arc::clone(&routes);
        async move { Ok::<_, Infallible>(forward(&routes, request).await) }
    }))
}

async fn forward(routes: &HashMap<String, Route>, mut request: Request<Body>) -> Response<Body> {
    let service = service_of(request.uri().path());
    let Some(route) = routes.get(service) else {
        return unknown_service(service).into_http();
    };
    let transport = match route.pick(request.headers()) {
        Ok(transport) => transport.clone(),
        Err(status) => return status.into_http(),
    };
    let names = route.names_for(request.uri().path());
    strip(request.headers_mut());
    request
        .headers_mut()
        .insert(header::TE, HeaderValue::from_static("trailers"));
    let mut response = match transport.oneshot(request).await {
        Ok(mut response) => {
            strip(response.headers_mut());
            response
        }
        Err(status) => status.into_http(),
    };
    if let Some(names) = names {
        response.headers_mut().insert(TRAINERS_KEY, names);
    }
    response
}

fn strip(headers: &mut HeaderMap) {
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}
