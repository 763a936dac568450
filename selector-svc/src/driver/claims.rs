//! Which selections are ours: taken up by lease, kept by renewal, given back at the end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use svc_kit::shutdown::Token;
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::Instrument;

use super::journal::Halt;
use super::task::Task;
use super::{Driven, Live, Shared};
use crate::store::{Claim, StoreError};

/// Before a selection that cannot be driven is looked at again; meanwhile it is kept, so that it does not go round.
const BROKEN_PAUSE: Duration = Duration::from_mins(1);
/// Longest wait for the store when everything is given back.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// Our selections.
struct Claims {
    shared: Arc<Shared>,
    tasks: JoinSet<Claim>,
    held: HashMap<String, (Claim, AbortHandle)>,
    ids: HashMap<Id, String>,
}

/// Takes selections up and drives them until the shutdown begins.
pub(super) async fn run(shared: &Arc<Shared>, shutdown: Token) {
    let mut claims = Claims {
        shared: Arc::clone(shared),
        tasks: JoinSet::new(),
        held: HashMap::new(),
        ids: HashMap::new(),
    };
    let third = (shared.config.lease / 3).max(Duration::from_millis(1));
    let mut renewal = tokio::time::interval_at(Instant::now() + third, third);
    let mut poll = tokio::time::interval(shared.config.poll_interval.max(Duration::from_millis(1)));
    renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let over = shutdown.triggered();
    tokio::pin!(over);
    loop {
        tokio::select! {
            () = &mut over => break,
            Some(ended) = claims.tasks.join_next_with_id(), if !claims.tasks.is_empty() => claims.took_leave(ended).await,
            _ = renewal.tick() => claims.renew().await,
            _ = poll.tick() => claims.take_up().await,
            () = shared.claim_now.notified() => claims.take_up().await,
        }
    }
    claims.give_back().await;
}

impl Claims {
    /// Takes up selections that nobody drives.
    async fn take_up(&mut self) {
        let room = (self.shared.config.max_selections as usize).saturating_sub(self.held.len());
        let Some(limit) = u32::try_from(room).ok().filter(|limit| *limit > 0) else {
            return;
        };
        let config = &self.shared.config;
        match self.shared.parts.store.claim(&config.owner, config.lease, limit).await {
            Ok(claims) => {
                for claim in claims {
                    self.start(claim);
                }
            }
            Err(error) => tracing::warn!(%error, "no selections can be taken up now"),
        }
    }

    fn start(&mut self, claim: Claim) {
        let id = claim.id.clone();
        // One that was lost without our knowing, and is ours again.
        self.stop(&id);
        let (live, nudge) = (watch::Sender::new(Live::default()), Arc::new(Notify::new()));
        let driven = Driven {
            live: live.clone(),
            nudge: Arc::clone(&nudge),
        };
        self.shared.driven().insert(id.clone(), driven);
        let span = tracing::info_span!("selection", selection = id);
        let task = drive(Arc::clone(&self.shared), claim.clone(), live, nudge);
        let handle = self.tasks.spawn(task.instrument(span));
        self.ids.insert(handle.id(), id.clone());
        self.held.insert(id, (claim, handle));
    }

    fn stop(&mut self, id: &str) {
        if let Some((_, handle)) = self.held.remove(id) {
            self.ids.remove(&handle.id());
            handle.abort();
        }
        self.shared.driven().remove(id);
    }

    async fn renew(&mut self) {
        let claims: Vec<Claim> = self.held.values().map(|(claim, _)| claim.clone()).collect();
        if claims.is_empty() {
            return;
        }
        match self.shared.parts.store.renew(&claims, self.shared.config.lease).await {
            Ok(lost) => {
                for claim in lost {
                    // The same selection may have been taken up anew meanwhile.
                    if self.held.get(&claim.id).is_some_and(|(ours, _)| *ours == claim) {
                        tracing::warn!(selection = claim.id, "a selection is another selector's now");
                        self.stop(&claim.id);
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "leases cannot be renewed now"),
        }
    }

    async fn took_leave(&mut self, ended: Result<(Id, Claim), tokio::task::JoinError>) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        // Those that were stopped are forgotten already.
        let Some(selection) = self.ids.remove(&id) else { return };
        let Some((claim, _)) = self.held.remove(&selection) else {
            return;
        };
        self.shared.driven().remove(&selection);
        if let Err(error) = ended {
            tracing::error!(selection, %error, "driving a selection failed by a defect; it is taken up again");
        }
        self.release(&[claim]).await;
    }

    async fn give_back(mut self) {
        let claims: Vec<Claim> = self.held.values().map(|(claim, _)| claim.clone()).collect();
        self.tasks.shutdown().await;
        self.shared.driven().clear();
        if !claims.is_empty()
            && tokio::time::timeout(RELEASE_TIMEOUT, self.release(&claims))
                .await
                .is_err()
        {
            tracing::warn!("the store does not answer; the leases run out by themselves");
        }
    }

    async fn release(&self, claims: &[Claim]) {
        match self.shared.parts.store.release(claims).await {
            Ok(()) | Err(StoreError::Fenced { .. } | StoreError::NotFound { .. }) => {}
            Err(error) => tracing::warn!(%error, "leases cannot be given back; they run out by themselves"),
        }
    }
}

/// Drives one selection until it has ended or is not ours any more.
async fn drive(shared: Arc<Shared>, claim: Claim, live: watch::Sender<Live>, nudge: Arc<Notify>) -> Claim {
    loop {
        let loaded = Task::load(Arc::clone(&shared), claim.clone(), live.clone(), Arc::clone(&nudge)).await;
        let halt = match loaded {
            Ok(mut task) => match task.drive().await {
                Ok(()) => return claim,
                Err(halt) => halt,
            },
            Err(halt) => halt,
        };
        match halt {
            Halt::Lost => {
                tracing::info!("the selection is not ours any more");
                return claim;
            }
            Halt::Broken(detail) | Halt::Defect(detail) => {
                tracing::error!(detail, "the selection cannot be driven; it is looked at again later");
                tokio::time::sleep(BROKEN_PAUSE).await;
            }
        }
    }
}
