//! Watches: cursors, breaks, heartbeats, and those who go away.

use std::time::Duration;

use finepick_proto::trainer::v1 as wire;
use finepick_proto::trainer::v1::TrainingRunState as S;
use finepick_proto::trainer::v1::training_event::Kind;
use svc_kit::client::Transport;
use svc_kit::config::{EndpointConfig, HumanDuration, ServerConfig};
use svc_kit::server::{Context, Listener};
use svc_kit::shutdown::Token;
use tonic::Code;
use trainer_sim::{SimulationConfig, Trainer};

use crate::support::{Client, World, create_request, fields, labelled, reason, spec, states};

/// Waits for what happens soon; fails when it does not.
async fn eventually(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..500 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not in time: {what}");
}

#[tokio::test]
async fn every_cursor_gives_the_rest_and_the_future_is_refused() {
    let mut world = World::plain();
    world.create("r", spec()).await.unwrap();
    world.advance(3_600);
    let all = world.events("r", 0).await;
    let last = all.last().unwrap().sequence;
    for after in 0..=last {
        let skip = usize::try_from(after).unwrap();
        assert_eq!(world.events("r", after).await, all[skip..]);
    }
    for after in [-1, last + 1, i64::MAX, i64::MIN] {
        let status = world.watch("r", after).await.unwrap_err();
        assert_eq!(
            (status.code(), fields(&status)),
            (Code::InvalidArgument, vec!["after_sequence".to_owned()])
        );
    }
}

#[tokio::test]
async fn events_arrive_as_they_happen_and_end_with_the_run() {
    let mut world = World::plain();
    world.create("r", spec()).await.unwrap();
    let mut stream = world.watch("r", 0).await.unwrap();
    let (mut seen, mut advanced) = (Vec::new(), 0);
    loop {
        match tokio::time::timeout(Duration::from_millis(50), stream.message()).await {
            Ok(Ok(Some(message))) => seen.push(message.event.unwrap()),
            Ok(end) => break assert_eq!(end.unwrap(), None),
            Err(_) => {
                assert!(advanced < 1_000, "the stream does not end");
                world.advance(10);
                advanced += 10;
            }
        }
    }
    assert_eq!(states(&seen), [S::Queued, S::Preparing, S::Running, S::Succeeded]);
    assert_eq!(seen, world.events("r", 0).await);
}

#[tokio::test]
async fn streams_that_break_after_every_event_lose_nothing() {
    let mut world = World::plain();
    world.create("r", labelled(&[("sim.stream_break", "1")])).await.unwrap();
    world.create("whole", labelled(&[])).await.unwrap();
    world.advance(3_600);
    let (mut cursor, mut seen) = (0, Vec::new());
    loop {
        let mut stream = world.watch("r", cursor).await.unwrap();
        match stream.message().await.unwrap() {
            Some(message) => {
                let event = message.event.unwrap();
                cursor = event.sequence;
                seen.push(event);
                let status = stream.message().await.unwrap_err();
                assert_eq!(
                    (status.code(), reason(&status).as_str()),
                    (Code::Unavailable, "BACKEND_UNAVAILABLE")
                );
            }
            None => break,
        }
    }
    assert_eq!(states(&seen), [S::Queued, S::Preparing, S::Running, S::Succeeded]);
    let sequences: Vec<i64> = seen.iter().map(|event| event.sequence).collect();
    assert_eq!(sequences, (1..=cursor).collect::<Vec<_>>());
}

#[tokio::test]
async fn old_progress_is_dropped_and_everything_else_is_kept() {
    let mut world = World::new(&SimulationConfig {
        retained_events: 3,
        ..SimulationConfig::default()
    });
    world
        .create("r", labelled(&[("sim.seconds_per_example", "1")]))
        .await
        .unwrap();
    world.advance(100_000);
    let events = world.events("r", 0).await;
    let transient = |event: &&wire::TrainingEvent| matches!(event.kind, Some(Kind::Progress(_) | Kind::Log(_)));
    assert_eq!(events.iter().filter(transient).count(), 3);
    assert_eq!(states(&events), [S::Queued, S::Preparing, S::Running, S::Succeeded]);
    assert!(events.last().unwrap().sequence > i64::try_from(events.len()).unwrap());
    assert!(events.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));
}

#[tokio::test(start_paused = true)]
async fn hearts_beat_while_nothing_happens_unless_frozen() {
    let mut world = World::new(&SimulationConfig {
        heartbeat_interval: HumanDuration::from_secs(3),
        ..SimulationConfig::default()
    });
    world
        .create("hang", labelled(&[("sim.fault", "hang"), ("sim.fault_at", "0")]))
        .await
        .unwrap();
    world
        .create("freeze", labelled(&[("sim.fault", "freeze"), ("sim.fault_at", "0")]))
        .await
        .unwrap();
    world.advance(10);
    for (id, beats) in [("hang", true), ("freeze", false)] {
        let last = world.get(id).await.unwrap().last_sequence;
        let mut stream = world.watch(id, last).await.unwrap();
        let next = tokio::time::timeout(Duration::from_secs(3), stream.message()).await;
        assert_eq!(next.is_ok(), beats, "{id}");
        if let Ok(message) = next {
            let event = message.unwrap().unwrap().event.unwrap();
            assert_eq!(
                (event.sequence, event.kind),
                (last, Some(Kind::Heartbeat(wire::Heartbeat {})))
            );
        }
    }
}

#[tokio::test]
async fn a_watch_ends_when_its_run_is_deleted_or_the_trainer_stops_or_streams_break() {
    let mut world = World::plain();
    for id in ["a", "b"] {
        world.create(id, spec()).await.unwrap();
    }
    let mut b = world.watch("b", 2).await.unwrap();
    world.trainer.break_streams();
    assert_eq!(b.message().await.unwrap_err().code(), Code::Unavailable);
    let (mut a, mut b) = (world.watch("a", 0).await.unwrap(), world.watch("b", 2).await.unwrap());
    a.message().await.unwrap().unwrap();
    world.cancel("a").await.unwrap();
    world.delete("a").await.unwrap();
    // What the stream had read is still sent.
    a.message().await.unwrap().unwrap();
    assert_eq!(reason(&a.message().await.unwrap_err()), "TRAINING_RUN_NOT_FOUND");
    world.shutdown.trigger();
    let status = b.message().await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unavailable, "DRAINING")
    );
    drop((a, b));
    eventually("no watch is left", || world.trainer.open_watches() == 0).await;
}

#[tokio::test]
async fn streams_abandoned_by_the_thousand_leave_nothing_behind() {
    let server = ServerConfig::on_port(0);
    let context = Context::new(&server, Token::new());
    let config = SimulationConfig {
        speed: 1.0,
        ..SimulationConfig::default()
    };
    let trainer = Trainer::start(&config, &context.shutdown);
    let listener = Listener::bind(&server).await.unwrap();
    let address = listener.local_addr();
    let app = trainer_sim::grpc::serve(&trainer, &context);
    let serving = {
        let context = context.clone();
        tokio::spawn(async move { listener.serve(app, &server, &context).await })
    };
    let endpoint = EndpointConfig::to(format!("http://{address}"));
    let mut client = Client::new(Transport::remote(&endpoint).unwrap());
    let slow = labelled(&[("sim.seconds_per_example", "60")]);
    client.create_training_run(create_request("r", slow)).await.unwrap();
    for _ in 0..3 {
        let mut open = Vec::new();
        for _ in 0..1_000 {
            let request = wire::WatchTrainingRunRequest {
                training_run_id: "r".to_owned(),
                after_sequence: 0,
            };
            open.push(client.watch_training_run(request).await.unwrap().into_inner());
        }
        assert_eq!(trainer.open_watches(), 1_000);
        drop(open);
        eventually("all watches are gone", || trainer.open_watches() == 0).await;
    }
    let request = wire::GetTrainingRunRequest {
        training_run_id: "r".to_owned(),
    };
    client.get_training_run(request).await.unwrap();
    context.shutdown.trigger();
    serving.await.unwrap().unwrap();
}
