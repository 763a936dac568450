//! The services that a command asks: in this process, or a running suite.

use std::time::Duration;

use finepick_proto::fitter::v1::fitter_service_client::FitterServiceClient;
use finepick_proto::selector::v1::selector_service_client::SelectorServiceClient;
use svc_kit::client::Transport;
use svc_kit::config::{ClientTls, EndpointConfig};

use crate::args::GlobalArgs;
use crate::error::CliError;

/// Largest answer that is accepted, in bytes.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// Clients of the services.
#[derive(Debug, Clone)]
pub struct Backend {
    /// Fits laws.
    pub fitter: FitterServiceClient<Transport>,
    /// Ranks candidates.
    pub selector: SelectorServiceClient<Transport>,
}

impl Backend {
    /// Connects to `--endpoint`, or sets the services up in this process. Either way the same calls are made, so the answers
    /// are the same.
    ///
    /// # Errors
    /// The endpoint is no URL, its certificate authority cannot be read, or the services cannot be set up.
    pub fn open(global: &GlobalArgs) -> Result<Self, CliError> {
        timeout(global)?;
        match &global.endpoint {
            Some(_) => {
                let timed = Transport::new(timed(global)?);
                Ok(Self::over(&timed, &timed))
            }
            None => Self::in_process(),
        }
    }

    fn in_process() -> Result<Self, CliError> {
        let setup = |error: svc_kit::BoxError| CliError::Connection(format!("cannot set up the services: {error}"));
        let (fitter, selector) = crate::suite::local_services().map_err(setup)?;
        Ok(Self::over(&fitter, &selector))
    }

    fn over(fitter: &Transport, selector: &Transport) -> Self {
        Self {
            fitter: FitterServiceClient::new(fitter.clone())
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
            selector: selector_over(selector),
        }
    }
}

/// `--timeout`.
pub(crate) fn timeout(global: &GlobalArgs) -> Result<Duration, CliError> {
    if !(global.timeout.is_finite() && global.timeout > 0.0 && global.timeout < 1e6) {
        return Err(CliError::Usage(
            "--timeout must be a positive number of seconds".to_owned(),
        ));
    }
    Ok(Duration::from_secs_f64(global.timeout))
}

/// A client of a selector.
pub(crate) fn selector_over(selector: &Transport) -> SelectorServiceClient<Transport> {
    SelectorServiceClient::new(selector.clone())
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

/// Clients of the selector at `--endpoint`: one whose calls have a deadline, one for streams.
pub(crate) fn selector_at(
    global: &GlobalArgs,
) -> Result<(SelectorServiceClient<Transport>, SelectorServiceClient<Transport>), CliError> {
    let timed = timed(global)?;
    let untimed = Transport::new(timed.inner.clone());
    Ok((selector_over(&Transport::new(timed)), selector_over(&untimed)))
}

/// The channel to `--endpoint`.
fn timed(global: &GlobalArgs) -> Result<WithDeadline, CliError> {
    let config = EndpointConfig {
        endpoint: global.endpoint.clone().unwrap_or_default(),
        tls: ClientTls {
            ca: global.ca_certificate.clone(),
            ..ClientTls::default()
        },
        ..EndpointConfig::default()
    };
    let channel = svc_kit::client::channel(&config).map_err(|error| CliError::Usage(error.to_string()))?;
    Ok(WithDeadline {
        inner: channel,
        timeout: timeout(global)?,
    })
}

/// Gives every call the same deadline, which the server is told.
#[derive(Debug, Clone)]
struct WithDeadline {
    inner: tonic::transport::Channel,
    timeout: Duration,
}

impl tower::Service<http::Request<tonic::body::Body>> for WithDeadline {
    type Response = http::Response<tonic::body::Body>;
    type Error = tonic::transport::Error;
    type Future = <tonic::transport::Channel as tower::Service<http::Request<tonic::body::Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        tower::Service::<http::Request<tonic::body::Body>>::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, mut request: http::Request<tonic::body::Body>) -> Self::Future {
        let milliseconds = format!("{}m", self.timeout.as_millis().clamp(1, 99_999_999));
        if let Ok(value) = http::HeaderValue::from_str(&milliseconds) {
            request.headers_mut().insert("grpc-timeout", value);
        }
        self.inner.call(request)
    }
}
