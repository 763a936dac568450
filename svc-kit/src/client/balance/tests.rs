use std::convert::Infallible;

use tower::util::BoxCloneSyncService;

use super::*;

type Fake = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// A replica that answers after a while with its number and an answer that lasts until it is dropped.
fn replica(number: usize, latency: Duration) -> Replica<Fake> {
    let service = tower::service_fn(move |_: Request<Body>| async move {
        tokio::time::sleep(latency).await;
        let mut response = Response::new(Body::new(Endless));
        response.headers_mut().insert("x-replica", number.into());
        Ok::<_, Infallible>(response)
    });
    let connect: Connect<Fake> = Box::new(|| Box::pin(async { Err("not here".into()) }));
    Replica::new(
        &format!("http://replica-{number}"),
        BoxCloneSyncService::new(service),
        connect,
    )
}

/// An answer that never ends.
struct Endless;

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = Status;
    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Pending
    }
}

fn balance(latencies: &[u64]) -> Balance<Fake> {
    let latencies = latencies.iter().copied().map(Duration::from_millis).enumerate();
    Balance::new(
        latencies.map(|(number, latency)| replica(number, latency)).collect(),
        Dice::seeded(1),
    )
}

fn number(response: &Response<Body>) -> usize {
    let text = response
        .headers()
        .get("x-replica")
        .and_then(|value| value.to_str().ok());
    text.and_then(|text| text.parse().ok()).expect("a number")
}

async fn send(balance: &Balance<Fake>, key: Option<&str>) -> Result<Response<Body>, BoxError> {
    let mut request = Request::new(Body::empty());
    if let Some(key) = key {
        request.headers_mut().insert(AFFINITY_KEY, key.parse().expect("ascii"));
    }
    balance.clone().oneshot(request).await
}

/// 16 callers with 50 calls each; returns how long it took and who answered how often. `Err` picks at random instead.
async fn load(latencies: &[u64], balanced: bool) -> (Duration, Vec<usize>) {
    let (several, dice) = (balance(latencies), Dice::seeded(2));
    let alone: Vec<Balance<Fake>> = latencies.iter().map(|latency| balance(&[*latency])).collect();
    let started = Instant::now();
    let callers = (0..16).map(|_| async {
        let mut answered = vec![0; latencies.len()];
        for _ in 0..50 {
            if balanced {
                answered[number(&send(&several, None).await.expect("answers"))] += 1;
            } else {
                let index = dice.below(latencies.len());
                send(&alone[index], None).await.expect("answers");
                answered[index] += 1;
            }
        }
        answered
    });
    let answered = futures::future::join_all(callers).await;
    let sum = |mut all: Vec<usize>, one: Vec<usize>| {
        all.iter_mut().zip(one).for_each(|(all, one)| *all += one);
        all
    };
    (
        started.elapsed(),
        answered.into_iter().fold(vec![0; latencies.len()], sum),
    )
}

#[tokio::test(start_paused = true)]
async fn a_slow_replica_gets_fewer_calls_than_by_coin_toss() {
    // Virtual time: the figures are those of the algorithm, not of the machine.
    let latencies = [5, 5, 100];
    let (balanced, shares) = load(&latencies, true).await;
    let (random, coins) = load(&latencies, false).await;
    println!("least pending: {balanced:?} {shares:?}; random: {random:?} {coins:?}");
    assert!(shares[2] * 2 < coins[2], "{shares:?} against {coins:?}");
    assert!(balanced * 2 < random, "{balanced:?} against {random:?}");
}

#[tokio::test(start_paused = true)]
async fn open_streams_count_until_they_end() {
    let balance = balance(&[1, 1]);
    let mut open = [Vec::new(), Vec::new()];
    for _ in 0..20 {
        let stream = send(&balance, None).await.expect("answers");
        open[number(&stream)].push(stream);
    }
    assert_eq!([open[0].len(), open[1].len()], [10, 10]);
    // Those of one are dropped: it is the one with room now.
    open[0].clear();
    let mut again = Vec::new();
    for _ in 0..10 {
        again.push(send(&balance, None).await.expect("answers"));
    }
    assert!(again.iter().all(|stream| number(stream) == 0));
    assert_eq!(balance.shared.pending(0), 10);
    drop((open, again));
    assert_eq!((balance.shared.pending(0), balance.shared.pending(1)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_given_up_does_not_count() {
    let balance = balance(&[1_000, 1_000]);
    let given_up = tokio::time::timeout(Duration::from_millis(10), send(&balance, None)).await;
    assert!(given_up.is_err());
    assert_eq!(balance.shared.pending(0) + balance.shared.pending(1), 0);
}

#[tokio::test(start_paused = true)]
async fn equal_keys_meet_at_one_replica_and_most_stay_when_a_replica_is_added() {
    let (three, four) = (balance(&[1, 1, 1]), balance(&[1, 1, 1, 1]));
    let (mut shares, mut moved) = ([0; 3], 0);
    for key in 0..300 {
        let key = format!("run-{key}");
        let home = number(&send(&three, Some(&key)).await.expect("answers"));
        assert_eq!(number(&send(&three, Some(&key)).await.expect("answers")), home);
        shares[home] += 1;
        let new_home = number(&send(&four, Some(&key)).await.expect("answers"));
        assert!(
            new_home == home || new_home == 3,
            "{key} moved from {home} to {new_home}"
        );
        moved += usize::from(new_home != home);
    }
    assert!(shares.iter().all(|share| (60..140).contains(share)), "{shares:?}");
    assert!((40..110).contains(&moved), "{moved} of 300 moved");
}

#[test]
fn keys_have_the_same_home_in_every_release() {
    // Changing the hash would send every key's calls elsewhere while processes of two releases run side by side.
    assert_eq!(hash(b""), mix(0xcbf2_9ce4_8422_2325));
    let shared = balance(&[1, 1, 1]).shared;
    let homes: Vec<_> = ["a", "b", "c", "d", "e", "f"]
        .map(|key| shared.home_of(hash(key.as_bytes())).expect("three"))
        .into();
    assert_eq!(homes, HOMES);
}

const HOMES: [usize; 6] = [2, 0, 1, 0, 1, 2];

#[tokio::test(start_paused = true)]
async fn with_nobody_left_a_call_is_unavailable_and_told_when_to_come_back() {
    let balance = balance(&[1, 1]);
    balance.eject(0, 0);
    balance.eject(0, 0);
    for _ in 0..5 {
        assert_eq!(number(&send(&balance, None).await.expect("the other one")), 1);
    }
    balance.eject(1, 0);
    let error = send(&balance, None).await.expect_err("nobody");
    let status = error.downcast_ref::<Status>().expect("a status");
    let delay = super::super::retry_delay(status).expect("RetryInfo");
    assert!(delay >= RETRY_AFTER_MIN && delay <= PROBE_LAST, "{delay:?}");
    // An old connection's failure says nothing about the present one.
    balance.eject(1, 7);
}
