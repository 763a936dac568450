//! A trainer that answers from a table, keeps book of what it is asked, and does as it is told.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use selector_svc::curve::{DataSize, Loss, Observation};
use selector_svc::ports::{
    BoxFuture, Measured, ProgressSink, RunEnd, RunEstimate, RunProgress, Trainer, TrainerDescription, TrainerFault,
};
use selector_svc::selection::{CostModel, Event, Outcome};
use selector_svc::store::Store;
use tokio::sync::Notify;
use tokio::time::Instant;
use trainer_kit::spec::{MethodKind, Spec};

/// What a run does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Behaviour {
    /// It ends with the table's losses.
    Succeed,
    /// It says that it succeeded, and tells the loss of the largest size only.
    Partly,
    /// It ends so, after half of its time.
    End(Outcome, bool),
    /// It ends so after half of its time, and has told the losses of so many sizes before. It may be tried again.
    EndAfter(usize, Outcome),
    /// It never ends, and does not hear.
    Hang,
    /// Nobody answers.
    Away,
    /// It is not taken.
    Refuse,
}

/// A point within a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// Nothing was done yet.
    Before,
    /// A run was created, and goes on.
    Created,
    /// It is done, but the answer is lost.
    After,
}

type Behave = Box<dyn Fn(&str, &Spec) -> Behaviour + Send>;

/// Device-seconds of an example, as estimated.
const SECONDS: f64 = 0.01;

struct Run {
    spec: Spec,
    started: Instant,
    ended: Option<RunEnd>,
    cancelled: bool,
}

/// Everything that happens at the trainer.
struct Book {
    runs: BTreeMap<String, Run>,
    /// Runs that the trainer has forgotten.
    forgotten: u64,
    violations: Vec<String>,
    calls: u64,
    kill_at: Option<(u64, Point)>,
    behave: Behave,
    /// So many times its estimate a run takes, by its name.
    stretch: Box<dyn Fn(&str) -> f64 + Send>,
    /// Billionths of a EUR: a device-second, a run.
    price: Option<(i64, i64)>,
    /// It estimates no times.
    timeless: bool,
    completed: u64,
    /// What all runs took, whatever was told of it: device-seconds, billionths.
    used: (f64, i64),
    /// One run may report several sizes.
    nested: bool,
}

/// The trainer.
pub(crate) struct Scripted {
    pub(crate) name: String,
    pub(crate) slots: u32,
    book: Mutex<Book>,
    /// Told when the driver is to be killed.
    kill: Arc<Notify>,
    changed: Notify,
    /// Where runs must be written down before they are created; `None`: not checked.
    store: Option<Arc<dyn Store>>,
    pace: Duration,
}

impl Scripted {
    pub(crate) fn new(name: &str, slots: u32, kill: Arc<Notify>, store: Option<Arc<dyn Store>>) -> Self {
        Self {
            name: name.to_owned(),
            slots,
            book: Mutex::new(Book {
                runs: BTreeMap::new(),
                forgotten: 0,
                violations: Vec::new(),
                calls: 0,
                kill_at: None,
                behave: Box::new(|_, _| Behaviour::Succeed),
                stretch: Box::new(|_| 1.0),
                price: None,
                timeless: false,
                completed: 0,
                used: (0.0, 0),
                nested: false,
            }),
            kill,
            changed: Notify::new(),
            store,
            pace: Duration::from_millis(2),
        }
    }

    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().expect("no panics")
    }

    pub(crate) fn behave(&self, behave: impl Fn(&str, &Spec) -> Behaviour + Send + 'static) {
        self.book().behave = Box::new(behave);
        self.changed.notify_waiters();
    }

    /// Runs take so many times their estimates, and cost so much.
    pub(crate) fn charge(&self, price: Option<(i64, i64)>, stretch: impl Fn(&str) -> f64 + Send + 'static) {
        let mut book = self.book();
        (book.price, book.stretch) = (price, Box::new(stretch));
    }

    pub(crate) fn estimate_no_times(&self) {
        self.book().timeless = true;
    }

    /// Device-seconds and billionths that all runs took.
    pub(crate) fn used(&self) -> (f64, i64) {
        self.book().used
    }

    pub(crate) fn kill_at(&self, call: u64, point: Point) {
        self.book().kill_at = Some((call, point));
    }

    /// Whether the kill was met; it is not set any more then.
    pub(crate) fn was_killed(&self) -> bool {
        self.book().kill_at.is_none()
    }

    /// It claims that one run may report several sizes.
    pub(crate) fn claim_nested(&self) {
        self.book().nested = true;
    }

    /// How many sizes each of its runs was asked for, by their ids.
    pub(crate) fn sizes(&self) -> BTreeMap<String, usize> {
        let book = self.book();
        let runs = book.runs.iter();
        runs.map(|(id, run)| (id.clone(), run.spec.data_sizes.len())).collect()
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.book().violations.clone()
    }

    pub(crate) fn completed(&self) -> u64 {
        self.book().completed
    }

    pub(crate) fn cancelled(&self) -> usize {
        self.book().runs.values().filter(|run| run.cancelled).count()
    }

    /// All runs that have not ended are gone, as after a restart without a disk.
    pub(crate) fn forget_runs(&self) {
        let mut book = self.book();
        let before = book.runs.len();
        book.runs.retain(|_, run| run.ended.is_some());
        book.forgotten += (before - book.runs.len()) as u64;
        drop(book);
        self.changed.notify_waiters();
    }

    pub(crate) fn forgotten(&self) -> u64 {
        self.book().forgotten
    }

    fn call(&self) -> u64 {
        let mut book = self.book();
        book.calls += 1;
        book.calls
    }

    async fn point(&self, call: u64, point: Point) {
        let dies = {
            let mut book = self.book();
            let dies = book.kill_at == Some((call, point));
            if dies {
                book.kill_at = None;
            }
            dies
        };
        if dies {
            self.kill.notify_one();
            pending::<()>().await;
        }
    }

    /// Notes a run, and what is wrong with the way it came.
    async fn enter(&self, run_id: &str, spec: &Spec) {
        let selection = spec.labels.get("finepick.selection").cloned().unwrap_or_default();
        let mut wrong = Vec::new();
        if let Some(store) = &self.store {
            let events = store
                .events(&selection, 0, 100_000)
                .await
                .expect("the store can be read");
            let scheduled = events.iter().any(|stored| match &stored.event {
                Event::Scheduled { attempts } => attempts.iter().any(|attempt| attempt.run_id == run_id),
                _ => false,
            });
            if !scheduled {
                wrong.push(format!("{run_id} was not scheduled before it was created"));
            }
        }
        let mut book = self.book();
        if spec.data_sizes.is_empty() || !spec.data_sizes.is_sorted_by(|a, b| a < b) {
            wrong.push(format!("{run_id} asks for {:?}", spec.data_sizes));
        }
        if spec.data_sizes.len() > 1 && !book.nested {
            wrong.push(format!("{run_id} asks for several sizes, which was not claimed"));
        }
        if let Some(known) = book.runs.get(run_id) {
            if known.spec != *spec {
                wrong.push(format!("{run_id} came with two specs"));
            }
        } else {
            let run = Run {
                spec: spec.clone(),
                started: Instant::now(),
                ended: None,
                cancelled: false,
            };
            book.runs.insert(run_id.to_owned(), run);
        }
        book.violations.extend(wrong);
    }

    fn size(spec: &Spec) -> u64 {
        u64::try_from(spec.data_size_max()).unwrap()
    }

    fn time_of(&self, spec: &Spec) -> Duration {
        Duration::from_millis(5) + self.pace * u32::try_from(Self::size(spec)).unwrap()
    }

    fn success(spec: &Spec, device_seconds: f64) -> RunEnd {
        let size = Self::size(spec);
        let measured = |size: u64| Measured {
            observation: Observation::new(
                DataSize::new(size).unwrap(),
                Loss::new(loss(&spec.candidate_id, size)).unwrap(),
            ),
            model_digest: format!("sha256:{}", spec.model.uri),
            data_digest: format!("sha256:{}", spec.data.uri),
        };
        let sizes = spec.data_sizes.iter().map(|size| u64::try_from(*size).unwrap());
        RunEnd {
            others: sizes.filter(|other| *other != size).map(measured).collect(),
            outcome: Outcome::from(measured(size)),
            detail: String::new(),
            device_seconds: Some(device_seconds),
            money_nanos: None,
            share_done: Some(1.0),
            may_be_retried: false,
        }
    }

    /// What its pass over the sizes has come to by then is measured.
    fn too_long(spec: &Spec, limit: f64, all: f64) -> RunEnd {
        let reached = limit / all * Self::size(spec) as f64;
        let mut others = Self::success(spec, all).others;
        others.retain(|other| other.observation.data_size().examples() as f64 <= reached);
        RunEnd {
            others,
            device_seconds: Some(limit),
            ..end(
                Outcome::Failed {
                    failure: Outcome::DEADLINE.to_owned(),
                },
                true,
                None,
            )
        }
    }

    /// The end of a run if it has come by now, else when to look again.
    fn end_of(&self, run_id: &str, behaviour: &Behaviour) -> Result<RunEnd, Instant> {
        let mut book = self.book();
        let (stretch, price) = ((book.stretch)(run_id), book.price);
        let Book {
            runs,
            completed,
            used: book_used,
            ..
        } = &mut *book;
        let Some(run) = runs.get_mut(run_id) else {
            return Ok(end(Outcome::Lost, true, None));
        };
        if let Some(end) = &run.ended {
            return Ok(end.clone());
        }
        let all = SECONDS * Self::size(&run.spec) as f64 * stretch;
        let (found, share) = match behaviour {
            _ if run.cancelled && *behaviour != Behaviour::Hang => (end(Outcome::Cancelled, true, Some(0.5)), None),
            Behaviour::End(outcome, again) => (end(outcome.clone(), *again, Some(0.5)), Some(0.5)),
            Behaviour::EndAfter(sizes, outcome) => {
                let mut found = end(outcome.clone(), true, Some(0.5));
                found.others = Self::success(&run.spec, all).others;
                found.others.truncate(*sizes);
                (found, Some(0.5))
            }
            Behaviour::Hang => return Err(Instant::now() + Duration::from_hours(1)),
            Behaviour::Partly => {
                let partly = RunEnd {
                    others: Vec::new(),
                    ..Self::success(&run.spec, all)
                };
                (partly, Some(1.0))
            }
            _ => (Self::success(&run.spec, all), Some(1.0)),
        };
        let limit = run.spec.max_duration.map(|limit| limit.as_secs_f64());
        let (mut found, share) = match limit.filter(|limit| share.is_some_and(|share| *limit < all * share)) {
            Some(limit) => (Self::too_long(&run.spec, limit, all), Some(limit / all)),
            None => (found, share),
        };
        // Device-seconds pass faster here than time does.
        let at = share.map(|share| run.started + self.time_of(&run.spec).mul_f64(stretch * share));
        if let Some(at) = at.filter(|at| *at > Instant::now()) {
            return Err(at);
        }
        let used = found.device_seconds.unwrap_or(all * share.unwrap_or(0.5));
        if let Some((second, run)) = price {
            let price = CostModel {
                nanos_per_second: second,
                nanos_per_run: run,
                ..CostModel::default()
            };
            let money = price.money(used);
            // Some tell it, of others it follows from the time.
            found.money_nanos = found.device_seconds.filter(|_| money % 2 == 0).map(|_| money);
            book_used.1 += money;
        }
        book_used.0 += used;
        run.ended = Some(found.clone());
        *completed += 1;
        Ok(found)
    }

    async fn follow(&self, run_id: &str, spec: Spec, mut progress: ProgressSink) -> Result<RunEnd, TrainerFault> {
        let call = self.call();
        self.point(call, Point::Before).await;
        let behaviour = (self.book().behave)(run_id, &spec);
        match behaviour {
            Behaviour::Away => return Err(self.away()),
            Behaviour::Refuse => {
                return Err(TrainerFault::Refused {
                    trainer: self.name.clone(),
                    reason: "CAPABILITY_MISSING".to_owned(),
                    detail: "no".to_owned(),
                });
            }
            _ => {}
        }
        self.enter(run_id, &spec).await;
        self.point(call, Point::Created).await;
        progress(RunProgress {
            step: 1,
            ..RunProgress::default()
        });
        loop {
            let changed = self.changed.notified();
            match self.end_of(run_id, &behaviour) {
                Ok(end) => {
                    self.point(call, Point::After).await;
                    return Ok(end);
                }
                Err(at) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(at) => {}
                        () = changed => {}
                    }
                }
            }
        }
    }

    fn away(&self) -> TrainerFault {
        TrainerFault::Unavailable {
            trainer: self.name.clone(),
            detail: "nobody is there".to_owned(),
        }
    }
}

/// The table: curves that cross now and then, with a clear winner.
pub(crate) fn loss(candidate: &str, size: u64) -> f64 {
    let number: u64 = candidate.trim_start_matches("model-").parse().unwrap_or(0);
    let place = number * 7 % 31;
    let slope = 0.10 + 0.004 * ((number * 5) % 11) as f64;
    1.0 + 0.03 * place as f64 + 2.0 * (size as f64 + 30.0).powf(-slope)
}

pub(crate) fn end(outcome: Outcome, may_be_retried: bool, share_done: Option<f64>) -> RunEnd {
    RunEnd {
        outcome,
        others: Vec::new(),
        detail: "as told".to_owned(),
        device_seconds: None,
        money_nanos: None,
        share_done,
        may_be_retried,
    }
}

impl Trainer for Scripted {
    fn describe(&self) -> BoxFuture<'_, Result<TrainerDescription, TrainerFault>> {
        Box::pin(async move {
            let call = self.call();
            self.point(call, Point::Before).await;
            let probe = selector_svc::order::probe_spec(&crate::world::spec(1), 0, DataSize::ZERO);
            if (self.book().behave)("", &probe) == Behaviour::Away {
                return Err(self.away());
            }
            self.point(call, Point::After).await;
            let (nested_subsets, price) = {
                let book = self.book();
                (book.nested, book.price)
            };
            Ok(TrainerDescription {
                implementation: "scripted 1".to_owned(),
                slots: self.slots,
                methods: vec![MethodKind::Full],
                nested_subsets,
                deterministic: true,
                estimates: true,
                data_size_max: None,
                price: price.map(|(second, run)| ("EUR".to_owned(), second, run)),
                memory_bytes: None,
            })
        })
    }

    fn estimate(&self, spec: Spec) -> BoxFuture<'_, Result<RunEstimate, TrainerFault>> {
        Box::pin(async move {
            let call = self.call();
            self.point(call, Point::Before).await;
            self.point(call, Point::After).await;
            Ok(RunEstimate {
                device_seconds: (!self.book().timeless).then(|| SECONDS * Self::size(&spec) as f64),
                model_digest: format!("sha256:{}", spec.model.uri),
                data_digest: format!("sha256:{}", spec.data.uri),
                parameters: Some(1_000_000),
                data_examples: Some(4_096),
                ..RunEstimate::default()
            })
        })
    }

    fn run<'a>(
        &'a self,
        run_id: &'a str,
        spec: Spec,
        progress: ProgressSink,
    ) -> BoxFuture<'a, Result<RunEnd, TrainerFault>> {
        Box::pin(self.follow(run_id, spec, progress))
    }

    fn cancel<'a>(&'a self, run_id: &'a str) -> BoxFuture<'a, Result<(), TrainerFault>> {
        Box::pin(async move {
            let call = self.call();
            self.point(call, Point::Before).await;
            if let Some(run) = self.book().runs.get_mut(run_id) {
                run.cancelled = true;
            }
            self.changed.notify_waiters();
            self.point(call, Point::After).await;
            Ok(())
        })
    }
}
