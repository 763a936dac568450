//! Gateway, fitter and selector as processes of their own answer like one program, and outlive each other's restarts.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use e2e::{Server, Suite, finepick, finepick_json, root};

fn demo_curves() -> String {
    root().join("demo/curves.csv").display().to_string()
}

/// Policies of selections whose plans are paid by half of what Accept then Stop costs with a 64th of the data.
const REPLAYED: [&str; 13] = [
    "geometric",
    "halving",
    "halving-current",
    "ats",
    "flat-ats",
    "flat-ats-corrected",
    "flat-rwl",
    "flat-local-trend",
    "flat-rectified-fit",
    "flat-vanilla-fit",
    "flat-sub-tuning",
    "flat-model-size",
    "random",
];

/// Every command that asks services, with its answer as JSON.
fn questions(curves: &str) -> Vec<Vec<&str>> {
    let common = ["--curves", curves, "--full-size", "1024000", "--format", "json"];
    let mut questions = Vec::new();
    for policy in [
        "ats",
        "ats-corrected",
        "rwl",
        "local-trend",
        "zero-shot",
        "model-size",
        "rectified-fit",
        "vanilla-fit",
    ] {
        questions.push([&["rank", "--budget-ratio", "1/64", "--policy", policy], &common[..]].concat());
    }
    for policy in REPLAYED {
        let budget = ["--budget-ratio", "1/64", "--budget-fraction", "1/2"];
        questions.push([&["simulate", "--policy", policy], &budget[..], &common[..]].concat());
    }
    questions.push(
        [
            &[
                "benchmark",
                "--policies",
                "ats,rwl,geometric",
                "--budget-ratios",
                "1/8,1/64",
            ],
            &common[..],
        ]
        .concat(),
    );
    let fit = ["fit", "--curves", curves, "--predict", "1024000", "--format", "json"];
    for law in [
        "rectified",
        "power-with-floor",
        "power",
        "vanilla",
        "multiplicative",
        "additive",
        "rectified-joint",
    ] {
        questions.push([&fit[..], &["--law", law]].concat());
    }
    questions.push(
        [
            &fit[..],
            &["--uncertainty", "bootstrap", "--draws", "50", "--objective", "huber"],
        ]
        .concat(),
    );
    questions
}

#[test]
fn the_same_command_prints_the_same_answer_in_process_and_over_grpc() {
    let suite = Suite::start();
    let url = suite.gateway.url();
    let curves = demo_curves();
    for question in questions(&curves) {
        let here = finepick(&question);
        let there = finepick(&[&question[..], &["--endpoint", &url]].concat());
        assert!(
            here.status.success(),
            "{question:?}: {}",
            String::from_utf8_lossy(&here.stderr)
        );
        assert!(
            there.status.success(),
            "{question:?}: {}",
            String::from_utf8_lossy(&there.stderr)
        );
        assert_eq!(
            String::from_utf8_lossy(&here.stdout),
            String::from_utf8_lossy(&there.stdout),
            "{question:?}"
        );
    }
}

#[test]
fn a_candidate_is_warned_of_a_thing_once() {
    let curves = demo_curves();
    for policy in [
        "ats",
        "rwl",
        "local-trend",
        "rectified-fit",
        "vanilla-fit",
        "sub-tuning",
    ] {
        let answer = finepick_json(&[
            "rank",
            "--curves",
            &curves,
            "--budget-ratio",
            "1/64",
            "--full-size",
            "1024000",
            "--format",
            "json",
            "--policy",
            policy,
        ]);
        for candidate in answer["candidates"].as_array().expect("candidates") {
            let mut codes: Vec<String> = candidate["warnings"]
                .as_array()
                .expect("codes")
                .iter()
                .map(ToString::to_string)
                .collect();
            let all = codes.len();
            codes.sort();
            codes.dedup();
            assert_eq!(codes.len(), all, "{policy}: {candidate}");
        }
    }
}

#[test]
fn replays_have_the_policies_of_selections() {
    let curves = demo_curves();
    let replay = |policy: &str, budget: &[&str]| {
        let common = [
            "simulate",
            "--curves",
            &curves,
            "--full-size",
            "1024000",
            "--format",
            "json",
        ];
        finepick_json(&[&common[..], &["--policy", policy], budget].concat())
    };
    let ratio = ["--budget-ratio", "1/64"];
    // What is never trained is not paid, and the choice is the same.
    let (online, flat) = (replay("ats", &ratio), replay("flat-ats", &ratio));
    assert_eq!(
        (&online["policy"], &flat["policy"]),
        (&"ats".into(), &"flat_ats".into())
    );
    assert_eq!(online["chosen"], flat["chosen"]);
    assert!(
        online["spent_examples"].as_i64() < flat["spent_examples"].as_i64(),
        "{online} {flat}"
    );
    // The truth, for its price.
    let all = flat["exhaustive_examples"].to_string();
    let truth = replay("exhaustive", &["--budget-examples", &all]);
    assert_eq!(truth["spent_examples"], truth["exhaustive_examples"]);
    assert_eq!(truth["relative_regret"], 0.0);
    // Controls cost nothing.
    for control in ["random", "zero-shot"] {
        let answer = replay(control, &ratio);
        assert_eq!(answer["spent_examples"], 0, "{answer}");
        assert!(
            answer["chosen"].as_str().is_some_and(|name| !name.is_empty()),
            "{answer}"
        );
    }
    assert_eq!(replay("random", &ratio), replay("random", &ratio), "by the seed");
    // The names that rankings have are the flat ones' second names.
    assert_eq!(replay("rwl", &ratio), replay("flat-rwl", &ratio));
    let too_little = finepick(&[
        "simulate",
        "--curves",
        &curves,
        "--full-size",
        "1024000",
        "--policy",
        "exhaustive",
        "--budget-ratio",
        "1/64",
    ]);
    let told = String::from_utf8_lossy(&too_little.stderr);
    assert!(!too_little.status.success() && told.contains("smallest plan"), "{told}");
}

#[test]
fn a_killed_fitter_is_missed_only_until_it_is_back() {
    let Suite {
        gateway,
        fitter,
        selector,
    } = Suite::start();
    let (url, curves) = (gateway.url(), demo_curves());
    let fit = ["fit", "--curves", &curves, "--format", "json", "--endpoint", &url];
    let fitted_rank = [
        "rank",
        "--curves",
        &curves,
        "--budget-size",
        "16000",
        "--full-size",
        "1024000",
        "--policy",
        "rectified-fit",
        "--format",
        "json",
        "--endpoint",
        &url,
    ];
    let before = (finepick_json(&fit), finepick_json(&fitted_rank));

    let address = fitter.address().to_owned();
    fitter.kill();
    for question in [&fit[..], &fitted_rank[..]] {
        let refused = finepick(question);
        let told = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{told}");
        assert!(
            told.contains("BACKEND_UNAVAILABLE") && told.contains("try again in"),
            "{told}"
        );
    }
    // What needs no fitter goes on.
    let ats = [
        "rank",
        "--curves",
        &curves,
        "--budget-size",
        "16000",
        "--full-size",
        "1024000",
        "--endpoint",
        &url,
    ];
    assert!(finepick(&ats).status.success());

    let fitter = Server::start_on("fitter-svc", &address, &[]);
    let deadline = Instant::now() + Duration::from_secs(30);
    while !finepick(&fit).status.success() {
        assert!(
            Instant::now() < deadline,
            "the gateway does not find the restarted fitter"
        );
    }
    assert_eq!((finepick_json(&fit), finepick_json(&fitted_rank)), before);
    drop((gateway, fitter, selector));
}

#[test]
fn each_process_drains_on_sigterm_and_ends_with_status_0() {
    let Suite {
        gateway,
        fitter,
        selector,
    } = Suite::start();
    for server in [gateway, selector, fitter] {
        assert_eq!(server.terminate().code(), Some(0));
    }
}
