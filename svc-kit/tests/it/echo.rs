//! A service for tests that speaks raw bytes: what goes in and out is seen as it is on the wire.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use http::uri::PathAndQuery;
use svc_kit::client::Transport;
use svc_kit::server::{App, Call, Context as Setting, Listener};
use svc_kit::shutdown::Token;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Request, Response, Status, Streaming};

/// The service's name.
pub(crate) const NAME: &str = "test.v1.Echo";

/// Messages as they are.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;
    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;
    fn decode(&mut self, input: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(input.copy_to_bytes(input.remaining())))
    }
}

/// The service. `next` is called by the method `Relay`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Echo {
    /// Calls that were dropped before they had finished.
    pub(crate) cancelled: Arc<AtomicUsize>,
    /// Calls of `Sleep` that have begun.
    pub(crate) begun: Arc<AtomicUsize>,
    pub(crate) next: Option<Transport>,
}

impl tonic::server::NamedService for Echo {
    const NAME: &'static str = NAME;
}

/// Counts itself unless it is disarmed.
struct Alarm(Option<Arc<AtomicUsize>>);

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(count) = &self.0 {
            count.fetch_add(1, Ordering::SeqCst);
        }
    }
}

type Answer<T> = Result<Response<T>, Status>;

impl Echo {
    async fn unary(self, method: String, request: Request<Bytes>) -> Answer<Bytes> {
        match method.as_str() {
            "Unary" => {
                let mut response = Response::new(request.get_ref().clone());
                for name in ["x-ascii", "x-binary-bin"] {
                    if let Some(value) = request.metadata().clone().into_headers().get(name) {
                        response.metadata_mut().as_mut().insert(name, value.clone());
                    }
                }
                Ok(response)
            }
            "Headers" => {
                let headers = request.metadata().clone().into_headers();
                let lines = headers
                    .iter()
                    .map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap_or("?")));
                Ok(Response::new(Bytes::from(lines.collect::<String>())))
            }
            "RequestId" => {
                let id = Call::current().expect("served").request_id().to_owned();
                Ok(Response::new(Bytes::from(id)))
            }
            "Relay" => {
                let next = self.next.expect("a service to relay to");
                call(&next, "Headers", request.into_inner()).await
            }
            "Sleep" => {
                self.begun.fetch_add(1, Ordering::SeqCst);
                let mut alarm = Alarm(Some(self.cancelled));
                tokio::time::sleep(Duration::from_millis(number(request.get_ref()))).await;
                alarm.0 = None;
                Ok(Response::new(Bytes::from_static(b"slept")))
            }
            "Panic" => panic!("secret internal text"),
            "Fail" => {
                let violation = svc_kit::status::FieldViolation::new("a.b", "is wrong");
                let mut status = svc_kit::status::invalid_argument("INVALID_FIELD", vec![violation]);
                status
                    .metadata_mut()
                    .insert("x-trailer", "kept".parse().expect("ascii"));
                Err(status)
            }
            _ => Err(Status::unimplemented("")),
        }
    }

    /// `Count`: numbers from 0, one per 10 ms. `PanicLater`: one message, then a panic. `Hang`: one message, then none.
    fn stream(&self, method: &str, request: &Request<Bytes>) -> BoxStream<'static, Result<Bytes, Status>> {
        let limit = number(request.get_ref());
        let first = stream::once(async { Ok(Bytes::from_static(b"0")) });
        let alarm = Alarm(Some(Arc::clone(&self.cancelled)));
        match method {
            "PanicLater" => first
                .chain(stream::once(async {
                    // Long enough for the first message to be on its way.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    panic!("secret internal text")
                }))
                .boxed(),
            "Hang" => first
                .chain(stream::once(async move {
                    let _alarm = alarm;
                    futures::future::pending().await
                }))
                .boxed(),
            _ => stream::iter(0..limit)
                .then(|n| async move {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    Ok(Bytes::from(n.to_string()))
                })
                .chain(stream::poll_fn(move |_| {
                    let _ = &alarm;
                    Poll::Ready(None)
                }))
                .boxed(),
        }
    }
}

fn number(bytes: &Bytes) -> u64 {
    std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}

impl tower::Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (echo, method) = (
            self.clone(),
            request.uri().path().rsplit('/').next().unwrap_or_default().to_owned(),
        );
        Box::pin(async move {
            let grpc = || {
                tonic::server::Grpc::new(Raw)
                    .max_decoding_message_size(64 << 20)
                    .max_encoding_message_size(64 << 20)
            };
            Ok(match method.as_str() {
                "Count" | "PanicLater" | "Hang" => grpc().server_streaming(Stream(echo, method), request).await,
                "Chat" => grpc().streaming(Chat, request).await,
                _ => grpc().unary(Unary(echo, method), request).await,
            })
        })
    }
}

struct Unary(Echo, String);

impl tonic::server::UnaryService<Bytes> for Unary {
    type Response = Bytes;
    type Future = BoxFuture<'static, Answer<Bytes>>;
    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        Box::pin(self.0.clone().unary(self.1.clone(), request))
    }
}

struct Stream(Echo, String);

impl tonic::server::ServerStreamingService<Bytes> for Stream {
    type Response = Bytes;
    type ResponseStream = BoxStream<'static, Result<Bytes, Status>>;
    type Future = std::future::Ready<Answer<Self::ResponseStream>>;
    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        std::future::ready(Ok(Response::new(self.0.stream(&self.1, &request))))
    }
}

struct Chat;

impl tonic::server::StreamingService<Bytes> for Chat {
    type Response = Bytes;
    type ResponseStream = Streaming<Bytes>;
    type Future = std::future::Ready<Answer<Streaming<Bytes>>>;
    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        std::future::ready(Ok(Response::new(request.into_inner())))
    }
}

/// A client for messages up to 64 MiB.
async fn client(transport: Transport) -> Result<tonic::client::Grpc<Transport>, Status> {
    let mut client = tonic::client::Grpc::new(transport)
        .max_decoding_message_size(64 << 20)
        .max_encoding_message_size(64 << 20);
    client.ready().await?;
    Ok(client)
}

fn path(method: &str) -> PathAndQuery {
    let path = if method.starts_with('/') {
        method.to_owned()
    } else {
        format!("/{NAME}/{method}")
    };
    path.parse().expect("path")
}

/// A unary call; `method` is a method of [`Echo`] or a whole path.
pub(crate) fn call(
    transport: &Transport,
    method: &str,
    message: impl Into<Bytes>,
) -> BoxFuture<'static, Answer<Bytes>> {
    call_with(transport, method, Request::new(message.into()))
}

/// A unary call with metadata.
pub(crate) fn call_with(
    transport: &Transport,
    method: &str,
    request: Request<Bytes>,
) -> BoxFuture<'static, Answer<Bytes>> {
    let (transport, path) = (transport.clone(), path(method));
    Box::pin(async move { client(transport).await?.unary(request, path, Raw).await })
}

/// A call with a stream of answers.
pub(crate) async fn watch(transport: &Transport, method: &str, request: Request<Bytes>) -> Answer<Streaming<Bytes>> {
    client(transport.clone())
        .await?
        .server_streaming(request, path(method), Raw)
        .await
}

/// A call with streams both ways.
pub(crate) async fn chat(transport: &Transport, messages: BoxStream<'static, Bytes>) -> Answer<Streaming<Bytes>> {
    client(transport.clone())
        .await?
        .streaming(Request::new(messages), path("Chat"), Raw)
        .await
}

/// A server that runs until it is stopped or dropped.
pub(crate) struct Running {
    pub(crate) address: std::net::SocketAddr,
    pub(crate) setting: Setting,
    task: tokio::task::JoinHandle<Result<(), svc_kit::server::ServeError>>,
}

impl Running {
    /// Serves on the configured address (port 0: a free one).
    pub(crate) async fn start(config: &svc_kit::config::ServerConfig, app: impl FnOnce(&Setting) -> App) -> Self {
        let setting = Setting::new(config, Token::new());
        let listener = Listener::bind(config).await.expect("a free port");
        let address = listener.local_addr();
        let (app, config, context) = (app(&setting), config.clone(), setting.clone());
        let task = tokio::spawn(async move { listener.serve(app, &config, &context).await });
        Self { address, setting, task }
    }

    /// Serves [`Echo`] with the default limits.
    pub(crate) async fn echo(echo: Echo) -> Self {
        Self::start(&svc_kit::config::ServerConfig::default(), |_| App::new().service(echo)).await
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn transport(&self) -> Transport {
        Transport::remote(&svc_kit::config::EndpointConfig::to(self.url())).expect("URL")
    }

    /// Drains and waits for the end.
    pub(crate) async fn stop(mut self) {
        self.setting.shutdown.trigger();
        (&mut self.task).await.expect("no panic").expect("served");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.setting.shutdown.trigger();
    }
}

/// Waits until a condition holds; panics after 10 s.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..1000 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not come true within 10 s");
}
