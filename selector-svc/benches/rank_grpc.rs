//! `RankCandidates` for 30 candidates over a loopback socket: what a client waits for.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]
#![allow(clippy::expect_used, reason = "a benchmark stops where its own data are wrong")]

use criterion::{Criterion, criterion_group, criterion_main};
use finepick_proto::selector::v1 as wire;
use finepick_proto::selector::v1::ranking_policy::Kind;
use finepick_proto::selector::v1::selector_service_client::SelectorServiceClient;
use finepick_proto::types::v1 as types;
use selector_svc::config::SelectorConfig;
use selector_svc::grpc::app;
use svc_kit::client::Transport;
use svc_kit::config::{EndpointConfig, ServerConfig};
use svc_kit::server::{Context, Listener};
use svc_kit::shutdown::Token;

/// 30 rectified laws at 11 sizes, with a ripple of 1 %.
fn request(kind: Kind) -> wire::RankCandidatesRequest {
    let candidate = |k: u32| {
        let spread = f64::from(k) / 30.0;
        let point = |i: u32| {
            let data_size = 200_i64 << i;
            let power = (data_size as f64).powf(0.45 - 0.1 * spread);
            let ripple = 1.0 + 0.002 * f64::from((i * 7 + k * 3) % 5);
            let test_loss = ((400.0 + 300.0 * spread) / (80.0 + 60.0 * spread + power) + 0.8) * ripple;
            types::Observation {
                data_size,
                test_loss,
                standard_error: None,
                weight: None,
            }
        };
        let candidate = types::Candidate {
            candidate_id: format!("candidate-{k}"),
            ..types::Candidate::default()
        };
        wire::CandidateCurve {
            candidate: Some(candidate),
            observations: (0..11).map(point).collect(),
        }
    };
    wire::RankCandidatesRequest {
        candidates: (0..30).map(candidate).collect(),
        data_size_budget: 204_800,
        data_size_full: 1_638_400,
        policy: Some(wire::RankingPolicy { kind: Some(kind) }),
        ..wire::RankCandidatesRequest::default()
    }
}

fn benches(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let client = runtime.block_on(async {
        let config = ServerConfig::on_port(0);
        let context = Context::new(&config, Token::new());
        let nobody = Transport::remote(&EndpointConfig::to("http://127.0.0.1:1")).expect("a URL");
        let app = app(nobody, &SelectorConfig::default(), &context);
        let listener = Listener::bind(&config).await.expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr());
        tokio::spawn(async move { listener.serve(app, &config, &context).await });
        let transport = Transport::remote(&EndpointConfig::to(endpoint)).expect("a URL");
        SelectorServiceClient::new(transport)
    });
    let kinds = [
        ("ats", Kind::Ats(wire::AtsPolicy::default())),
        ("local_trend", Kind::LocalTrend(wire::LocalTrendPolicy::default())),
    ];
    for (name, kind) in kinds {
        let message = request(kind);
        criterion.bench_function(&format!("grpc/rank/{name}/30"), |bencher| {
            bencher.iter(|| {
                let mut client = client.clone();
                runtime
                    .block_on(client.rank_candidates(message.clone()))
                    .expect("an answer")
            });
        });
    }
}

criterion_group!(all, benches);
criterion_main!(all);
