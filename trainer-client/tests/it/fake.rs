//! A trainer with one run whose events are all known beforehand, and streams that break as told; a proxy that cuts
//! connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use finepick_proto::trainer::v1::trainer_service_server::{TrainerService, TrainerServiceServer};
use finepick_proto::trainer::v1::training_event::Kind;
use finepick_proto::trainer::v1::{self as pb, TrainingRunState as State};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use svc_kit::client::Transport;
use svc_kit::config::{EndpointConfig, ServerConfig};
use svc_kit::server::{App, Context, Listener};
use svc_kit::shutdown::Token;
use svc_kit::status;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

/// The run that exists.
pub(crate) const RUN: &str = "run-1";

/// How a stream ends after so many events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Break {
    /// Not at all before the run's end.
    Never,
    /// UNAVAILABLE without details, as a foreign trainer may send it.
    Unavailable,
    /// INTERNAL.
    Internal,
    /// OK, although the run has not ended.
    Early,
    /// Nothing comes any more, not even a heartbeat.
    Silence,
    /// Heartbeats only.
    Heartbeats,
}

/// What the trainer does.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    /// Events of the run; the last ends it.
    pub(crate) events: i64,
    /// Events before a stream breaks.
    pub(crate) per_stream: usize,
    pub(crate) how: Break,
    /// Each stream begins with events that were sent before.
    pub(crate) repeats: bool,
    /// From this many streams on, the run's id belongs to another run.
    pub(crate) replaced_after: usize,
    /// Calls refused with UNAVAILABLE before each that is answered.
    pub(crate) refusals: usize,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            events: 10,
            per_stream: 3,
            how: Break::Never,
            repeats: false,
            replaced_after: usize::MAX,
            refusals: 0,
        }
    }
}

/// The trainer, and what it has seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fake {
    pub(crate) script: Script,
    pub(crate) watches: Arc<AtomicUsize>,
    pub(crate) calls: Arc<AtomicUsize>,
    pub(crate) deletes: Arc<AtomicUsize>,
}

/// Heartbeat interval that it tells.
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(50);

pub(crate) fn event(sequence: i64, kind: Kind) -> pb::TrainingEvent {
    pb::TrainingEvent {
        sequence,
        time: None,
        kind: Some(kind),
    }
}

impl Fake {
    pub(crate) fn new(script: Script) -> Self {
        Self {
            script,
            ..Self::default()
        }
    }

    fn event(&self, sequence: i64) -> pb::TrainingEvent {
        if sequence < self.script.events {
            return event(
                sequence,
                Kind::Progress(pb::Progress {
                    step: sequence,
                    ..pb::Progress::default()
                }),
            );
        }
        let change = pb::StateChanged {
            to: State::Succeeded.into(),
            ..pb::StateChanged::default()
        };
        event(sequence, Kind::StateChanged(change))
    }

    fn run(&self) -> pb::TrainingRun {
        let replaced = self.watches.load(Ordering::SeqCst) >= self.script.replaced_after;
        pb::TrainingRun {
            training_run_id: RUN.to_owned(),
            state: State::Running.into(),
            last_sequence: self.script.events,
            instance_id: if replaced { "second" } else { "first" }.to_owned(),
            ..pb::TrainingRun::default()
        }
    }

    /// Refuses as the script says.
    fn admit(&self) -> Result<(), Status> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        if call % (self.script.refusals + 1) < self.script.refusals {
            return Err(status::unavailable("QUEUE_FULL", "full", Duration::from_millis(1)));
        }
        Ok(())
    }

    fn known(&self, id: &str) -> Result<(), Status> {
        self.admit()?;
        if id == RUN {
            Ok(())
        } else {
            Err(Status::not_found("no such run"))
        }
    }

    fn stream(&self, after: i64) -> BoxStream<'static, Result<pb::WatchTrainingRunResponse, Status>> {
        let Script {
            events,
            per_stream,
            how,
            repeats,
            ..
        } = self.script;
        let first = if repeats { (after - 1).max(1) } else { after + 1 };
        let limit = if how == Break::Never { usize::MAX } else { per_stream };
        let limit = limit.saturating_add(usize::try_from(after + 1 - first).unwrap_or(0));
        let events: Vec<_> = (first..=events)
            .take(limit)
            .map(|sequence| Ok(self.event(sequence)))
            .collect();
        let sent = stream::iter(events);
        let tail = match how {
            Break::Never | Break::Early => stream::empty().boxed(),
            Break::Unavailable => stream::iter([Err(Status::unavailable("gone"))]).boxed(),
            Break::Internal => stream::iter([Err(Status::internal("a bug"))]).boxed(),
            Break::Silence => stream::pending().boxed(),
            Break::Heartbeats => stream::repeat_with(move || Ok(event(after, Kind::Heartbeat(pb::Heartbeat {}))))
                .then(|beat| async move {
                    tokio::time::sleep(HEARTBEAT).await;
                    beat
                })
                .boxed(),
        };
        sent.chain(tail)
            .map(|event| event.map(|event| pb::WatchTrainingRunResponse { event: Some(event) }))
            .boxed()
    }

    /// Serves on a free port.
    pub(crate) async fn serve(&self) -> (SocketAddr, Token) {
        let config = ServerConfig::default();
        let context = Context::new(&config, Token::new());
        let listener = Listener::bind(&config).await.expect("a free port");
        let (address, shutdown) = (listener.local_addr(), context.shutdown.clone());
        let app = App::new().service(TrainerServiceServer::new(self.clone()));
        tokio::spawn(async move { listener.serve(app, &config, &context).await });
        (address, shutdown)
    }

    /// A transport to it over a socket.
    pub(crate) async fn transport(&self) -> Transport {
        transport_to(self.serve().await.0)
    }
}

pub(crate) fn transport_to(address: SocketAddr) -> Transport {
    Transport::remote(&EndpointConfig::to(format!("http://{address}"))).expect("a URL")
}

#[tonic::async_trait]
impl TrainerService for Fake {
    type WatchTrainingRunStream = BoxStream<'static, Result<pb::WatchTrainingRunResponse, Status>>;

    async fn get_trainer_info(
        &self,
        request: Request<pb::GetTrainerInfoRequest>,
    ) -> Result<Response<pb::GetTrainerInfoResponse>, Status> {
        self.admit()?;
        let name = request
            .metadata()
            .get(trainer_client::TRAINER_KEY)
            .map(|name| name.to_str().unwrap_or("?").to_owned());
        Ok(Response::new(pb::GetTrainerInfoResponse {
            name: name.unwrap_or_default(),
            ..Default::default()
        }))
    }

    async fn list_capabilities(
        &self,
        _: Request<pb::ListCapabilitiesRequest>,
    ) -> Result<Response<pb::ListCapabilitiesResponse>, Status> {
        let heartbeat_interval = prost_types::Duration::try_from(HEARTBEAT).ok();
        Ok(Response::new(pb::ListCapabilitiesResponse {
            heartbeat_interval,
            ..Default::default()
        }))
    }

    async fn estimate_training_run(
        &self,
        _: Request<pb::EstimateTrainingRunRequest>,
    ) -> Result<Response<pb::EstimateTrainingRunResponse>, Status> {
        // Never answers: for deadlines.
        futures::future::pending().await
    }

    async fn create_training_run(
        &self,
        request: Request<pb::CreateTrainingRunRequest>,
    ) -> Result<Response<pb::CreateTrainingRunResponse>, Status> {
        self.admit()?;
        let mut run = self.run();
        // What came is what is answered, for the test to see.
        run.detail = request.into_inner().request_id;
        Ok(Response::new(pb::CreateTrainingRunResponse { run: Some(run) }))
    }

    async fn get_training_run(
        &self,
        request: Request<pb::GetTrainingRunRequest>,
    ) -> Result<Response<pb::GetTrainingRunResponse>, Status> {
        self.known(&request.get_ref().training_run_id)?;
        Ok(Response::new(pb::GetTrainingRunResponse { run: Some(self.run()) }))
    }

    async fn list_training_runs(
        &self,
        _: Request<pb::ListTrainingRunsRequest>,
    ) -> Result<Response<pb::ListTrainingRunsResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn delete_training_run(
        &self,
        _: Request<pb::DeleteTrainingRunRequest>,
    ) -> Result<Response<pb::DeleteTrainingRunResponse>, Status> {
        // The first attempt deletes, and its answer is lost; the second finds nothing.
        if self.deletes.fetch_add(1, Ordering::SeqCst) == 0 {
            return Err(status::unavailable("BACKEND_UNAVAILABLE", "lost", Duration::ZERO));
        }
        Err(Status::not_found("no such run"))
    }

    async fn cancel_training_run(
        &self,
        _: Request<pb::CancelTrainingRunRequest>,
    ) -> Result<Response<pb::CancelTrainingRunResponse>, Status> {
        Ok(Response::new(pb::CancelTrainingRunResponse { run: None }))
    }

    async fn pause_training_run(
        &self,
        _: Request<pb::PauseTrainingRunRequest>,
    ) -> Result<Response<pb::PauseTrainingRunResponse>, Status> {
        Err(status::failed_precondition("CAPABILITY_MISSING", Vec::new()))
    }

    async fn resume_training_run(
        &self,
        _: Request<pb::ResumeTrainingRunRequest>,
    ) -> Result<Response<pb::ResumeTrainingRunResponse>, Status> {
        Err(status::failed_precondition("WRONG_STATE", Vec::new()))
    }

    async fn watch_training_run(
        &self,
        request: Request<pb::WatchTrainingRunRequest>,
    ) -> Result<Response<Self::WatchTrainingRunStream>, Status> {
        self.watches.fetch_add(1, Ordering::SeqCst);
        let request = request.into_inner();
        if request.after_sequence > self.script.events {
            return Err(status::invalid_argument("INVALID_FIELD", Vec::new()));
        }
        Ok(Response::new(self.stream(request.after_sequence)))
    }
}

/// Passes connections on until it is told to cut them all.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    cuts: watch::Sender<u64>,
}

impl Proxy {
    pub(crate) async fn to(backend: SocketAddr) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = socket.local_addr().expect("bound");
        let (cuts, cutting) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = socket.accept().await {
                let mut cutting = cutting.clone();
                cutting.mark_unchanged();
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(backend).await else {
                        return;
                    };
                    let _ = (near.set_nodelay(true), far.set_nodelay(true));
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = cutting.changed() => {}
                    }
                });
            }
        });
        Self { address, cuts }
    }

    /// Cuts what is connected now; new connections are passed on.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}
