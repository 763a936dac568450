//! Watches over streams that break in every way.

use std::sync::atomic::Ordering;
use std::time::Duration;

use svc_kit::client::{Retry, RetryConfig};
use trainer_client::{Limits, Problem, RunWatch, TrainerClient, TrainerError, WatchLimits};

use crate::fake::{Break, Fake, Proxy, RUN, Script, transport_to};

/// Sequences of all events, in the order in which they came; no error may come.
async fn sequences(watch: &mut RunWatch) -> Vec<i64> {
    let mut all = Vec::new();
    while let Some(event) = watch.next().await {
        all.push(event.expect("no error").sequence);
    }
    all
}

fn whole(events: i64) -> Vec<i64> {
    (1..=events).collect()
}

async fn client(fake: &Fake) -> TrainerClient {
    TrainerClient::new(fake.transport().await)
}

#[tokio::test]
async fn every_event_comes_once_and_in_order_however_streams_break() {
    for how in [
        Break::Never,
        Break::Unavailable,
        Break::Internal,
        Break::Early,
        Break::Silence,
    ] {
        for repeats in [false, true] {
            let fake = Fake::new(Script {
                events: 12,
                per_stream: 3,
                how,
                repeats,
                ..Script::default()
            });
            let mut watch = client(&fake).await.watch(RUN, 0);
            assert_eq!(sequences(&mut watch).await, whole(12), "{how:?}, repeats: {repeats}");
            assert_eq!(watch.cursor(), 12);
            let stats = watch.stats();
            let breaks = if how == Break::Never { 0 } else { 3 };
            assert_eq!(stats.reattachments, breaks, "{how:?}");
            assert_eq!(stats.silences, if how == Break::Silence { 3 } else { 0 });
            assert_eq!(stats.repeated > 0, repeats && how != Break::Never, "{stats:?}");
            assert!(watch.next().await.is_none(), "it stays ended");
        }
    }
}

#[tokio::test]
async fn a_watch_goes_on_from_its_cursor() {
    let fake = Fake::new(Script::default());
    let client = client(&fake).await;
    let mut watch = client.watch(RUN, 7);
    assert_eq!(sequences(&mut watch).await, [8, 9, 10]);

    let mut future = client.watch(RUN, 11);
    let error = future
        .next()
        .await
        .expect("an item")
        .expect_err("a cursor from the future");
    assert_eq!(error.problem(), Some(Problem::InvalidField), "{error}");
    assert!(future.next().await.is_none());
}

#[tokio::test]
async fn a_run_that_is_not_there_or_another_one_is_told() {
    let fake = Fake::new(Script::default());
    let error = client(&fake)
        .await
        .watch("nobody", 0)
        .next()
        .await
        .expect("an item")
        .expect_err("unknown");
    assert_eq!(error.problem(), Some(Problem::NotFound), "{error}");

    let fake = Fake::new(Script {
        how: Break::Early,
        replaced_after: 2,
        ..Script::default()
    });
    let mut watch = client(&fake).await.watch(RUN, 0);
    for sequence in 1..=6 {
        assert_eq!(
            watch.next().await.expect("an item").expect("no error").sequence,
            sequence
        );
    }
    let error = watch.next().await.expect("an item").expect_err("another run");
    assert!(matches!(error, TrainerError::RunReplaced(_)), "{error}");
}

#[tokio::test]
async fn a_run_that_falls_silent_is_given_up_in_the_end_and_heartbeats_are_no_silence() {
    let limits = Limits {
        watch: WatchLimits {
            patience: Duration::from_millis(700),
            ..WatchLimits::default()
        },
        ..Limits::default()
    };
    let fake = Fake::new(Script {
        per_stream: 0,
        how: Break::Silence,
        ..Script::default()
    });
    let mut watch = client(&fake).await.with_limits(limits).watch(RUN, 0);
    let error = watch.next().await.expect("an item").expect_err("silence");
    assert!(matches!(error, TrainerError::GaveUp { .. }), "{error}");
    assert!(watch.stats().silences >= 2, "{:?}", watch.stats());

    let fake = Fake::new(Script {
        per_stream: 2,
        how: Break::Heartbeats,
        ..Script::default()
    });
    let mut watch = client(&fake).await.with_limits(limits).watch(RUN, 0);
    for _ in 0..2 {
        watch.next().await.expect("an item").expect("no error");
    }
    let waiting = tokio::time::timeout(Duration::from_millis(1_500), watch.next()).await;
    assert!(waiting.is_err(), "the run is alive: there is nothing to tell");
    assert_eq!(watch.stats().reattachments, 0);
}

#[tokio::test]
async fn streams_that_bring_nothing_are_opened_ever_more_rarely() {
    let fake = Fake::new(Script {
        per_stream: 0,
        how: Break::Unavailable,
        ..Script::default()
    });
    let retry = Retry::new(RetryConfig {
        budget_ratio: 0.0,
        budget_reserve: 1,
        ..RetryConfig::default()
    });
    let mut watch = client(&fake).await.with_retry(retry).watch(RUN, 0);
    let waiting = tokio::time::timeout(Duration::from_secs(2), watch.next()).await;
    assert!(waiting.is_err(), "it goes on trying");
    let opened = fake.watches.load(Ordering::SeqCst);
    assert!((2..=12).contains(&opened), "{opened} streams in 2 s");
}

#[tokio::test]
async fn giving_up_a_wait_for_the_next_event_loses_nothing() {
    let fake = Fake::new(Script {
        events: 60,
        per_stream: 1,
        how: Break::Silence,
        ..Script::default()
    });
    let mut watch = client(&fake).await.watch(RUN, 0);
    let (mut all, mut given_up) = (Vec::new(), 0);
    while all.len() < 10 {
        // Shorter than the silence after which the stream is opened anew.
        match tokio::time::timeout(Duration::from_millis(40), watch.next()).await {
            Ok(Some(event)) => all.push(event.expect("no error").sequence),
            Ok(None) => break,
            Err(_) => {
                given_up += 1;
                let waited = tokio::time::timeout(Duration::from_secs(5), watch.next()).await;
                all.extend(waited.expect("comes").map(|event| event.expect("no error").sequence));
            }
        }
    }
    assert_eq!(all, whole(i64::try_from(all.len()).expect("few")));
    assert!(given_up > 0);
}

fn figures(mut gaps: Vec<Duration>) -> String {
    gaps.sort_unstable();
    let at = |percent: usize| gaps[(gaps.len() - 1) * percent / 100];
    format!(
        "{} breaks, median {:?}, p99 {:?}, longest {:?}",
        gaps.len(),
        at(50),
        at(99),
        at(100)
    )
}

#[tokio::test]
async fn a_thousand_broken_streams_lose_and_double_nothing() {
    let fake = Fake::new(Script {
        events: 1_001,
        per_stream: 1,
        how: Break::Unavailable,
        repeats: true,
        ..Script::default()
    });
    let mut watch = client(&fake).await.watch(RUN, 0);
    let (mut all, mut gaps) = (Vec::new(), Vec::new());
    while let Some(event) = watch.next().await {
        all.push(event.expect("no error").sequence);
        gaps.extend((watch.stats().reattachments > 0).then(|| watch.stats().last_gap));
    }
    assert_eq!(all, whole(1_001));
    assert_eq!(watch.stats().reattachments, 1_000);
    println!("broken streams: {}", figures(gaps));
}

#[tokio::test]
async fn a_thousand_cut_connections_lose_and_double_nothing() {
    let fake = Fake::new(Script {
        events: 1_001,
        per_stream: 1,
        how: Break::Heartbeats,
        ..Script::default()
    });
    let proxy = Proxy::to(fake.serve().await.0).await;
    let mut watch = TrainerClient::new(transport_to(proxy.address)).watch(RUN, 0);
    let (mut all, mut gaps) = (Vec::new(), Vec::new());
    while let Some(event) = watch.next().await {
        all.push(event.expect("no error").sequence);
        gaps.extend((watch.stats().reattachments > 0).then(|| watch.stats().last_gap));
        proxy.cut();
    }
    assert_eq!(all, whole(1_001));
    assert!(watch.stats().reattachments >= 1_000, "{:?}", watch.stats());
    println!("cut connections: {}", figures(gaps));
}
