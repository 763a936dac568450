//! Callers' wishes as events: pause, resume, cancel, amend.

use std::sync::Arc;
use std::time::Duration;

use super::{Desk, DeskError, View};
use crate::plan;
use crate::selection::{BudgetSpec, Ending, Event, Millis, Phase, State, transition};
use crate::store::{Append, StoreError, Summary, Writer};

/// How often a wish is tried anew because the selection was changed meanwhile.
const TRIES: u32 = 64;

/// A state, and what is to be added to it.
#[derive(Debug)]
pub(super) struct Draft {
    /// With the events.
    pub(super) state: State,
    /// To be appended.
    pub(super) events: Vec<Event>,
    /// The store's time.
    pub(super) now: Millis,
    id: String,
}

impl Draft {
    pub(super) fn new(id: &str, state: State, now: Millis) -> Self {
        Self {
            state,
            events: Vec::new(),
            now,
            id: id.to_owned(),
        }
    }

    /// The selection.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Adds an event.
    pub(super) fn push(&mut self, event: Event) -> Result<(), DeskError> {
        let (state, _) =
            transition(Some(self.state.clone()), event.clone(), self.now).map_err(|error| DeskError::Replay {
                id: self.id.clone(),
                error,
            })?;
        self.state = state;
        self.events.push(event);
        Ok(())
    }
}

impl Desk {
    /// Begins no new runs from now on; one that is paused stays so.
    ///
    /// # Errors
    /// It is ending or has ended.
    pub async fn pause(&self, id: &str) -> Result<View, DeskError> {
        let pause = |draft: &mut Draft| {
            going(draft)?;
            if draft.state.paused {
                return Ok(());
            }
            draft.push(Event::Paused)
        };
        Ok(self.command(id, pause).await?.0)
    }

    /// Goes on after a pause; one that is not paused goes on as it does.
    ///
    /// # Errors
    /// It is ending or has ended.
    pub async fn resume(&self, id: &str) -> Result<View, DeskError> {
        let resume = |draft: &mut Draft| {
            going(draft)?;
            if !draft.state.paused {
                return Ok(());
            }
            draft.push(Event::Resumed)
        };
        Ok(self.command(id, resume).await?.0)
    }

    /// Ends a selection; one that is ending or has ended stays as it is.
    ///
    /// # Errors
    /// The id is unknown, or the store cannot be written.
    pub async fn cancel(&self, id: &str, reason: &str) -> Result<View, DeskError> {
        let cancel = |draft: &mut Draft| {
            if !matches!(draft.state.phase, Phase::Preparing | Phase::Running) {
                return Ok(());
            }
            let detail = reason.to_owned();
            draft.push(Event::Stopping {
                ending: Ending::Cancelled { detail },
            })
        };
        Ok(self.command(id, cancel).await?.0)
    }

    /// Changes the limits; the same limits again change nothing.
    ///
    /// # Errors
    /// It is ending or has ended, or the budget is wrong.
    pub async fn amend(&self, id: &str, budget: &BudgetSpec) -> Result<View, DeskError> {
        let amend = |draft: &mut Draft| {
            going(draft)?;
            if draft.state.spec.budget == *budget {
                return Ok(());
            }
            let (limits, plan_examples) = plan::amend(&draft.state, budget).map_err(|wrong| DeskError::Invalid {
                field: wrong.field.to_owned(),
                description: wrong.description,
            })?;
            draft.push(Event::BudgetAmended {
                budget: budget.clone(),
                limits,
                plan_examples,
            })
        };
        Ok(self.command(id, amend).await?.0)
    }

    /// Appends what `decide` adds to the newest state; decides anew where somebody else has written meanwhile.
    pub(super) async fn command<T>(
        &self,
        id: &str,
        decide: impl Fn(&mut Draft) -> Result<T, DeskError> + Send,
    ) -> Result<(View, T), DeskError> {
        for attempt in 0..TRIES {
            let (stored, state) = self.load(id).await?;
            let after = state.sequence;
            let mut draft = Draft::new(id, state.as_ref().clone(), self.store.now().await?);
            let answer = decide(&mut draft)?;
            if draft.events.is_empty() {
                return Ok((self.view(stored.id, stored.owner, state), answer));
            }
            let append = Append {
                after,
                events: draft.events.clone(),
                summary: Summary::of(&draft.state),
                losses: Vec::new(),
                forecasts: Vec::new(),
            };
            match self.store.append(id, Writer::Caller, append).await {
                Ok(at) => {
                    self.driver.nudge(id);
                    let state = self.written(id, &state, draft.events, at)?;
                    return Ok((self.view(stored.id, stored.owner, state), answer));
                }
                Err(StoreError::Conflict { .. }) => {
                    tokio::time::sleep(Duration::from_millis(u64::from(attempt.min(20)))).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(DeskError::Contended { id: id.to_owned() })
    }

    /// The state after events that the store has taken, with its time.
    fn written(&self, id: &str, before: &State, events: Vec<Event>, at: Millis) -> Result<Arc<State>, DeskError> {
        let mut draft = Draft::new(id, before.clone(), at);
        for event in events {
            draft.push(event)?;
        }
        let state = Arc::new(draft.state);
        self.cached().keep(id, Arc::clone(&state));
        Ok(state)
    }
}

/// Neither ending nor over.
fn going(draft: &Draft) -> Result<(), DeskError> {
    let stands = match draft.state.phase {
        Phase::Preparing | Phase::Running => return Ok(()),
        Phase::Stopping(_) => "is ending",
        Phase::Ended(_) => "has ended",
    };
    Err(DeskError::WrongState {
        id: draft.id.clone(),
        description: format!("selection {:?} {stands}", draft.id),
    })
}
