//! What selections through real processes may spend: money by price tables, time on devices; and what they know from before.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use e2e::stage::{MODELS, Part, Simulated, Stage, ranking, strs};
use e2e::{finepick, finepick_json};
use finepick_proto::selector::v1::ListTrialsRequest;
use finepick_proto::selector::v1::selector_service_client::SelectorServiceClient;
use serde_json::Value;

/// Prices of a trainer.
const SECOND: f64 = 0.01;
const RUN: f64 = 0.05;

fn priced(name: &'static str, currency: &str) -> Simulated {
    Simulated::new(name, "1s").with(&[
        &format!("simulation.currency={currency}"),
        &format!("simulation.price_per_device_second={SECOND}"),
        &format!("simulation.price_per_run={RUN}"),
    ])
}

/// A selection within a limit that is not one of examples.
fn select(stage: &Stage, id: &str, limits: &[&str]) -> Vec<String> {
    let all = ["--data", "sim://data", "--budget-share", "100%", "--format", "json"];
    stage.select_with(id, &[&all[..], limits].concat())
}

fn number(report: &Value, path: &str) -> f64 {
    report.pointer(path).and_then(Value::as_f64).expect(path)
}

/// Runs that were made for a selection: trainer and id.
fn runs(stage: &Stage, id: &str) -> BTreeSet<(String, String)> {
    let url = stage.url_of(Part::Selector);
    let request = ListTrialsRequest {
        selection_id: id.to_owned(),
        page_size: 1_000,
        page_token: String::new(),
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let trials = runtime.block_on(async move {
        let mut client = SelectorServiceClient::connect(url).await.expect("it listens");
        client.list_trials(request).await.expect("trials").into_inner().trials
    });
    let attempts = trials.into_iter().flat_map(|trial| trial.attempts);
    attempts
        .map(|attempt| (attempt.trainer, attempt.training_run_id))
        .collect()
}

#[test]
fn money_is_spent_by_price_tables_and_never_more_than_there_is() {
    let stage = Stage::of(vec![priced("euros", "EUR"), priced("dollars", "USD")], &[]);
    let report = finepick_json(&strs(&select(&stage, "euros", &["--budget-money", "3 EUR"])));
    let state = report["state"].as_str().expect("a state");
    assert!(["succeeded", "budget_exhausted"].contains(&state), "{report}");
    assert!(report["choice"]["candidate"].is_string(), "{report}");
    assert_eq!(ranking(&report).len(), MODELS.len());
    let spent = number(&report, "/spent/money");
    assert!(spent > 0.0 && spent <= 3.0, "{spent}");
    assert_eq!(report["spent"]["currency"], "EUR");
    assert!(
        number(&report, "/exhaustive/money") > 3.0,
        "the limit is felt: {report}"
    );
    // To the cent what the table says: seconds and runs.
    let runs = runs(&stage, "euros");
    let by_table = SECOND * number(&report, "/spent/device_seconds") + RUN * runs.len() as f64;
    assert!((spent - by_table).abs() < 1e-6, "{spent} {by_table}");
    // Whoever has no prices in euros has trained nothing.
    assert!(runs.iter().all(|(trainer, _)| trainer == "euros"), "{runs:?}");

    let told = stage.text(&["report", "euros"]);
    assert!(told.contains(&format!(", {spent:.2} EUR")), "{told}");
    let again = stage.json(&["report", "euros"]);
    assert_eq!(again["spent"], report["spent"]);
    let plan = finepick_json(&strs(&select(
        &stage,
        "plan",
        &["--budget-money", "3 EUR", "--dry-run"],
    )));
    let planned = number(&plan, "/planned/money");
    assert!(planned >= spent && planned <= 3.0, "{plan}");
    assert_eq!(
        (&plan["budget"]["money"], &plan["budget"]["currency"]),
        (&3.0.into(), &"EUR".into())
    );
}

#[test]
fn money_that_cannot_be_spent_is_refused_with_the_reason() {
    let stage = Stage::of(vec![priced("euros", "EUR"), priced("dollars", "USD")], &[]);
    for (id, limits, reason) in [
        (
            "wrong-trainer",
            &["--budget-money", "3 EUR", "--trainer", "dollars"][..],
            "dollars has no prices in EUR, which the budget is in",
        ),
        (
            "nobodys-money",
            &["--budget-money", "3 CHF"],
            "dollars has no prices in CHF, which the budget is in; euros has no prices in CHF",
        ),
        (
            "too-little",
            &["--budget-money", "0.10 EUR"],
            "EUR, the budget pays 0.10 EUR",
        ),
    ] {
        let output = finepick(&strs(&select(&stage, id, limits)));
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && told.contains(reason), "{id}: {told}");
        let listed = stage.json(&["selections", "--state", "failed"]);
        if id == "too-little" {
            // It is known at once, and not kept.
            assert!(told.contains("[BUDGET_TOO_SMALL]"), "{told}");
            assert_eq!(listed[0]["id"], "nobodys-money");
            continue;
        }
        assert_eq!(listed[0]["id"], id);
        assert!(
            listed[0]["detail"].as_str().expect("a detail").contains(reason),
            "{listed}"
        );
        assert_eq!(listed[0]["spent"]["examples"], 0, "{listed}");
    }
}

#[test]
fn time_on_devices_is_a_limit() {
    let stage = Stage::start("1s");
    let report = finepick_json(&strs(&select(&stage, "time", &["--budget-device-seconds", "2m30s"])));
    assert!(report["choice"]["candidate"].is_string(), "{report}");
    let spent = number(&report, "/spent/device_seconds");
    assert!(spent > 0.0 && spent <= 150.0, "{spent}");
    assert!(number(&report, "/exhaustive/device_seconds") > 150.0, "{report}");
    assert!(stage.text(&["report", "time"]).contains(" on devices"));
    let output = finepick(&strs(&select(&stage, "none", &["--budget-device-seconds", "3"])));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(1) && told.contains("of device time, the budget pays 3"),
        "{told}"
    );
}

/// Candidates whose first losses hardly differ and whose last ones do: with noise a small budget errs. The best is `late`.
fn alike_at_first() -> (Vec<String>, Simulated) {
    let law = |(name, floor): (&str, f64)| {
        let knee = 17.0;
        format!("sim://{name}={},{knee},0.5,{floor}", (6.0 - floor) * knee)
    };
    let all = [
        ("a", 2.4),
        ("b", 2.8),
        ("c", 3.2),
        ("d", 3.6),
        ("e", 4.0),
        ("late", 2.0),
    ];
    let laws: Vec<String> = all.into_iter().map(law).collect();
    let settings = [
        "simulation.speed=5000",
        "simulation.noise=0.025",
        &format!("simulation.laws={}", laws.join(";")),
    ];
    let models = all
        .iter()
        .flat_map(|(name, _)| ["--model".to_owned(), format!("sim://{name}")]);
    (models.collect(), Simulated::new("sim", "1s").with(&settings))
}

#[test]
fn a_warm_start_finds_what_the_same_budget_does_not_find_without() {
    let (models, trainer) = alike_at_first();
    let stage = Stage::of(vec![trainer], &[]);
    let url = stage.url();
    let select = |id: &str, data: &str, share: &str, more: &[&str]| {
        let common = [
            "select",
            "--endpoint",
            &url,
            "--id",
            id,
            "--data",
            data,
            "--full-size",
            "8192",
        ];
        let how = ["--no-reuse", "--budget-share", share, "--format", "json", "--quiet"];
        finepick_json(&[&common[..], &strs(&models), &how, more].concat())
    };
    // Nobody has selected before.
    let first = select(
        "before",
        "sim://letters",
        "100%",
        &["--policy", "exhaustive", "--warm-start"],
    );
    assert_eq!(first["choice"]["candidate"], "late", "{first}");
    assert_eq!(first["history_alone"], Value::Null);

    for data in ["tales", "recipes"] {
        let (uri, warm_id) = (format!("sim://{data}"), format!("warm-{data}"));
        let cold = select(&format!("cold-{data}"), &uri, "3%", &[]);
        assert_eq!(cold["history_alone"], Value::Null);
        assert_ne!(cold["choice"]["candidate"], "late", "{cold}");
        // What was forecast on the same data, by the one that ended just now, is no history.
        let warm = select(&warm_id, &uri, "3%", &["--warm-start"]);
        let history = &warm["history_alone"];
        assert_eq!(
            (&history["used"], &history["chosen"]),
            (&true.into(), &"late".into()),
            "{warm}"
        );
        assert!(number(history, "/rank_correlation") > 0.5, "{history}");
        assert_eq!(warm["choice"]["candidate"], "late", "{warm}");
        assert!(number(&warm, "/spent/examples") <= number(&cold, "/spent/examples"));
        let told = stage.text(&["report", &warm_id]);
        assert!(
            told.contains("Earlier selections alone would choose late") && told.contains("; used)"),
            "{told}"
        );
        assert!(stage.text(&["explain", &warm_id]).contains("Earlier selections alone"));
        assert_eq!(stage.json(&["verify", &warm_id])["valid"], true);
        // Asked for more agreement than there is, the guard lets nothing in.
        let guarded = select(
            &format!("guarded-{data}"),
            &uri,
            "3%",
            &["--warm-start", "--history-guard", "1"],
        );
        assert_eq!(guarded["history_alone"]["used"], false, "{guarded}");
        assert_eq!(ranking(&guarded), ranking(&cold));
        let told = stage.text(&["report", &format!("guarded-{data}")]);
        assert!(told.contains("history was not used"), "{told}");
    }
}
