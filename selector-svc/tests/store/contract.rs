//! What every store does. Each case gets a store of its own.

pub mod leases;
pub mod lists;
pub mod writing;

use selector_svc::selection::{Ending, Event};

/// The end of a selection that nothing else happened to.
pub fn end() -> Vec<Event> {
    vec![Event::Ended {
        ending: Ending::Cancelled { detail: String::new() },
    }]
}
