//! Calls spread over replicas by least pending, as tower's `p2c` does it with `PendingRequests`.
//!
//! It is not built from these two because they fit neither tonic's channels nor streams: `p2c` gives a replica up when its
//! `poll_ready` fails, which a channel's never does (a failed connection fails the *call*), needs somebody to discover it
//! again, and is not `Clone`. tonic's own `balance_list` draws at random.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::transport::Channel;
use tonic::{ConnectError, Status};
use tower::{Service, ServiceExt};

use super::dice::{Dice, mix};
use super::lent::Lender;
use super::retry::Backoff;
use super::transport::Presence;
use crate::BoxError;
use crate::config::{ConfigError, EndpointConfig};
use crate::status::{self, reason};

/// Header (gRPC metadata) that ties calls to one replica: equal values go to the same one, whoever sends them and through
/// whichever process, as long as the list of replicas is the same. While that replica is away such calls are
/// UNAVAILABLE: another one does not have what they are about.
pub const AFFINITY_KEY: &str = "x-affinity-key";

/// Waits between attempts to reach a replica that is away: doubled from the first to the last.
const PROBE_FIRST: Duration = Duration::from_millis(100);
const PROBE_LAST: Duration = Duration::from_secs(2);

/// The shortest time a client is told to wait.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(50);

/// Connects to a replica, for good or not at all.
type Connect<S> = Box<dyn Fn() -> BoxFuture<'static, Result<S, BoxError>> + Send + Sync>;

/// A service that sends each call to one of several replicas.
pub(super) struct Balance<S> {
    shared: Arc<Shared<S>>,
}

impl<S> Clone for Balance<S> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

struct Shared<S> {
    replicas: Vec<Replica<S>>,
    dice: Dice,
}

/// One replica, and what is known about it here.
pub(super) struct Replica<S> {
    /// Hash of its name: where its calls with an affinity key come from.
    name: u64,
    /// Calls sent to it whose answers have not ended.
    pending: AtomicUsize,
    link: Mutex<Link<S>>,
    connect: Connect<S>,
}

struct Link<S> {
    service: S,
    /// Counts connections, so that an old one's failure says nothing about the new one.
    generation: u64,
    /// Set while the replica is left out: when it will be tried again.
    away_until: Option<Instant>,
}

impl<S> Replica<S> {
    pub(super) fn new(name: &str, service: S, connect: Connect<S>) -> Self {
        Self {
            name: hash(name.as_bytes()),
            pending: AtomicUsize::new(0),
            link: Mutex::new(Link {
                service,
                generation: 0,
                away_until: None,
            }),
            connect,
        }
    }

    fn link(&self) -> MutexGuard<'_, Link<S>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Balance<Channel> {
    /// Over these endpoints. Connects at the first calls.
    pub(super) fn connect(configs: &[EndpointConfig]) -> Result<Self, ConfigError> {
        let replicas = configs.iter().map(|config| {
            let endpoint = super::endpoint(config)?;
            let channel = endpoint.connect_lazy();
            let connect: Connect<Channel> = Box::new(move || {
                let endpoint = endpoint.clone();
                Box::pin(async move { Ok(endpoint.connect().await?) })
            });
            Ok(Replica::new(&config.endpoint, channel, connect))
        });
        Ok(Self::new(replicas.collect::<Result<_, ConfigError>>()?, Dice::new()))
    }
}

/// Where a call goes.
struct Picked<S> {
    service: S,
    generation: u64,
    pending: Pending<S>,
}

impl<S: Clone + Send + 'static> Balance<S> {
    pub(super) fn new(replicas: Vec<Replica<S>>, dice: Dice) -> Self {
        Self {
            shared: Arc::new(Shared { replicas, dice }),
        }
    }

    /// Who is there.
    pub(super) fn presence(&self) -> Arc<dyn Presence> {
        Arc::clone(&self.shared) as Arc<dyn Presence>
    }

    /// The replica for a call, counted from now on; `None`: nobody is there.
    fn pick(&self, affinity: Option<u64>) -> Option<Picked<S>> {
        let shared = &self.shared;
        if let Some(key) = affinity {
            return self.take(shared.home_of(key)?);
        }
        let present: Vec<usize> = (0..shared.replicas.len())
            .filter(|index| shared.is_present(*index))
            .collect();
        let first = shared.dice.below(present.len());
        // Another one: an offset from 1 to len - 1.
        let offset = 1 + shared.dice.below(present.len().saturating_sub(1));
        let second = (first + offset) % present.len().max(1);
        let (first, second) = (*present.get(first)?, *present.get(second)?);
        self.take(if shared.pending(second) < shared.pending(first) {
            second
        } else {
            first
        })
    }

    fn take(&self, index: usize) -> Option<Picked<S>> {
        let replica = self.shared.replicas.get(index)?;
        let link = replica.link();
        if link.away_until.is_some() {
            return None;
        }
        replica.pending.fetch_add(1, Ordering::Relaxed);
        Some(Picked {
            service: link.service.clone(),
            generation: link.generation,
            pending: Pending {
                shared: Arc::clone(&self.shared),
                index,
            },
        })
    }

    /// Leaves a replica out until it can be connected to.
    fn eject(&self, index: usize, generation: u64) {
        let Some(replica) = self.shared.replicas.get(index) else {
            return;
        };
        {
            let mut link = replica.link();
            if link.generation != generation || link.away_until.is_some() {
                return;
            }
            link.away_until = Some(Instant::now() + PROBE_FIRST);
        }
        tracing::info!(replica = index, "a replica cannot be reached");
        tokio::spawn(probe(Arc::downgrade(&self.shared), index));
    }

    /// What a call is told when nobody is there for it.
    fn nobody(&self, affinity: Option<u64>) -> Status {
        let home = affinity.and_then(|key| self.shared.home_of(key));
        let waits = self.shared.replicas.iter().enumerate();
        let back = waits
            .filter(|(index, _)| home.is_none_or(|home| home == *index))
            .filter_map(|(_, replica)| replica.link().away_until)
            .min();
        let wait = back.map_or(PROBE_FIRST, |back| back.saturating_duration_since(Instant::now()));
        let message = if home.is_some() {
            "the replica that this call belongs to cannot be reached"
        } else {
            "no replica of the service behind this one can be reached"
        };
        status::unavailable(reason::BACKEND_UNAVAILABLE, message, wait.max(RETRY_AFTER_MIN))
    }
}

impl<S> Shared<S> {
    fn is_present(&self, index: usize) -> bool {
        self.replicas
            .get(index)
            .is_some_and(|replica| replica.link().away_until.is_none())
    }

    fn pending(&self, index: usize) -> usize {
        self.replicas
            .get(index)
            .map_or(0, |replica| replica.pending.load(Ordering::Relaxed))
    }

    /// The replica of an affinity key: the highest of the hashes of key and name (rendezvous hashing, Thaler and
    /// Ravishankar 1998, doi 10.1109/90.663936). A replica more or less moves only the keys that are its own.
    fn home_of(&self, key: u64) -> Option<usize> {
        let weights = self.replicas.iter().enumerate();
        let best = weights.max_by_key(|(_, replica)| mix(key ^ replica.name));
        best.map(|(index, _)| index)
    }
}

impl<S: Send + 'static> Presence for Shared<S> {
    fn finds(&self, affinity: Option<&str>) -> bool {
        match affinity {
            Some(key) => {
                let home = self.home_of(hash(key.as_bytes()));
                home.is_some_and(|home| self.is_present(home))
            }
            None => (0..self.replicas.len()).any(|index| self.is_present(index)),
        }
    }
}

/// Tries to connect until it works, or until nobody needs it any more.
async fn probe<S: Clone + Send + 'static>(shared: Weak<Shared<S>>, index: usize) {
    let mut backoff = Backoff::new(PROBE_FIRST, PROBE_LAST);
    loop {
        let wait = backoff.wait(Duration::ZERO);
        {
            let Some(shared) = shared.upgrade() else { return };
            let Some(replica) = shared.replicas.get(index) else {
                return;
            };
            replica.link().away_until = Some(Instant::now() + wait);
        }
        tokio::time::sleep(wait).await;
        let connecting = {
            let Some(shared) = shared.upgrade() else { return };
            let Some(replica) = shared.replicas.get(index) else {
                return;
            };
            (replica.connect)()
        };
        let Ok(service) = connecting.await else { continue };
        let Some(shared) = shared.upgrade() else { return };
        let Some(replica) = shared.replicas.get(index) else {
            return;
        };
        let mut link = replica.link();
        link.service = service;
        link.generation += 1;
        link.away_until = None;
        tracing::info!(replica = index, "a replica is back");
        return;
    }
}

impl<S> Service<Request<Body>> for Balance<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(dispatch(self.clone(), request))
    }
}

/// Sends a call to a replica; to another one as long as none has seen it.
async fn dispatch<S>(balance: Balance<S>, request: Request<Body>) -> Result<Response<Body>, BoxError>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
{
    let (parts, body) = request.into_parts();
    let affinity = parts.headers.get(AFFINITY_KEY).map(|key| hash(key.as_bytes()));
    let lender = Lender::new(body);
    // Each failure takes a replica out; those that come back meanwhile get one more chance.
    for _ in 0..2 * balance.shared.replicas.len() {
        let Some(picked) = balance.pick(affinity) else { break };
        let request = Request::from_parts(parts.clone(), lender.lend());
        let error = match picked.service.oneshot(request).await {
            Ok(response) => return Ok(response.map(|inner| counted(inner, picked.pending))),
            Err(error) => error.into(),
        };
        if !is_unconnected(&*error) {
            return Err(error);
        }
        balance.eject(picked.pending.index, picked.generation);
        if !lender.is_untouched() {
            return Err(error);
        }
    }
    Err(balance.nobody(affinity).into())
}

/// Whether there was no connection at all, so that nobody has seen the call.
fn is_unconnected(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// FNV-1a: the same in every process and on every machine, which the standard library's hashers do not promise.
fn hash(bytes: &[u8]) -> u64 {
    let fold = |state: u64, byte: &u8| (state ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold))
}

/// A call counted at its replica, until this is dropped.
struct Pending<S> {
    shared: Arc<Shared<S>>,
    index: usize,
}

impl<S> Drop for Pending<S> {
    fn drop(&mut self) {
        if let Some(replica) = self.shared.replicas.get(self.index) {
            replica.pending.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn counted<S: Send + 'static>(inner: Body, pending: Pending<S>) -> Body {
    if inner.is_end_stream() {
        return inner;
    }
    Body::new(CountedBody {
        inner,
        pending: Some(pending),
    })
}

/// A response body during which the call counts as pending.
struct CountedBody<S> {
    inner: Body,
    pending: Option<Pending<S>>,
}

impl<S> Unpin for CountedBody<S> {}

impl<S> http_body::Body for CountedBody<S> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_frame(cx);
        let over = match &polled {
            Poll::Ready(Some(Ok(frame))) => frame.is_trailers(),
            Poll::Ready(_) => true,
            Poll::Pending => false,
        };
        if over {
            this.pending = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests;
