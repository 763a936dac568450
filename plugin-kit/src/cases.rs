//! All cases, by area.

mod cancel;
mod cost;
mod create;
mod deadlines;
mod delete;
mod errors;
mod estimate;
mod evaluations;
mod fields;
mod identity;
mod limits;
mod list;
mod pause;
mod queue;
mod serving;
mod states;
mod watch;

use crate::case::Case;

/// All cases, in the order of the report.
#[must_use]
pub fn all() -> Vec<Case> {
    [
        identity::CASES,
        create::CASES,
        fields::CASES,
        states::CASES,
        watch::CASES,
        cancel::CASES,
        pause::CASES,
        evaluations::CASES,
        cost::CASES,
        estimate::CASES,
        list::CASES,
        delete::CASES,
        errors::CASES,
        limits::CASES,
        deadlines::CASES,
        serving::CASES,
        queue::CASES,
    ]
    .concat()
}
