//! A simulated trainer: losses from a declared law, failures on demand, a clock that tests can turn.
//!
//! It serves `finepick.trainer.v1` as a process (`trainer-sim`) and in process. The domain (everything but [`config`],
//! [`clock`], [`engine`], [`grpc`] and [`lies`]) knows neither a transport nor a clock: [`simulation::Simulation`] is told what
//! time it is, and the same calls at the same times give the same events.
//!
//! | module | holds |
//! |---|---|
//! | [`state`], [`spec`], [`capability`], [`event`], [`cost`] | the contract's own, from `trainer-kit` |
//! | [`defaults`], [`overrides`] | what a spec leaves open; what labels change |
//! | [`law`], [`plan`] | losses, time, memory |
//! | [`run`], [`simulation`] | one run, all runs with queue and slots |
//! | [`clock`], [`engine`] | real or turned time, the [`Trainer`] handle, watches |
//! | [`grpc`], [`config`] | the wire; `[simulation]` |
//! | [`lie`], [`lies`] | ways to break the contract, off by default |
//!
//! # In process, on the machine's clock
//!
//! ```
//! use finepick_proto::trainer::v1::trainer_service_client::TrainerServiceClient;
//! use svc_kit::client::Transport;
//! use svc_kit::config::ServerConfig;
//! use svc_kit::server::Context;
//! use svc_kit::shutdown::Token;
//! use trainer_sim::SimulationConfig;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = ServerConfig::on_port(0);
//! let context = Context::new(&server, Token::new());
//! // 6,000 simulated seconds in a second: a run takes a blink.
//! let config = SimulationConfig { speed: 6_000.0, ..SimulationConfig::default() };
//! let app = trainer_sim::grpc::app(&config, &context);
//! let mut client = TrainerServiceClient::new(Transport::local(app.into_local(&server, &context)?));
//! let info = client.get_trainer_info(finepick_proto::trainer::v1::GetTrainerInfoRequest {}).await?.into_inner();
//! assert!(info.ready);
//! // On a socket instead: Listener::bind(&server).await?.serve(app, &server, &context).await
//! # Ok(()) }
//! ```
//!
//! # In process, on a clock that only the test turns
//!
//! ```
//! use std::time::Duration;
//!
//! use finepick_proto::trainer::v1 as wire;
//! use finepick_proto::trainer::v1::trainer_service_client::TrainerServiceClient;
//! use svc_kit::client::Transport;
//! use svc_kit::config::ServerConfig;
//! use svc_kit::server::Context;
//! use svc_kit::shutdown::Token;
//! use trainer_sim::{SimulationConfig, Trainer};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (trainer, clock) = Trainer::manual(&SimulationConfig::default());
//! let server = ServerConfig::on_port(0);
//! let context = Context::new(&server, Token::new());
//! let app = trainer_sim::grpc::serve(&trainer, &context);
//! let mut client = TrainerServiceClient::new(Transport::local(app.into_local(&server, &context)?));
//!
//! let reference = |uri: &str| Some(wire::Reference { uri: uri.into(), digest: String::new() });
//! let spec = wire::TrainingRunSpec {
//!     candidate_id: "tiny".into(),
//!     model: reference("sim://tiny-20m"),
//!     data: reference("sim://data"),
//!     data_sizes: vec![0, 100, 200],
//!     method: Some(wire::TuningMethod { kind: Some(wire::tuning_method::Kind::Full(wire::FullTuning {})) }),
//!     // Half-way, the device is taken away; see `overrides` for all labels.
//!     labels: [("sim.fault".to_owned(), "preempted".to_owned())].into(),
//!     ..Default::default()
//! };
//! let create = wire::CreateTrainingRunRequest {
//!     training_run_id: "run-1".into(), spec: Some(spec), request_id: String::new(),
//! };
//! client.create_training_run(create).await?;
//! trainer.advance(&clock, Duration::from_secs(3_600)); // everything due has happened when this returns
//! let get = wire::GetTrainingRunRequest { training_run_id: "run-1".into() };
//! let run = client.get_training_run(get).await?.into_inner().run.unwrap_or_default();
//! assert_eq!(run.state(), wire::TrainingRunState::Preempted);
//! # Ok(()) }
//! ```
//!
//! [`Trainer`] also breaks streams ([`Trainer::break_streams`]), counts them ([`Trainer::open_watches`]) and makes the trainer
//! not ready ([`Trainer::set_unready`]). Lies for tests of callers: `SimulationConfig { lie: "nan_loss".into(), .. }`, all
//! names in [`lie::Lie`].
//!
//! # Time
//!
//! Every duration of a run (work, `max_duration`, `device_seconds`, `remaining`, rates) is in simulated seconds, of which
//! `speed` pass in a second. Timestamps are of the wall clock, and `heartbeat_interval` is real time: both are about the
//! caller's waiting, not about the run's work.

pub use trainer_kit::{capability, cost, event, spec, state};

pub mod defaults;
pub mod law;
pub mod lie;
pub mod overrides;
pub mod plan;
pub mod run;
pub mod settings;
pub mod simulation;

#[cfg(feature = "server")]
pub mod clock;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod engine;
#[cfg(feature = "server")]
pub mod grpc;
#[cfg(feature = "server")]
pub mod lies;

#[cfg(feature = "server")]
pub use config::SimulationConfig;
#[cfg(feature = "server")]
pub use engine::Trainer;
