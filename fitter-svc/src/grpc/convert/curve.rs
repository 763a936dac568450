//! Learning curves.

use finepick_proto::types::v1 as types;

use super::{NamedCurve, Violations};
use crate::curve::{DataSize, LearningCurve, Observation};
use crate::error::CurveError;

/// Bytes of a candidate's or group's name.
const MAX_NAME_BYTES: usize = 256;

/// A name that is echoed.
pub(super) fn name(path: &str, name: &str, violations: &mut Violations) {
    if name.len() > MAX_NAME_BYTES {
        violations.push(
            path,
            format!("must be at most {MAX_NAME_BYTES} bytes, is {}", name.len()),
        );
    }
}

/// A required curve.
pub(super) fn required(
    path: &str,
    message: Option<types::LearningCurve>,
    max_points: usize,
    violations: &mut Violations,
) -> Option<NamedCurve> {
    let message = violations.required(path, message)?;
    curve(path, message, max_points, violations)
}

/// A curve, or all that is wrong with it.
pub(super) fn curve(
    path: &str,
    message: types::LearningCurve,
    max_points: usize,
    violations: &mut Violations,
) -> Option<NamedCurve> {
    name(&format!("{path}.candidate"), &message.candidate, violations);
    let list = format!("{path}.observations");
    if !violations.within(&list, message.observations.len(), max_points) {
        return None;
    }
    // Negative sizes have no place in the order of the others: they are reported apart.
    let mut good = Vec::with_capacity(message.observations.len());
    let mut indices = Vec::with_capacity(message.observations.len());
    let mut fine = true;
    for (index, wire) in message.observations.iter().enumerate() {
        let Ok(data_size) = DataSize::try_from(wire.data_size) else {
            violations.push(
                format!("{list}[{index}].data_size"),
                format!("must be >= 0, is {}", wire.data_size),
            );
            fine = false;
            continue;
        };
        indices.push(index);
        good.push(Observation {
            data_size,
            test_loss: wire.test_loss,
            weight: wire.weight.unwrap_or(1.0),
            standard_error: wire.standard_error,
        });
    }
    for error in LearningCurve::violations(&good) {
        // An empty list of good points beside reported negative ones is not a fault of its own.
        if fine || error != CurveError::Empty {
            let (field, index) = place(&error);
            let index = index.and_then(|i| indices.get(i));
            let path = index.map_or_else(|| list.clone(), |i| format!("{list}[{i}].{field}"));
            violations.push(path, describe(&error));
        }
        fine = false;
    }
    let curve = if fine { LearningCurve::new(good).ok() } else { None };
    curve.map(|curve| NamedCurve {
        candidate: message.candidate,
        curve,
    })
}

/// The field of an observation that an error is about, and the observation's index.
fn place(error: &CurveError) -> (&'static str, Option<usize>) {
    match *error {
        CurveError::Empty => ("", None),
        CurveError::DataSizeTooLarge { index, .. }
        | CurveError::DuplicateDataSize { index, .. }
        | CurveError::Unsorted { index, .. } => ("data_size", Some(index)),
        CurveError::LossOutOfRange { index, .. } => ("test_loss", Some(index)),
        CurveError::WeightOutOfRange { index, .. } => ("weight", Some(index)),
        CurveError::StandardErrorOutOfRange { index, .. } => ("standard_error", Some(index)),
    }
}

/// The error without the index, which the path holds.
fn describe(error: &CurveError) -> String {
    let text = error.to_string();
    text.split_once(": ").map_or(text.clone(), |(_, rest)| rest.to_owned())
}
