//! Durable selections on the wire.
//!
//! - [`spec`], [`budget`], [`shown`], [`policy`]: the question, both ways.
//! - [`request`]: what the calls ask for. [`answer`], [`trial`], [`decision`], [`event`], [`report`]: what they are told.
//! - [`fit`]: what is left out of an answer that clients could not take.

mod answer;
mod budget;
mod decision;
mod event;
mod fit;
mod policy;
mod report;
mod request;
mod shown;
mod spec;
mod trial;

pub use self::answer::{estimate, listed, selection, standing, state_of, wait_reason_of};
pub use self::budget::{money_nanos, spending};
pub use self::decision::decision;
pub use self::event::{event, heartbeat, progress_event};
pub use self::fit::{MAX_ANSWER_BYTES, what_if};
pub use self::report::{choice, report, verification};
pub use self::request::{
    WatchWish, WhatIf, budget as budget_request, cancel_request, clone_request, create_request, estimate_request,
    foreign_token, list_request, observation_request, page, selection_id, verify_request, watch_request, work_request,
};
pub use self::shown::{candidate, method, spec as shown_spec};
pub use self::trial::trial;

use std::time::Duration;

use crate::selection::Millis;

/// A time of the store's clock.
pub(in crate::grpc) fn time(at: Millis) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: at.div_euclid(1_000),
        nanos: i32::try_from(at.rem_euclid(1_000))
            .unwrap_or(0)
            .saturating_mul(1_000_000),
    }
}

/// A length of time, milliseconds; negative ones are 0.
fn duration(millis: Millis) -> prost_types::Duration {
    let millis = millis.max(0);
    prost_types::Duration {
        seconds: millis / 1_000,
        nanos: i32::try_from(millis % 1_000).unwrap_or(0).saturating_mul(1_000_000),
    }
}

/// The longest duration that the protocol allows, seconds.
const MAX_SECONDS: u64 = 315_576_000_000;

/// Seconds as a length of time; what is no number or negative is absent.
fn seconds(seconds: f64) -> Option<prost_types::Duration> {
    let found = Duration::try_from_secs_f64(seconds).ok()?;
    Some(prost_types::Duration {
        seconds: i64::try_from(found.as_secs().min(MAX_SECONDS)).unwrap_or(i64::MAX),
        nanos: i32::try_from(found.subsec_nanos()).unwrap_or(0),
    })
}

/// A duration of the wire in milliseconds, rounded up; absent: it is negative, or none that the protocol allows.
fn millis(message: prost_types::Duration) -> Option<Millis> {
    let nanos = i64::from(message.nanos);
    let allowed = (0..=i64::try_from(MAX_SECONDS).unwrap_or(i64::MAX)).contains(&message.seconds);
    if !allowed || !(0..1_000_000_000).contains(&nanos) {
        return None;
    }
    Some(message.seconds * 1_000 + (nanos + 999_999) / 1_000_000)
}
