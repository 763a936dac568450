//! The contract only grows: whatever `contract.golden` lists must still be there, unchanged.
//!
//! New fields, values, messages and calls are recorded with `FINEPICK_UPDATE_GOLDEN=1 cargo test -p finepick-proto`. The switch
//! never drops a line: what was published stays, and taking it away means editing the golden file by hand, in plain sight.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;

use prost_reflect::{Cardinality, DescriptorPool, EnumDescriptor, Kind, MessageDescriptor};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/contract.golden");

fn kind_name(kind: &Kind) -> String {
    match kind {
        Kind::Message(message) => format!("message {}", message.full_name()),
        Kind::Enum(values) => format!("enum {}", values.full_name()),
        scalar => format!("{scalar:?}").to_lowercase(),
    }
}

fn list_message(message: &MessageDescriptor, lines: &mut BTreeSet<String>) {
    lines.insert(format!("message {}", message.full_name()));
    for field in message.fields() {
        let presence = match field.cardinality() {
            Cardinality::Repeated => "repeated",
            Cardinality::Required => "required",
            Cardinality::Optional if field.supports_presence() => "optional",
            Cardinality::Optional => "plain",
        };
        let oneof = field
            .containing_oneof()
            .filter(|oneof| oneof.fields().len() > 1 || !oneof.name().starts_with('_'))
            .map(|oneof| format!(" in oneof {}", oneof.name()))
            .unwrap_or_default();
        lines.insert(format!(
            "field {} = {} {presence} {}{oneof}",
            field.full_name(),
            field.number(),
            kind_name(&field.kind())
        ));
    }
    for nested in message.child_messages() {
        list_message(&nested, lines);
    }
    for values in message.child_enums() {
        list_enum(&values, lines);
    }
}

fn list_enum(values: &EnumDescriptor, lines: &mut BTreeSet<String>) {
    lines.insert(format!("enum {}", values.full_name()));
    for value in values.values() {
        lines.insert(format!(
            "value {}.{} = {}",
            values.full_name(),
            value.name(),
            value.number()
        ));
    }
}

/// One line for everything that a client or a plugin may rely on.
fn list_contract(descriptors: &[u8]) -> BTreeSet<String> {
    let pool = DescriptorPool::decode(descriptors).expect("the descriptor set is readable");
    let mut lines = BTreeSet::new();
    for file in pool.files().filter(|file| file.package_name().starts_with("finepick.")) {
        for message in file.messages() {
            list_message(&message, &mut lines);
        }
        for values in file.enums() {
            list_enum(&values, &mut lines);
        }
        for service in file.services() {
            for method in service.methods() {
                lines.insert(format!(
                    "rpc {} ({}{}) returns ({}{})",
                    method.full_name(),
                    if method.is_client_streaming() { "stream " } else { "" },
                    method.input().full_name(),
                    if method.is_server_streaming() { "stream " } else { "" },
                    method.output().full_name(),
                ));
            }
        }
    }
    lines
}

/// Lines of the golden contract that the current one no longer has.
fn broken(golden: &BTreeSet<String>, current: &BTreeSet<String>) -> Vec<String> {
    golden.difference(current).cloned().collect()
}

fn read_golden() -> BTreeSet<String> {
    let text = std::fs::read_to_string(GOLDEN).unwrap_or_default();
    text.lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn nothing_published_is_changed_or_removed() {
    let golden = read_golden();
    let current = list_contract(finepick_proto::FILE_DESCRIPTOR_SET);
    let lost = broken(&golden, &current);
    assert!(
        lost.is_empty(),
        "published parts of the contract were changed or removed:\n{}",
        lost.join("\n")
    );

    #[allow(clippy::disallowed_methods, reason = "the one switch that updates golden files")]
    let update = std::env::var_os("FINEPICK_UPDATE_GOLDEN").is_some();
    if update {
        let mut text = String::from(
            "# What is published of the contracts. Lines are added by the test's switch and never removed.\n",
        );
        for line in &current {
            text.push_str(line);
            text.push('\n');
        }
        std::fs::write(Path::new(GOLDEN), text).expect("the golden file is writable");
        return;
    }
    let new: Vec<_> = current.difference(&golden).cloned().collect();
    assert!(
        new.is_empty(),
        "not yet recorded in contract.golden (run with FINEPICK_UPDATE_GOLDEN=1):\n{}",
        new.join("\n")
    );
}

#[test]
fn every_kind_of_breakage_is_seen() {
    let golden = list_contract(finepick_proto::FILE_DESCRIPTOR_SET);
    // One sample of each kind of line, altered as a careless change would.
    let samples = [
        (
            "field finepick.types.v1.Observation.data_size = 1 ",
            "field finepick.types.v1.Observation.data_size = 9 ",
        ),
        (
            "field finepick.types.v1.Observation.test_loss = 2 plain double",
            "float",
        ),
        (
            "value finepick.fitter.v1.Law.LAW_POWER = 3",
            "value finepick.fitter.v1.Law.LAW_POWER = 4",
        ),
        (
            "field finepick.fitter.v1.Objective.huber = 2 optional message finepick.fitter.v1.HuberObjective in oneof kind",
            "",
        ),
        (
            "rpc finepick.fitter.v1.FitterService.FitCurve (",
            "rpc finepick.fitter.v1.FitterService.FitCurve (stream ",
        ),
        ("message finepick.selector.v1.Constraints.AttributesEntry", ""),
    ];
    for (published, changed) in samples {
        let line = golden.iter().find(|line| line.starts_with(published));
        let line = line
            .unwrap_or_else(|| panic!("the contract has a line that starts with {published:?}"))
            .clone();
        let mut current = golden.clone();
        current.remove(&line);
        current.insert(line.replace(published, changed));
        assert_eq!(broken(&golden, &current), [line]);
    }
    let mut grown = golden.clone();
    grown.insert("field finepick.types.v1.Observation.later = 99 plain double".to_owned());
    assert!(broken(&golden, &grown).is_empty(), "growth is no breakage");
}

#[test]
fn error_reasons_lose_their_prefix_and_nothing_else() {
    use finepick_proto::types::v1::ErrorReason;
    for number in 0.. {
        let Ok(reason) = ErrorReason::try_from(number) else {
            break;
        };
        assert_eq!(format!("ERROR_REASON_{}", reason.as_reason()), reason.as_str_name());
    }
}
