//! A selector on a socket, with a simulated trainer on another; and questions for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use finepick_proto::selector::v1 as wire;
use finepick_proto::selector::v1::selector_service_client::SelectorServiceClient;
use finepick_proto::trainer::v1 as trainer;
use finepick_proto::types::v1 as types;
use selector_svc::config::{SelectorConfig, TrainerEndpoint};
use selector_svc::grpc::{Parts, host, trainers};
use selector_svc::store::Store;
use selector_svc::store::memory::MemoryStore;
use selector_svc::store::sqlite::{SqliteOptions, SqliteStore};
use svc_kit::client::Transport;
use svc_kit::config::{EndpointConfig, HumanDuration, ServerConfig};
use svc_kit::server::{App, Context, Listener};
use svc_kit::shutdown::Token;
use tokio::task::JoinHandle;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use trainer_sim::SimulationConfig;

pub(crate) type Client = SelectorServiceClient<Transport>;

/// Longer than any step takes on a busy machine; a test that waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// Size of the whole data set in [`spec`].
pub(crate) const FULL: i64 = 4_096;

/// A process in this one: an app on a socket.
pub(crate) struct Served {
    pub(crate) url: String,
    shutdown: Token,
    task: JoinHandle<()>,
}

impl Served {
    pub(crate) async fn start(app: impl FnOnce(&Context) -> App) -> Self {
        let server = ServerConfig::default();
        let shutdown = Token::new();
        let context = Context::new(&server, shutdown.clone());
        let listener = Listener::bind(&server).await.unwrap();
        let url = format!("http://{}", listener.local_addr());
        let app = app(&context);
        let task = tokio::spawn(async move { listener.serve(app, &server, &context).await.unwrap() });
        Self { url, shutdown, task }
    }

    /// As SIGTERM does.
    pub(crate) async fn stop(self) {
        self.shutdown.trigger();
        self.task.await.unwrap();
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(Transport::remote(&EndpointConfig::to(&self.url)).unwrap())
    }
}

/// Where selections are kept.
pub(crate) fn memory() -> Arc<MemoryStore> {
    #[allow(clippy::disallowed_methods, reason = "a test's store has the wall clock")]
    let now = || i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    Arc::new(MemoryStore::new(now))
}

/// A folder that is removed with its owner.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("finepick-selections-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) async fn store(&self) -> Arc<dyn Store> {
        let file = self.path().join("selections.db");
        Arc::new(SqliteStore::open(file, SqliteOptions::default()).await.unwrap())
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A simulated trainer that gets so many simulated seconds done in a second.
pub(crate) async fn trainer(speed: f64) -> Served {
    let config = simulation(speed);
    Served::start(|context| trainer_sim::grpc::app(&config, context)).await
}

/// How it simulates.
pub(crate) fn simulation(speed: f64) -> SimulationConfig {
    let laws = [
        "sim://steep=40,12,0.5,0.9",
        "sim://middling=30,12,0.42,1.2",
        "sim://flat=20,10,0.3,1.6",
        "sim://level=8,5,0.2,2.1",
    ];
    SimulationConfig {
        speed,
        laws: laws.join(";"),
        noise: 0.001,
        slots_per_device: 4,
        progress_interval: HumanDuration::from_secs(1),
        ..SimulationConfig::default()
    }
}

/// How selectors of tests behave: they hurry.
pub(crate) fn config() -> SelectorConfig {
    SelectorConfig {
        poll_interval: HumanDuration::from_millis(100),
        lease: HumanDuration::from_secs(2),
        backoff_min: HumanDuration::from_millis(20),
        ..SelectorConfig::default()
    }
}

/// A selector on a store, with this trainer under the name `sim`.
pub(crate) async fn selector(store: Arc<dyn Store>, trainer: Option<&Served>) -> Served {
    selector_with(&config(), store, trainer.map(|served| served.url.as_str())).await
}

/// One that behaves otherwise, with a trainer that may be there or not.
pub(crate) async fn selector_with(config: &SelectorConfig, store: Arc<dyn Store>, trainer: Option<&str>) -> Served {
    let endpoints: BTreeMap<String, TrainerEndpoint> = trainer
        .map(|url| ("sim".to_owned(), TrainerEndpoint::to(url)))
        .into_iter()
        .collect();
    let parts = Parts {
        // Nobody listens on port 1; none of these policies asks the fitter.
        fitter: Transport::remote(&EndpointConfig::to("http://127.0.0.1:1")).unwrap(),
        store,
        trainers: trainers(&endpoints, config).unwrap(),
    };
    Served::start(|context| host(parts, config, context)).await
}

/// Both, and a client.
pub(crate) struct World {
    pub(crate) trainer: Served,
    pub(crate) selector: Served,
    pub(crate) client: Client,
    pub(crate) store: Arc<MemoryStore>,
}

impl World {
    /// With a trainer that is done in a blink.
    pub(crate) async fn fast() -> Self {
        Self::new(200_000.0).await
    }

    /// With a trainer that is never done.
    pub(crate) async fn slow() -> Self {
        Self::new(0.001).await
    }

    pub(crate) async fn new(speed: f64) -> Self {
        Self::on(trainer(speed).await).await
    }

    /// On a trainer of one's own.
    pub(crate) async fn on(trainer: Served) -> Self {
        let store = memory();
        let selector = selector(Arc::clone(&store) as Arc<dyn Store>, Some(&trainer)).await;
        Self {
            client: selector.client(),
            trainer,
            selector,
            store,
        }
    }

    /// Ends in order, which a driver that hangs would not.
    pub(crate) async fn stop(self) {
        self.selector.stop().await;
        self.trainer.stop().await;
    }
}

pub(crate) fn reference(uri: &str) -> Option<trainer::Reference> {
    Some(trainer::Reference {
        uri: uri.to_owned(),
        digest: String::new(),
    })
}

pub(crate) fn candidate(name: &str) -> wire::SelectionCandidate {
    wire::SelectionCandidate {
        candidate: Some(types::Candidate {
            candidate_id: name.to_owned(),
            family: name.to_uppercase(),
            parameters: Some(1_000_000),
            ..types::Candidate::default()
        }),
        model: reference(&format!("sim://{name}")),
    }
}

pub(crate) fn fraction(fraction: f64) -> Option<wire::SelectionBudget> {
    Some(wire::SelectionBudget {
        exhaustive_fraction: Some(fraction),
        ..wire::SelectionBudget::default()
    })
}

/// Four checkpoints, half of what everything would cost; `steep` is the best.
pub(crate) fn spec() -> wire::SelectionSpec {
    wire::SelectionSpec {
        candidates: ["flat", "steep", "middling", "level"].map(candidate).to_vec(),
        data: reference("sim://data"),
        data_size_full: Some(FULL),
        data_size_min: Some(64),
        budget: fraction(0.5),
        seed: 7,
        ..wire::SelectionSpec::default()
    }
}

/// The same for the caller's own launcher.
pub(crate) fn ask_tell() -> wire::SelectionSpec {
    wire::SelectionSpec {
        work_mode: wire::WorkMode::AskTell.into(),
        ..spec()
    }
}

pub(crate) fn create(id: &str, spec: wire::SelectionSpec) -> wire::CreateSelectionRequest {
    wire::CreateSelectionRequest {
        selection_id: id.to_owned(),
        spec: Some(spec),
        ..wire::CreateSelectionRequest::default()
    }
}

pub(crate) async fn created(client: &mut Client, id: &str, spec: wire::SelectionSpec) -> wire::Selection {
    let answer = client.create_selection(create(id, spec)).await.unwrap();
    answer.into_inner().selection.unwrap()
}

pub(crate) async fn get(client: &mut Client, id: &str) -> Result<wire::Selection, Status> {
    let selection_id = id.to_owned();
    let answer = client.get_selection(wire::GetSelectionRequest { selection_id }).await?;
    Ok(answer.into_inner().selection.unwrap())
}

/// The selection as soon as it is as wanted.
pub(crate) async fn until(client: &mut Client, id: &str, wanted: impl Fn(&wire::Selection) -> bool) -> wire::Selection {
    let mut last = None;
    let found = tokio::time::timeout(PATIENCE, async {
        loop {
            let selection = get(client, id).await.unwrap();
            if wanted(&selection) {
                return selection;
            }
            last = Some(selection);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let found = found.await.ok();
    found.unwrap_or_else(|| panic!("it did not come to that: {last:#?}"))
}

pub(crate) fn ended(selection: &wire::Selection) -> bool {
    selection.end_time.is_some()
}

pub(crate) async fn ended_one(client: &mut Client, id: &str) -> wire::Selection {
    until(client, id, ended).await
}

/// `ErrorInfo.reason`; every error must have one.
pub(crate) fn reason(status: &Status) -> String {
    let info = status.get_details_error_info();
    info.unwrap_or_else(|| panic!("no ErrorInfo in {status:?}")).reason
}

/// Code and reason.
pub(crate) fn told(status: &Status) -> (Code, String) {
    (status.code(), reason(status))
}

/// Paths of the wrong fields.
pub(crate) fn fields(status: &Status) -> Vec<String> {
    let bad = status.get_details_bad_request();
    let bad = bad.unwrap_or_else(|| panic!("no BadRequest in {status:?}"));
    bad.field_violations
        .into_iter()
        .map(|violation| violation.field)
        .collect()
}
