//! Many selections at once.

use std::time::Duration;

use selector_svc::selection::{Ending, Outcome, Phase};

use crate::trainer::Behaviour;
use crate::world::{World, check_books, spec};

#[tokio::test(start_paused = true)]
async fn two_hundred_selections_of_thirty_finish_though_one_run_in_twenty_fails() {
    let mut world = World::with(4, 64, false);
    for trainer in &world.trainers {
        trainer.behave(|run_id, _| {
            let hash = run_id.bytes().fold(7_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
            if (hash >> 17).is_multiple_of(20) {
                Behaviour::End(
                    Outcome::Failed {
                        failure: "INTERNAL".to_owned(),
                    },
                    true,
                )
            } else {
                Behaviour::Succeed
            }
        });
    }
    let ids: Vec<String> = (0..200).map(|number| format!("s{number}")).collect();
    for id in &ids {
        world.create(id, spec(30)).await;
    }
    let at_work = world.start();
    let begin = tokio::time::Instant::now();
    for id in &ids {
        while !world.has_ended(id).await {
            assert!(begin.elapsed() < Duration::from_hours(48));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    at_work.kill().await;
    let (mut runs, mut failed, mut short) = (0, 0, 0);
    for id in &ids {
        let state = check_books(&world.events(id).await);
        // Failures are paid: here and there nothing is left for the last run.
        short += u32::from(matches!(state.phase, Phase::Ended(Ending::BudgetExhausted { .. })));
        assert!(state.choice().is_some(), "{id}: {:?}", state.phase);
        for attempt in state.trials.iter().flat_map(|trial| &trial.attempts) {
            runs += 1;
            let end = attempt.end.as_ref().expect("it has ended");
            failed += u32::from(matches!(end.outcome, Outcome::Failed { .. }));
        }
    }
    eprintln!(
        "{runs} runs, {failed} of them failed, {short} selections ran out of budget, in {:?} of their time",
        begin.elapsed()
    );
    assert!(failed * 40 > runs && failed * 10 < runs, "{failed} of {runs}");
}
