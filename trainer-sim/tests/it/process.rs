//! The trainer as a process: its configuration, a run in real time, and its end by a fault.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use finepick_proto::trainer::v1 as wire;
use svc_kit::client::Transport;
use svc_kit::config::EndpointConfig;

use crate::support::{Client, create_request, labelled, spec, states};

/// Killed when the test ends, however it ends.
struct Process {
    child: Child,
    client: Client,
    _folder: tempfile::TempDir,
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Process {
    async fn start(settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port_file = folder.path().join("port");
        let mut command = Command::new(env!("CARGO_BIN_EXE_trainer-sim"));
        command.args(["--listen", "127.0.0.1:0", "--port-file"]).arg(&port_file);
        for setting in settings {
            command.args(["--set", setting]);
        }
        let child = command.stderr(Stdio::null()).spawn().unwrap();
        let mut address = String::new();
        for _ in 0..1_000 {
            address = std::fs::read_to_string(&port_file).unwrap_or_default();
            if !address.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let endpoint = EndpointConfig::to(format!("http://{address}"));
        Self {
            child,
            client: Client::new(Transport::remote(&endpoint).unwrap()),
            _folder: folder,
        }
    }
}

#[tokio::test]
async fn a_run_is_watched_to_its_end_over_a_socket() {
    let mut process = Process::start(&["simulation.speed=6000"]).await;
    let created = process
        .client
        .create_training_run(create_request("r", spec()))
        .await
        .unwrap();
    assert_eq!(created.into_inner().run.unwrap().last_sequence, 1);
    let request = wire::WatchTrainingRunRequest {
        training_run_id: "r".to_owned(),
        after_sequence: 0,
    };
    let mut stream = process.client.watch_training_run(request).await.unwrap().into_inner();
    let mut events = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        events.push(message.event.unwrap());
    }
    assert_eq!(states(&events).last(), Some(&wire::TrainingRunState::Succeeded));
}

#[tokio::test]
async fn a_fault_ends_the_process_where_that_is_allowed() {
    let mut process = Process::start(&["simulation.speed=6000", "simulation.allow_crash=true"]).await;
    let spec = labelled(&[("sim.fault", "exit")]);
    process
        .client
        .create_training_run(create_request("r", spec))
        .await
        .unwrap();
    let mut status = None;
    for _ in 0..1_000 {
        status = process.child.try_wait().unwrap();
        if status.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(status.expect("the process ends").code(), Some(70));
}

#[test]
fn a_wrong_configuration_is_named_and_exits_with_2() {
    let output = Command::new(env!("CARGO_BIN_EXE_trainer-sim"))
        .args(["--set", "simulation.fault=surprise"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("simulation.fault must be one of"));
}
