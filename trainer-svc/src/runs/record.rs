//! A run as it is kept: a header that never changes, and lines that are added up.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use trainer_kit::cost::{Cost, PriceTable};
use trainer_kit::event::{Checkpoint, Evaluation, EvaluationKind, Event, Happening, Progress};
use trainer_kit::spec::Spec;
use trainer_kit::state::{Failure, RunState, Transition, WaitReason};

use super::log::RunLog;

/// The version of what this module writes. A reader refuses newer ones.
pub(super) const FORMAT: u32 = 1;

/// `run.json`: written once, when the run is created.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Header {
    /// [`FORMAT`]
    pub(super) format: u32,
    /// Ascending by creation, never used twice.
    pub(super) key: u64,
    /// Chosen by the client.
    pub(super) id: String,
    /// As it was sent.
    pub(super) sent: Spec,
    /// With defaults filled in: they stay as they were when the run was created.
    pub(super) spec: Spec,
}

/// A line of `events.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Line {
    /// The event's number.
    pub(super) sequence: i64,
    /// When, microseconds since 1970.
    pub(super) at_us: u64,
    /// Time in a slot so far, milliseconds.
    pub(super) held_ms: u64,
    /// Time in RUNNING so far, milliseconds.
    pub(super) ran_ms: u64,
    /// What.
    pub(super) what: Happening,
    /// What became known with it.
    #[serde(default, skip_serializing_if = "Facts::is_empty")]
    pub(super) facts: Facts,
}

/// What is known of a run beside its events; absent: nothing new.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Facts {
    /// The device that it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) device: Option<String>,
    /// Digest of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model_digest: Option<String>,
    /// Digest of the data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) data_digest: Option<String>,
    /// Tokens a sequence, by the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sequence_length: Option<i32>,
    /// Tuned weights are in their place.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) artifact: bool,
}

impl Facts {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A run: the sum of its header and lines.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) key: u64,
    pub(super) id: String,
    pub(super) sent: Spec,
    pub(super) spec: Spec,
    pub(super) state: RunState,
    pub(super) wait: Option<WaitReason>,
    pub(super) failure: Option<Failure>,
    pub(super) detail: String,
    /// Moments are since 1970.
    pub(super) created: Duration,
    pub(super) changed: Duration,
    pub(super) started: Option<Duration>,
    pub(super) ended: Option<Duration>,
    pub(super) progress: Option<Progress>,
    pub(super) evaluations: Vec<Evaluation>,
    pub(super) checkpoints: Vec<Checkpoint>,
    pub(super) cost: Cost,
    pub(super) device: String,
    pub(super) model_digest: String,
    pub(super) data_digest: String,
    pub(super) artifact: bool,
    /// Time in a slot, and of it in RUNNING, up to the last line.
    pub(super) held: Duration,
    pub(super) ran: Duration,
    /// It has had a slot at least once.
    pub(super) dispatched: bool,
    pub(super) last_at: Duration,
    pub(super) log: RunLog,
}

impl Record {
    /// A run before its first line.
    pub(super) fn new(header: Header, retained_events: usize, prices: Option<&PriceTable>) -> Self {
        Self {
            key: header.key,
            id: header.id,
            sent: header.sent,
            spec: header.spec,
            state: RunState::Queued,
            wait: None,
            failure: None,
            detail: String::new(),
            created: Duration::ZERO,
            changed: Duration::ZERO,
            started: None,
            ended: None,
            progress: None,
            evaluations: Vec::new(),
            checkpoints: Vec::new(),
            cost: Cost {
                device_seconds: 0.0,
                money: prices.map(|prices| prices.money(0.0)),
            },
            device: String::new(),
            model_digest: String::new(),
            data_digest: String::new(),
            artifact: false,
            held: Duration::ZERO,
            ran: Duration::ZERO,
            dispatched: false,
            last_at: Duration::ZERO,
            log: RunLog::new(header.key, retained_events),
        }
    }

    /// Adds a line.
    pub(super) fn apply(&mut self, line: Line) {
        let at = Duration::from_micros(line.at_us);
        self.held = Duration::from_millis(line.held_ms);
        self.ran = Duration::from_millis(line.ran_ms);
        self.last_at = at;
        self.learn(line.facts);
        match &line.what {
            Happening::Created(wait) => {
                (self.wait, self.created, self.changed) = (Some(*wait), at, at);
            }
            Happening::State(way, detail) => self.move_on(*way, detail, at),
            Happening::Progress(progress) => self.progress = Some(progress.clone()),
            Happening::Evaluation(evaluation) => self.evaluations.push(evaluation.clone()),
            Happening::Checkpoint(checkpoint) => self.checkpoints.push(checkpoint.clone()),
            Happening::Cost(cost) => self.cost = cost.clone(),
            Happening::Log(..) => {}
        }
        let event = Event {
            sequence: line.sequence,
            at,
            what: line.what,
        };
        self.log.add(event, self.state.is_ended());
    }

    fn learn(&mut self, facts: Facts) {
        let set = |known: &mut String, new: Option<String>| {
            if let Some(new) = new {
                *known = new;
            }
        };
        set(&mut self.device, facts.device);
        set(&mut self.model_digest, facts.model_digest);
        set(&mut self.data_digest, facts.data_digest);
        if facts.sequence_length.is_some() {
            self.spec.hyperparameters.sequence_length = facts.sequence_length;
        }
        self.artifact |= facts.artifact;
    }

    fn move_on(&mut self, way: Transition, detail: &str, at: Duration) {
        self.state = way.to;
        self.wait = way.wait;
        self.failure = way.failure;
        detail.clone_into(&mut self.detail);
        self.changed = at;
        match way.to {
            RunState::Preparing => self.dispatched = true,
            RunState::Running => {
                self.started.get_or_insert(at);
            }
            RunState::Paused => self.device.clear(),
            state if state.is_ended() => self.ended = Some(at),
            _ => {}
        }
    }

    /// What it has cost for this time in a slot; never less than before.
    pub(super) fn cost_of(&self, held: Duration, prices: Option<&PriceTable>) -> Cost {
        let device_seconds = held.as_secs_f64().max(self.cost.device_seconds);
        let now = prices.map(|prices| {
            if self.dispatched {
                prices.price(device_seconds)
            } else {
                prices.money(0.0)
            }
        });
        // Prices may have been changed since the run began: what it has cost by then stays.
        let money = match (&self.cost.money, now) {
            (Some(before), Some(now)) if before.currency == now.currency => {
                let more = (now.units, now.nanos) > (before.units, before.nanos);
                Some(if more { now } else { before.clone() })
            }
            (Some(before), Some(now)) if (before.units, before.nanos) == (0, 0) => Some(now),
            (Some(before), _) => Some(before.clone()),
            (None, now) => now,
        };
        Cost { device_seconds, money }
    }

    /// Is there already a loss for this?
    pub(super) fn measured(&self, like: &Evaluation) -> Option<&Evaluation> {
        self.evaluations.iter().find(|known| {
            (known.kind, known.data_size, &known.retention_set) == (like.kind, like.data_size, &like.retention_set)
        })
    }

    /// The first loss that was asked for and is not there, in words.
    pub(super) fn missing_evaluation(&self) -> Option<String> {
        let has = |kind, size: Option<i64>, set: &str| {
            self.evaluations.iter().any(|found| {
                found.kind == kind && size.is_none_or(|size| found.data_size == size) && found.retention_set == set
            })
        };
        let sizes = &self.spec.data_sizes;
        if let Some(size) = sizes
            .iter()
            .find(|size| !has(EvaluationKind::HeldOut, Some(**size), ""))
        {
            return Some(format!("there is no held-out loss for {size} examples"));
        }
        let kinds = [EvaluationKind::RetentionBefore, EvaluationKind::RetentionAfter];
        let mut sets = self.spec.retention_sets.iter();
        sets.find(|set| kinds.iter().any(|kind| !has(*kind, None, &set.name)))
            .map(|set| format!("there is no loss for the retention set {:?}", set.name))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use trainer_kit::cost::Money;
    use trainer_kit::event::Severity;
    use trainer_kit::spec::{ExampleOrder, Hyperparameters, Method, Reference, RetentionSet};
    use trainer_kit::state::{Cause, transition};

    use super::*;

    /// What version 1 writes. These lines must be read for ever; a change of what is written needs another version.
    const GOLDEN: &str = include_str!("../../tests/fixtures/state-1/runs/run/events.jsonl");
    const GOLDEN_HEADER: &str = include_str!("../../tests/fixtures/state-1/runs/run/run.json");

    fn header() -> Header {
        let reference = |uri: &str| Reference {
            uri: uri.to_owned(),
            digest: "sha256:00".to_owned(),
        };
        let spec = Spec {
            candidate_id: "candidate".to_owned(),
            model: reference("model"),
            data: reference("data"),
            held_out: Some(reference("held-out")),
            data_sizes: vec![0, 100],
            method: Method::Lora {
                rank: 8,
                alpha: Some(16.0),
                dropout: None,
                target_modules: vec!["q_proj".to_owned()],
            },
            hyperparameters: Hyperparameters {
                steps: Some(10),
                learning_rate: Some(0.1 + 0.2),
                schedule: "cosine".to_owned(),
                order: Some(ExampleOrder::AsIs),
                ..Hyperparameters::default()
            },
            seed: u64::MAX,
            subset_seed: 7,
            retention_sets: vec![RetentionSet {
                name: "wiki".to_owned(),
                data: reference("wiki"),
            }],
            device: "cpu".to_owned(),
            max_duration: Some(Duration::from_millis(1_500)),
            labels: BTreeMap::from([("team".to_owned(), "a".to_owned())]),
            initial_adapter: Some(reference("adapter")),
        };
        let prompt = Method::Prompt {
            length: 4,
            initial_text: "x".to_owned(),
        };
        let filled = Spec {
            method: prompt,
            ..spec.clone()
        };
        Header {
            format: FORMAT,
            key: 3,
            id: "run".to_owned(),
            sent: spec,
            spec: filled,
        }
    }

    /// A line of every kind.
    fn lines() -> Vec<Line> {
        let way = |state, cause| Happening::State(transition(state, cause).unwrap(), String::new());
        let money = Money {
            currency: "EUR".to_owned(),
            units: 1,
            nanos: 5,
        };
        let what = [
            Happening::Created(WaitReason::DeviceBusy),
            way(RunState::Queued, Cause::Dispatched),
            way(RunState::Preparing, Cause::Prepared),
            Happening::log(Severity::Warning, "a line"),
            Happening::Progress(Progress {
                step: 1,
                total_steps: Some(10),
                training_loss: Some(2.5),
                tokens_per_second: None,
                remaining: Some(Duration::from_secs(9)),
            }),
            Happening::Evaluation(Evaluation {
                kind: EvaluationKind::RetentionBefore,
                data_size: 0,
                loss: 1.0 / 3.0,
                standard_error: Some(0.01),
                tokens: 100,
                examples: 10,
                truncated_examples: 1,
                retention_set: "wiki".to_owned(),
            }),
            Happening::Checkpoint(Checkpoint {
                checkpoint_id: "step-1".to_owned(),
                step: 1,
            }),
            Happening::Cost(Cost {
                device_seconds: 1.5,
                money: Some(money),
            }),
            way(RunState::Running, Cause::Paused),
            way(RunState::Paused, Cause::Resumed(WaitReason::NoFreeSlot)),
            Happening::State(
                transition(RunState::Queued, Cause::Failed(Failure::DiskFull)).unwrap(),
                "the disk is full".to_owned(),
            ),
        ];
        let facts = |sequence| match sequence {
            2 => Facts {
                device: Some("cpu".to_owned()),
                ..Facts::default()
            },
            3 => Facts {
                model_digest: Some("sha256:11".to_owned()),
                data_digest: Some("sha256:22".to_owned()),
                sequence_length: Some(128),
                ..Facts::default()
            },
            11 => Facts {
                artifact: true,
                ..Facts::default()
            },
            _ => Facts::default(),
        };
        let line = |(what, sequence): (Happening, i64)| Line {
            sequence,
            at_us: 1_700_000_000_000_000 + u64::try_from(sequence).unwrap(),
            held_ms: 20,
            ran_ms: 10,
            facts: facts(sequence),
            what,
        };
        what.into_iter().zip(1..).map(line).collect()
    }

    #[test]
    fn what_is_written_is_format_1() {
        let text: String = lines()
            .iter()
            .map(|line| serde_json::to_string(line).unwrap() + "\n")
            .collect();
        assert_eq!(text, GOLDEN);
        assert_eq!(serde_json::to_string(&header()).unwrap(), GOLDEN_HEADER.trim_end());
    }

    #[test]
    fn what_format_1_wrote_is_read() {
        let read: Vec<Line> = GOLDEN.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(read, lines());
        assert_eq!(serde_json::from_str::<Header>(GOLDEN_HEADER).unwrap(), header());
    }

    proptest! {
        #[test]
        fn costs_never_fall_whatever_happens_to_the_prices(
            steps in prop::collection::vec((0_u64..10_000, 0_u32..4, 0.0_f64..2.0, 0.0_f64..2.0), 1..12),
        ) {
            let mut record = Record::new(header(), 1, None);
            record.dispatched = true;
            let mut held = Duration::ZERO;
            for (more, currency, per_device_second, per_run) in steps {
                held += Duration::from_millis(more);
                let currency = ["EUR", "USD"].get(currency as usize).map(|name| (*name).to_owned());
                let prices = currency.map(|currency| PriceTable { currency, per_device_second, per_run });
                let (before, now) = (record.cost.clone(), record.cost_of(held, prices.as_ref()));
                prop_assert!(now.device_seconds >= before.device_seconds);
                if let Some(before) = before.money {
                    let now = now.money.clone().unwrap();
                    let was_nothing = (before.units, before.nanos) == (0, 0);
                    prop_assert!(now.currency == before.currency || was_nothing);
                    prop_assert!((now.units, now.nanos) >= (before.units, before.nanos));
                }
                record.cost = now;
            }
        }
    }
}
