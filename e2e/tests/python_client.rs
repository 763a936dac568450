//! A Python program with stubs generated from the contracts uses the suite through the gateway.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::path::Path;

use e2e::{Server, Suite, command, generate_stubs, python, root};
use serde_json::Value;

fn ask(python: &Path, stubs: &Path, target: &str) -> Value {
    let output = command(python)
        .arg(root().join("examples/python/finepick_client.py"))
        .args([
            "--target",
            target,
            "--budget-size",
            "16000",
            "--full-size",
            "1024000",
            "--curves",
        ])
        .arg(root().join("demo/curves.csv"))
        .env("PYTHONPATH", stubs)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("the client prints JSON")
}

#[test]
fn python_ranks_and_fits_through_the_gateway_and_survives_a_restart_of_the_fitter() {
    let Some(python) = python() else { return };
    let stubs = tempfile::tempdir().expect("a temporary folder");
    generate_stubs(&python, stubs.path());
    let Suite {
        gateway,
        fitter,
        selector,
    } = Suite::start();

    let before = ask(&python, stubs.path(), gateway.address());
    assert_eq!(before["ranking"].as_array().map(Vec::len), Some(18));
    assert_eq!(before["verdict"], "VERDICT_OK");
    assert!(
        before["law"]["data_exponent"]
            .as_f64()
            .is_some_and(|exponent| exponent > 0.0),
        "{before}"
    );
    assert_eq!(before["refusal"]["code"], "INVALID_ARGUMENT");
    assert_eq!(before["refusal"]["reason"], "INVALID_FIELD");
    assert_eq!(before["refusal"]["violations"], serde_json::json!(["data_size_budget"]));

    let address = fitter.address().to_owned();
    fitter.kill();
    let fitter = Server::start_on("fitter-svc", &address, &[]);
    assert_eq!(ask(&python, stubs.path(), gateway.address()), before);
    drop((fitter, selector));
}
