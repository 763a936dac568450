//! The fitter port over gRPC.

use finepick_proto::fitter::v1::fitter_service_client::FitterServiceClient;
use svc_kit::client::Transport;
use tonic::{Code, Status};

use crate::grpc::convert;
use crate::policy::fitted::FittedForecasts;
use crate::ports::{BoxFuture, FitRequest, Fitter, FitterError};

/// Asks `finepick.fitter.v1.FitterService`, wherever the transport leads.
#[derive(Clone, Debug)]
pub struct FitterClient {
    client: FitterServiceClient<Transport>,
}

impl FitterClient {
    /// A client with this bound on messages, bytes.
    #[must_use]
    pub fn new(transport: Transport, max_message_bytes: usize) -> Self {
        let client = FitterServiceClient::new(transport)
            .max_decoding_message_size(max_message_bytes)
            .max_encoding_message_size(max_message_bytes);
        Self { client }
    }
}

impl Fitter for FitterClient {
    fn forecast(&self, request: FitRequest) -> BoxFuture<'_, Result<FittedForecasts, FitterError>> {
        let mut client = self.client.clone();
        Box::pin(async move {
            if request.curves.is_empty() {
                return Ok(FittedForecasts::default());
            }
            let message = convert::batch_fit_request(&request);
            let answer = client
                .batch_fit_curves(message)
                .await
                .map_err(|status| fitter_error(&status))?;
            Ok(convert::fitted_forecasts(&request, answer.into_inner().fits))
        })
    }
}

fn fitter_error(status: &Status) -> FitterError {
    let detail = format!("{:?}: {}", status.code(), status.message());
    match status.code() {
        Code::Unavailable | Code::ResourceExhausted | Code::Aborted => FitterError::Unavailable { detail },
        Code::DeadlineExceeded | Code::Cancelled => FitterError::TimedOut { detail },
        _ => FitterError::Failed { detail },
    }
}
