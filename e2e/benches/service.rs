//! What the wire and the processes cost: ratios and medians, measured in one run.
//!
//!     cargo bench -p e2e --bench service
//!
//! - a batch of 1,000 fits over gRPC on loopback against the same fits by a plain function call, in turn;
//! - the latency of one ranking of 30 candidates, straight to the selector and through the gateway;
//! - the time until `finepick up` accepts connections, and its resident memory when idle.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark prints its figures"
)]

use std::time::{Duration, Instant};

use e2e::{Server, Suite};
use finepick_proto::fitter::v1::fitter_service_client::FitterServiceClient;
use finepick_proto::fitter::v1::{BatchFitCurvesRequest, FitOptions, UncertaintyMethod};
use finepick_proto::selector::v1::selector_service_client::SelectorServiceClient;
use finepick_proto::selector::v1::{CandidateCurve, RankCandidatesRequest, RankingPolicy, ranking_policy};
use finepick_proto::types::v1::{Candidate, LearningCurve, Observation};
use tonic::transport::Channel;

const PAIRS: usize = 15;
const RANKINGS: usize = 400;

/// Losses of a rectified law with ripples, at 11 sizes.
fn losses(index: usize) -> Vec<(u64, f64)> {
    let shift = index as f64;
    let (reducible, pre_learned, exponent, floor) = (
        250.0 + shift.sin() * 60.0,
        80.0 + (shift * 1.7).cos() * 20.0,
        0.40 + (shift * 0.3).sin() * 0.05,
        0.9,
    );
    (0..11_u32)
        .map(|step| {
            let size = 200_u64 << step;
            let law = reducible / (pre_learned + (size as f64).powf(exponent)) + floor;
            (size, law * (1.0 + 0.004 * (f64::from(step) * 2.4 + shift).sin()))
        })
        .collect()
}

fn observations(index: usize) -> Vec<Observation> {
    let observation = |(size, test_loss)| Observation {
        data_size: i64::try_from(size).expect("small"),
        test_loss,
        standard_error: None,
        weight: None,
    };
    losses(index).into_iter().map(observation).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index within the values"
    )]
    let index = ((values.len() - 1) as f64 * share) as usize;
    values[index]
}

async fn batches(channel: Channel) {
    let curves: Vec<_> = (0..1000)
        .map(|index| fitter_svc::curve::LearningCurve::from_pairs(&losses(index)).expect("valid curves"))
        .collect();
    let options = fitter_svc::fit::FitOptions::default();
    let request = BatchFitCurvesRequest {
        curves: (0..1000)
            .map(|index| LearningCurve {
                candidate: format!("c{index}"),
                observations: observations(index),
            })
            .collect(),
        options: Some(FitOptions {
            uncertainty: UncertaintyMethod::None.into(),
            ..FitOptions::default()
        }),
    };
    let mut client = FitterServiceClient::new(channel).max_decoding_message_size(64 << 20);
    let (mut direct, mut remote, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..=PAIRS {
        let start = Instant::now();
        let reports = fitter_svc::fit::fit_batch(&curves, &options);
        let own = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let answer = client
            .batch_fit_curves(request.clone())
            .await
            .expect("fits")
            .into_inner();
        let over_wire = start.elapsed().as_secs_f64();
        assert_eq!((reports.len(), answer.fits.len()), (1000, 1000));
        // The first pair warms up.
        if pair > 0 {
            direct.push(own);
            remote.push(over_wire);
            ratios.push(over_wire / own);
        }
    }
    println!(
        "batch of 1,000 fits: function call {:.1} ms, gRPC {:.1} ms, ratio {:.3} (medians of {PAIRS} pairs)",
        median(direct) * 1e3,
        median(remote) * 1e3,
        median(ratios)
    );
}

async fn rankings(name: &str, channel: Channel) {
    let request = RankCandidatesRequest {
        candidates: (0..30)
            .map(|index| CandidateCurve {
                candidate: Some(Candidate {
                    candidate_id: format!("c{index}"),
                    ..Candidate::default()
                }),
                observations: observations(index),
            })
            .collect(),
        data_size_budget: 25_600,
        data_size_full: 1_638_400,
        policy: Some(RankingPolicy {
            kind: Some(ranking_policy::Kind::Ats(
                finepick_proto::selector::v1::AtsPolicy::default(),
            )),
        }),
        ..RankCandidatesRequest::default()
    };
    let mut client = SelectorServiceClient::new(channel);
    let mut times = Vec::new();
    for round in 0..RANKINGS + 50 {
        let start = Instant::now();
        let answer = client
            .rank_candidates(request.clone())
            .await
            .expect("a ranking")
            .into_inner();
        assert_eq!(answer.candidates.len(), 30);
        if round >= 50 {
            times.push(start.elapsed().as_secs_f64());
        }
    }
    println!(
        "RankCandidates, 30 candidates, ats, {name}: p50 {:.3} ms, p99 {:.3} ms",
        quantile(&mut times, 0.5) * 1e3,
        quantile(&mut times, 0.99) * 1e3
    );
}

fn start_up() {
    let mut times = Vec::new();
    let mut resident = Vec::new();
    for _ in 0..5 {
        let start = Instant::now();
        let server = Server::start("finepick", &[]);
        times.push(start.elapsed().as_secs_f64());
        std::thread::sleep(Duration::from_millis(300));
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        resident.extend(line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok()));
    }
    let memory = if resident.is_empty() {
        "unknown".to_owned()
    } else {
        format!("{:.1} MB", median(resident) / 1024.0)
    };
    println!(
        "finepick up: accepts connections after {:.0} ms, {memory} resident when idle (medians of 5)",
        median(times) * 1e3
    );
}

async fn connect(server: &Server) -> Channel {
    tonic::transport::Endpoint::from_shared(server.url())
        .expect("a URL")
        .connect()
        .await
        .expect("it listens")
}

fn main() {
    // `cargo test` runs benchmarks too, to see that they still work; it asks for no measurements.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let suite = Suite::start();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        batches(connect(&suite.fitter).await).await;
        rankings("straight to the selector", connect(&suite.selector).await).await;
        rankings("through the gateway", connect(&suite.gateway).await).await;
    });
    drop(suite);
    start_up();
}
