//! The service over a real socket: the same answers as in process, and what the wire costs.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests, outside of any test function"
)]

use std::time::Instant;

use finepick_proto::fitter::v1 as pb;
use finepick_proto::fitter::v1::fitter_service_client::FitterServiceClient;
use finepick_proto::types::v1 as types;
use fitter_svc::config::Config;
use fitter_svc::curve::LearningCurve;
use fitter_svc::fit::{FitOptions, fit_batch};
use fitter_svc::grpc;
use svc_kit::client::Transport;
use svc_kit::config::{EndpointConfig, ServerConfig};
use svc_kit::server::{Context, Listener};
use svc_kit::shutdown::Token;

/// A curve like the published ones: 14 doublings from 200.
fn pairs(k: u32) -> Vec<(u64, f64)> {
    let (beta, phase) = (0.35 + 0.1 * (f64::from(k) * 0.618).fract(), f64::from(k));
    let loss = |i: u32| {
        let size = 200.0 * 2_f64.powf(f64::from(i));
        let noise = 1.0 + 0.004 * (f64::from(i * 37) * 1.7 + phase).sin();
        (400.0 / (150.0 + size.powf(beta)) + 0.9) * noise
    };
    (0..14).map(|i| (200_u64 << i, loss(i))).collect()
}

fn wire(k: u32) -> types::LearningCurve {
    let observation = |(size, test_loss): (u64, f64)| types::Observation {
        data_size: i64::try_from(size).unwrap(),
        test_loss,
        standard_error: None,
        weight: None,
    };
    types::LearningCurve {
        candidate: format!("c{k}"),
        observations: pairs(k).into_iter().map(observation).collect(),
    }
}

async fn client() -> (FitterServiceClient<Transport>, Token) {
    let config = Config {
        server: ServerConfig::on_port(0),
        ..Config::default()
    };
    let shutdown = Token::new();
    let context = Context::new(&config.server, shutdown.clone());
    let listener = Listener::bind(&config.server).await.unwrap();
    let endpoint = EndpointConfig::to(format!("http://{}", listener.local_addr()));
    let app = grpc::app(&config.fitter, &context);
    tokio::spawn(async move { listener.serve(app, &config.server, &context).await });
    let limit = 16 << 20;
    let client = FitterServiceClient::new(Transport::remote(&endpoint).unwrap())
        .max_decoding_message_size(limit)
        .max_encoding_message_size(limit);
    (client, shutdown)
}

fn request(count: u32) -> pb::BatchFitCurvesRequest {
    let options = pb::FitOptions {
        uncertainty: pb::UncertaintyMethod::None.into(),
        ..pb::FitOptions::default()
    };
    pb::BatchFitCurvesRequest {
        curves: (0..count).map(wire).collect(),
        options: Some(options),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_over_a_socket_is_the_batch_in_process() {
    let (mut client, shutdown) = client().await;
    let fits = client.batch_fit_curves(request(40)).await.unwrap().into_inner().fits;
    let curves: Vec<_> = (0..40).map(|k| LearningCurve::from_pairs(&pairs(k)).unwrap()).collect();
    let reports = fit_batch(&curves, &FitOptions::default());
    for (k, (fit, report)) in fits.iter().zip(&reports).enumerate() {
        assert_eq!(
            (fit.candidate.clone(), fit.objective_value),
            (format!("c{k}"), Some(report.objective_value))
        );
        let values: Vec<f64> = report.coefficients().iter().map(|c| c.value).collect();
        assert_eq!(fit.coefficients.iter().map(|c| c.value).collect::<Vec<_>>(), values);
    }
    shutdown.trigger();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a check"]
async fn what_the_wire_costs() {
    let (mut client, shutdown) = client().await;
    let curves: Vec<_> = (0..1000)
        .map(|k| LearningCurve::from_pairs(&pairs(k)).unwrap())
        .collect();
    let (mut computed, mut called) = (Vec::new(), Vec::new());
    for _ in 0..15 {
        let begin = Instant::now();
        assert_eq!(fit_batch(&curves, &FitOptions::default()).len(), 1000);
        computed.push(begin.elapsed().as_secs_f64() * 1e3);
        let message = request(1000);
        let begin = Instant::now();
        assert_eq!(
            client.batch_fit_curves(message).await.unwrap().into_inner().fits.len(),
            1000
        );
        called.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    for times in [&mut computed, &mut called] {
        times.sort_by(f64::total_cmp);
    }
    println!(
        "1000 fits: {:.1} ms in process, {:.1} ms over gRPC, {:.2}",
        computed[7],
        called[7],
        called[7] / computed[7]
    );
    shutdown.trigger();
}
