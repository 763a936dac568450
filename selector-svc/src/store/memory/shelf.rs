//! What the store in memory holds, and the rules that every store keeps.

use std::collections::BTreeMap;

use crate::selection::{Event, Millis, Phase};
use crate::store::lease::Lease;
use crate::store::record::{check_forecast, decode_event, decode_summary, encode_event, encode_summary};
use crate::store::{
    Append, Claim, Creation, KnownForecast, KnownLoss, ListQuery, LossKey, NewSelection, StoreError, StoredEvent,
    StoredSelection, Summary, Writer, phase_name,
};

#[derive(Debug)]
struct Row {
    spec_digest: String,
    request_id: String,
    /// Those of the creation, by which lists find it.
    labels: BTreeMap<String, String>,
    created: Millis,
    updated: Millis,
    lease: Lease,
    summary: Summary,
    /// Time and record of event n at n − 1.
    events: Vec<(Millis, String)>,
}

impl Row {
    fn has_ended(&self) -> bool {
        matches!(self.summary.phase, Phase::Ended(_))
    }

    fn sequence(&self) -> u64 {
        self.events.len() as u64
    }

    fn stored(&self, id: &str, now: Millis) -> StoredSelection {
        StoredSelection {
            id: id.to_owned(),
            created: self.created,
            updated: self.updated,
            sequence: self.sequence(),
            owner: self.lease.holder(now).to_owned(),
            summary: self.summary.clone(),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Shelf {
    rows: BTreeMap<String, Row>,
    losses: BTreeMap<LossKey, KnownLoss>,
    /// Oldest first.
    forecasts: Vec<KnownForecast>,
}

fn not_found(id: &str) -> StoreError {
    StoreError::NotFound { id: id.to_owned() }
}

/// A summary as it comes back from its record.
fn written(id: &str, summary: &Summary) -> Result<Summary, StoreError> {
    let read = encode_summary(summary).and_then(|text| decode_summary(&text));
    read.map_err(|problem| problem.at(id, 0).into())
}

fn record(id: &str, sequence: u64, event: &Event) -> Result<String, StoreError> {
    encode_event(event).map_err(|problem| problem.at(id, sequence).into())
}

impl Shelf {
    fn row(&self, id: &str) -> Result<&Row, StoreError> {
        self.rows.get(id).ok_or_else(|| not_found(id))
    }

    pub(super) fn existing(&self, id: &str, request_id: &str, spec_digest: &str) -> Option<Creation> {
        let by_request = |(_, row): &(&String, &Row)| !request_id.is_empty() && row.request_id == request_id;
        let found = self.rows.iter().find(by_request);
        let (id, row) = found.or_else(|| self.rows.get_key_value(id))?;
        Some(if row.spec_digest == spec_digest {
            Creation::Existing { id: id.clone() }
        } else {
            Creation::Taken
        })
    }

    pub(super) fn create(&mut self, new: NewSelection, now: Millis) -> Result<Creation, StoreError> {
        if let Some(there) = self.existing(&new.id, &new.request_id, &new.spec_digest) {
            return Ok(there);
        }
        let row = Row {
            summary: written(&new.id, &new.summary)?,
            events: vec![(now, record(&new.id, 1, &new.event)?)],
            spec_digest: new.spec_digest,
            request_id: new.request_id,
            labels: new.summary.labels,
            created: now,
            updated: now,
            lease: Lease::default(),
        };
        self.rows.insert(new.id.clone(), row);
        Ok(Creation::Created { id: new.id })
    }

    pub(super) fn get(&self, id: &str, now: Millis) -> Result<StoredSelection, StoreError> {
        Ok(self.row(id)?.stored(id, now))
    }

    pub(super) fn events(&self, id: &str, after: u64, limit: u32) -> Result<Vec<StoredEvent>, StoreError> {
        let events = (1_u64..).zip(&self.row(id)?.events);
        let wanted = events.filter(|(sequence, _)| *sequence > after).take(limit as usize);
        let read = wanted.map(|(sequence, (at, text))| {
            let event = decode_event(text).map_err(|problem| problem.at(id, sequence))?;
            Ok(StoredEvent {
                sequence,
                at: *at,
                event,
            })
        });
        read.collect()
    }

    pub(super) fn append(
        &mut self,
        id: &str,
        writer: &Writer,
        append: Append,
        now: Millis,
    ) -> Result<Millis, StoreError> {
        let row = self.rows.get_mut(id).ok_or_else(|| not_found(id))?;
        if let Writer::Owner(claim) = writer
            && !(claim.id == id && row.lease.is_held_by(claim, now))
        {
            return Err(StoreError::Fenced { id: id.to_owned() });
        }
        let sequence = row.sequence();
        if append.after != sequence {
            let id = id.to_owned();
            return Err(StoreError::Conflict { id, sequence });
        }
        let at = now.max(row.updated);
        let numbered = (sequence + 1..).zip(&append.events);
        let records = numbered.map(|(sequence, event)| Ok((at, record(id, sequence, event)?)));
        let records = records.collect::<Result<Vec<_>, StoreError>>()?;
        for forecast in &append.forecasts {
            check_forecast(forecast).map_err(|problem| problem.at(id, 0))?;
        }
        row.summary = written(id, &append.summary)?;
        row.events.extend(records);
        row.updated = at;
        for loss in append.losses {
            self.losses.entry(loss.key.clone()).or_insert(loss);
        }
        for forecast in append.forecasts {
            let same = |known: &KnownForecast| {
                (&known.selection, &known.model_key, &known.data_digest)
                    == (&forecast.selection, &forecast.model_key, &forecast.data_digest)
            };
            self.forecasts.retain(|known| !same(known));
            self.forecasts.push(forecast);
        }
        Ok(at)
    }

    pub(super) fn list(&self, query: &ListQuery, now: Millis) -> Vec<StoredSelection> {
        let mut found: Vec<(&String, &Row)> = self.rows.iter().collect();
        found.retain(|(id, row)| {
            let name = phase_name(&row.summary.phase, row.summary.paused);
            let has = |(key, value): (&String, &String)| row.labels.get(key) == Some(value);
            let before = query.before.as_ref();
            before.is_none_or(|(created, last)| (row.created, *id) < (*created, last))
                && (query.phases.is_empty() || query.phases.iter().any(|phase| phase == name))
                && query.labels.iter().all(has)
        });
        found.sort_by(|(a, left), (b, right)| (right.created, b).cmp(&(left.created, a)));
        let page = found.into_iter().take(query.limit as usize);
        page.map(|(id, row)| row.stored(id, now)).collect()
    }

    pub(super) fn delete(&mut self, id: &str) -> Result<(), StoreError> {
        if !self.row(id)?.has_ended() {
            return Err(StoreError::NotEnded { id: id.to_owned() });
        }
        self.rows.remove(id);
        Ok(())
    }

    pub(super) fn claim(&mut self, owner: &str, length: Millis, limit: u32, now: Millis) -> Vec<Claim> {
        let free = |(_, row): &(&String, &mut Row)| !row.has_ended() && !row.lease.in_force(now);
        let mut free: Vec<(&String, &mut Row)> = self.rows.iter_mut().filter(free).collect();
        free.sort_by(|(a, left), (b, right)| (left.updated, a).cmp(&(right.updated, b)));
        let taken = free.into_iter().take(limit as usize);
        let claimed = taken.map(|(id, row)| {
            row.lease = Lease {
                owner: owner.to_owned(),
                fence: row.lease.fence + 1,
                until: now.saturating_add(length),
                length,
            };
            Claim {
                id: id.clone(),
                owner: owner.to_owned(),
                fence: row.lease.fence,
            }
        });
        claimed.collect()
    }

    fn held(&mut self, claim: &Claim, now: Millis) -> Option<&mut Lease> {
        let row = self.rows.get_mut(&claim.id)?;
        row.lease.is_held_by(claim, now).then_some(&mut row.lease)
    }

    pub(super) fn renew(&mut self, claims: &[Claim], length: Millis, now: Millis) -> Vec<Claim> {
        let mut lost = Vec::new();
        for claim in claims {
            match self.held(claim, now) {
                Some(lease) => (lease.until, lease.length) = (now.saturating_add(length), length),
                None => lost.push(claim.clone()),
            }
        }
        lost
    }

    pub(super) fn release(&mut self, claims: &[Claim], now: Millis) {
        for claim in claims {
            if let Some(lease) = self.held(claim, now) {
                lease.owner.clear();
            }
        }
    }

    pub(super) fn known_losses(&self, keys: &[LossKey]) -> Vec<KnownLoss> {
        keys.iter().filter_map(|key| self.losses.get(key).cloned()).collect()
    }

    pub(super) fn known_forecasts(&self, model_keys: &[String], not_on: &str, limit: u32) -> Vec<KnownForecast> {
        let wanted = |known: &&KnownForecast| known.data_digest != not_on && model_keys.contains(&known.model_key);
        let newest = self.forecasts.iter().rev().filter(wanted);
        newest.take(limit as usize).cloned().collect()
    }
}
