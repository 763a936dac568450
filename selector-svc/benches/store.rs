//! The store on disk: a page of 50 out of 10,000 selections, an append, a load of 700 events.
//!
//! Beside criterion's means the quantiles of single calls are printed: lists have to stay below 10 ms at p99.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark, not an interface"
)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use selector_svc::curve::DataSize;
use selector_svc::selection::{
    BudgetSpec, CandidateSpec, Ending, Event, MethodSpec, Phase, ScheduledAttempt, SelectionSpec, Spending, WorkMode,
    transition,
};
use selector_svc::simulate::SelectionPolicy;
use selector_svc::store::sqlite::{SqliteOptions, SqliteStore};
use selector_svc::store::{Append, ListQuery, NewSelection, Store, Summary, Writer};
use selector_svc::table::Attributes;
use tokio::runtime::Runtime;
use trainer_kit::spec::{Hyperparameters, Method, Reference};

const STORED: u32 = 10_000;
const EVENTS: u32 = 700;

fn spec(index: u32) -> SelectionSpec {
    let candidate = |index: usize| CandidateSpec {
        id: format!("model-{index}"),
        attributes: Attributes::new(Some("OPT".to_owned()), Some(125_000_000), BTreeMap::new()),
        model: Some(Reference {
            uri: format!("zoo/model-{index}"),
            digest: String::new(),
        }),
    };
    let labels = [
        ("team", format!("team-{}", index % 100)),
        ("half", (index % 2).to_string()),
        ("season", "autumn".to_owned()),
    ];
    SelectionSpec {
        candidates: (0..30).map(candidate).collect(),
        methods: vec![MethodSpec {
            id: "full".to_owned(),
            method: Method::Full,
            hyperparameters: Hyperparameters::default(),
        }],
        data: Some(Reference::default()),
        held_out: None,
        data_size_full: DataSize::new(100_000).ok(),
        data_size_min: None,
        budget: BudgetSpec::default(),
        policy: SelectionPolicy::Exhaustive,
        constraints: selector_svc::constraint::Constraints::default(),
        trainers: Vec::new(),
        parallelism: None,
        max_attempts: 3,
        seed: 1,
        subset_seed: 1,
        interval_level: 0.9,
        work_mode: WorkMode::Driven,
        reuse: true,
        warm_start: true,
        max_run_millis: None,
        device: String::new(),
        labels: labels.map(|(name, value)| (name.to_owned(), value)).into(),
        display_name: format!("selection {index}"),
    }
}

fn new(index: u32) -> NewSelection {
    let event = Event::Created {
        spec: Box::new(spec(index)),
        nonce: "0".to_owned(),
    };
    let (state, _) = transition(None, event.clone(), 0).unwrap();
    NewSelection {
        id: format!("selection-{:05}", (index * 7_919) % STORED),
        spec_digest: format!("{index:064}"),
        request_id: String::new(),
        event,
        summary: Summary::of(&state),
    }
}

fn append(after: u64, summary: &Summary, events: Vec<Event>) -> Append {
    Append {
        after,
        events,
        summary: summary.clone(),
        losses: Vec::new(),
        forecasts: Vec::new(),
    }
}

fn scheduled(trial: usize) -> Event {
    let attempt = ScheduledAttempt {
        trial,
        attempt: 1,
        trainer: "near".to_owned(),
        run_id: format!("selection.0.{trial}-400.1"),
        reserved: Spending::default(),
        max_seconds: None,
        lease_until: None,
    };
    Event::Scheduled {
        attempts: vec![attempt],
    }
}

/// 10,000 selections, eight of ten ended; the first has 700 events.
async fn fill(path: &Path) -> SqliteStore {
    let store = SqliteStore::open(path, SqliteOptions::default()).await.unwrap();
    for index in 0..STORED {
        let mut new = new(index);
        if index % 10 > 1 {
            // Only the summary says so: a second write for each would double the time that this takes.
            new.summary.phase = Phase::Ended(Ending::Succeeded);
        }
        store.create(new).await.unwrap();
    }
    let (first, events) = (new(0), (1..EVENTS as usize).map(scheduled).collect());
    let write = append(1, &first.summary, events);
    store.append(&first.id, Writer::Caller, write).await.unwrap();
    store
}

/// Prints the quantiles of single calls.
fn quantiles(name: &str, mut call: impl FnMut(u32)) {
    let mut took: Vec<Duration> = (0..1_000)
        .map(|index| {
            let begun = Instant::now();
            call(index);
            begun.elapsed()
        })
        .collect();
    took.sort_unstable();
    let at = |share: usize| took[took.len() * share / 100];
    println!(
        "{name}: p50 {:?}, p99 {:?}, longest {:?}",
        at(50),
        at(99),
        took[took.len() - 1]
    );
}

fn lists(criterion: &mut Criterion, runtime: &Runtime, store: &SqliteStore) {
    let query = |phases: &[&str], labels: &[(&str, &str)]| ListQuery {
        limit: 50,
        before: None,
        phases: phases.iter().map(|phase| (*phase).to_owned()).collect(),
        labels: labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    };
    let middle = runtime.block_on(store.list(ListQuery {
        limit: STORED / 2,
        ..query(&[], &[])
    }));
    let middle = middle.unwrap().pop().map(|last| (last.created, last.id));
    let from_the_middle = ListQuery {
        before: middle,
        ..query(&[], &[])
    };
    for (name, query) in [
        ("newest", query(&[], &[])),
        ("from the middle", from_the_middle),
        ("two phases", query(&["preparing", "running"], &[])),
        ("a label", query(&[], &[("team", "team-42")])),
        (
            "three labels",
            query(&[], &[("half", "0"), ("season", "autumn"), ("team", "team-42")]),
        ),
        (
            "no common label",
            query(&[], &[("half", "1"), ("season", "autumn"), ("team", "team-42")]),
        ),
        ("label and phase", query(&["preparing"], &[("half", "1")])),
    ] {
        let list = || runtime.block_on(store.list(query.clone())).unwrap();
        println!("page of 50 of 10,000, {name}: {} found", list().len());
        quantiles(&format!("page of 50 of 10,000, {name}"), |_| {
            black_box(list());
        });
        criterion.bench_function(&format!("store/list/{name}"), |bencher| bencher.iter(list));
    }
}

fn store(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store = runtime.block_on(fill(&folder.path().join("store.db")));
    lists(criterion, &runtime, &store);

    let first = new(0);
    let load = || runtime.block_on(store.events(&first.id, 0, u32::MAX)).unwrap();
    assert_eq!(load().len(), EVENTS as usize);
    quantiles("load of 700 events", |_| {
        black_box(load());
    });
    criterion.bench_function("store/load 700 events", |bencher| bencher.iter(load));

    let open = new(1);
    let mut after = 1;
    let mut write = || {
        let write = append(after, &open.summary, vec![scheduled(1)]);
        after += 1;
        runtime.block_on(store.append(&open.id, Writer::Caller, write)).unwrap()
    };
    quantiles("append of one event", |_| {
        black_box(write());
    });
    criterion.bench_function("store/append", |bencher| bencher.iter(&mut write));
    let none = || {
        runtime
            .block_on(store.claim("nobody", Duration::from_secs(1), 0))
            .unwrap()
    };
    criterion.bench_function("store/claim in vain", |bencher| bencher.iter(none));
    runtime.block_on(store.close());
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    targets = store
}
criterion_main!(benches);
