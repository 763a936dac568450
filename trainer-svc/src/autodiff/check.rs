//! Finite differences: does a rule give the derivative of what its operator computes?

use std::collections::BTreeMap;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::gradients;
use crate::graph::{Graph, Op, ValueId};
use crate::session::testing::Compiled;
use crate::tensor::{ElementType, Elements, HostTensor, element_count};

/// What an operator is given in a case.
#[derive(Debug, Clone)]
pub(super) enum Given {
    /// Floats between two bounds, in a shape.
    Floats(Vec<usize>, f64, f64),
    /// A constant scalar.
    Scalar(f64),
    /// Indices below a bound, in a shape.
    Indices(Vec<usize>, i64),
    /// Indices below a bound, no two the same.
    Distinct(Vec<usize>, i64),
    /// Booleans in a shape.
    Booleans(Vec<usize>),
    /// The very value that another input is.
    SameAs(usize),
}

pub(super) fn float(shape: impl Into<Shape>) -> Given {
    Given::Floats(shape.into().0, -1.5, 1.5)
}

pub(super) fn positive(shape: impl Into<Shape>) -> Given {
    Given::Floats(shape.into().0, 0.5, 2.0)
}

pub(super) fn scalar(value: f64) -> Given {
    Given::Scalar(value)
}

pub(super) fn index(shape: impl Into<Shape>, below: i64) -> Given {
    Given::Indices(shape.into().0, below)
}

pub(super) fn distinct(shape: impl Into<Shape>, below: i64) -> Given {
    Given::Distinct(shape.into().0, below)
}

pub(super) fn boolean(shape: impl Into<Shape>) -> Given {
    Given::Booleans(shape.into().0)
}

pub(super) fn same_as(input: usize) -> Given {
    Given::SameAs(input)
}

/// A shape, written as an array or slice.
pub(super) struct Shape(Vec<usize>);

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(shape: [usize; N]) -> Self {
        Self(shape.to_vec())
    }
}

impl From<&[usize]> for Shape {
    fn from(shape: &[usize]) -> Self {
        Self(shape.to_vec())
    }
}

/// An operator with what it is given.
#[derive(Debug, Clone)]
pub(super) struct Case {
    op: Op,
    given: Vec<Given>,
    /// Outputs that have a cotangent; all where absent.
    seeded: Option<Vec<usize>>,
    element: ElementType,
}

impl Case {
    pub(super) fn new(op: Op, given: impl IntoIterator<Item = Given>) -> Self {
        Self {
            op,
            given: given.into_iter().collect(),
            seeded: None,
            element: ElementType::F64,
        }
    }

    /// In f32, with a looser bound: the CPU provider has no other kernel.
    pub(super) fn in_f32(self) -> Self {
        let element = ElementType::F32;
        Self { element, ..self }
    }

    /// Only these outputs have a cotangent.
    pub(super) fn seeding(self, outputs: &[usize]) -> Self {
        let seeded = Some(outputs.to_vec());
        Self { seeded, ..self }
    }

    pub(super) fn operator(&self) -> &'static str {
        self.op.name()
    }

    /// Compares every element of every gradient with a central difference of Σ ⟨output, cotangent⟩.
    pub(super) fn check(&self) {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let mut graph = Graph::new();
        let mut bound = BTreeMap::new();
        let mut inputs: Vec<ValueId> = Vec::new();
        for (index, given) in self.given.iter().enumerate() {
            let value = self.add_input(&mut graph, &mut bound, &mut rng, &inputs, given, index);
            inputs.push(value);
        }
        let outputs = graph.apply(self.op.clone(), &inputs).unwrap();
        let seeded = self.seeded.clone().unwrap_or_else(|| (0..outputs.len()).collect());
        let mut seeds = Vec::new();
        for index in seeded {
            let shape = graph.shape(outputs[index]).to_vec();
            let element = graph.element(outputs[index]);
            let name = format!("cotangent {index}");
            let cotangent = graph.input(&name, element, shape.clone()).unwrap();
            bound.insert(name, floats(element, &shape, -1.0, 1.0, &mut rng));
            // A value that is an input as it stands cannot be bound as an output.
            seeds.push((outputs[index], graph.scale(cotangent, 1.0).unwrap()));
        }
        let objective = objective(&mut graph, &seeds);
        let mut wrt: Vec<ValueId> = inputs.clone();
        wrt.retain(|&value| graph.element(value).is_float() && graph.constant_value(value).is_none());
        wrt.dedup();
        let found = gradients(&mut graph, &seeds, &wrt).unwrap();
        for (value, gradient) in wrt.into_iter().zip(found) {
            let name = graph.value(value).name.clone();
            let gradient = gradient.unwrap_or_else(|| panic!("{self:?}: {name} has no gradient"));
            assert_eq!(graph.shape(gradient), graph.shape(value), "{self:?}");
            let mut program = Compiled::new(&graph, &[objective, gradient]);
            self.compare(&mut program, &name, &bound);
        }
    }

    fn add_input(
        &self,
        graph: &mut Graph,
        bound: &mut BTreeMap<String, HostTensor>,
        rng: &mut ChaCha8Rng,
        inputs: &[ValueId],
        given: &Given,
        index: usize,
    ) -> ValueId {
        let tensor = match given {
            Given::SameAs(other) => return inputs[*other],
            Given::Scalar(value) => {
                let like = graph.input(format!("like {index}"), self.element, []).unwrap();
                bound.insert(format!("like {index}"), floats(self.element, &[], 0.0, 1.0, rng));
                return graph.scalar_like(like, *value);
            }
            Given::Floats(shape, low, high) => floats(self.element, shape, *low, *high, rng),
            Given::Indices(shape, below) => {
                let count = element_count(shape).unwrap();
                let indices = (0..count).map(|_| rng.random_range(0..*below)).collect();
                HostTensor::new(shape.clone(), Elements::I64(indices)).unwrap()
            }
            Given::Distinct(shape, below) => {
                let count = element_count(shape).unwrap();
                let indices = (0..*below).rev().take(count).collect();
                HostTensor::new(shape.clone(), Elements::I64(indices)).unwrap()
            }
            Given::Booleans(shape) => {
                let count = element_count(shape).unwrap();
                let booleans = (0..count).map(|_| rng.random_bool(0.5)).collect();
                HostTensor::new(shape.clone(), Elements::Bool(booleans)).unwrap()
            }
        };
        let name = format!("input {index}");
        let value = graph.input(&name, tensor.element_type(), tensor.shape()).unwrap();
        bound.insert(name, tensor);
        value
    }

    /// The program gives the objective and the gradient with respect to the input of this name.
    fn compare(&self, program: &mut Compiled, name: &str, bound: &BTreeMap<String, HostTensor>) {
        let (step, tolerance) = match self.element {
            ElementType::F64 => (1e-5, 1e-8),
            _ => (1e-2, 1e-3),
        };
        let gradient = numbers(&program.run(bound)[1]);
        for (index, &found) in gradient.iter().enumerate() {
            let mut at = |offset: f64| {
                let mut moved = bound.clone();
                moved.insert(name.to_owned(), nudged(&bound[name], index, offset));
                numbers(&program.run(&moved)[0])[0]
            };
            // Five points: the error is of the fourth order in the step.
            let wide = at(2.0 * step) - at(-2.0 * step);
            let wanted = (8.0 * (at(step) - at(-step)) - wide) / (12.0 * step);
            assert!(
                (found - wanted).abs() <= tolerance * wanted.abs().max(1.0),
                "{self:?}: {name}[{index}]: rule {found}, difference {wanted}"
            );
        }
    }
}

/// Σ ⟨output, cotangent⟩, f64.
fn objective(graph: &mut Graph, seeds: &[(ValueId, ValueId)]) -> ValueId {
    let mut total = None;
    for &(output, cotangent) in seeds {
        let to = ElementType::F64;
        let output = graph.one(Op::Cast { to }, &[output]).unwrap();
        let cotangent = graph.one(Op::Cast { to }, &[cotangent]).unwrap();
        let product = graph.mul(output, cotangent).unwrap();
        let count = graph.shape(product).iter().product();
        let product = graph.reshape(product, &[count]).unwrap();
        let sum = graph.reduce_sum(product, &[0], false).unwrap();
        total = Some(total.map_or(sum, |total| graph.add(total, sum).unwrap()));
    }
    total.unwrap()
}

fn floats(element: ElementType, shape: &[usize], low: f64, high: f64, rng: &mut ChaCha8Rng) -> HostTensor {
    let count = element_count(shape).unwrap();
    let numbers = (0..count).map(|_| rng.random_range(low..high));
    let elements = match element {
        ElementType::F64 => Elements::F64(numbers.collect()),
        _ => Elements::F32(numbers.map(rounded).collect()),
    };
    HostTensor::new(shape, elements).unwrap()
}

/// The tensor with one element moved.
fn nudged(tensor: &HostTensor, index: usize, offset: f64) -> HostTensor {
    let elements = match tensor.elements().clone() {
        Elements::F64(mut elements) => {
            elements[index] += offset;
            Elements::F64(elements)
        }
        Elements::F32(mut elements) => {
            elements[index] += rounded(offset);
            Elements::F32(elements)
        }
        other => other,
    };
    HostTensor::new(tensor.shape(), elements).unwrap()
}

#[expect(clippy::cast_possible_truncation, reason = "rounded to f32 on purpose")]
fn rounded(x: f64) -> f32 {
    x as f32
}

/// Floats as f64.
pub(super) fn numbers(tensor: &HostTensor) -> Vec<f64> {
    match tensor.elements() {
        Elements::F64(elements) => elements.clone(),
        Elements::F32(elements) => elements.iter().map(|&x| f64::from(x)).collect(),
        other => panic!("no floats: {other:?}"),
    }
}

/// Two inputs, broadcast in every way.
pub(super) fn binary_cases(op: &Op) -> Vec<Case> {
    let case = |a: &[usize], b: &[usize]| Case::new(op.clone(), [float(a), float(b)]);
    vec![
        case(&[2, 3], &[2, 3]),
        case(&[2, 3], &[3]),
        case(&[3], &[2, 3]),
        case(&[2, 1, 3], &[4, 1]),
        case(&[2, 3], &[]),
        case(&[1], &[2, 1, 2]),
        case(&[1, 2, 3], &[3]),
    ]
}

/// A reduction over the first, the middle, several and all axes.
pub(super) fn reduction_cases(op: impl Fn(Vec<usize>, bool) -> Op) -> Vec<Case> {
    let mut cases = Vec::new();
    for keep_dims in [false, true] {
        for axes in [vec![0], vec![1], vec![0, 2], vec![1, 2], vec![0, 1, 2]] {
            cases.push(Case::new(op(axes, keep_dims), [float([2, 3, 2])]));
        }
    }
    cases
}
