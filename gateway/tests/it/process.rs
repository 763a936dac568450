//! The gateway as a process: flags, exit codes, signals.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use svc_kit::client::Transport;
use svc_kit::config::EndpointConfig;
use tonic::Code;

use crate::echo::{self, Echo, Running, call};

/// A gateway process that is killed when the test ends, however it ends.
struct Process {
    child: Child,
    transport: Transport,
    _folder: tempfile::TempDir,
}

impl Process {
    async fn start(backend: &str, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let port_file: PathBuf = folder.path().join("port");
        let child = command()
            .args(["--listen", "127.0.0.1:0", "--port-file"])
            .arg(&port_file)
            .args(["--set", &format!("backends.echo.endpoint={backend}")])
            .args(["--set", &format!("backends.echo.services=[\"{}\"]", echo::NAME)])
            .args(more)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary");
        let mut address = String::new();
        echo::eventually("the port file appears", async || {
            address = std::fs::read_to_string(&port_file).unwrap_or_default();
            !address.is_empty()
        })
        .await;
        let transport = Transport::remote(&EndpointConfig::to(format!("http://{address}"))).expect("URL");
        Self {
            child,
            transport,
            _folder: folder,
        }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status();
        assert!(sent.expect("kill").success());
    }

    /// The exit code and what was written to stderr.
    async fn wait(mut self) -> (Option<i32>, String) {
        let mut status = None;
        echo::eventually("the process ends", async || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        })
        .await;
        let mut text = String::new();
        let mut stderr = self.child.stderr.take().expect("piped");
        std::io::Read::read_to_string(&mut stderr, &mut text).expect("stderr");
        (status.expect("ended").code(), text)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    // Nothing of the environment the tests run in.
    command.env_clear();
    command
}

fn output(arguments: &[&str]) -> Output {
    command().args(arguments).output().expect("the binary")
}

#[test]
fn the_effective_configuration_is_printed() {
    let printed = output(&[
        "--print-config",
        "--set",
        "server.drain_timeout=7s",
        "--log-level",
        "debug",
    ]);
    assert_eq!(printed.status.code(), Some(0));
    let text = String::from_utf8(printed.stdout).expect("text");
    for line in [
        "drain_timeout = \"7s\"",
        "log_level = \"debug\"",
        "[backends.fitter]",
        "listen = \"127.0.0.1:50060\"",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
}

#[test]
fn mistakes_end_the_process_with_one_line() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("bad.toml");
    std::fs::write(&file, "[server]\nlisen = 1\n").expect("file");
    let file = file.to_str().expect("text");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().expect("bound").to_string();
    for (arguments, code, expected) in [
        (vec!["--config", file], 2, "server.lisen"),
        (vec!["--set", "server.nothing=1"], 2, "server.nothing"),
        (vec!["--listen", "nowhere"], 2, "--listen: server.listen"),
        (
            vec![
                "--set",
                "backends.fitter.endpoint=https://x:1",
                "--set",
                "backends.fitter.tls.ca=none.pem",
            ],
            1,
            "none.pem",
        ),
        (vec!["--listen", &taken], 1, "cannot listen on"),
    ] {
        let output = output(&arguments);
        let text = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with("gateway: ")).collect();
        assert!(lines.len() == 1 && lines[0].contains(expected), "{arguments:?}: {text}");
    }
}

#[tokio::test]
async fn sigterm_lets_calls_finish_and_exits_with_zero() {
    let echo = Echo::default();
    let begun = echo.begun.clone();
    let backend = Running::echo(echo).await;
    let process = Process::start(&backend.url(), &["--set", "telemetry.log_format=json"]).await;
    let slow = tokio::spawn(call(&process.transport, "Sleep", "500"));
    echo::eventually("the call is under way", async || {
        begun.load(std::sync::atomic::Ordering::SeqCst) == 1
    })
    .await;
    process.signal("TERM");
    assert_eq!(
        slow.await.expect("no panic").expect("finishes").get_ref().as_ref(),
        b"slept"
    );
    let late = call(&process.transport, "Unary", "").await.expect_err("refused");
    assert_eq!(late.code(), Code::Unavailable, "{late:?}");
    let (code, text) = process.wait().await;
    assert_eq!(code, Some(0), "{text}");
    for line in text.lines() {
        assert!(
            line.starts_with('{') && line.ends_with('}'),
            "a log line that is not JSON: {line}"
        );
    }
    assert!(
        text.contains("\"message\":\"serving\"") && text.contains("\"message\":\"stopped\""),
        "{text}"
    );
    backend.stop().await;
}

#[tokio::test]
async fn the_second_signal_exits_at_once() {
    let echo = Echo::default();
    let begun = echo.begun.clone();
    let backend = Running::echo(echo).await;
    let process = Process::start(&backend.url(), &[]).await;
    let _slow = tokio::spawn(call(&process.transport, "Sleep", "60000"));
    echo::eventually("the call is under way", async || {
        begun.load(std::sync::atomic::Ordering::SeqCst) == 1
    })
    .await;
    process.signal("TERM");
    tokio::time::sleep(Duration::from_millis(300)).await;
    process.signal("INT");
    let (code, text) = process.wait().await;
    assert_eq!(code, Some(130), "{text}");
    backend.stop().await;
}

#[tokio::test]
async fn a_dead_collector_does_not_keep_the_process_from_ending() {
    let backend = Running::echo(Echo::default()).await;
    let set = [
        "--set",
        "telemetry.otlp_endpoint=http://127.0.0.1:1",
        "--set",
        "telemetry.flush_timeout=500ms",
    ];
    let process = Process::start(&backend.url(), &set).await;
    let answer = call(&process.transport, "Headers", "").await.expect("an answer");
    let seen = String::from_utf8(answer.get_ref().to_vec()).expect("text");
    assert!(
        seen.contains("traceparent: 00-"),
        "with an exporter the gateway begins a trace: {seen}"
    );
    process.signal("TERM");
    let (code, text) = process.wait().await;
    assert_eq!(code, Some(0), "{text}");
    backend.stop().await;
}
