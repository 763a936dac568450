//! One stack around any set of tonic services, on a socket or in process.
//!
//! From the outside in: request id, span and metrics · panics · then, health aside: deadline · admission · the
//! services. Health answers under any load and has no slot to wait for.

mod call;
mod stack;

use std::convert::Infallible;
use std::net::SocketAddr;

use http::Request;
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tower::Service;

pub use self::call::{Call, REQUEST_ID};
pub use self::stack::{service_of, unknown_service};
pub use crate::limits::RpcService;

use crate::config::{ConfigError, ServerConfig, read_file};
use crate::health::Reporter;
use crate::shutdown::{Background, Token, within};

/// Bytes one request may be ahead of its handler.
const STREAM_WINDOW: u32 = 128 << 10;

/// Bytes all requests of a connection may be ahead of their handlers: room for 64 handlers that do not read, and the
/// memory one connection can occupy.
const CONNECTION_WINDOW: u32 = 64 * STREAM_WINDOW;

/// What a service gets to know when it is put together.
#[derive(Debug, Clone)]
pub struct Context {
    /// Where to report that a part is not well. Registered services begin as SERVING.
    pub health: Reporter,
    /// Triggered when the process drains: long streams end themselves, background work stops.
    pub shutdown: Token,
    /// Work beside the calls: it is waited for when the process drains, as long as calls are.
    pub background: Background,
    /// Largest message either way, in bytes; to be set on each generated server.
    pub max_message_bytes: usize,
}

impl Context {
    /// The context of a server with this configuration.
    #[must_use]
    pub fn new(config: &ServerConfig, shutdown: Token) -> Self {
        Self {
            health: Reporter::new(),
            shutdown,
            background: Background::default(),
            max_message_bytes: config.max_message_bytes.as_usize(),
        }
    }
}

/// What a process serves: tonic services, their descriptors, and possibly one service for all other paths.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct App {
    routes: Routes,
    /// Names that are served, here or by the fallback.
    names: Vec<String>,
    /// Names that `routes` answers.
    in_routes: Vec<String>,
    descriptor_sets: Vec<&'static [u8]>,
    health: Option<Routes>,
    fallback: Option<RpcService>,
}

impl App {
    /// Nothing but health and reflection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a generated server. Its name is reported as SERVING and listed by reflection.
    pub fn service<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = http::Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.routes = self.routes.add_service(service);
        self.names.push(S::NAME.to_owned());
        self.in_routes.push(S::NAME.to_owned());
        self
    }

    /// Adds an encoded `FileDescriptorSet` for reflection. Only services that are served are listed.
    pub fn descriptor_set(mut self, encoded: &'static [u8]) -> Self {
        self.descriptor_sets.push(encoded);
        self
    }

    /// Sends every call of a service that was not added to `service`; `names` are those it is known to serve, for
    /// reflection and metrics.
    pub fn fallback(mut self, service: RpcService, names: impl IntoIterator<Item = String>) -> Self {
        self.fallback = Some(service);
        self.names.extend(names);
        self
    }

    /// Answers health calls with this `grpc.health.v1` server instead of the reporter's own.
    pub fn health_server<H: tonic_health::pb::health_server::Health>(
        mut self,
        server: crate::health::HealthServer<H>,
    ) -> Self {
        self.health = Some(Routes::new(server));
        self
    }

    /// The whole stack without a socket: the same calls, the same limits, no bytes on a wire.
    ///
    /// # Errors
    /// When a descriptor set cannot be read.
    pub fn into_local(self, config: &ServerConfig, context: &Context) -> Result<RpcService, ServeError> {
        self.compose(config, context)
    }
}

/// A socket that is bound and not served yet.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

/// The server cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {error}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// A file of the configuration is missing, or not what it should be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A descriptor set cannot be read.
    #[error("reflection: {0}")]
    Reflection(tonic_reflection::server::Error),
    /// The transport gave up.
    #[error("server: {0}")]
    Transport(tonic::transport::Error),
}

impl Listener {
    /// Binds the configured address.
    ///
    /// # Errors
    /// [`ServeError::Bind`].
    pub async fn bind(config: &ServerConfig) -> Result<Self, ServeError> {
        let address = config.listen;
        let bound = async {
            let socket = TcpListener::bind(address).await?;
            let address = socket.local_addr()?;
            Ok(Self { socket, address })
        };
        bound.await.map_err(|error| ServeError::Bind { address, error })
    }

    /// The address that was bound, with the port that was taken for 0.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `context.shutdown` is triggered, then drains: health is `NOT_SERVING`, new calls are refused, calls
    /// in flight get `drain_timeout` to finish. Dropping the future instead closes the socket at once.
    ///
    /// # Errors
    /// [`ServeError`] when the server cannot start.
    pub async fn serve(self, app: App, config: &ServerConfig, context: &Context) -> Result<(), ServeError> {
        let stack = app.compose(config, context)?;
        let shutdown = context.shutdown.triggered();
        let serving = transport(config)?.serve_with_incoming_shutdown(
            stack,
            TcpIncoming::from(self.socket).with_nodelay(Some(true)),
            shutdown,
        );
        tokio::pin!(serving);
        tokio::select! {
            ended = &mut serving => return ended.map_err(ServeError::Transport),
            () = context.shutdown.triggered() => context.health.drain(),
        }
        let limit = config.drain_timeout.get();
        let (served, finished) = tokio::join!(within(limit, serving), within(limit, context.background.finish()));
        if let Err(timeout) = finished {
            tracing::warn!(%timeout, "work beside the calls had not ended when the drain did");
        }
        match served {
            Ok(ended) => ended.map_err(ServeError::Transport),
            Err(timeout) => {
                tracing::warn!(%timeout, "calls were still in flight when the drain ended");
                Ok(())
            }
        }
    }
}

/// The HTTP/2 transport as configured.
fn transport(config: &ServerConfig) -> Result<Server, ServeError> {
    let mut server = Server::builder()
        .max_concurrent_streams(config.max_streams_per_connection)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        // Calls that a client gives up before we have looked at them. The default of 20 closes the connection, with
        // everybody on it, when a gateway's clients abandon their calls by the hundreds.
        .http2_max_pending_accept_reset_streams(usize::try_from(config.max_streams_per_connection).ok())
        .http2_keepalive_interval(config.keepalive_interval.non_zero())
        .http2_keepalive_timeout(Some(config.keepalive_timeout.get()));
    if let (Some(cert), Some(key)) = (&config.tls.cert, &config.tls.key) {
        let identity = Identity::from_pem(read_file("server.tls.cert", cert)?, read_file("server.tls.key", key)?);
        let mut tls = ServerTlsConfig::new()
            .identity(identity)
            .timeout(std::time::Duration::from_secs(10));
        if let Some(authority) = &config.tls.client_ca {
            tls = tls.client_ca_root(Certificate::from_pem(read_file("server.tls.client_ca", authority)?));
        }
        server = server.tls_config(tls).map_err(|error| {
            ServeError::Config(ConfigError::Invalid(format!(
                "server.tls: {}",
                crate::client::chain(&error)
            )))
        })?;
    }
    Ok(server)
}
