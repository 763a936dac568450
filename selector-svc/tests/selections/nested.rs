//! The simulated trainer claims that a run may report several sizes: what comes of it, and what it costs.

use std::collections::BTreeMap;

use finepick_proto::selector::v1 as wire;
use finepick_proto::trainer::v1 as trainer;
use finepick_proto::types::v1::Money;
use svc_kit::client::Transport;
use svc_kit::config::EndpointConfig;
use trainer_client::TrainerClient;
use trainer_sim::SimulationConfig;

use crate::support::{Served, World, created, ended_one, simulation, spec};

/// What a selection came to, and the runs that its trainer made for it.
struct Outcome {
    selection: wire::Selection,
    trials: Vec<wire::Trial>,
    scores: Vec<(String, Option<f64>)>,
    runs: BTreeMap<String, trainer::TrainingRun>,
}

async fn outcome(nested_subsets: bool) -> Outcome {
    let config = SimulationConfig {
        nested_subsets,
        devices: 1,
        slots_per_device: 2,
        price_per_device_second: 0.001_234_567,
        price_per_run: 0.05,
        ..simulation(200_000.0)
    };
    let served = Served::start(|context| trainer_sim::grpc::app(&config, context)).await;
    let mut world = World::on(served).await;
    let client = &mut world.client;
    created(client, "one", spec()).await;
    let selection = ended_one(client, "one").await;
    assert_eq!(selection.state(), wire::SelectionState::Succeeded, "{selection:#?}");
    let selection_id = "one".to_owned();
    let request = wire::ListTrialsRequest {
        selection_id: selection_id.clone(),
        ..wire::ListTrialsRequest::default()
    };
    let trials = client.list_trials(request).await.unwrap().into_inner().trials;
    let request = wire::ListDecisionsRequest {
        selection_id,
        ..wire::ListDecisionsRequest::default()
    };
    let decisions = client.list_decisions(request).await.unwrap().into_inner().decisions;
    let last = decisions.last().unwrap().contenders.iter();
    let scores = last.map(|judged| (judged.candidate_id.clone(), judged.score)).collect();
    let transport = Transport::remote(&EndpointConfig::to(&world.trainer.url)).unwrap();
    let request = trainer::ListTrainingRunsRequest {
        page_size: 1_000,
        ..trainer::ListTrainingRunsRequest::default()
    };
    let runs = TrainerClient::new(transport).list(request).await.unwrap().runs;
    world.stop().await;
    Outcome {
        selection,
        trials,
        scores,
        runs: runs.into_iter().map(|run| (run.training_run_id.clone(), run)).collect(),
    }
}

fn nanos(money: &Money) -> i64 {
    money.units * 1_000_000_000 + i64::from(money.nanos)
}

#[tokio::test]
async fn several_sizes_in_one_run_give_the_same_answer_and_cost_what_the_run_costs() {
    let (apart, together) = (outcome(false).await, outcome(true).await);
    assert_eq!(together.scores, apart.scores);
    assert_eq!(together.selection.choice, apart.selection.choice);
    let examples = |outcome: &Outcome| outcome.selection.spent.as_ref().unwrap().examples;
    assert_eq!(examples(&together), examples(&apart));
    assert_eq!(apart.runs.len(), apart.trials.len());
    assert!(
        together.runs.len() < together.trials.len(),
        "{} runs",
        together.runs.len()
    );

    let mut told = BTreeMap::<&str, (i64, f64, Vec<i64>)>::new();
    for trial in &together.trials {
        let [attempt] = trial.attempts.as_slice() else {
            panic!("{trial:#?}")
        };
        let spent = attempt.spent.as_ref().unwrap();
        assert_eq!(spent.examples, trial.data_size);
        let (money, seconds, sizes) = told.entry(&attempt.training_run_id).or_default();
        *money += nanos(spent.money.as_ref().unwrap());
        *seconds += spent.device_seconds.unwrap();
        sizes.push(trial.data_size);
    }
    assert_eq!(told.len(), together.runs.len());
    for (id, (money, seconds, mut sizes)) in told {
        let run = &together.runs[id];
        sizes.sort_unstable();
        assert_eq!(run.spec.as_ref().unwrap().data_sizes, sizes);
        let cost = run.cost.as_ref().unwrap();
        assert_eq!(money, nanos(cost.money.as_ref().unwrap()), "to the last billionth");
        assert!(
            (seconds - cost.device_seconds).abs() < 1e-9 * seconds,
            "{seconds} of {cost:?}"
        );
    }
}
