//! The gateway's keys, and the reasons the plumbing gives.

use std::path::Path;

use finepick_proto::types::v1::ErrorReason;
use gateway::config::Config;
use svc_kit::config::{Flags, check_golden, load, reference};
use svc_kit::status::reason;

fn error(assignments: &[&str]) -> String {
    let flags = Flags {
        set: assignments.iter().map(|text| (*text).to_owned()).collect(),
        ..Flags::default()
    };
    load::<Config>(&flags, []).expect_err("must be refused").to_string()
}

#[test]
fn the_page_shows_the_gateways_keys() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let block = reference::<Config>("gateway").expect("complete");
    check_golden(&page, &block).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn backends_are_set_added_and_switched_off() {
    let variables = [
        ("FINEPICK_BACKENDS__FITTER__ENDPOINT", "http://fitter:50061"),
        ("FINEPICK_BACKENDS__SELECTOR__SERVICES", "[]"),
        ("FINEPICK_BACKENDS__MORE__SERVICES", "[\"a.B\", \"a.C\"]"),
        ("FINEPICK_BACKENDS__MORE__ENDPOINT", "http://more:1"),
        ("FINEPICK_FITTER_SERVICE_PORT", "50061"),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config: Config = load(&Flags::default(), variables).expect("valid");
    assert_eq!(config.backends["fitter"].endpoint, "http://fitter:50061");
    assert_eq!(config.backends["fitter"].services, ["finepick.fitter.v1.FitterService"]);
    assert!(config.backends["selector"].services.is_empty());
    assert_eq!(config.backends["more"].services, ["a.B", "a.C"]);
}

#[test]
fn mistakes_name_the_backend() {
    for (assignments, expected) in [
        (
            vec!["backends.fitter.endpoint=fitter:50061"],
            "backends.fitter.endpoint",
        ),
        (vec!["backends.more.services=[\"a.B\"]"], "backends.more.endpoint"),
        (
            vec!["backends.fitter.endpoint=https://fitter:1"],
            "backends.fitter.tls.ca",
        ),
        (vec!["backends.fitter.tls.cert=a.pem"], "backends.fitter.tls.key"),
        (
            vec!["backends.fitter.services=[\"/a.B/\"]"],
            "\"/a.B/\" is not a service",
        ),
        (
            vec!["backends.fitter.connect_timeout=0"],
            "backends.fitter.connect_timeout",
        ),
        (vec!["backends.fitter.port=1"], "backends.fitter.port: unknown field"),
        (
            vec![
                "backends.more.services=[\"finepick.fitter.v1.FitterService\"]",
                "backends.more.endpoint=http://m:1",
            ],
            "is routed to backends.fitter already",
        ),
        (
            vec![
                "backends.a b.services=[\"finepick.trainer.v1.TrainerService\"]",
                "backends.a b.endpoint=http://m:1",
            ],
            "a trainer's name has",
        ),
        (
            vec!["backends.fitter.replicas=[\"fitter:1\"]"],
            "backends.fitter.endpoint",
        ),
    ] {
        let text = error(&assignments);
        assert!(text.contains(expected), "{assignments:?}: {text}");
    }
}

#[test]
fn several_backends_may_be_trainers() {
    let trainer = "[\"finepick.trainer.v1.TrainerService\"]";
    let set = ["a", "b"].iter().flat_map(|name| {
        [
            format!("backends.{name}.services={trainer}"),
            format!("backends.{name}.endpoint=http://{name}:50063"),
        ]
    });
    let replicas = "backends.a.replicas=[\"http://a2:50063\", \"http://a3:50063\"]".to_owned();
    let flags = Flags {
        set: set.chain([replicas]).collect(),
        ..Flags::default()
    };
    let config: Config = load(&flags, []).expect("valid");
    let endpoints: Vec<_> = config.backends["a"]
        .endpoint_configs()
        .into_iter()
        .map(|one| one.endpoint)
        .collect();
    assert_eq!(endpoints, ["http://a:50063", "http://a2:50063", "http://a3:50063"]);
}

#[test]
fn the_plumbings_reasons_are_in_the_contract() {
    for (ours, contracts) in [
        (reason::OVERLOADED, ErrorReason::Overloaded),
        (reason::DRAINING, ErrorReason::Draining),
        (reason::BACKEND_UNAVAILABLE, ErrorReason::BackendUnavailable),
        (reason::DEADLINE_EXCEEDED, ErrorReason::DeadlineExceeded),
        (reason::UNKNOWN_SERVICE, ErrorReason::UnknownService),
        (reason::INTERNAL, ErrorReason::Internal),
    ] {
        assert_eq!(ours, contracts.as_reason());
    }
    assert_eq!(svc_kit::status::DOMAIN, finepick_proto::ERROR_DOMAIN);
}
