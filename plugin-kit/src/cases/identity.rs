//! Who the trainer is, and what it claims.

use std::collections::HashSet;

use finepick_proto::trainer::v1 as pb;
use finepick_proto::types::v1::Money;

use crate::case::{Case, Needs, case};
use crate::kit::Scope;
use crate::verdict::{Verdict, ensure, equal, succeed};

pub(super) const CASES: &[Case] = &[
    case!(
        "identity.info",
        ["C-1.1", "C-1.3", "C-1.5"],
        Needs::Nothing,
        Shared,
        info,
        "Name, version, instance and devices are there and in range."
    ),
    case!(
        "identity.versions",
        ["C-1.2"],
        Needs::Nothing,
        Shared,
        versions,
        "The trainer speaks v1 of the contract."
    ),
    case!(
        "identity.ready",
        ["C-1.4"],
        Needs::Nothing,
        Shared,
        ready,
        "It is ready, or says why not."
    ),
    case!(
        "identity.stable",
        ["C-1.6", "C-2.4"],
        Needs::Nothing,
        Shared,
        stable,
        "Instance id and capabilities stay the same; runs carry the instance id."
    ),
    case!(
        "capabilities.sane",
        ["C-2.1", "C-2.2", "C-2.3"],
        Needs::Nothing,
        Shared,
        capabilities,
        "Methods, heartbeat interval, largest size and prices are in range."
    ),
];

async fn info(scope: &Scope) -> Verdict {
    let info = succeed(
        "C-1.1",
        "GetTrainerInfo",
        scope.get_trainer_info(pb::GetTrainerInfoRequest {}).await,
    )?;
    let label = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let reverse_dns = info.name.len() <= 256 && info.name.contains('.') && info.name.split('.').all(label);
    ensure("C-1.1", reverse_dns, "name like \"dev.finepick.onnx\"", &info.name)?;
    ensure("C-1.1", !info.version.is_empty(), "a version", &info.version)?;
    let instance = info.instance_id.len();
    ensure(
        "C-1.1",
        (1..=256).contains(&instance),
        "an instance_id of 1 to 256 bytes",
        instance,
    )?;
    ensure("C-1.3", !info.devices.is_empty(), "at least one device", &info.devices)?;
    let mut names = HashSet::new();
    for device in &info.devices {
        ensure("C-1.3", !device.name.is_empty(), "devices have names", device)?;
        ensure(
            "C-1.3",
            names.insert(&device.name),
            "names of devices are unique",
            device,
        )?;
        ensure("C-1.3", device.slots >= 1, "slots >= 1", device)?;
        let known = device.memory_bytes.is_none_or(|bytes| bytes > 0);
        ensure("C-1.3", known, "memory_bytes > 0, or absent", device)?;
    }
    let counts = [info.queued_runs, info.active_runs, info.queue_limit];
    let sane = counts.iter().all(|count| *count >= 0);
    ensure("C-1.5", sane, "queued_runs, active_runs, queue_limit >= 0", counts)
}

async fn versions(scope: &Scope) -> Verdict {
    let info = succeed(
        "C-1.2",
        "GetTrainerInfo",
        scope.get_trainer_info(pb::GetTrainerInfoRequest {}).await,
    )?;
    let versions = &info.contract_versions;
    let speaks = versions.iter().any(|version| version == "v1");
    ensure("C-1.2", speaks, "contract_versions holds \"v1\"", versions)?;
    let unique = versions.iter().collect::<HashSet<_>>().len() == versions.len();
    ensure("C-1.2", unique, "no version twice", versions)
}

async fn ready(scope: &Scope) -> Verdict {
    let info = succeed(
        "C-1.4",
        "GetTrainerInfo",
        scope.get_trainer_info(pb::GetTrainerInfoRequest {}).await,
    )?;
    let got = (info.ready, &info.ready_reason);
    if info.ready {
        return ensure("C-1.4", info.ready_reason.is_empty(), "no ready_reason when ready", got);
    }
    ensure(
        "C-1.4",
        is_upper_snake(&info.ready_reason),
        "an UPPER_SNAKE_CASE ready_reason",
        got,
    )
}

/// Whether the text is a machine-readable reason.
pub(super) fn is_upper_snake(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_uppercase())
        && bytes.all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

async fn stable(scope: &Scope) -> Verdict {
    for _ in 0..3 {
        let info = succeed(
            "C-1.6",
            "GetTrainerInfo",
            scope.get_trainer_info(pb::GetTrainerInfoRequest {}).await,
        )?;
        equal(
            "C-1.6",
            "the same instance_id",
            &scope.info.instance_id,
            &info.instance_id,
        )?;
        let request = pb::ListCapabilitiesRequest {};
        let claimed = succeed("C-2.4", "ListCapabilities", scope.list_capabilities(request).await)?;
        equal("C-2.4", "the same capabilities", &scope.capabilities, &claimed)?;
    }
    let run = scope.finished().await?.run;
    equal(
        "C-1.6",
        "the run's instance_id",
        &scope.info.instance_id,
        &run.instance_id,
    )
}

async fn capabilities(scope: &Scope) -> Verdict {
    let request = pb::ListCapabilitiesRequest {};
    let claimed = succeed("C-2.1", "ListCapabilities", scope.list_capabilities(request).await)?;
    ensure(
        "C-2.1",
        !claimed.methods.is_empty(),
        "at least one method",
        &claimed.methods,
    )?;
    let mut seen = HashSet::new();
    for number in &claimed.methods {
        let known = pb::MethodKind::try_from(*number).is_ok_and(|kind| kind != pb::MethodKind::Unspecified);
        ensure(
            "C-2.1",
            known && seen.insert(number),
            "known methods, each once",
            &claimed.methods,
        )?;
    }
    let interval = claimed.heartbeat_interval;
    let positive =
        interval.is_some_and(|interval| interval.seconds > 0 || (interval.seconds == 0 && interval.nanos > 0));
    ensure("C-2.2", positive, "a heartbeat_interval > 0", interval)?;
    let bound = claimed.data_size_max;
    ensure(
        "C-2.2",
        bound.is_none_or(|size| size > 0),
        "data_size_max > 0, or absent",
        bound,
    )?;
    for price in &claimed.prices {
        let known = pb::PriceUnit::try_from(price.unit).is_ok_and(|unit| unit != pb::PriceUnit::Unspecified);
        ensure("C-2.3", known, "a known unit", price)?;
        let exists = price.device.is_empty() || scope.info.devices.iter().any(|device| device.name == price.device);
        ensure("C-2.3", exists, "a device of GetTrainerInfo, or none", price)?;
        let sane = price.price.as_ref().is_some_and(is_amount);
        ensure(
            "C-2.3",
            sane,
            "an amount that is not negative, in a three-letter currency",
            price,
        )?;
    }
    Ok(())
}

/// Whether it is an amount as the contract wants it: not negative, in a currency.
pub(super) fn is_amount(money: &Money) -> bool {
    let code = &money.currency_code;
    code.len() == 3
        && code.bytes().all(|byte| byte.is_ascii_uppercase())
        && money.units >= 0
        && (0..=999_999_999).contains(&money.nanos)
}
