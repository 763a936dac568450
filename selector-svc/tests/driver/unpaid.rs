//! A run that failed, and a budget that does not pay for another attempt: what is known of its contender counts.

use selector_svc::certificate::{Certificate, digest, verify};
use selector_svc::diagnostics::WarningCode;
use selector_svc::policy::ExclusionReason;
use selector_svc::report::Report;
use selector_svc::selection::{Ending, JudgedRecord, Outcome, Phase, SelectionSpec, State, Verdict};

use crate::trainer::Behaviour;
use crate::world::{World, check_books, spec_with, succeeded};

async fn driven(world: &mut World, asked: SelectionSpec) -> State {
    world.create("s", asked).await;
    let at_work = world.start();
    world.until_ended(&["s"], at_work).await.kill().await;
    check_books(&world.events("s").await)
}

/// The selection with a budget that pays for its plan and for nothing else, who was ahead before the last round, and the size of that.
async fn tight(policy: &str) -> (SelectionSpec, usize, i64) {
    let rich = spec_with(6, policy, 3 * 4_096);
    let state = driven(&mut World::new(1, 2), rich).await;
    let asked = spec_with(6, policy, state.spent.examples);
    let again = driven(&mut World::new(1, 2), asked.clone()).await;
    assert!(
        succeeded(&again) && again.choice() == state.choice(),
        "{policy}: {:?}",
        again.phase
    );
    let [.., before, last] = again.rounds.as_slice() else {
        panic!("{policy}: {} rounds", again.rounds.len())
    };
    let leader = before
        .decision
        .as_ref()
        .and_then(|(decision, _)| decision.contenders.first());
    let size = again.trials[last.trials[0]].data_size.examples();
    let leader = leader.expect("somebody leads").contender;
    (asked, leader, i64::try_from(size).expect("a size"))
}

/// Its last run ends so, every time.
async fn without_its_last_run(asked: &SelectionSpec, contender: usize, size: i64, again: bool) -> State {
    let mut world = World::new(1, 2);
    let name = asked.contender_name(contender);
    world.trainers[0].behave(move |_, spec| {
        let failure = "INTERNAL".to_owned();
        if spec.candidate_id == name && spec.data_size_max() == size {
            Behaviour::End(Outcome::Failed { failure }, again)
        } else {
            Behaviour::Succeed
        }
    });
    let state = driven(&mut world, asked.clone()).await;
    assert_eq!(state.withdrawn.len(), 1, "{:?}", state.withdrawn);
    state
}

#[tokio::test(start_paused = true)]
async fn who_is_ahead_stays_ahead_with_the_forecast_that_there_is() {
    for policy in ["geometric", "halving"] {
        let (asked, leader, size) = tight(policy).await;
        let state = without_its_last_run(&asked, leader, size, true).await;
        assert_eq!(state.withdrawn[0].2.reason, ExclusionReason::Budget);
        assert!(
            matches!(state.phase, Phase::Ended(Ending::BudgetExhausted { .. })),
            "{:?}",
            state.phase
        );
        assert_eq!(state.choice(), Some(leader), "{policy}");
        let (last, _) = state
            .rounds
            .last()
            .and_then(|round| round.decision.as_ref())
            .expect("judged");
        let (first, others) = last.contenders.split_first().expect("contenders");
        assert_eq!((first.contender, first.verdict), (leader, Verdict::Chosen));
        let reached = |judged: &JudgedRecord| i64::try_from(judged.data_size.examples()).expect("a size");
        assert!(reached(first) < size);
        assert!(
            first.reason.contains("alone: what is left of the budget"),
            "{}",
            first.reason
        );
        assert!(
            last.explanation.contains("alone: what is left of the budget"),
            "{}",
            last.explanation
        );
        assert!(others.iter().any(|other| reached(other) == size), "they were run");
        let report = Report::of("s", &state, 0);
        assert!(report.excluded.is_empty(), "{:?}", report.excluded);
        assert_eq!(report.contenders[0].named.contender, leader);
        let unpaid = |warnings: &[selector_svc::diagnostics::Warning]| {
            warnings
                .iter()
                .filter(|warning| warning.code == WarningCode::UnpaidRun)
                .count()
        };
        assert_eq!(
            (unpaid(&report.warnings), unpaid(&report.contenders[0].warnings)),
            (1, 1)
        );
        let json = Certificate::of("s", &state).expect("there is a choice");
        assert_eq!(verify(&json, &digest(&json)).differences, Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn whose_runs_failed_for_good_is_out() {
    let (asked, leader, size) = tight("geometric").await;
    let state = without_its_last_run(&asked, leader, size, false).await;
    assert_eq!(state.withdrawn[0].2.reason, ExclusionReason::RunsFailed);
    assert!(succeeded(&state), "{:?}", state.phase);
    assert_ne!(state.choice(), Some(leader));
    let report = Report::of("s", &state, 0);
    assert_eq!(report.excluded[0].named.contender, leader);
}
