//! Where selections are: behind `--endpoint`, or in a folder of this machine.

use std::time::Duration;

use finepick_proto::selector::v1::selector_service_client::SelectorServiceClient;
use svc_kit::client::Transport;

use crate::args::{GlobalArgs, HostedTrainer, LocalArgs};
use crate::backend;
use crate::error::CliError;
use crate::local_suite::{LocalSuite, Use};

/// Calls about selections.
pub(crate) struct Selections {
    client: SelectorServiceClient<Transport>,
    /// The same without a deadline, for streams.
    streams: SelectorServiceClient<Transport>,
    local: Option<LocalSuite>,
    /// How long a call may take, and a stream be broken.
    pub(crate) patience: Duration,
}

impl Selections {
    /// To look at selections: nothing is trained.
    pub(crate) async fn to_look(global: &GlobalArgs, local: &LocalArgs) -> Result<Self, CliError> {
        Self::open(global, local, Use::Look).await
    }

    /// To go on with selections, too: what has not ended is driven on. With `--endpoint` the suite there does that anyway.
    pub(crate) async fn to_drive(
        global: &GlobalArgs,
        local: &LocalArgs,
        trainer: HostedTrainer,
    ) -> Result<Self, CliError> {
        Self::open(global, local, Use::Drive(trainer)).await
    }

    async fn open(global: &GlobalArgs, local: &LocalArgs, purpose: Use) -> Result<Self, CliError> {
        let patience = backend::timeout(global)?;
        if global.endpoint.is_some() {
            let (timed, untimed) = backend::selector_at(global)?;
            return Ok(Self {
                client: timed,
                streams: untimed,
                local: None,
                patience,
            });
        }
        let suite = LocalSuite::open(local, purpose).await?;
        let client = backend::selector_over(&suite.selector());
        Ok(Self {
            client: client.clone(),
            streams: client,
            local: Some(suite),
            patience,
        })
    }

    /// Calls the selector.
    pub(crate) fn client(&self) -> SelectorServiceClient<Transport> {
        self.client.clone()
    }

    /// Calls the selector without a deadline.
    pub(crate) fn streams(&self) -> SelectorServiceClient<Transport> {
        self.streams.clone()
    }

    /// The suite in this process, if there is one.
    pub(crate) fn local(&self) -> Option<&LocalSuite> {
        self.local.as_ref()
    }

    /// Ends what runs in this process; it goes on at the next start.
    pub(crate) async fn close(self) {
        if let Some(local) = self.local {
            local.close().await;
        }
    }
}
