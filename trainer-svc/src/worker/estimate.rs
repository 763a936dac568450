//! What a run would take, without starting it: memory from the shapes, time from the arithmetic and the pace seen so far.

mod memory;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use trainer_kit::capability::{Estimate, Inputs, SecondsRange};
use trainer_kit::spec::Spec;

use super::{convert, failure};
use crate::arch;
use crate::method::GraphShape;
use crate::runs::RunFailure;
use crate::train::{DEFAULT_SEQUENCE_LENGTH, TrainError};

/// Floating-point operations a second that a core is taken to do before anything was measured.
const FLOPS_PER_CORE: f64 = 2e10;
/// Bytes of text a token has, about.
const BYTES_PER_TOKEN: u64 = 3;
/// The range is so many times below and above what is expected: before and after the pace was measured.
const UNCERTAINTY: (f64, f64) = (5.0, 2.0);
/// Work done in some time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Measured {
    pub(super) parameters: u64,
    /// Of these, trained.
    pub(super) trained: u64,
    pub(super) tokens: u64,
    pub(super) seconds: f64,
}

/// Floating-point operations a second that runs reached, by device.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<BTreeMap<String, f64>>);

impl Pace {
    /// Takes note of what a run reached.
    pub(super) fn learn(&self, device: &str, measured: &Measured) {
        if measured.seconds > 1.0 && measured.tokens > 0 {
            let pace = flops(measured.parameters, measured.trained, measured.tokens) / measured.seconds;
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(device.to_owned(), pace);
        }
    }

    fn of(&self, device: &str) -> Option<f64> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(device)
            .copied()
    }
}

/// Floating-point operations of training on so many tokens: 2 a weight forward, 2 for the cotangents, 2 for a weight's gradient
/// where it is trained (Kaplan et al., arXiv 2001.08361, section 2.1).
pub(super) fn flops(parameters: u64, trained: u64, tokens: u64) -> f64 {
    (4.0 * parameters as f64 + 2.0 * trained as f64) * tokens as f64
}

/// The estimate.
pub(super) fn of(
    spec: &Spec,
    model: Option<&Path>,
    data: Option<&Path>,
    memory: Option<i64>,
    pace: &Pace,
) -> Result<Estimate, RunFailure> {
    let Some(folder) = model else {
        return Ok(Estimate {
            infeasible: None,
            memory_bytes: None,
            device_seconds: None,
            inputs: Inputs::default(),
        });
    };
    let opened = arch::open(folder).map_err(|error| failure::of(&error.into()))?;
    let method = convert::method(&spec.method);
    let shape = GraphShape {
        rows: 1,
        length: 2,
        training: false,
    };
    let tuned = method.build(opened.decoder.as_ref(), shape);
    let tuned = tuned.map_err(|error| failure::of(&TrainError::from(error)))?;
    let size = |shape: &[usize]| shape.iter().product::<usize>() as u64;
    let frozen: u64 = tuned.frozen.iter().map(|weight| size(&weight.shape)).sum();
    let trained: u64 = tuned.trainable.iter().map(|weight| size(&weight.shape)).sum();
    let weights: u64 = opened.parameters.iter().map(|parameter| size(&parameter.shape)).sum();
    let chosen = &spec.hyperparameters;
    let limit = opened.decoder.max_positions().unwrap_or(DEFAULT_SEQUENCE_LENGTH);
    let length = chosen.sequence_length.and_then(|length| u64::try_from(length).ok());
    let length = length.unwrap_or(limit.min(DEFAULT_SEQUENCE_LENGTH) as u64);
    let rows = chosen.batch_size.and_then(|rows| u64::try_from(rows).ok()).unwrap_or(1);
    let bytes = memory::of(&opened, &method, [frozen, trained], rows, length)?;
    let infeasible = memory
        .and_then(|memory| u64::try_from(memory).ok())
        .filter(|&memory| bytes > memory)
        .map(|memory| {
            (
                "OUT_OF_MEMORY",
                format!("it needs about {bytes} bytes, the device has {memory}"),
            )
        });
    let tokens = data.and_then(|path| tokens(path, spec, length, rows));
    Ok(Estimate {
        infeasible,
        memory_bytes: i64::try_from(bytes).ok(),
        device_seconds: tokens.map(|tokens| seconds(flops(frozen + trained, trained, tokens), spec, pace)),
        inputs: Inputs {
            parameters: i64::try_from(weights).ok(),
            ..Inputs::default()
        },
    })
}

fn seconds(flops: f64, spec: &Spec, pace: &Pace) -> SecondsRange {
    let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
    let measured = pace.of(&spec.device);
    let expected = flops / measured.unwrap_or(FLOPS_PER_CORE * cores);
    let factor = if measured.is_some() {
        UNCERTAINTY.1
    } else {
        UNCERTAINTY.0
    };
    SecondsRange {
        lower: expected / factor,
        expected,
        upper: expected * factor,
    }
}

/// Tokens that all sizes are trained on, from the data's bytes.
fn tokens(data: &Path, spec: &Spec, length: u64, rows: u64) -> Option<u64> {
    let chosen = &spec.hyperparameters;
    let sizes = spec.data_sizes.iter().filter_map(|&size| u64::try_from(size).ok());
    let per_example = example_tokens(data)?.min(length).max(2);
    Some(
        sizes
            .filter(|&size| size > 0)
            .map(|size| {
                let examples = match (chosen.steps, chosen.epochs) {
                    (Some(steps), _) => u64::try_from(steps).unwrap_or(1) * rows,
                    (None, epochs) => size * u64::try_from(epochs.unwrap_or(1)).unwrap_or(1),
                };
                examples.saturating_mul(per_example)
            })
            .sum(),
    )
}

/// Tokens of an example, about: the mean length of the first lines.
fn example_tokens(data: &Path) -> Option<u64> {
    use std::io::{BufRead as _, Read as _};
    if data
        .extension()
        .is_none_or(|ending| ending == "parquet" || ending == "json")
    {
        return Some(DEFAULT_SEQUENCE_LENGTH as u64);
    }
    let file = std::fs::File::open(data).ok()?;
    let (mut lines, mut bytes) = (0_u64, 0_u64);
    for line in std::io::BufReader::new(file.take(1 << 20)).split(b'\n') {
        bytes += line.ok()?.len() as u64;
        lines += 1;
    }
    Some(bytes / lines.max(1) / BYTES_PER_TOKEN)
}
