//! Every field of a specification against the ranges of the contract; all violations at once, each with its path.

use std::collections::HashSet;

use super::{Hyperparameters, Method, Reference, SCHEDULES, Spec};

/// A field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field, e.g. `spec.data_sizes[1]`.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

impl Violation {
    /// A violation.
    #[must_use]
    pub fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            description: description.into(),
        }
    }
}

const MAX_ID: usize = 128;
const MAX_NAME: usize = 256;
const MAX_URI: usize = 2_048;
const MAX_SIZES: usize = 64;
const MAX_RETENTION_SETS: usize = 16;
const MAX_LABELS: usize = 64;
const MAX_WIDTH: i32 = 4_096;
const MAX_SEQUENCES: i32 = 1 << 20;
const MAX_ACCUMULATION: i32 = 1 << 16;

/// The id of a run: 1 to 128 bytes of letters, digits, '-', '_', '.', not beginning with '.'.
///
/// # Errors
/// The violation, under `training_run_id`.
pub fn check_id(id: &str) -> Result<(), Violation> {
    let wrong = |what: &str| Err(Violation::new("training_run_id", what));
    if id.is_empty() || id.len() > MAX_ID {
        return wrong("must be 1 to 128 bytes long");
    }
    if id.starts_with('.') {
        return wrong("must not begin with '.'");
    }
    if !id
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    {
        return wrong("must consist of letters, digits, '-', '_' and '.'");
    }
    Ok(())
}

/// A request id: at most 128 bytes.
///
/// # Errors
/// The violation, under `request_id`.
pub fn check_request_id(id: &str) -> Result<(), Violation> {
    if id.len() > MAX_ID {
        return Err(Violation::new("request_id", "must be at most 128 bytes long"));
    }
    Ok(())
}

/// All that is wrong with a spec; nothing if it is well.
#[must_use]
pub fn check_spec(spec: &Spec) -> Vec<Violation> {
    let mut found = Found::default();
    found.text("spec.candidate_id", &spec.candidate_id, MAX_NAME);
    found.reference("spec.model", &spec.model);
    found.reference("spec.data", &spec.data);
    if let Some(held_out) = &spec.held_out {
        found.reference("spec.held_out", held_out);
    }
    found.sizes(&spec.data_sizes);
    found.method(&spec.method);
    found.hyperparameters(&spec.hyperparameters);
    found.retention(spec);
    if spec.device.len() > MAX_NAME {
        found.push("spec.device", "must be at most 256 bytes long");
    }
    if spec.max_duration.is_some_and(|limit| limit.is_zero()) {
        found.push("spec.max_duration", "must be longer than 0 s");
    }
    found.labels(spec);
    if let Some(adapter) = &spec.initial_adapter {
        found.reference("spec.initial_adapter", adapter);
        if spec.method == Method::Full {
            found.push("spec.initial_adapter", "needs the method lora or prompt");
        }
    }
    found.0
}

#[derive(Default)]
struct Found(Vec<Violation>);

impl Found {
    fn push(&mut self, field: impl Into<String>, description: impl Into<String>) {
        self.0.push(Violation::new(field, description));
    }

    fn text(&mut self, field: &str, text: &str, max: usize) {
        if text.is_empty() || text.len() > max {
            self.push(field, format!("must be 1 to {max} bytes long"));
        }
    }

    fn range(&mut self, field: &str, value: Option<i32>, max: i32) {
        if let Some(value) = value
            && !(1..=max).contains(&value)
        {
            self.push(field, format!("must be 1 to {max}, is {value}"));
        }
    }

    fn positive(&mut self, field: &str, value: Option<f64>) {
        if let Some(value) = value
            && !(value.is_finite() && value > 0.0)
        {
            self.push(field, format!("must be finite and above 0, is {value}"));
        }
    }

    fn reference(&mut self, path: &str, reference: &Reference) {
        self.text(&format!("{path}.uri"), &reference.uri, MAX_URI);
    }

    fn sizes(&mut self, sizes: &[i64]) {
        if sizes.is_empty() || sizes.len() > MAX_SIZES {
            self.push(
                "spec.data_sizes",
                format!("must hold 1 to 64 sizes, holds {}", sizes.len()),
            );
        }
        let mut before = None;
        for (index, &size) in sizes.iter().enumerate().take(MAX_SIZES) {
            let field = format!("spec.data_sizes[{index}]");
            if size < 0 {
                self.push(field, format!("must not be negative, is {size}"));
            } else if before.is_some_and(|before| size <= before) {
                self.push(field, "must be larger than the size before it");
            }
            before = Some(size);
        }
    }

    fn method(&mut self, method: &Method) {
        match method {
            Method::Full => {}
            Method::Lora {
                rank,
                alpha,
                dropout,
                target_modules,
            } => {
                self.range("spec.method.lora.rank", Some(*rank), MAX_WIDTH);
                self.positive("spec.method.lora.alpha", *alpha);
                if let Some(dropout) = dropout
                    && !(0.0..1.0).contains(dropout)
                {
                    self.push(
                        "spec.method.lora.dropout",
                        format!("must be at least 0 and below 1, is {dropout}"),
                    );
                }
                for (index, name) in target_modules.iter().enumerate() {
                    if name.is_empty() {
                        let field = format!("spec.method.lora.target_modules[{index}]");
                        self.push(field, "must not be empty");
                    }
                }
            }
            Method::Prompt { length, .. } => self.range("spec.method.prompt.length", Some(*length), MAX_WIDTH),
        }
    }

    fn hyperparameters(&mut self, chosen: &Hyperparameters) {
        let path = |name: &str| format!("spec.hyperparameters.{name}");
        self.range(&path("epochs"), chosen.epochs, 10_000);
        self.range(&path("steps"), chosen.steps, i32::MAX);
        if chosen.epochs.is_some() && chosen.steps.is_some() {
            self.push(path("steps"), "must not be set together with epochs");
        }
        self.range(&path("batch_size"), chosen.batch_size, MAX_SEQUENCES);
        self.range(&path("sequence_length"), chosen.sequence_length, MAX_SEQUENCES);
        self.positive(&path("learning_rate"), chosen.learning_rate);
        if let Some(ratio) = chosen.warmup_ratio
            && !(0.0..=1.0).contains(&ratio)
        {
            self.push(path("warmup_ratio"), format!("must be 0 to 1, is {ratio}"));
        }
        if let Some(decay) = chosen.weight_decay
            && !(decay.is_finite() && decay >= 0.0)
        {
            self.push(
                path("weight_decay"),
                format!("must be finite and not negative, is {decay}"),
            );
        }
        self.positive(&path("clip_norm"), chosen.clip_norm);
        self.range(
            &path("gradient_accumulation"),
            chosen.gradient_accumulation,
            MAX_ACCUMULATION,
        );
        self.range(&path("patience"), chosen.patience, 10_000);
        if !chosen.schedule.is_empty() && !SCHEDULES.contains(&chosen.schedule.as_str()) {
            self.push(path("schedule"), "must be \"constant\", \"linear\" or \"cosine\"");
        }
    }

    fn retention(&mut self, spec: &Spec) {
        let sets = &spec.retention_sets;
        if sets.len() > MAX_RETENTION_SETS {
            self.push(
                "spec.retention_sets",
                format!("must hold at most 16 sets, holds {}", sets.len()),
            );
        }
        let mut names = HashSet::new();
        for (index, set) in sets.iter().enumerate().take(MAX_RETENTION_SETS) {
            let path = format!("spec.retention_sets[{index}]");
            self.text(&format!("{path}.name"), &set.name, MAX_NAME);
            if !names.insert(set.name.as_str()) {
                self.push(format!("{path}.name"), "must be unique within the run");
            }
            self.reference(&format!("{path}.data"), &set.data);
        }
    }

    fn labels(&mut self, spec: &Spec) {
        if spec.labels.len() > MAX_LABELS {
            self.push(
                "spec.labels",
                format!("must hold at most 64 labels, holds {}", spec.labels.len()),
            );
        }
        for (key, value) in spec.labels.iter().take(MAX_LABELS) {
            if key.len() > MAX_NAME {
                self.push("spec.labels", "keys must be at most 256 bytes long");
            } else if value.len() > MAX_NAME {
                self.push(label_path(key), "must be at most 256 bytes long");
            }
        }
    }
}

/// The path of a label: `spec.labels["key"]`.
#[must_use]
pub fn label_path(key: &str) -> String {
    format!("spec.labels[{key:?}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_plain_names() {
        for good in ["a", "run-1", "A_b.c", "0", &"x".repeat(128)] {
            assert_eq!(check_id(good), Ok(()), "{good}");
        }
        for bad in ["", ".hidden", "a/b", "a b", "ä", "a\0", "../up", &"x".repeat(129)] {
            assert_eq!(check_id(bad).unwrap_err().field, "training_run_id", "{bad:?}");
        }
    }

    #[test]
    fn all_violations_are_found_at_once() {
        let spec = Spec {
            candidate_id: String::new(),
            model: Reference::default(),
            data: Reference {
                uri: "x".repeat(2_049),
                ..Reference::default()
            },
            held_out: Some(Reference::default()),
            data_sizes: vec![4, 4, -1],
            method: Method::Lora {
                rank: 0,
                alpha: Some(f64::NAN),
                dropout: Some(1.0),
                target_modules: vec![String::new()],
            },
            hyperparameters: Hyperparameters {
                epochs: Some(0),
                steps: Some(1),
                learning_rate: Some(-1.0),
                warmup_ratio: Some(f64::INFINITY),
                gradient_accumulation: Some(65_537),
                patience: Some(0),
                schedule: "zigzag".to_owned(),
                ..Hyperparameters::default()
            },
            seed: 0,
            subset_seed: 0,
            retention_sets: vec![super::super::RetentionSet::default(); 2],
            device: String::new(),
            max_duration: Some(std::time::Duration::ZERO),
            labels: std::iter::once(("k".to_owned(), "v".repeat(257))).collect(),
            initial_adapter: Some(Reference::default()),
        };
        let fields: Vec<String> = check_spec(&spec).into_iter().map(|v| v.field).collect();
        let expected = [
            "spec.candidate_id",
            "spec.model.uri",
            "spec.data.uri",
            "spec.held_out.uri",
            "spec.data_sizes[1]",
            "spec.data_sizes[2]",
            "spec.method.lora.rank",
            "spec.method.lora.alpha",
            "spec.method.lora.dropout",
            "spec.method.lora.target_modules[0]",
            "spec.hyperparameters.epochs",
            "spec.hyperparameters.steps",
            "spec.hyperparameters.learning_rate",
            "spec.hyperparameters.warmup_ratio",
            "spec.hyperparameters.gradient_accumulation",
            "spec.hyperparameters.patience",
            "spec.hyperparameters.schedule",
            "spec.retention_sets[0].name",
            "spec.retention_sets[0].data.uri",
            "spec.retention_sets[1].name",
            "spec.retention_sets[1].name",
            "spec.retention_sets[1].data.uri",
            "spec.max_duration",
            "spec.labels[\"k\"]",
            "spec.initial_adapter.uri",
        ];
        assert_eq!(fields, expected);
    }
}
