//! The event log of a run: numbered from 1, bounded in what comes often, complete in what matters.

use std::collections::VecDeque;
use std::time::Duration;

use crate::cost::Cost;
use crate::state::{Transition, WaitReason};

/// Bytes of a log line; the contract allows no more.
pub const MAX_LINE_BYTES: usize = 8 << 10;

/// How far a run is.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Progress {
    /// Optimizer steps done.
    pub step: i64,
    /// Steps in all; absent for runs that only evaluate.
    pub total_steps: Option<i64>,
    /// Nats per token; absent before the first step.
    pub training_loss: Option<f64>,
    /// Throughput; absent where it was not measured.
    pub tokens_per_second: Option<f64>,
    /// Time until the end; absent where it is not known.
    pub remaining: Option<Duration>,
}

/// On which data a loss was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum EvaluationKind {
    /// The held-out data.
    HeldOut,
    /// A retention set, before tuning.
    RetentionBefore,
    /// A retention set, after tuning.
    RetentionAfter,
}

/// A measured loss.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Evaluation {
    /// On what.
    pub kind: EvaluationKind,
    /// Examples tuned on before it.
    pub data_size: i64,
    /// Nats per token, finite, > 0.
    pub loss: f64,
    /// Standard error of the loss; absent where it was not estimated.
    pub standard_error: Option<f64>,
    /// Predicted tokens.
    pub tokens: i64,
    /// Examples evaluated.
    pub examples: i64,
    /// Of these, cut to the sequence length.
    pub truncated_examples: i64,
    /// Name of the retention set; empty for held-out data.
    pub retention_set: String,
}

/// A state saved on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Checkpoint {
    /// The trainer's name for it.
    pub checkpoint_id: String,
    /// Step at which it was saved.
    pub step: i64,
}

/// How bad a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Severity {
    /// For information.
    Info,
    /// Something is odd.
    Warning,
    /// Something failed.
    Error,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Happening {
    /// The run was created; it waits for this reason.
    Created(WaitReason),
    /// It changed its state; with a sentence for people.
    State(Transition, String),
    /// It got on.
    Progress(Progress),
    /// A loss was measured.
    Evaluation(Evaluation),
    /// A line for people, at most [`MAX_LINE_BYTES`].
    Log(Severity, String),
    /// A checkpoint was saved.
    Checkpoint(Checkpoint),
    /// The cost grew.
    Cost(Cost),
}

impl Happening {
    /// May old ones be dropped?
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Progress(_) | Self::Log(..))
    }

    /// A line for people, cut to what the contract allows.
    #[must_use]
    pub fn log(severity: Severity, text: &str) -> Self {
        Self::Log(severity, text[..text.floor_char_boundary(MAX_LINE_BYTES)].to_owned())
    }
}

/// A numbered event.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Event {
    /// 1, 2, 3, … within the run.
    pub sequence: i64,
    /// When, since a moment that the trainer chooses.
    pub at: Duration,
    /// What.
    pub what: Happening,
}

/// The log: everything that matters, and the newest of the rest.
#[derive(Debug, Clone)]
pub struct EventLog {
    lasting: Vec<Event>,
    transient: VecDeque<Event>,
    retained: usize,
    last_sequence: i64,
}

impl EventLog {
    /// An empty log that keeps so many progress and log events.
    #[must_use]
    pub fn new(retained: usize) -> Self {
        Self {
            lasting: Vec::new(),
            transient: VecDeque::new(),
            retained: retained.max(1),
            last_sequence: 0,
        }
    }

    /// Number of the newest event; 0 before the first.
    #[must_use]
    pub fn last_sequence(&self) -> i64 {
        self.last_sequence
    }

    /// Adds an event under the next number.
    pub fn push(&mut self, at: Duration, what: Happening) {
        self.add(Event {
            sequence: self.last_sequence + 1,
            at,
            what,
        });
    }

    /// Adds an event that has its number; the log goes on after it. One that is not newer than the newest is left out.
    pub fn add(&mut self, event: Event) {
        if event.sequence <= self.last_sequence {
            return;
        }
        self.last_sequence = event.sequence;
        if event.what.is_transient() {
            if self.transient.len() >= self.retained {
                self.transient.pop_front();
            }
            self.transient.push_back(event);
        } else {
            self.lasting.push(event);
        }
    }

    /// At most `limit` events after the cursor, in order.
    #[must_use]
    pub fn after(&self, cursor: i64, limit: usize) -> Vec<Event> {
        let from = self.lasting.partition_point(|event| event.sequence <= cursor);
        let mut lasting = self.lasting.iter().skip(from).peekable();
        let from = self.transient.partition_point(|event| event.sequence <= cursor);
        let mut transient = self.transient.iter().skip(from).peekable();
        let mut events = Vec::new();
        while events.len() < limit {
            let next = match (lasting.peek(), transient.peek()) {
                (Some(a), Some(b)) if a.sequence < b.sequence => lasting.next(),
                (Some(_), None) => lasting.next(),
                _ => transient.next(),
            };
            let Some(event) = next else { break };
            events.push(event.clone());
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn reading_by_cursor_loses_nothing_but_old_transient_events(
            kinds in prop::collection::vec(any::<bool>(), 0..200), retained in 1_usize..20, limit in 1_usize..9,
        ) {
            let mut log = EventLog::new(retained);
            for &lasting in &kinds {
                let what = if lasting { Happening::Cost(Cost::default()) } else { Happening::log(Severity::Info, "") };
                log.push(Duration::ZERO, what);
            }
            let mut read = Vec::new();
            loop {
                let cursor = read.last().copied().unwrap_or(0);
                let batch = log.after(cursor, limit);
                if batch.is_empty() { break; }
                read.extend(batch.iter().map(|event| event.sequence));
            }
            let mut transient: Vec<usize> = (0..kinds.len()).filter(|&i| !kinds[i]).collect();
            transient.drain(..transient.len().saturating_sub(retained));
            let expected: Vec<i64> = (0..kinds.len())
                .filter(|i| kinds[*i] || transient.contains(i))
                .map(|i| i64::try_from(i).unwrap() + 1)
                .collect();
            prop_assert_eq!(read, expected);
            prop_assert_eq!(log.last_sequence(), i64::try_from(kinds.len()).unwrap());
        }
    }

    #[test]
    fn lines_are_cut_between_characters_and_numbers_never_go_back() {
        let Happening::Log(_, line) = Happening::log(Severity::Info, &"ä".repeat(5_000)) else {
            panic!("a log line");
        };
        assert_eq!(line.len(), MAX_LINE_BYTES);
        let mut log = EventLog::new(1);
        for sequence in [1, 7, 7, 3] {
            let what = Happening::Cost(Cost::default());
            log.add(Event {
                sequence,
                at: Duration::ZERO,
                what,
            });
        }
        log.push(Duration::ZERO, Happening::Cost(Cost::default()));
        let numbers: Vec<i64> = log.after(0, 9).iter().map(|event| event.sequence).collect();
        assert_eq!(numbers, [1, 7, 8]);
    }
}
