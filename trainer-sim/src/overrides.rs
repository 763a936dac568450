//! What a run's own labels change in its simulation.
//!
//! | label | value | effect |
//! |---|---|---|
//! | `sim.fault` | a fault's name, see [`Fault`] | it happens once, at `sim.fault_at` |
//! | `sim.fault_at` | 0 to 1 | share of the run's work after which it happens; default 0.5 |
//! | `sim.fault_step` | optimizer step ≥ 0 | it happens when this step is done, instead |
//! | `sim.law` | `B,D_l,beta,E` | the law of the losses |
//! | `sim.noise` | 0 to 1 | relative standard deviation of the losses |
//! | `sim.parameters` | > 0 | number of weights |
//! | `sim.seconds_per_example` | > 0 | training time of one example, simulated seconds |
//! | `sim.examples` | ≥ 0 | examples that the data hold |
//! | `sim.stream_break` | ≥ 1 | every watch of the run breaks after so many events |
//! | `sim.lie` | a lie's name, see [`Lie`](crate::lie::Lie) | the trainer lies about this run; only where the configuration allows lies |
//!
//! Any other key that begins with `sim.` is refused: a misspelt fault would go unnoticed.

use std::collections::BTreeMap;

use crate::law::Law;
use crate::lie::Lie;
use crate::spec::Violation;
use crate::state::Failure;

/// The prefix of the labels that steer the simulation.
pub const PREFIX: &str = "sim.";

/// Something that goes wrong in a run, on demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The run fails with this failure. Names: `fail` (INTERNAL), `out_of_memory`, `disk_full`, `model_unreadable`,
    /// `data_unreadable`, `too_few_examples`, `loss_not_finite`, `stalled`.
    Fail(Failure),
    /// `evaluation_missing`: held-out losses from here on are not measured; the run ends FAILED.
    EvaluationMissing,
    /// `hang`: nothing happens any more; watches still get heartbeats. Only the watchdog, if set, ends it.
    Hang,
    /// `freeze`: as `hang`, and watches get no heartbeats either.
    Freeze,
    /// `preempted`: the device is taken away.
    Preempted,
    /// `lost`: the worker vanishes.
    Lost,
    /// `crash`: the process aborts. Only where the configuration allows it.
    Crash,
    /// `exit`: the process exits with code 70. Only where the configuration allows it.
    Exit,
}

impl Fault {
    /// All faults, by name.
    pub const NAMED: [(&'static str, Self); 15] = [
        ("fail", Self::Fail(Failure::Internal)),
        ("out_of_memory", Self::Fail(Failure::OutOfMemory)),
        ("disk_full", Self::Fail(Failure::DiskFull)),
        ("model_unreadable", Self::Fail(Failure::ModelUnreadable)),
        ("data_unreadable", Self::Fail(Failure::DataUnreadable)),
        ("too_few_examples", Self::Fail(Failure::TooFewExamples)),
        ("loss_not_finite", Self::Fail(Failure::LossNotFinite)),
        ("stalled", Self::Fail(Failure::Stalled)),
        ("evaluation_missing", Self::EvaluationMissing),
        ("hang", Self::Hang),
        ("freeze", Self::Freeze),
        ("preempted", Self::Preempted),
        ("lost", Self::Lost),
        ("crash", Self::Crash),
        ("exit", Self::Exit),
    ];

    /// The fault of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMED
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, fault)| *fault)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMED
            .iter()
            .find(|(_, fault)| *fault == self)
            .map_or("fail", |(name, _)| name)
    }

    /// Does it end the process?
    #[must_use]
    pub fn ends_process(self) -> bool {
        matches!(self, Self::Crash | Self::Exit)
    }
}

/// When a fault happens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FaultPoint {
    /// After this share of the work, 0 to 1.
    Share(f64),
    /// When this optimizer step is done.
    Step(i64),
}

/// What labels may do here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Faults may end the process.
    pub crash: bool,
    /// The trainer may lie.
    pub lies: bool,
}

/// What the labels of one run ask for; all absent by default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    /// A fault.
    pub fault: Option<Fault>,
    /// When it happens.
    pub fault_point: Option<FaultPoint>,
    /// The law of the losses.
    pub law: Option<Law>,
    /// Relative standard deviation of the losses.
    pub noise: Option<f64>,
    /// Number of weights.
    pub parameters: Option<f64>,
    /// Simulated seconds.
    pub seconds_per_example: Option<f64>,
    /// Examples in the data.
    pub examples: Option<i64>,
    /// Events after which a watch breaks.
    pub stream_break: Option<u32>,
    /// What the trainer lies about.
    pub lie: Option<Lie>,
}

impl Overrides {
    /// Reads the labels.
    ///
    /// # Errors
    /// Every label under [`PREFIX`] that cannot be read or is not allowed.
    pub fn from_labels(labels: &BTreeMap<String, String>, allowed: Permissions) -> Result<Self, Vec<Violation>> {
        let mut overrides = Self::default();
        let mut violations = Vec::new();
        for (key, value) in labels {
            let Some(name) = key.strip_prefix(PREFIX) else { continue };
            if let Err(problem) = overrides.set(name, value.trim(), allowed) {
                violations.push(Violation::new(format!("spec.labels[{key:?}]"), problem));
            }
        }
        if violations.is_empty() {
            Ok(overrides)
        } else {
            Err(violations)
        }
    }

    fn set(&mut self, name: &str, value: &str, allowed: Permissions) -> Result<(), String> {
        match name {
            "fault" => {
                let fault = Fault::from_name(value).ok_or("is no fault of the simulated trainer")?;
                if fault.ends_process() && !allowed.crash {
                    return Err("this trainer is not configured to crash".to_owned());
                }
                self.fault = Some(fault);
            }
            "fault_at" => self.fault_point = Some(FaultPoint::Share(number(value, 0.0, 1.0)?)),
            "fault_step" => self.fault_point = Some(FaultPoint::Step(whole(value, 0)?)),
            "law" => {
                let law = value.parse();
                self.law = Some(law.map_err(|error: crate::law::ParseLawError| error.to_string())?);
            }
            "noise" => self.noise = Some(number(value, 0.0, 1.0)?),
            "parameters" => self.parameters = Some(number(value, 1.0, 1e15)?),
            "seconds_per_example" => self.seconds_per_example = Some(number(value, 1e-9, 1e9)?),
            "examples" => self.examples = Some(whole(value, 0)?),
            "stream_break" => {
                self.stream_break = Some(u32::try_from(whole(value, 1)?).unwrap_or(u32::MAX));
            }
            "lie" => {
                if !allowed.lies {
                    return Err("this trainer is not configured to lie".to_owned());
                }
                self.lie = Some(Lie::from_name(value).ok_or("is no lie of the simulated trainer")?);
            }
            _ => return Err("is no label that the simulated trainer knows".to_owned()),
        }
        Ok(())
    }
}

fn number(text: &str, min: f64, max: f64) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| format!("must be a number from {min} to {max}"))
}

fn whole(text: &str, min: i64) -> Result<i64, String> {
    text.parse()
        .ok()
        .filter(|number| *number >= min)
        .ok_or_else(|| format!("must be a whole number of at least {min}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn labels_are_read_and_others_left_alone() {
        let all = labels(&[
            ("team", "x"),
            ("sim.fault", "lost"),
            ("sim.fault_at", "0.25"),
            ("sim.law", "1,1,0.5,2"),
            ("sim.examples", "100"),
        ]);
        let read = Overrides::from_labels(&all, Permissions::default()).unwrap();
        assert_eq!(read.fault, Some(Fault::Lost));
        assert_eq!(read.fault_point, Some(FaultPoint::Share(0.25)));
        assert_eq!(read.examples, Some(100));
    }

    #[test]
    fn what_cannot_be_read_or_is_not_allowed_is_named() {
        for (key, value) in [
            ("sim.fault", "no"),
            ("sim.fault", "crash"),
            ("sim.lie", "nan_loss"),
            ("sim.fualt", "lost"),
            ("sim.noise", "NaN"),
            ("sim.noise", "2"),
            ("sim.examples", "-1"),
            ("sim.stream_break", "0"),
        ] {
            let found = Overrides::from_labels(&labels(&[(key, value)]), Permissions::default()).unwrap_err();
            assert_eq!(found[0].field, format!("spec.labels[{key:?}]"));
        }
        let allowed = Permissions {
            crash: true,
            lies: true,
        };
        assert!(Overrides::from_labels(&labels(&[("sim.fault", "crash"), ("sim.lie", "nan_loss")]), allowed).is_ok());
    }

    #[test]
    fn every_fault_has_one_name() {
        for (name, fault) in Fault::NAMED {
            assert_eq!((Fault::from_name(name), fault.name()), (Some(fault), name));
        }
    }
}
