//! Plots as documents: well formed, self-contained, the same every time, and without a `NaN` whatever the scene.

use finepick_cli::plot::{ForecastPoint, PlotPoint, PlotScene, PlotSeries, Segment, render_svg};
use proptest::prelude::*;

/// A ranking of `count` candidates with straight curves in log-log.
fn ranking(count: u32) -> PlotScene {
    let series = (0..count).map(|index| {
        let at = |x: f64| (4.0 + 0.1 * f64::from(index)) * x.powf(-0.08);
        let point = |step: i32| (200.0 * 2_f64.powi(step), at(200.0 * 2_f64.powi(step)));
        let measured = (0..8)
            .map(point)
            .enumerate()
            .map(|(step, (x, y))| PlotPoint { x, y, used: step > 3 });
        let forecast = (7..14).map(point).map(|(x, y)| ForecastPoint {
            x,
            y,
            band: Some((y * 0.95, y * 1.05)),
        });
        PlotSeries {
            name: format!("org/model-{index}"),
            rank: Some(index + 1),
            highlight: index == 0,
            measured: measured.collect(),
            fitted: (4..8).map(point).collect(),
            forecast: forecast.collect(),
            truth: Some(point(13)),
            note: None,
            ..PlotSeries::default()
        }
    });
    PlotScene {
        title: "Fine-tune org/model-0".to_owned(),
        subtitle: "policy ats · predicted loss 1.25".to_owned(),
        x_label: "fine-tuning examples".to_owned(),
        y_label: "held-out loss (nats per token)".to_owned(),
        verticals: vec![
            (25_600.0, "measured up to 25.6k".to_owned()),
            (1_638_400.0, "all data: 1.64M".to_owned()),
        ],
        series: series.collect(),
        ..PlotScene::default()
    }
}

/// Reads the document back: tags must nest, and no attribute may hold what is not a number where one belongs.
fn check(svg: &str) -> Result<(), TestCaseError> {
    let mut open = Vec::new();
    for event in svg::parser::Parser::new(svg) {
        match event {
            svg::parser::Event::Tag(name, svg::node::element::tag::Type::Start, _) => open.push(name),
            svg::parser::Event::Tag(name, svg::node::element::tag::Type::End, _) => {
                prop_assert_eq!(open.pop(), Some(name));
            }
            svg::parser::Event::Error(error) => return Err(TestCaseError::fail(format!("{error:?}"))),
            _ => {}
        }
    }
    prop_assert!(open.is_empty(), "{:?}", open);
    for word in ["NaN", "inf", "\"-0\"", "<script", "href", "url("] {
        prop_assert!(!svg.contains(word), "{}: {}", word, svg);
    }
    Ok(())
}

/// Seven contenders of a selection: four dropped on the way, the budget spent in three rounds.
fn selection() -> PlotScene {
    // Name, losses from 32 examples up, forecast, the round it was dropped in.
    let contenders: [(&str, &[f64], f64, Option<i32>); 7] = [
        ("llama-mixed-l", &[3.43, 3.39, 3.34, 3.21, 3.06, 2.85], 2.66, None),
        ("llama-code-m", &[3.34, 3.32, 3.29, 3.20, 3.07, 2.90], 2.71, None),
        ("gpt2-code-s", &[3.88, 3.85, 3.81, 3.74], 3.30, Some(2)),
        ("llama-scripture-s", &[6.1, 5.6, 5.0], 3.75, Some(1)),
        ("gpt2-verse-m", &[5.9, 5.3, 4.9], 3.9, Some(1)),
        ("llama-verse-s", &[5.8, 5.4, 4.95], 3.95, Some(1)),
        ("gpt2-verse-xs", &[6.3, 5.9, 5.5], 4.4, Some(1)),
    ];
    let series = contenders
        .iter()
        .zip(1_u32..)
        .map(|((name, losses, forecast, dropped), rank)| {
            let size = |step: usize| 32.0 * (step as f64).exp2();
            let measured: Vec<PlotPoint> = losses
                .iter()
                .enumerate()
                .map(|(step, y)| PlotPoint {
                    x: size(step),
                    y: *y,
                    used: true,
                })
                .collect();
            let last = measured.last().copied().unwrap_or_default();
            let band = Some((forecast * 0.97, forecast * 1.03));
            let end = ForecastPoint {
                x: 2_048.0,
                y: *forecast,
                band,
            };
            let start = ForecastPoint {
                x: last.x,
                y: last.y,
                band: Some((last.y, last.y)),
            };
            PlotSeries {
                name: (*name).to_owned(),
                rank: Some(rank),
                highlight: rank == 1,
                faded: dropped.is_some(),
                measured,
                forecast: vec![start, end],
                note: dropped.map(|round| format!("dropped in round {round}")),
                ..PlotSeries::default()
            }
        });
    let segment = |label: &str, value: f64| Segment {
        label: label.to_owned(),
        value,
    };
    PlotScene {
        title: "Fine-tune llama-mixed-l".to_owned(),
        subtitle: "policy geometric · predicted loss 2.6600 (90% interval 2.5802–2.7398) · 3,072 examples spent, 21% of trying all".to_owned(),
        x_label: "fine-tuning examples".to_owned(),
        y_label: "held-out loss (nats per token)".to_owned(),
        verticals: vec![
            (1_024.0, "trained up to 1,024".to_owned()),
            (2_048.0, "all data: 2,048".to_owned()),
        ],
        series: series.collect(),
        spending: vec![segment("round 1", 1_120.0), segment("round 2", 768.0), segment("round 3", 1_184.0)],
        spending_total: 3_584.0,
    }
}

#[test]
fn a_selection_shows_who_left_when_and_what_each_round_spent() {
    let svg = render_svg(&selection());
    check(&svg).unwrap();
    for text in [
        "dropped in round 1",
        "dropped in round 2",
        "round 3 · 1,184",
        "examples spent: 3,072 of 3,584",
    ] {
        assert!(svg.contains(text), "{text}");
    }
    // The dropped ones have no colour of their own: two in front, and the bar in the colour of the choice.
    assert_eq!(occurrences(&svg, "#3fa08f"), 0);
    let without = PlotScene {
        spending: Vec::new(),
        ..selection()
    };
    assert!(!render_svg(&without).contains("examples spent:"));
}

/// How often a piece of text occurs.
fn occurrences(svg: &str, text: &str) -> usize {
    svg.matches(text).count()
}

#[test]
fn a_ranking_shows_what_was_chosen_and_why() {
    let svg = render_svg(&ranking(30));
    check(&svg).unwrap();
    for text in [
        "Fine-tune org/model-0",
        "policy ats · predicted loss 1.25",
        "measured up to 25.6k",
        "all data: 1.64M",
        "fine-tuning examples",
        "held-out loss (nats per token)",
        ">1. org/model-0<",
        ">5. org/model-4<",
        ">100k<",
        "25 others",
        "chosen: predicted loss",
        "its interval",
        "true loss",
    ] {
        assert!(svg.contains(text), "{text} is missing");
    }
    assert!(!svg.contains(">6. org/model-5<"), "only the first five have a label");
    assert_eq!(occurrences(&svg, "<title>"), 30, "each curve has a tooltip");
    assert!(
        svg.contains("<title>30. org/model-29 · at 1.638M: "),
        "with its figures"
    );
}

#[test]
fn small_scenes_label_every_curve() {
    let svg = render_svg(&ranking(8));
    for rank in 1..=8 {
        assert!(svg.contains(&format!(">{rank}. org/model-{}<", rank - 1)), "{rank}");
    }
}

#[test]
fn the_same_scene_gives_the_same_bytes_in_any_order() {
    let scene = ranking(30);
    let mut turned = scene.clone();
    turned.series.reverse();
    assert_eq!(render_svg(&scene), render_svg(&scene));
    assert_eq!(render_svg(&scene), render_svg(&turned));
}

#[test]
fn hostile_names_stay_text() {
    let mut scene = ranking(3);
    let name = format!(
        "<script>alert(\"x\")</script>&\u{1b}[31m\u{0}{}",
        "very-long-".repeat(40)
    );
    scene.title.clone_from(&name);
    scene.subtitle.clone_from(&name);
    scene.verticals = vec![(1000.0, name.clone()), (1001.0, name.clone())];
    (scene.x_label, scene.y_label) = (name.clone(), name.clone());
    for series in &mut scene.series {
        series.name.clone_from(&name);
        series.note = Some(name.clone());
    }
    let svg = render_svg(&scene);
    check(&svg).unwrap();
    assert!(svg.chars().all(|c| c == '\n' || !c.is_control()));
    assert!(
        svg.contains("very-long-very-long-very-long-</title>") || svg.contains("very-long-very-long-"),
        "whole in the tooltip"
    );
    assert!(svg.contains('…'), "shortened elsewhere");
}

#[test]
fn nothing_to_plot_is_said() {
    let svg = render_svg(&PlotScene::default());
    check(&svg).unwrap();
    assert!(svg.contains("nothing to plot"));
    let invalid = PlotSeries {
        measured: vec![
            PlotPoint {
                x: 0.0,
                y: 2.0,
                used: true,
            },
            PlotPoint {
                x: 5.0,
                y: f64::NAN,
                used: true,
            },
        ],
        ..PlotSeries::default()
    };
    assert_eq!(
        render_svg(&PlotScene {
            series: vec![invalid],
            ..PlotScene::default()
        }),
        svg
    );
}

#[test]
fn zero_shot_points_are_left_out_of_a_logarithmic_axis() {
    let mut scene = ranking(1);
    let expected = render_svg(&scene);
    scene.series[0].measured.insert(
        0,
        PlotPoint {
            x: 0.0,
            y: 5.0,
            used: false,
        },
    );
    assert_eq!(render_svg(&scene), expected);
}

#[test]
fn thousands_of_curves_are_counted_not_drawn() {
    let svg = render_svg(&ranking(1000));
    assert_eq!(occurrences(&svg, "<title>"), 300);
    assert!(svg.contains("295 others (700 more not drawn)"));
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => 0.1..1e7_f64,
        2 => prop::num::f64::ANY,
        1 => prop::sample::select(vec![0.0, -1.0, 1.0, 1e300, 5e-324, f64::MAX, f64::NAN, f64::INFINITY]),
    ]
}

prop_compose! {
    fn series()(
        name in "\\PC{0,30}",
        rank in prop::option::of(0_u32..9),
        highlight in any::<bool>(),
        measured in prop::collection::vec((number(), number(), any::<bool>()), 0..6),
        fitted in prop::collection::vec((number(), number()), 0..4),
        forecast in prop::collection::vec((number(), number(), prop::option::of((number(), number()))), 0..4),
        truth in prop::option::of((number(), number())),
        note in prop::option::of("\\PC{0,10}"),
    ) -> PlotSeries {
        PlotSeries {
            name, rank, highlight, fitted, truth, note,
            measured: measured.into_iter().map(|(x, y, used)| PlotPoint { x, y, used }).collect(),
            forecast: forecast.into_iter().map(|(x, y, band)| ForecastPoint { x, y, band }).collect(),
            ..PlotSeries::default()
        }
    }
}

proptest! {
    #[test]
    fn any_scene_is_a_sound_document(
        series in prop::collection::vec(series(), 0..8),
        verticals in prop::collection::vec((number(), "[a-z ]{0,40}"), 0..4),
    ) {
        // Names may well hold `inf` or `url(`; what is looked for is numbers.
        let mut scene = PlotScene { series, verticals, title: "a & b".to_owned(), ..PlotScene::default() };
        let svg = render_svg(&scene);
        prop_assert!(!svg.contains("NaN"), "{}", svg);
        for series in &mut scene.series {
            (series.name, series.note) = ("name".to_owned(), None);
        }
        for (_, label) in &mut scene.verticals {
            "label".clone_into(label);
        }
        check(&render_svg(&scene))?;
    }
}
