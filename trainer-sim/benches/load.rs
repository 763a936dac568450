//! 1,000 runs in flight on one trainer, each watched: memory of the server, and the time events take to arrive.
//!
//! Spawns the server as a process, takes half a minute at most, prints figures and fails when a limit is missed.
//! `cargo bench -p trainer-sim --bench load`

#![allow(clippy::print_stdout, reason = "a benchmark reports on stdout")]

use std::error::Error;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use finepick_proto::trainer::v1 as wire;
use finepick_proto::trainer::v1::trainer_service_client::TrainerServiceClient;
use finepick_proto::trainer::v1::training_event::Kind;
use svc_kit::client::Transport;
use svc_kit::config::EndpointConfig;
use tokio::sync::mpsc;

type Client = TrainerServiceClient<Transport>;
type Failure = Box<dyn Error + Send + Sync>;

const RUNS: usize = 1_000;
const CONNECTIONS: usize = 4;
const MEASURED: Duration = Duration::from_secs(12);
const MAX_MEGABYTES: f64 = 100.0;
const MAX_P99: Duration = Duration::from_millis(50);

/// The server; killed when the benchmark ends, however it ends.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    fn start(port_file: &Path) -> Result<Self, Failure> {
        let child = Command::new(env!("CARGO_BIN_EXE_trainer-sim"))
            .args(["--listen", "127.0.0.1:0", "--log-level", "warn", "--port-file"])
            .arg(port_file)
            .args(["--set", "simulation.speed=1"])
            .args(["--set", "simulation.devices=8"])
            .args(["--set", "simulation.slots_per_device=125"])
            .args(["--set", "simulation.prepare=500ms"])
            .args(["--set", "simulation.progress_interval=500ms"])
            .stderr(Stdio::inherit())
            .spawn()?;
        Ok(Self(child))
    }

    /// A line of `/proc/PID/status`, MB.
    fn memory(&self, key: &str) -> Option<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        let kibibytes: f64 = line
            .trim_start_matches(':')
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .ok()?;
        Some(kibibytes * 1024.0 / 1e6)
    }
}

fn spec() -> wire::TrainingRunSpec {
    let reference = |uri: &str| {
        Some(wire::Reference {
            uri: uri.to_owned(),
            digest: String::new(),
        })
    };
    wire::TrainingRunSpec {
        candidate_id: "load".to_owned(),
        model: reference("sim://load-160m"),
        data: reference("sim://data"),
        data_sizes: vec![0, 100, 200, 400, 800, 4_000],
        method: Some(wire::TuningMethod {
            kind: Some(wire::tuning_method::Kind::Full(wire::FullTuning {})),
        }),
        // Half a minute of work: nobody ends while we measure.
        labels: [("sim.seconds_per_example".to_owned(), "0.0075".to_owned())].into(),
        ..wire::TrainingRunSpec::default()
    }
}

/// Sends the delay of every event that happened while it was watched.
async fn watch(mut client: Client, id: String, delays: mpsc::UnboundedSender<f64>) -> Result<(), Failure> {
    let begun = now();
    let request = wire::WatchTrainingRunRequest {
        training_run_id: id,
        after_sequence: 0,
    };
    let mut stream = client.watch_training_run(request).await?.into_inner();
    while let Some(message) = stream.message().await? {
        let Some(event) = message.event else { continue };
        let (Some(time), false) = (event.time, matches!(event.kind, Some(Kind::Heartbeat(_)))) else {
            continue;
        };
        let happened = time.seconds as f64 + f64::from(time.nanos) / 1e9;
        if happened > begun && delays.send(now() - happened).is_err() {
            break;
        }
    }
    Ok(())
}

/// Seconds since the epoch; both processes read the same clock.
#[allow(
    clippy::disallowed_methods,
    reason = "delays between two processes are measured on the wall clock"
)]
fn now() -> f64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

async fn address(port_file: &Path) -> Result<String, Failure> {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        match std::fs::read_to_string(port_file) {
            Ok(address) if !address.is_empty() => return Ok(format!("http://{address}")),
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    Err("the server does not start".into())
}

async fn measure(server: &Server, address: &str) -> Result<(f64, Vec<f64>), Failure> {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(Client::new(Transport::remote(&EndpointConfig::to(address))?));
    }
    let idle = server.memory("VmRSS").unwrap_or(f64::NAN);
    let (sender, mut delays) = mpsc::unbounded_channel();
    let begun = Instant::now();
    for (index, client) in clients.iter().cycle().take(RUNS).enumerate() {
        let id = format!("load-{index}");
        let mut client = client.clone();
        let create = wire::CreateTrainingRunRequest {
            training_run_id: id.clone(),
            spec: Some(spec()),
            request_id: String::new(),
        };
        client.create_training_run(create).await?;
        tokio::spawn(watch(client, id, sender.clone()));
    }
    println!(
        "{RUNS} runs created and watched in {:.2} s; idle server {idle:.1} MB",
        begun.elapsed().as_secs_f64()
    );
    // What arrives while all are being created is not measured.
    while delays.try_recv().is_ok() {}
    let mut measured = Vec::new();
    let (end, mut peak) = (tokio::time::Instant::now() + MEASURED, 0.0_f64);
    while let Ok(Some(delay)) = tokio::time::timeout_at(end, delays.recv()).await {
        measured.push(delay);
        if measured.len() % 1_000 == 0 {
            peak = peak.max(server.memory("VmRSS").unwrap_or(0.0));
        }
    }
    let info = clients
        .first_mut()
        .ok_or("no client")?
        .get_trainer_info(wire::GetTrainerInfoRequest {})
        .await?;
    println!("{} runs in flight at the end", info.into_inner().active_runs);
    Ok((peak.max(server.memory("VmHWM").unwrap_or(0.0)), measured))
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let port_file = folder.path().join("port");
    let server = Server::start(&port_file)?;
    let address = address(&port_file).await?;
    let (megabytes, mut delays) = measure(&server, &address).await?;
    delays.sort_by(f64::total_cmp);
    let at = |percent: usize| {
        let index = delays.len() * percent / 100;
        let last = delays.len().saturating_sub(1);
        delays.get(index.min(last)).copied().unwrap_or(f64::NAN) * 1e3
    };
    println!(
        "{} events in {:.0} s; delay p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms; server at most {megabytes:.1} MB resident",
        delays.len(),
        MEASURED.as_secs_f64(),
        at(50),
        at(99),
        at(100)
    );
    if megabytes > MAX_MEGABYTES || at(99) > MAX_P99.as_secs_f64() * 1e3 || delays.is_empty() {
        return Err(format!("the limits are {MAX_MEGABYTES} MB and {MAX_P99:?} p99").into());
    }
    Ok(())
}
