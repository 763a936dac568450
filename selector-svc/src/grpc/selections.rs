//! The calls about durable selections: wire in, the desk's answers out.

use finepick_proto::selector::v1 as wire;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use prost::Message as _;
use svc_kit::limits::CpuSlots;
use svc_kit::shutdown::Token;
use tonic::{Response, Status};

use super::convert::{self, selection as to};
use super::watch;
use crate::desk::work::Offer;
use crate::desk::{Desk, DeskError, View, token};
use crate::selection::trial_id;

/// Bytes of a page of trials or decisions: it ends when it has grown to so many.
const MAX_PAGE_BYTES: usize = 2 << 20;

/// A stream of events.
pub type EventStream = BoxStream<'static, Result<wire::WatchSelectionResponse, Status>>;

/// The desk on the wire. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Selections {
    desk: Desk,
    /// For what computes.
    slots: CpuSlots,
    shutdown: Token,
}

type Answer<T> = Result<Response<T>, Status>;

#[expect(clippy::needless_pass_by_value, reason = "errors are mapped by it")]
fn refused(error: DeskError) -> Status {
    convert::desk_status(&error)
}

fn shown(view: &View) -> wire::Selection {
    to::selection(view, true)
}

impl Selections {
    /// The calls on this desk; their streams end when the shutdown begins.
    #[must_use]
    pub fn new(desk: Desk, slots: CpuSlots, shutdown: Token) -> Self {
        Self { desk, slots, shutdown }
    }

    pub(super) async fn estimate(
        &self,
        message: wire::EstimateSelectionRequest,
    ) -> Answer<wire::EstimateSelectionResponse> {
        let spec = to::estimate_request(message)?;
        let prepared = self.desk.estimate(&spec).await.map_err(refused)?;
        let estimate = Some(to::estimate(&spec, &prepared));
        Ok(Response::new(wire::EstimateSelectionResponse { estimate }))
    }

    pub(super) async fn create(&self, message: wire::CreateSelectionRequest) -> Answer<wire::CreateSelectionResponse> {
        let view = self.desk.create(to::create_request(message)?).await.map_err(refused)?;
        let selection = Some(shown(&view));
        Ok(Response::new(wire::CreateSelectionResponse { selection }))
    }

    pub(super) async fn get(&self, message: wire::GetSelectionRequest) -> Answer<wire::GetSelectionResponse> {
        let id = to::selection_id(message.selection_id)?;
        let selection = Some(shown(&self.desk.get(&id).await.map_err(refused)?));
        Ok(Response::new(wire::GetSelectionResponse { selection }))
    }

    pub(super) async fn list(&self, message: wire::ListSelectionsRequest) -> Answer<wire::ListSelectionsResponse> {
        let filter = to::list_request(&message)?;
        let (found, next) = self.desk.list(filter).await.map_err(refused)?;
        let mut page = wire::ListSelectionsResponse {
            selections: Vec::new(),
            next_page_token: next.as_ref().map(token::write).unwrap_or_default(),
        };
        let (mut bytes, mut last) = (0, None);
        for stored in &found {
            let listed = to::listed(stored);
            bytes += listed.encoded_len();
            if let Some(last) = last.filter(|_| bytes > MAX_PAGE_BYTES) {
                page.next_page_token = token::write(&last);
                break;
            }
            page.selections.push(listed);
            last = Some((stored.created, stored.id.clone()));
        }
        Ok(Response::new(page))
    }

    pub(super) async fn delete(&self, message: wire::DeleteSelectionRequest) -> Answer<wire::DeleteSelectionResponse> {
        let id = to::selection_id(message.selection_id)?;
        self.desk.delete(&id).await.map_err(refused)?;
        Ok(Response::new(wire::DeleteSelectionResponse {}))
    }

    pub(super) async fn cancel(&self, message: wire::CancelSelectionRequest) -> Answer<wire::CancelSelectionResponse> {
        let (id, reason) = to::cancel_request(message)?;
        let selection = Some(shown(&self.desk.cancel(&id, &reason).await.map_err(refused)?));
        Ok(Response::new(wire::CancelSelectionResponse { selection }))
    }

    pub(super) async fn pause(&self, message: wire::PauseSelectionRequest) -> Answer<wire::PauseSelectionResponse> {
        let id = to::selection_id(message.selection_id)?;
        let selection = Some(shown(&self.desk.pause(&id).await.map_err(refused)?));
        Ok(Response::new(wire::PauseSelectionResponse { selection }))
    }

    pub(super) async fn resume(&self, message: wire::ResumeSelectionRequest) -> Answer<wire::ResumeSelectionResponse> {
        let id = to::selection_id(message.selection_id)?;
        let selection = Some(shown(&self.desk.resume(&id).await.map_err(refused)?));
        Ok(Response::new(wire::ResumeSelectionResponse { selection }))
    }

    pub(super) async fn amend(&self, message: wire::AmendBudgetRequest) -> Answer<wire::AmendBudgetResponse> {
        let (id, budget) = to::budget_request(message)?;
        let selection = Some(shown(&self.desk.amend(&id, &budget).await.map_err(refused)?));
        Ok(Response::new(wire::AmendBudgetResponse { selection }))
    }

    pub(super) async fn what_if(&self, message: wire::CloneSelectionRequest) -> Answer<wire::CloneSelectionResponse> {
        let wish = to::clone_request(message)?;
        let desk = self.desk.clone();
        let found = self.off_the_runtime(Box::pin(async move {
            desk.what_if(&wish.id, wish.budget, wish.policy, wish.constraints).await
        }));
        let (report, missing, state) = found.await?.map_err(refused)?;
        let missing = missing.into_iter().filter_map(|(contender, size)| {
            let (candidate, method) = state.spec.contender(contender)?;
            Some(wire::MissingRun {
                candidate_id: candidate.id.clone(),
                method_id: method.id.clone(),
                data_size: convert::wire(size.examples()),
            })
        });
        let missing = missing.collect();
        let report = to::report(report, &state.spec, &state.limits.currency);
        Ok(Response::new(to::what_if(report, missing)))
    }

    pub(super) async fn watch(&self, message: wire::WatchSelectionRequest) -> Answer<EventStream> {
        let wish = to::watch_request(message)?;
        let feed = self.desk.feed(&wish.id, wish.after).await.map_err(refused)?;
        Ok(Response::new(watch::stream(feed, wish.heartbeat, &self.shutdown)))
    }

    pub(super) async fn trials(&self, message: wire::ListTrialsRequest) -> Answer<wire::ListTrialsResponse> {
        let (limit, before) = to::page(message.page_size, &message.page_token)?;
        let id = to::selection_id(message.selection_id)?;
        let view = self.desk.get(&id).await.map_err(refused)?;
        let page = Page::new(&id, limit, before)?;
        let all = (0..view.state.trials.len()).map(|index| to::trial(&view.state, index, view.progress.get(&index)));
        let (trials, next_page_token) = page.cut(all.flatten());
        Ok(Response::new(wire::ListTrialsResponse {
            trials,
            next_page_token,
        }))
    }

    pub(super) async fn decisions(&self, message: wire::ListDecisionsRequest) -> Answer<wire::ListDecisionsResponse> {
        let (limit, before) = to::page(message.page_size, &message.page_token)?;
        let id = to::selection_id(message.selection_id)?;
        let view = self.desk.get(&id).await.map_err(refused)?;
        let page = Page::new(&id, limit, before)?;
        let all = (0..view.state.rounds.len()).filter_map(|round| to::decision(&view.state, round));
        let (decisions, next_page_token) = page.cut(all);
        Ok(Response::new(wire::ListDecisionsResponse {
            decisions,
            next_page_token,
        }))
    }

    pub(super) async fn report(&self, message: wire::GetReportRequest) -> Answer<wire::GetReportResponse> {
        let id = to::selection_id(message.selection_id)?;
        let desk = self.desk.clone();
        let found = self.off_the_runtime(Box::pin(async move { desk.report(&id).await }));
        let (report, state) = found.await?.map_err(refused)?;
        let report = Some(to::report(report, &state.spec, &state.limits.currency));
        Ok(Response::new(wire::GetReportResponse { report }))
    }

    pub(super) async fn certificate(
        &self,
        message: wire::GetCertificateRequest,
    ) -> Answer<wire::GetCertificateResponse> {
        let id = to::selection_id(message.selection_id)?;
        let begin = place(&id, to::page(0, &message.page_token)?.1)?;
        let (desk, of) = (self.desk.clone(), id.clone());
        let found = self.off_the_runtime(Box::pin(async move { desk.certificate(&of).await }));
        let (json, digest) = found.await?.map_err(refused)?;
        let (piece, next) = piece(&json, begin).ok_or_else(to::foreign_token)?;
        Ok(Response::new(wire::GetCertificateResponse {
            json: piece.to_owned(),
            digest,
            next_page_token: next.map(|next| mark(&id, next)).unwrap_or_default(),
        }))
    }

    pub(super) async fn request_work(&self, message: wire::RequestWorkRequest) -> Answer<wire::RequestWorkResponse> {
        let (id, wish) = to::work_request(message)?;
        let (view, offers) = self.desk.request_work(&id, &wish).await.map_err(refused)?;
        let (state, wait_reason) = to::standing(&view.state, &view.owner);
        let items = offers.iter().filter_map(|offer| item(&view, offer)).collect();
        Ok(Response::new(wire::RequestWorkResponse {
            items,
            state: state.into(),
            wait_reason: wait_reason.into(),
        }))
    }

    pub(super) async fn report_observation(
        &self,
        message: wire::ReportObservationRequest,
    ) -> Answer<wire::ReportObservationResponse> {
        let (id, told) = to::observation_request(message)?;
        let (view, index) = self.desk.report_observation(&id, &told).await.map_err(refused)?;
        let trial = to::trial(&view.state, index, None);
        Ok(Response::new(wire::ReportObservationResponse { trial }))
    }

    /// Does what reads the store and then computes for a while, where it does not hold up the runtime.
    async fn off_the_runtime<T: Send + 'static>(&self, work: BoxFuture<'static, T>) -> Result<T, Status> {
        let runtime = tokio::runtime::Handle::current();
        self.slots.run(move || runtime.block_on(work)).await
    }
}

fn item(view: &View, offer: &Offer) -> Option<wire::WorkItem> {
    let trial = view.state.trials.get(offer.trial)?;
    let spec = &view.state.spec;
    let (candidate, method) = spec.contender(trial.contender)?;
    let whole = to::shown_spec(spec);
    Some(wire::WorkItem {
        trial_id: trial_id(trial.contender, trial.data_size),
        attempt: i32::try_from(offer.attempt).unwrap_or(i32::MAX),
        candidate: Some(to::candidate(candidate)),
        method: Some(to::method(method)),
        data: whole.data,
        held_out: whole.held_out,
        data_size: convert::wire(trial.data_size.examples()),
        seed: spec.seed,
        subset_seed: spec.subset_seed,
        lease_expire_time: Some(to::time(offer.until)),
    })
}

/// A page of a list that only grows.
struct Page<'a> {
    id: &'a str,
    begin: usize,
    limit: usize,
}

/// Where a page begins. A token is of one selection.
fn place(id: &str, before: Option<(i64, String)>) -> Result<usize, Status> {
    let begin = match before {
        None => Some(0),
        Some((begin, of)) => usize::try_from(begin).ok().filter(|_| of == id),
    };
    begin.ok_or_else(to::foreign_token)
}

/// The token of the page that begins there.
fn mark(id: &str, begin: usize) -> String {
    token::write(&(i64::try_from(begin).unwrap_or(i64::MAX), id.to_owned()))
}

/// The part of a text from this byte on that fits a message, and where the next one begins; `None`: the text has no such place.
fn piece(text: &str, begin: usize) -> Option<(&str, Option<usize>)> {
    let rest = text.get(begin..).filter(|rest| begin == 0 || !rest.is_empty())?;
    if rest.len() <= to::MAX_ANSWER_BYTES {
        return Some((rest, None));
    }
    let end = (0..=to::MAX_ANSWER_BYTES).rev().find(|at| rest.is_char_boundary(*at))?;
    Some((rest.get(..end)?, Some(begin + end)))
}

impl<'a> Page<'a> {
    fn new(id: &'a str, limit: u32, before: Option<(i64, String)>) -> Result<Self, Status> {
        let begin = place(id, before)?;
        let limit = limit as usize;
        Ok(Self { id, begin, limit })
    }

    /// The page and the token of the next.
    fn cut<T: prost::Message>(&self, all: impl Iterator<Item = T>) -> (Vec<T>, String) {
        let mut found = Vec::new();
        let mut bytes = 0;
        for entry in all.skip(self.begin) {
            bytes += entry.encoded_len();
            if found.len() >= self.limit || (bytes > MAX_PAGE_BYTES && !found.is_empty()) {
                let next = mark(self.id, self.begin + found.len());
                return (found, next);
            }
            found.push(entry);
        }
        (found, String::new())
    }
}
