//! Faults on order: which call fails, when, and how.

use std::fmt;

use crate::store::StoreError;

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// [`crate::store::Store::create`].
    Create,
    /// [`crate::store::Store::append`].
    Append,
    /// [`crate::store::Store::delete`].
    Delete,
    /// [`crate::store::Store::claim`].
    Claim,
    /// [`crate::store::Store::renew`].
    Renew,
    /// [`crate::store::Store::release`].
    Release,
    /// Everything that changes nothing.
    Read,
}

impl Operation {
    /// Everything that changes something.
    pub const WRITES: [Self; 6] = [
        Self::Create,
        Self::Append,
        Self::Delete,
        Self::Claim,
        Self::Renew,
        Self::Release,
    ];
    /// Everything.
    pub const ALL: [Self; 7] = [
        Self::Create,
        Self::Append,
        Self::Delete,
        Self::Claim,
        Self::Renew,
        Self::Release,
        Self::Read,
    ];
}

/// Before or after the call took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// It takes no effect.
    Before,
    /// It has taken effect, but the answer does not say so.
    After,
}

/// What the caller sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// This error.
    Fail(StoreError),
    /// No answer, ever: the place to kill a driver at.
    Hang,
}

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which calls count and fail.
    pub operations: Vec<Operation>,
    /// The first of them that fails, counted from when the fault was set; 1 is the next.
    pub nth: u64,
    /// So many in a row, then it is over; [`u64::MAX`]: until it is lifted.
    pub times: u64,
    /// Before or after the effect.
    pub moment: Moment,
    /// What the caller sees.
    pub effect: Effect,
}

impl Fault {
    /// The nth append, once.
    #[must_use]
    pub fn append(nth: u64, moment: Moment, effect: Effect) -> Self {
        Self {
            operations: vec![Operation::Append],
            nth,
            times: 1,
            moment,
            effect,
        }
    }

    /// All calls from now on, before they take effect.
    #[must_use]
    pub fn outage(error: StoreError) -> Self {
        Self {
            operations: Operation::ALL.to_vec(),
            nth: 1,
            times: u64::MAX,
            moment: Moment::Before,
            effect: Effect::Fail(error),
        }
    }
}

/// Called with each fault that is met, at its moment; must not block.
pub type OnFault = Box<dyn Fn(&Fault) + Send>;

/// Faults that are set, and what was met.
#[derive(Default)]
pub(super) struct Faults {
    set: Vec<(Fault, u64)>,
    met: u64,
    calls: Vec<(Operation, u64)>,
    on_fault: Option<OnFault>,
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults")
            .field("set", &self.set)
            .field("met", &self.met)
            .finish_non_exhaustive()
    }
}

impl Faults {
    pub(super) fn set(&mut self, fault: Fault) {
        self.set.push((fault, 0));
    }

    pub(super) fn lift(&mut self) {
        self.set.clear();
    }

    pub(super) fn on_fault(&mut self, call: OnFault) {
        self.on_fault = Some(call);
    }

    pub(super) const fn met(&self) -> u64 {
        self.met
    }

    pub(super) fn calls(&self, operation: Operation) -> u64 {
        let own = self.calls.iter().filter(|(called, _)| *called == operation);
        own.map(|(_, count)| *count).sum()
    }

    /// Counts a call; answers with the first fault that it meets.
    pub(super) fn call(&mut self, operation: Operation) -> Option<Fault> {
        match self.calls.iter_mut().find(|(called, _)| *called == operation) {
            Some((_, count)) => *count += 1,
            None => self.calls.push((operation, 1)),
        }
        let mut met = None;
        for (fault, seen) in &mut self.set {
            if !fault.operations.contains(&operation) {
                continue;
            }
            *seen += 1;
            let past = seen.checked_sub(fault.nth.max(1));
            if past.is_some_and(|past| past < fault.times) && met.is_none() {
                met = Some(fault.clone());
            }
        }
        self.met += u64::from(met.is_some());
        met
    }

    pub(super) fn tell(&self, fault: &Fault) {
        if let Some(call) = &self.on_fault {
            call(fault);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_call_fails_as_often_as_ordered() {
        let mut faults = Faults::default();
        let mut fault = Fault::append(2, Moment::After, Effect::Hang);
        fault.times = 2;
        faults.set(fault);
        let calls = [
            (Operation::Append, false),
            (Operation::Read, false),
            (Operation::Append, true),
            (Operation::Append, true),
            (Operation::Append, false),
        ];
        for (index, (operation, fails)) in calls.into_iter().enumerate() {
            assert_eq!(faults.call(operation).is_some(), fails, "call {index}");
        }
        assert_eq!((faults.met(), faults.calls(Operation::Append)), (2, 4));
    }

    #[test]
    fn an_outage_lasts_until_it_is_lifted() {
        let mut faults = Faults::default();
        let detail = "gone".to_owned();
        faults.set(Fault::outage(StoreError::Unavailable { detail }));
        for operation in Operation::ALL {
            assert!(faults.call(operation).is_some());
        }
        faults.lift();
        assert_eq!(faults.call(Operation::Append), None);
    }
}
