//! The services of the suite, hosted in one process.
use svc_kit::BoxError;
use svc_kit::client::Transport;
use svc_kit::server::Context;
/// stub
pub async fn local_services(_context: &Context) -> Result<(Transport, Transport), BoxError> {
    Err("not yet".into())
}
