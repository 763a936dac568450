use std::collections::{BTreeMap, BTreeSet};

use super::check::numbers;
use super::table::TABLE;
use super::*;
use crate::graph::Op;
use crate::session::testing::evaluate;
use crate::tensor::{ElementType, Elements, HostTensor};

/// Names of all operators, read where they are named: a new one is missed by nobody.
fn every_operator() -> Vec<&'static str> {
    let source = include_str!("../graph/op.rs");
    let names = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Self::")?.split_once("=> \""));
    let names: Vec<&str> = names.map(|(_, name)| name.trim_end_matches("\",")).collect();
    assert!(names.contains(&"Gemm") && names.len() >= 32, "{names:?}");
    names
}

#[test]
fn every_operator_has_one_row_and_every_rule_cases_of_its_own() {
    let operators = every_operator();
    let rows: Vec<&str> = TABLE.iter().map(|row| row.operator).collect();
    let set = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<String>>();
    assert_eq!(set(&operators), set(&rows));
    assert_eq!(rows.len(), set(&rows).len(), "an operator has two rows");
    for row in TABLE {
        let cases = (row.cases)();
        assert_eq!(
            cases.is_empty(),
            row.rule.is_none(),
            "{}: a rule needs cases",
            row.operator
        );
        assert!(cases.iter().all(|case| case.operator() == row.operator));
    }
}

#[test]
fn rules_agree_with_finite_differences() {
    for case in TABLE.iter().flat_map(|row| (row.cases)()) {
        case.check();
    }
}

fn floats(shape: &[usize], values: &[f32]) -> HostTensor {
    HostTensor::new(shape, Elements::F32(values.to_vec())).unwrap()
}

fn bound(tensors: &[(&str, HostTensor)]) -> BTreeMap<String, HostTensor> {
    tensors
        .iter()
        .map(|(name, tensor)| ((*name).to_owned(), tensor.clone()))
        .collect()
}

/// A scalar made of x by squaring and adding up, with the seed 1.
fn sum_of_squares(graph: &mut Graph, x: ValueId) -> (ValueId, ValueId) {
    let square = graph.mul(x, x).unwrap();
    let sum = graph.reduce_sum(square, &[0], false).unwrap();
    let one = graph.scalar_like(sum, 1.0);
    (sum, one)
}

#[test]
fn nothing_is_added_for_what_is_not_wanted() {
    let mut graph = Graph::new();
    let x = graph.input("x", ElementType::F32, [2, 3]).unwrap();
    let frozen = graph.input("frozen", ElementType::F32, [3, 3]).unwrap();
    let trained = graph.input("trained", ElementType::F32, [3, 4]).unwrap();
    let elsewhere = graph.input("elsewhere", ElementType::F32, [3]).unwrap();
    let hidden = graph.gemm(x, frozen, None, false, false).unwrap();
    let y = graph.gemm(hidden, trained, None, false, false).unwrap();
    let seed = graph.input("seed", ElementType::F32, [2, 4]).unwrap();
    let before = graph.nodes().len();
    let found = gradients(&mut graph, &[(y, seed)], &[trained, elsewhere]).unwrap();
    // One product: Ȳ with the hidden values.
    assert_eq!(graph.nodes().len(), before + 1);
    assert_eq!(graph.shape(found[0].unwrap()), [3, 4]);
    assert_eq!(found[1], None);
}

#[test]
fn a_value_between_has_a_gradient_too_and_paths_add_up() {
    let mut graph = Graph::new();
    let x = graph.input("x", ElementType::F32, [2]).unwrap();
    let doubled = graph.scale(x, 2.0).unwrap();
    let tripled = graph.scale(x, 3.0).unwrap();
    let product = graph.mul(doubled, tripled).unwrap();
    let (sum, one) = sum_of_squares(&mut graph, product);
    let found = gradients(&mut graph, &[(sum, one)], &[x, product, sum]).unwrap();
    let found: Vec<ValueId> = found.into_iter().flatten().collect();
    let got = evaluate(&graph, &bound(&[("x", floats(&[2], &[1.0, -0.5]))]), &found);
    // s = Σ (6x²)²: ∂s/∂x = 144 x³, ∂s/∂(6x²) = 12 x².
    assert_eq!(numbers(&got[0]), [144.0, -18.0]);
    assert_eq!(numbers(&got[1]), [12.0, 3.0]);
    assert_eq!(numbers(&got[2]), [1.0]);
}

#[test]
fn a_constant_cotangent_is_broadcast_not_expanded() {
    let mut graph = Graph::new();
    let x = graph.input("x", ElementType::F32, [4]).unwrap();
    let (sum, one) = sum_of_squares(&mut graph, x);
    gradients(&mut graph, &[(sum, one)], &[x]).unwrap();
    let expansions = graph
        .nodes()
        .iter()
        .filter(|node| matches!(node.op, Op::Expand { .. }))
        .count();
    assert_eq!(expansions, 0);
}

#[test]
fn ties_share_the_gradient_of_a_maximum() {
    let mut graph = Graph::new();
    let x = graph.input("x", ElementType::F32, [4]).unwrap();
    let y = graph.reduce_max(x, &[0], false).unwrap();
    let one = graph.scalar_like(y, 1.0);
    let found = gradients(&mut graph, &[(y, one)], &[x]).unwrap();
    let inputs = bound(&[("x", floats(&[4], &[2.0, 1.0, 2.0, 0.0]))]);
    let got = evaluate(&graph, &inputs, &[found[0].unwrap()]);
    assert_eq!(numbers(&got[0]), [0.5, 0.0, 0.5, 0.0]);
}

#[test]
fn all_operators_without_a_rule_are_named_at_once() {
    let mut graph = Graph::new();
    let x = graph.input("x", ElementType::F32, [2, 3]).unwrap();
    let scale = graph.constant(HostTensor::vector(vec![1.0; 3]));
    let mut deviations = Vec::new();
    for name in ["first", "second"] {
        let op = Op::LayerNormalization { axis: 1, epsilon: 0.1 };
        let outputs = graph.apply(op, &[x, scale, scale]).unwrap();
        graph.rename(outputs[0], name).unwrap();
        deviations.push(outputs[2]);
    }
    let sum = graph.add(deviations[0], deviations[1]).unwrap();
    let seed = graph.input("seed", ElementType::F32, [2, 1]).unwrap();
    let error = gradients(&mut graph, &[(sum, seed)], &[x]).unwrap_err();
    let AutodiffError::NoRule { mut nodes } = error else {
        panic!("{error}");
    };
    nodes.sort();
    assert_eq!(nodes, ["LayerNormalization (first)", "LayerNormalization (second)"]);
}

#[test]
fn seeds_and_wanted_values_are_checked() {
    let mut graph = Graph::new();
    let x = graph.input("x", ElementType::F32, [2]).unwrap();
    let ids = graph.input("ids", ElementType::I64, [2]).unwrap();
    let narrow = graph.input("narrow", ElementType::F32, [1]).unwrap();
    let error = gradients(&mut graph, &[(x, narrow)], &[x]).unwrap_err();
    assert_eq!(error.to_string(), "the cotangent of \"x\" must be F32 [2], got F32 [1]");
    let error = gradients(&mut graph, &[(x, x)], &[ids]).unwrap_err();
    assert_eq!(error, AutodiffError::NotFloat("ids".into()));
}

#[test]
fn cross_entropy_is_stable_and_weighted() {
    let mut graph = Graph::new();
    let logits = graph.input("logits", ElementType::F32, [3, 4]).unwrap();
    let targets = graph.input("targets", ElementType::I64, [3]).unwrap();
    let weights = graph.input("weights", ElementType::F32, [3]).unwrap();
    let loss = cross_entropy(&mut graph, logits, targets, weights).unwrap();
    // Differences far beyond exp's range; one row without weight.
    let z = [1000.0, 0.0, -1000.0, 998.0, 0.5, -0.25, 0.125, 2.0, 7.0, 7.0, 7.0, 7.0];
    let inputs = bound(&[
        ("logits", floats(&[3, 4], &z)),
        ("targets", HostTensor::indices(vec![2, 1, 3])),
        ("weights", floats(&[3], &[0.5, 2.0, 0.0])),
    ]);
    let got = evaluate(&graph, &inputs, &[loss.loss, loss.nll, loss.logits_cotangent]);
    let log_sum: f64 = [0.5_f64, -0.25, 0.125, 2.0].iter().map(|z| z.exp()).sum::<f64>().ln();
    let nll = [2000.0 + (-2.0_f64).exp().ln_1p(), log_sum + 0.25, 4.0_f64.ln()];
    for (found, wanted) in numbers(&got[1]).iter().zip(nll) {
        assert!((found - wanted).abs() <= 1e-6 * wanted, "{found} {wanted}");
    }
    assert!((numbers(&got[0])[0] - (0.5 * nll[0] + 2.0 * nll[1])).abs() < 1e-3);
    let cotangent = numbers(&got[2]);
    let wanted = 2.0 * ((-0.25 - log_sum).exp() - 1.0);
    assert!((cotangent[5] - wanted).abs() < 1e-6);
    assert!((cotangent[2] + 0.5).abs() < 1e-6);
    assert_eq!(cotangent[8..], [0.0; 4]);
}
