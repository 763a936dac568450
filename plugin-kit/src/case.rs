//! Cases as data: what each proves, of which clauses, and what the trainer must claim for it.

use futures::future::BoxFuture;

use crate::kit::Scope;
use crate::verdict::Verdict;

/// What the trainer must claim, or must not claim, for a case to apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Every trainer.
    Nothing,
    /// Trainers that claim this capability.
    Claimed(&'static str),
    /// Trainers that do not claim it.
    Unclaimed(&'static str),
}

/// Whether a case may run beside others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Company {
    /// With others at the same time.
    Shared,
    /// Alone: it fills the trainer, or counts its runs.
    Alone,
}

/// A case of the kit.
#[derive(Clone, Copy)]
pub struct Case {
    /// Name, `area.what`.
    pub id: &'static str,
    /// Numbers of the clauses of `docs/plugin-contract.md` that it proves.
    pub clauses: &'static [&'static str],
    /// For which trainers.
    pub needs: Needs,
    /// Beside others or alone.
    pub company: Company,
    /// What it proves, one sentence.
    pub proves: &'static str,
    /// The case.
    pub(crate) run: for<'a> fn(&'a Scope) -> BoxFuture<'a, Verdict>,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Case")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// A row of the table.
macro_rules! case {
    ($id:literal, [$($clause:literal),+], $needs:expr, $company:ident, $run:ident, $proves:literal) => {
        $crate::case::Case {
            id: $id,
            clauses: &[$($clause),+],
            needs: $needs,
            company: $crate::case::Company::$company,
            proves: $proves,
            run: |scope| Box::pin($run(scope)),
        }
    };
}
pub(crate) use case;

impl Needs {
    /// The capability that it is about.
    #[must_use]
    pub fn capability(self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::Claimed(name) | Self::Unclaimed(name) => Some(name),
        }
    }
}

/// The capabilities that are flags, by their names in the contract.
pub const CAPABILITIES: [&str; 6] = [
    "pause",
    "checkpoint_resume",
    "nested_subsets",
    "deterministic_seeds",
    "estimate",
    "retention_sets",
];
