//! New selections.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;

use super::{Desk, DeskError, View};
use crate::driver::PrepareError;
use crate::plan;
use crate::selection::{Event, Failure, Prepared, SelectionSpec, State, WorkMode, transition};
use crate::store::{Creation, NewSelection, Summary};

/// A selection to be created; its spec is checked.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateWish {
    /// Empty: one is drawn.
    pub id: String,
    /// Tells retries without an id apart; empty: none.
    pub request_id: String,
    /// The question.
    pub spec: SelectionSpec,
    /// Nothing is stored.
    pub validate_only: bool,
}

/// Letters of nonces and of ids that are drawn.
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// So many random letters, at most 25.
pub(crate) fn draw(count: usize) -> String {
    // Keys of hash maps come from the operating system's randomness.
    let word = || u128::from(RandomState::new().build_hasher().finish());
    let mut bits = word() << 64 | word();
    let mut letter = || {
        let found = LETTERS.get(usize::try_from(bits % 32).unwrap_or(0)).copied();
        bits /= 32;
        char::from(found.unwrap_or(b'a'))
    };
    (0..count).map(|_| letter()).collect()
}

/// `sha256:` of the spec as it was understood: with defaults filled in, whatever way the wire wrote it.
pub(super) fn digest(spec: &SelectionSpec) -> Result<String, DeskError> {
    let text = serde_json::to_vec(spec).map_err(|error| DeskError::Invalid {
        field: "spec".to_owned(),
        description: format!("cannot be stored: {error}"),
    })?;
    Ok(crate::digest::sha256(&text))
}

impl Desk {
    /// Creates a selection, or returns the one that has this id (or this request id) and spec. Of a new one the trainers are asked
    /// first, for a while: what no budget pays is not stored.
    ///
    /// # Errors
    /// The id belongs to another spec, a trainer is unknown, the spec is too large for this selector, or it is known already that it
    /// cannot begin.
    pub async fn create(&self, wish: CreateWish) -> Result<View, DeskError> {
        self.accept(&wish.spec)?;
        if wish.validate_only {
            return self.as_if_created(wish).await;
        }
        let id = if wish.id.is_empty() {
            format!("sel-{}", draw(16))
        } else {
            wish.id
        };
        let spec_digest = digest(&wish.spec)?;
        if let Some(there) = self.store.existing(&id, &wish.request_id, &spec_digest).await? {
            return self.created(id, there).await;
        }
        let prepared = self.affordable(&wish.spec).await?;
        let budget = wish.spec.budget.clone();
        // Ids of runs hold it beside 96 bytes of the selection's: it is short.
        let nonce = draw(6);
        let event = Event::Created {
            spec: Box::new(wish.spec),
            nonce: nonce.clone(),
        };
        let now = self.store.now().await?;
        let state = begin(&id, event.clone(), now)?;
        let new = NewSelection {
            id: id.clone(),
            spec_digest,
            request_id: wish.request_id,
            event,
            summary: Summary::of(&state),
        };
        let creation = self.store.create(new).await?;
        if let (Creation::Created { id }, Some(prepared)) = (&creation, prepared) {
            self.driver.keep_prepared(id, &nonce, budget, prepared);
        }
        self.created(id, creation).await
    }

    async fn created(&self, id: String, creation: Creation) -> Result<View, DeskError> {
        match creation {
            Creation::Created { id } => {
                self.driver.nudge(&id);
                self.get(&id).await
            }
            Creation::Existing { id } => self.get(&id).await,
            Creation::Taken => Err(DeskError::Taken { id }),
        }
    }

    /// The plan of a selection that is to be created, if all trainers answer in time. Whatever else may be wrong is the driver's to
    /// find: it can wait.
    ///
    /// # Errors
    /// The budget does not pay for the smallest plan.
    async fn affordable(&self, spec: &SelectionSpec) -> Result<Option<Prepared>, DeskError> {
        let wait = self.config.create_wait;
        if wait.is_zero() || spec.work_mode == WorkMode::AskTell {
            return Ok(None);
        }
        match tokio::time::timeout(wait, self.driver.prepare_with_all(spec)).await {
            Ok(Ok(prepared)) => Ok(prepared),
            Ok(Err(error)) => match &error {
                PrepareError::Failed {
                    failure: Failure::BudgetTooSmall,
                    ..
                } => Err(error.into()),
                _ => Ok(None),
            },
            Err(_too_long) => Ok(None),
        }
    }

    /// What this selector can say of a spec without asking anybody.
    pub(super) fn accept(&self, spec: &SelectionSpec) -> Result<(), DeskError> {
        let (contenders, most) = (spec.contenders(), self.config.max_contenders);
        if contenders > most {
            return Err(DeskError::LimitExceeded {
                field: "spec.candidates".to_owned(),
                description: format!("at most {most} contenders are accepted here, these are {contenders}"),
            });
        }
        if spec.work_mode == WorkMode::AskTell {
            // Nobody is to be asked: whether there is a plan is known now.
            let planned = plan::prepare(spec, &plan::Told::default());
            return planned.map(drop).map_err(|(failure, detail)| {
                let error = PrepareError::Failed { failure, detail };
                error.into()
            });
        }
        let known: Vec<String> = self.driver.trainers().map(str::to_owned).collect();
        let unknown = match spec.trainers.iter().find(|name| !known.contains(name)) {
            Some(name) => Some(name.clone()),
            None => known.is_empty().then(String::new),
        };
        unknown.map_or(Ok(()), |name| Err(PrepareError::UnknownTrainer { name, known }.into()))
    }

    async fn as_if_created(&self, wish: CreateWish) -> Result<View, DeskError> {
        let prepared = self.driver.prepare(&wish.spec).await?;
        let now = self.store.now().await?;
        let event = Event::Created {
            spec: Box::new(wish.spec),
            nonce: String::new(),
        };
        let mut state = begin(&wish.id, event, now)?;
        state.limits = crate::selection::Limits {
            deadline: state.limits.deadline,
            ..prepared.limits.clone()
        };
        state.prepared = Some(prepared);
        Ok(View {
            id: wish.id,
            owner: String::new(),
            state: Arc::new(state),
            progress: std::collections::BTreeMap::new(),
            choice: None,
        })
    }
}

fn begin(id: &str, event: Event, now: crate::selection::Millis) -> Result<State, DeskError> {
    match transition(None, event, now) {
        Ok((state, _)) => Ok(state),
        Err(error) => Err(DeskError::Replay {
            id: id.to_owned(),
            error,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_names_are_plain_and_differ() {
        let (one, other) = (draw(16), draw(16));
        assert_eq!(one.len(), 16);
        assert!(one.bytes().all(|letter| LETTERS.contains(&letter)), "{one}");
        assert_ne!(one, other);
    }
}
