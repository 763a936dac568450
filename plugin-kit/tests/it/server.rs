//! A simulated trainer on a socket, whole or spoilt.

use std::time::Duration;

use finepick_proto::trainer::v1::trainer_service_server::TrainerServiceServer;
use plugin_kit::Options;
use svc_kit::config::{HumanDuration, ServerConfig};
use svc_kit::health::{self, HealthServer, Reporter};
use svc_kit::server::{App, Context, Listener};
use svc_kit::shutdown::Token;
use tonic::transport::server::TcpIncoming;
use trainer_sim::grpc::Service;
use trainer_sim::{SimulationConfig, Trainer};

use crate::mutant::{Flaw, Mutant};

/// What is simulated: small and quick, everything claimed but what the simulation cannot do.
pub(crate) fn config() -> SimulationConfig {
    SimulationConfig {
        queue_limit: 12,
        heartbeat_interval: HumanDuration::from_secs(1),
        ..SimulationConfig::default()
    }
}

/// Options of the kit for this trainer.
pub(crate) fn options(target: String) -> Options {
    Options {
        call_timeout: Duration::from_secs(3),
        run_timeout: Duration::from_secs(8),
        ..Options::to(target)
    }
}

/// A trainer that is served until this is dropped.
pub(crate) struct Served {
    pub(crate) target: String,
    shutdown: Token,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

/// Serves a simulated trainer, spoilt by a flaw.
pub(crate) async fn serve(config: &SimulationConfig, flaw: Option<Flaw>) -> Served {
    let mut server = ServerConfig::on_port(0);
    server.drain_timeout = HumanDuration::from_secs(1);
    let shutdown = Token::new();
    let context = Context::new(&server, shutdown.clone());
    let trainer = Trainer::start(config, &shutdown);
    let app = match flaw {
        None => trainer_sim::grpc::serve(&trainer, &context),
        Some(flaw) => {
            let mutant = Mutant::new(Service::new(trainer, shutdown.clone()), flaw);
            let service = TrainerServiceServer::new(mutant).max_decoding_message_size(flaw.request_limit());
            if flaw == Flaw::WatchIgnoresDeadline {
                return serve_plainly(service, shutdown).await;
            }
            let app = App::new().service(service);
            let described = |app: App| app.descriptor_set(finepick_proto::FILE_DESCRIPTOR_SET);
            match flaw {
                Flaw::NoDescriptors => app,
                Flaw::NotServing => {
                    let reporter = Reporter::new();
                    reporter.set("finepick.trainer.v1.TrainerService", false);
                    described(app).health_server(HealthServer::new(health::Service::new(reporter)))
                }
                _ => described(app),
            }
        }
    };
    let listener = Listener::bind(&server).await.expect("a free port");
    let target = format!("http://{}", listener.local_addr());
    tokio::spawn(async move { listener.serve(app, &server, &context).await });
    Served { target, shutdown }
}

/// Serves without the stack that heeds deadlines.
async fn serve_plainly(service: TrainerServiceServer<Mutant>, shutdown: Token) -> Served {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let target = format!("http://{}", socket.local_addr().expect("an address"));
    let end = shutdown.triggered();
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming_shutdown(TcpIncoming::from(socket), end));
    Served { target, shutdown }
}
