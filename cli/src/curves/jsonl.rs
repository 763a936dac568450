//! JSON lines: each line an observation or a whole curve.

use super::CurvePoint;
use super::cell;
use super::error::CurveFileError;
use super::gather::{Gather, Slot};
use super::json::Json;

/// A line's object, in the file's order.
type Object = [(String, Json)];

/// Reads all lines into `gather`.
pub(super) fn read(text: &str, gather: &mut Gather<'_>) -> Result<(), CurveFileError> {
    let mut rows = 0;
    for (index, line) in text.lines().enumerate() {
        let (row, line) = (index + 1, line.trim());
        if line.is_empty() {
            continue;
        }
        rows += 1;
        if rows > gather.limits().max_rows {
            return Err(gather.too_many(row, "rows", gather.limits().max_rows));
        }
        match serde_json::from_str::<Json>(line) {
            Ok(Json::Object(object)) => read_line(&object, row, gather)?,
            Ok(other) => gather.reject_line("", row, format!("holds {}, not an object", other.kind())),
            Err(error) => gather.reject_line("", row, syntax(&error)),
        }
    }
    Ok(())
}

/// The parser's message without its `at line 1 column 7`, which would contradict ours.
fn syntax(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let cause = text.rsplit_once(" at line ").map_or(text.as_str(), |(cause, _)| cause);
    format!(
        "is not valid JSON at character {}: {}",
        error.column(),
        cell::printable(cause)
    )
}

/// One object: who it is about, what belongs to the candidate, then the point or points.
fn read_line(object: &Object, row: usize, gather: &mut Gather<'_>) -> Result<(), CurveFileError> {
    let slot = match get(object, "candidate") {
        Some(Json::Text(name)) => gather.candidate(name, row, "candidate"),
        Some(other) => {
            gather.reject_line("", row, format!("`candidate` is {}, not a string", other.kind()));
            None
        }
        None => {
            gather.reject_line("", row, "has no key `candidate`".to_owned());
            None
        }
    };
    let Some(slot) = slot else { return Ok(()) };
    if get(object, "size").is_some() && get(object, "parameters").is_some() {
        gather.reject(
            slot,
            row,
            "size",
            "`size` and `parameters` mean the same; give one".to_owned(),
        );
    }
    let whole_curve = get(object, "observations");
    for (key, value) in object {
        match key.as_str() {
            "data_size" | "test_loss" | "standard_error" | "weight" if whole_curve.is_some() => {
                gather.reject(
                    slot,
                    row,
                    key,
                    "belongs to an observation, but the line is a whole curve".to_owned(),
                );
            }
            "candidate" | "observations" | "data_size" | "test_loss" | "standard_error" | "weight" => {}
            "attributes" => attributes(value, slot, row, gather),
            _ => common(key, key, value, slot, row, gather),
        }
    }
    match whole_curve {
        Some(Json::List(points)) => curve(points, slot, row, gather),
        Some(other) => {
            gather.reject(slot, row, "observations", format!("is {}, not an array", other.kind()));
            Ok(())
        }
        None => observation(object, "", slot, row, gather),
    }
}

fn get<'j>(object: &'j Object, key: &str) -> Option<&'j Json> {
    object.iter().find(|(name, _)| name == key).map(|(_, value)| value)
}

/// The points of a whole curve.
fn curve(points: &[Json], slot: Slot, row: usize, gather: &mut Gather<'_>) -> Result<(), CurveFileError> {
    const KEYS: [&str; 4] = ["data_size", "test_loss", "standard_error", "weight"];
    for (index, point) in points.iter().enumerate() {
        let path = format!("observations[{index}]");
        let Json::Object(fields) = point else {
            gather.reject(slot, row, &path, format!("is {}, not an object", point.kind()));
            continue;
        };
        for (key, _) in fields.iter().filter(|(key, _)| !KEYS.contains(&key.as_str())) {
            let column = format!("{path}.{key}");
            gather.reject(
                slot,
                row,
                &column,
                format!("unknown key; an observation has {}", KEYS.join(", ")),
            );
        }
        observation(fields, &format!("{path}."), slot, row, gather)?;
    }
    Ok(())
}

/// One point from the fields of `object`; `prefix` is the path to them.
fn observation(
    object: &Object,
    prefix: &str,
    slot: Slot,
    row: usize,
    gather: &mut Gather<'_>,
) -> Result<(), CurveFileError> {
    let field = |gather: &mut Gather<'_>, key: &str, check: fn(f64, &str) -> Result<f64, String>| {
        let value = match get(object, key) {
            None | Some(Json::Null) => return None,
            Some(Json::Whole(value)) => check(*value as f64, &value.to_string()),
            Some(Json::Float(value)) => check(*value, &value.to_string()),
            Some(other) => Err(format!("is {}, not a number", other.kind())),
        };
        value
            .map_err(|message| gather.reject(slot, row, &format!("{prefix}{key}"), message))
            .ok()
    };
    let test_loss = field(gather, "test_loss", cell::check_loss);
    let standard_error = field(gather, "standard_error", cell::check_standard_error);
    let weight = field(gather, "weight", cell::check_weight);
    let data_size = match get(object, "data_size") {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Whole(value)) => cell::whole(&value.to_string(), "data size").map(Some),
        Some(Json::Float(value)) => cell::whole(&value.to_string(), "data size").map(Some),
        Some(other) => Err(format!("is {}, not a number", other.kind())),
    };
    match (data_size, test_loss) {
        (Err(message), _) => gather.reject(slot, row, &format!("{prefix}data_size"), message),
        (Ok(Some(data_size)), Some(test_loss)) => {
            return gather.observe(
                slot,
                row,
                CurvePoint {
                    data_size,
                    test_loss,
                    standard_error,
                    weight,
                },
            );
        }
        (Ok(None), Some(_)) => {
            gather.reject(
                slot,
                row,
                &format!("{prefix}data_size"),
                "a loss without a data size".to_owned(),
            );
        }
        // Not measured, as an empty cell; or already reported.
        (Ok(_), None) => {}
    }
    Ok(())
}

/// The keys of `attributes`.
fn attributes(value: &Json, slot: Slot, row: usize, gather: &mut Gather<'_>) {
    match value {
        Json::Null => {}
        Json::Object(fields) => {
            for (key, value) in fields {
                attribute(key, &format!("attributes.{key}"), value, slot, row, gather);
            }
        }
        other => gather.reject(slot, row, "attributes", format!("is {}, not an object", other.kind())),
    }
}

/// A key that describes the candidate.
fn common(key: &str, path: &str, value: &Json, slot: Slot, row: usize, gather: &mut Gather<'_>) {
    match (key, value) {
        ("size" | "parameters" | "family", Json::Null) => {}
        ("size" | "parameters", Json::Whole(count)) => gather.parameters(slot, row, path, &count.to_string()),
        ("size" | "parameters", Json::Float(count)) => gather.parameters(slot, row, path, &count.to_string()),
        ("size" | "parameters", other) => {
            gather.reject(slot, row, path, format!("is {}, not a number", other.kind()));
        }
        ("family", Json::Text(family)) => gather.family(slot, row, path, family.trim()),
        ("family", other) => gather.reject(slot, row, path, format!("is {}, not a string", other.kind())),
        _ => attribute(key, path, value, slot, row, gather),
    }
}

/// An attribute: a string, number or truth value, kept as text.
fn attribute(key: &str, path: &str, value: &Json, slot: Slot, row: usize, gather: &mut Gather<'_>) {
    let text = match value {
        Json::Null => return,
        Json::Text(text) => text.trim().to_owned(),
        Json::Whole(value) => value.to_string(),
        Json::Float(value) => value.to_string(),
        Json::Bool(value) => value.to_string(),
        Json::List(_) | Json::Object(_) => {
            gather.reject(
                slot,
                row,
                path,
                format!("an attribute is a string or number, not {}", value.kind()),
            );
            return;
        }
    };
    if let Err(message) = cell::text(key, "the attribute's name", gather.limits().max_text_bytes) {
        gather.reject(slot, row, path, message);
        return;
    }
    gather.attribute(slot, row, key, &text);
}
