//! Process plumbing of the services: everything a gRPC process needs that has nothing to do with what it serves.
//!
//! This crate knows no service and no proto of this project. Its module list is closed:
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | layered configuration: defaults → file → environment → flags; the common sections |
//! | [`telemetry`] | logs on stderr; traces, metrics and logs over OTLP; W3C trace context |
//! | [`limits`] | deadlines, concurrency, load shedding, panics: the tower layers that bound a call |
//! | [`server`] | the one stack around any set of tonic services, on a socket or in process |
//! | [`client`] | channels to other processes, and one transport type for remote and in-process services |
//! | [`shutdown`] | the shutdown token, signals, bounded waits |
//! | [`status`] | `google.rpc` error details, bounded in size |
//! | [`health`] | `grpc.health.v1` for every server |
//!
//! Something that fits none of these belongs into the service that needs it, not into a ninth module.
//!
//! # A service's `main.rs`
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use clap::Parser;
//! # mod example_svc { pub mod config {
//! #     #[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
//! #     pub struct Config { server: svc_kit::config::ServerConfig, telemetry: svc_kit::config::TelemetryConfig }
//! #     impl svc_kit::config::ServiceConfig for Config {
//! #         const MEANINGS: &'static [(&'static str, &'static str)] = &[];
//! #         fn server(&self) -> &svc_kit::config::ServerConfig { &self.server }
//! #         fn telemetry(&self) -> &svc_kit::config::TelemetryConfig { &self.telemetry }
//! #     }
//! # } pub mod grpc {
//! #     pub async fn assemble(_: super::config::Config, _: svc_kit::server::Context)
//! #         -> Result<svc_kit::server::App, svc_kit::BoxError> { Ok(svc_kit::server::App::new()) }
//! # } }
//!
//! /// Fits examples.
//! #[derive(Parser)]
//! #[command(name = "example-svc", version)]
//! struct Args {
//!     #[command(flatten)]
//!     flags: svc_kit::config::Flags,
//! }
//!
//! fn main() -> ExitCode {
//!     svc_kit::run("example-svc", &Args::parse().flags, example_svc::grpc::assemble)
//! }
//! ```
//!
//! # A service's `config.rs`
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use svc_kit::config::{HumanDuration, ServerConfig, ServiceConfig, TelemetryConfig};
//!
//! /// The configuration of example-svc.
//! #[derive(Debug, Clone, Serialize, Deserialize)]
//! #[serde(default, deny_unknown_fields)]
//! pub struct Config {
//!     pub server: ServerConfig,
//!     pub telemetry: TelemetryConfig,
//!     pub example: ExampleConfig,
//! }
//!
//! /// `[example]`
//! #[derive(Debug, Clone, Serialize, Deserialize)]
//! #[serde(default, deny_unknown_fields)]
//! pub struct ExampleConfig {
//!     pub max_points: usize,
//!     pub patience: HumanDuration,
//! }
//!
//! impl Default for Config {
//!     fn default() -> Self {
//!         Self {
//!             server: ServerConfig::on_port(50061), // each service has its own default port, on loopback
//!             telemetry: TelemetryConfig::default(),
//!             example: ExampleConfig::default(),
//!         }
//!     }
//! }
//!
//! impl Default for ExampleConfig {
//!     fn default() -> Self {
//!         Self { max_points: 1000, patience: HumanDuration::from_secs(5) }
//!     }
//! }
//!
//! impl ServiceConfig for Config {
//!     // Own keys only; the common sections document themselves. A test compares this with docs/configuration.md.
//!     const MEANINGS: &'static [(&'static str, &'static str)] = &[
//!         ("example.max_points", "Points accepted in one request."),
//!         ("example.patience", "How long to wait for the example."),
//!     ];
//!     fn server(&self) -> &ServerConfig {
//!         &self.server
//!     }
//!     fn telemetry(&self) -> &TelemetryConfig {
//!         &self.telemetry
//!     }
//!     fn validate(&self) -> Result<(), String> {
//!         if self.example.max_points == 0 {
//!             return Err("example.max_points must be at least 1".to_owned());
//!         }
//!         Ok(())
//!     }
//! }
//! # let _ = Config::default();
//! ```
//!
//! # A service's `grpc.rs`
//!
//! ```
//! use svc_kit::server::{App, Context};
//! use svc_kit::{BoxError, status};
//! # type Config = ();
//!
//! pub async fn assemble(config: Config, context: Context) -> Result<App, BoxError> {
//!     // let service = ExampleServiceServer::new(Service::new(config))
//!     //     .max_decoding_message_size(context.max_message_bytes)
//!     //     .max_encoding_message_size(context.max_message_bytes);
//!     // Ok(App::new().service(service).descriptor_set(finepick_proto::FILE_DESCRIPTOR_SET))
//!     # let _ = (config, context);
//!     # Ok(App::new())
//! }
//!
//! // Errors a client can act on; `reason` is the name of a value of the proto's error enum.
//! fn check(points: usize) -> Result<(), tonic::Status> {
//!     if points == 0 {
//!         let violation = status::FieldViolation::new("curve.observations", "must hold at least one point");
//!         return Err(status::invalid_argument("NO_POINTS", vec![violation]));
//!     }
//!     Ok(())
//! }
//! # assert_eq!(check(0).unwrap_err().code(), tonic::Code::InvalidArgument);
//! ```
//!
//! # Calling another service
//!
//! Generated clients take a [`client::Transport`]: `FitterServiceClient::new(transport)` works the same over a socket
//! ([`client::Transport::remote`]) and in process ([`client::Transport::local`] around [`server::App::into_local`]).

pub mod client;
pub mod config;
pub mod health;
pub mod limits;
pub mod server;
pub mod shutdown;
pub mod status;
pub mod telemetry;

mod process;

pub use process::{StartError, run};

/// The error type at this crate's seams where the caller's errors pass through unseen.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
