//! Where the calls of a service go: to one backend, or to one of several trainers, picked by name.
//!
//! - A caller names a trainer in the metadata `finepick-trainer`. Without it, the first by name is meant.
//! - Answers to `GetTrainerInfo`, errors included, carry `finepick-trainers`: all names, separated by commas, the default
//!   first. The contract itself stays that of a single trainer, which need not know that it has siblings.

use std::collections::BTreeMap;

use finepick_proto::types::v1::ErrorReason;
use http::{HeaderMap, HeaderName, HeaderValue};
use svc_kit::client::Transport;
use svc_kit::status::{self, FieldViolation};
use tonic::Status;

/// The service of which there may be several.
pub const TRAINER_SERVICE: &str = "finepick.trainer.v1.TrainerService";

/// Metadata of a call: the trainer it is for.
pub const TRAINER_KEY: HeaderName = HeaderName::from_static("finepick-trainer");

/// Metadata of answers to `GetTrainerInfo`: the names of all trainers.
pub const TRAINERS_KEY: HeaderName = HeaderName::from_static("finepick-trainers");

/// The call whose answers carry [`TRAINERS_KEY`].
const INFO_METHOD: &str = "/GetTrainerInfo";

/// Names listed in an error, at most.
const LISTED_NAMES: usize = 8;

/// The longest name of a trainer, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// Where the calls of a service go.
#[derive(Debug, Clone)]
pub(crate) enum Route {
    /// Always there.
    One(Transport),
    /// To the one that the caller names.
    Named(BTreeMap<String, Transport>),
}

impl Route {
    /// No trainer yet.
    pub(crate) fn to_nobody() -> Self {
        Self::Named(BTreeMap::new())
    }

    /// Adds a named backend; `false` when the name is taken, or names are not what this route goes by.
    pub(crate) fn add(&mut self, name: &str, transport: Transport) -> bool {
        match self {
            Self::One(_) => false,
            Self::Named(backends) => backends.insert(name.to_owned(), transport).is_none(),
        }
    }

    /// Where calls go that name nobody.
    pub(crate) fn default(&self) -> Option<&Transport> {
        match self {
            Self::One(transport) => Some(transport),
            Self::Named(backends) => backends.values().next(),
        }
    }

    /// Where this call goes.
    pub(crate) fn pick(&self, headers: &HeaderMap) -> Result<&Transport, Status> {
        let named = match self {
            Self::One(transport) => return Ok(transport),
            Self::Named(backends) => backends,
        };
        let picked = match headers.get(&TRAINER_KEY) {
            None => self.default(),
            Some(name) => name.to_str().ok().and_then(|name| named.get(name)),
        };
        picked.ok_or_else(|| {
            let names: Vec<&str> = named.keys().take(LISTED_NAMES).map(String::as_str).collect();
            let more = if named.len() > LISTED_NAMES { ", …" } else { "" };
            let description = format!(
                "no trainer of this name is configured; there are: {}{more}",
                names.join(", ")
            );
            status::invalid_argument(
                ErrorReason::InvalidField.as_reason(),
                vec![FieldViolation::new(TRAINER_KEY.as_str(), description)],
            )
        })
    }

    /// The names that an answer to this path carries.
    pub(crate) fn names_for(&self, path: &str) -> Option<HeaderValue> {
        match self {
            Self::Named(backends) if path.ends_with(INFO_METHOD) => {
                let names: Vec<&str> = backends.keys().map(String::as_str).collect();
                HeaderValue::from_str(&names.join(",")).ok()
            }
            _ => None,
        }
    }
}

/// Whether a backend may serve as a trainer under this name: it must stand in metadata, and in a list.
#[must_use]
pub fn is_trainer_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(allowed)
}
