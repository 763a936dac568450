//! The event log of a run: numbered from 1, bounded in what comes often, complete in what matters.

use std::collections::VecDeque;
use std::time::Duration;

use crate::cost::Cost;
use crate::state::{Transition, WaitReason};

/// How far a run is.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Optimizer steps done.
    pub step: i64,
    /// Steps in all; absent for runs that only evaluate.
    pub total_steps: Option<i64>,
    /// Nats per token; absent before the first step.
    pub training_loss: Option<f64>,
    /// Throughput in simulated time.
    pub tokens_per_second: f64,
    /// Simulated time until the end.
    pub remaining: Duration,
}

/// On which data a loss was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
pub struct Evaluation {
    /// On what.
    pub kind: EvaluationKind,
    /// Examples tuned on before it.
    pub data_size: i64,
    /// Nats per token, finite, > 0.
    pub loss: f64,
    /// Standard error of the loss.
    pub standard_error: f64,
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
pub struct Checkpoint {
    /// The trainer's name for it.
    pub checkpoint_id: String,
    /// Step at which it was saved.
    pub step: i64,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Happening {
    /// The run was created; it waits for this reason.
    Created(WaitReason),
    /// It changed its state; with a sentence for people.
    State(Transition, String),
    /// It got on.
    Progress(Progress),
    /// A loss was measured.
    Evaluation(Evaluation),
    /// A line for people.
    Log(String),
    /// A checkpoint was saved.
    Checkpoint(Checkpoint),
    /// The cost grew.
    Cost(Cost),
}

impl Happening {
    /// May old ones be dropped?
    fn is_transient(&self) -> bool {
        matches!(self, Self::Progress(_) | Self::Log(_))
    }
}

/// A numbered event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// 1, 2, 3, … within the run.
    pub sequence: i64,
    /// When, since the trainer's start.
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
        self.last_sequence += 1;
        let event = Event {
            sequence: self.last_sequence,
            at,
            what,
        };
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
                let what = if lasting { Happening::Cost(Cost::default()) } else { Happening::Log(String::new()) };
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
}
