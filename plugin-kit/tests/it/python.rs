//! The trainer in Python conforms.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use plugin_kit::Format;

use crate::server::options;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The interpreter that `make setup` prepares, if it has what the trainer imports.
fn python() -> Option<PathBuf> {
    let python = root().join(".venv/bin/python");
    let modules = "import grpc, grpc_health.v1, grpc_reflection, grpc_tools, google.rpc.status_pb2";
    let check = Command::new(&python)
        .args(["-c", modules])
        .stderr(Stdio::null())
        .status();
    if check.is_ok_and(|status| status.success()) {
        return Some(python);
    }
    eprintln!("skipped: no .venv with what examples/python-trainer imports (run `make setup`)");
    None
}

fn generate_stubs(python: &Path, into: &Path) {
    let protos = ["types", "trainer"].into_iter().flat_map(|area| {
        let folder = root().join("proto/finepick").join(area).join("v1");
        std::fs::read_dir(folder)
            .expect("contracts")
            .map(|entry| entry.expect("an entry").path())
    });
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

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_trainer_conforms() {
    let Some(python) = python() else { return };
    let stubs = tempfile::tempdir().expect("a temporary folder");
    generate_stubs(&python, stubs.path());
    let trainer = Command::new(&python)
        .arg(root().join("examples/python-trainer/trainer.py"))
        .args(["--port", "0"])
        .env("PYTHONPATH", stubs.path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("python starts");
    let mut trainer = Running(trainer);
    let mut line = String::new();
    let stdout = trainer.0.stdout.take().expect("its output");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    let target = line
        .trim()
        .strip_prefix("listening on ")
        .expect("the address")
        .to_owned();
    let report = plugin_kit::run(options(target)).await.expect("it answers");
    assert!(report.is_green(), "{}", report.render(Format::Text));
    let (passed, _, skipped) = report.counts();
    eprintln!("python: {passed} passed, {skipped} skipped, in {:?}", report.elapsed);
    assert!(passed >= 60, "{}", report.render(Format::Text));
}

/// What docs/plugin-contract.md promises of it.
#[test]
fn the_python_trainer_has_at_most_100_lines() {
    let path = root().join("examples/python-trainer/trainer.py");
    let lines = std::fs::read_to_string(path).expect("the trainer").lines().count();
    assert!(lines <= 100, "{lines} lines");
}
