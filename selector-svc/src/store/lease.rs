//! Who may drive a selection, and until when.

use std::time::Duration;

use crate::selection::Millis;
use crate::store::Claim;

/// A lease as stored. The default is held by nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lease {
    /// Empty: nobody.
    pub(super) owner: String,
    /// Of the last claim; never decreases.
    pub(super) fence: u64,
    /// End, by the store's clock.
    pub(super) until: Millis,
    /// Length when it was given or extended, milliseconds.
    pub(super) length: Millis,
}

impl Lease {
    /// Whether somebody holds it. A lease with more than twice its length to go was given before the clock jumped back: it counts
    /// as over, else a dead owner would keep its selection for as long as the jump. A living one claims it anew.
    pub(super) fn in_force(&self, now: Millis) -> bool {
        let left = self.until.saturating_sub(now);
        !self.owner.is_empty() && left > 0 && left <= self.length.saturating_mul(2)
    }

    /// Whether a claim stands.
    pub(super) fn is_held_by(&self, claim: &Claim, now: Millis) -> bool {
        self.in_force(now) && self.owner == claim.owner && self.fence == claim.fence
    }

    /// Who holds it; empty: nobody.
    pub(super) fn holder(&self, now: Millis) -> &str {
        if self.in_force(now) { &self.owner } else { "" }
    }
}

/// The longest lease, about 35,000 years: its end is still a number.
const LONGEST: Millis = 1 << 50;

/// A length in whole milliseconds, at least one.
pub(super) fn millis(lease: Duration) -> Millis {
    Millis::try_from(lease.as_millis()).unwrap_or(LONGEST).clamp(1, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_by_time_and_by_a_jump_back() {
        let lease = Lease {
            owner: "a".to_owned(),
            fence: 3,
            until: 1_000,
            length: 100,
        };
        for (now, held) in [
            (950, true),
            (999, true),
            (1_000, false),
            (2_000, false),
            (850, true),
            (799, false),
        ] {
            assert_eq!(lease.in_force(now), held, "at {now}");
        }
        assert_eq!((lease.holder(950), lease.holder(1_000)), ("a", ""));
        assert!(!Lease::default().in_force(-1));
    }

    #[test]
    fn lengths_are_whole_and_bounded() {
        assert_eq!(millis(Duration::ZERO), 1);
        assert_eq!(millis(Duration::MAX), LONGEST);
        assert_eq!(millis(Duration::from_millis(300)), 300);
    }
}
