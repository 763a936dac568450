//! What the end-to-end tests share: real binaries, real processes on free ports, nothing left running.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "this crate is part of the tests: it fails by panicking, and tells on standard error why it skips"
)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub mod following;
pub mod stage;

/// The root of the repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the workspace")
        .to_owned()
}

/// Path of a binary of the workspace, built with the profile of the running test.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    static PROFILE_DIR: OnceLock<PathBuf> = OnceLock::new();
    let dir = PROFILE_DIR.get_or_init(|| {
        let test = std::env::current_exe().expect("the test knows its own path");
        let dir = test
            .parent()
            .and_then(Path::parent)
            .expect("tests lie in <target>/<profile>/deps")
            .to_owned();
        let mut build = Command::new(env!("CARGO"));
        build
            .current_dir(root())
            .args(["build", "--quiet", "--locked", "--workspace", "--bins"]);
        build.env(
            "CARGO_TARGET_DIR",
            dir.parent().expect("a profile lies in the target folder"),
        );
        if dir.ends_with("release") {
            build.arg("--release");
        }
        assert!(
            build.status().expect("cargo can be started").success(),
            "the binaries do not build"
        );
        dir
    });
    dir.join(name)
}

/// A command without the caller's finepick settings.
#[must_use]
pub fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("FINEPICK_") {
            command.env_remove(key);
        }
    }
    command.env("NO_COLOR", "1");
    command
}

/// Runs `finepick` to its end.
#[must_use]
pub fn finepick(arguments: &[&str]) -> Output {
    command(&binary("finepick"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("finepick can be started")
}

/// Runs `finepick`, which must succeed, and reads its answer as JSON.
#[must_use]
pub fn finepick_json(arguments: &[&str]) -> serde_json::Value {
    let output = finepick(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "finepick {arguments:?} failed: {errors}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("finepick {arguments:?}: no JSON: {error}"))
}

/// A server process on a free port. It is killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: String,
    _files: TempDir,
}

impl Server {
    /// Starts a binary that takes the services' common flags, and waits until it listens.
    #[must_use]
    pub fn start(name: &str, arguments: &[&str]) -> Self {
        Self::start_on(name, "127.0.0.1:0", arguments)
    }

    /// The same on a given address.
    #[must_use]
    pub fn start_on(name: &str, listen: &str, arguments: &[&str]) -> Self {
        let files = TempDir::new().expect("a temporary folder");
        let port_file = files.path().join("port");
        let log = std::fs::File::create(files.path().join("log")).expect("a log file");
        let (program, first) = if name == "finepick" {
            ("finepick", Some("up"))
        } else {
            (name, None)
        };
        // What a test keeps, it says; the others leave nothing behind.
        let selects = matches!(name, "finepick" | "selector-svc");
        let keeps = arguments.iter().any(|argument| argument.starts_with("store.path="));
        let forgets = ["--set", "store.path=:memory:"];
        let mut child = command(&binary(program))
            .args(first)
            .args(["--listen", listen, "--port-file"])
            .arg(&port_file)
            .args(forgets.iter().filter(|_| selects && !keeps))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the server can be started");
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            if let Ok(address) = std::fs::read_to_string(&port_file)
                && !address.trim().is_empty()
            {
                return Self {
                    child,
                    address: address.trim().to_owned(),
                    _files: files,
                };
            }
            let ended = child.try_wait().expect("the server can be asked");
            if ended.is_some() || Instant::now() > deadline {
                let _ = child.kill();
                let log = std::fs::read_to_string(files.path().join("log")).unwrap_or_default();
                panic!("{name} did not start ({ended:?}): {log}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// `host:port` that it listens on.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it as `kill -9` does, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().expect("the server can be killed");
        self.child.wait().expect("the server can be waited for");
    }

    /// Asks it to end as `kill` does, and returns how it did.
    #[must_use]
    pub fn terminate(mut self) -> ExitStatus {
        let signalled = Command::new("kill")
            .arg(self.id().to_string())
            .status()
            .expect("kill can be started");
        assert!(signalled.success(), "the server was gone already");
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            if let Some(status) = self.child.try_wait().expect("the server can be asked") {
                return status;
            }
            assert!(Instant::now() < deadline, "the server does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Gateway, fitter and selector as processes of their own.
#[derive(Debug)]
pub struct Suite {
    /// The edge.
    pub gateway: Server,
    /// Fits laws.
    pub fitter: Server,
    /// Ranks candidates.
    pub selector: Server,
}

impl Suite {
    /// Starts the three.
    #[must_use]
    pub fn start() -> Self {
        let fitter = Server::start("fitter-svc", &[]);
        let selector = Server::start("selector-svc", &["--set", &format!("fitter.endpoint={}", fitter.url())]);
        let gateway = Server::start(
            "gateway",
            &[
                "--set",
                &format!("backends.fitter.endpoint={}", fitter.url()),
                "--set",
                &format!("backends.selector.endpoint={}", selector.url()),
            ],
        );
        Self {
            gateway,
            fitter,
            selector,
        }
    }
}

/// The Python interpreter that `make setup` prepares. `None`, with a message, where it is not there: tests skip then.
#[must_use]
pub fn python() -> Option<PathBuf> {
    let python = root().join(".venv/bin/python");
    if python.exists() {
        return Some(python);
    }
    eprintln!("skipped: no .venv (run `make setup`)");
    None
}

/// Generates Python stubs from all contracts into a folder.
pub fn generate_stubs(python: &Path, into: &Path) {
    let mut protos = Vec::new();
    for area in ["types", "fitter", "trainer", "selector"] {
        let dir = root().join("proto/finepick").join(area).join("v1");
        protos.extend(
            std::fs::read_dir(dir)
                .expect("contracts")
                .map(|entry| entry.expect("an entry").path()),
        );
    }
    let status = Command::new(python)
        .args(["-m", "grpc_tools.protoc", "-I"])
        .arg(root().join("proto"))
        .arg(format!("--python_out={}", into.display()))
        .arg(format!("--grpc_python_out={}", into.display()))
        .args(protos)
        .status()
        .expect("python starts");
    assert!(status.success(), "stubs are generated");
}

/// A folder of the published benchmark: `FINEPICK_BENCHMARK_DIR`, or `../shared/data` beside the repository. `None`, with a
/// message, where neither exists: tests skip then.
#[must_use]
pub fn benchmark_dir() -> Option<PathBuf> {
    let configured = std::env::var_os("FINEPICK_BENCHMARK_DIR").map(PathBuf::from);
    let dir = configured.unwrap_or_else(|| root().join("../shared/data"));
    if dir.join("benchmark").is_dir() {
        return Some(dir);
    }
    eprintln!("skipped: no benchmark at {} (FINEPICK_BENCHMARK_DIR)", dir.display());
    None
}
