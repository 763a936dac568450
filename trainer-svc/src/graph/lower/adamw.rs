//! The update of a matrix by `AdamW` in a form of which `OpenVINO` makes one loop: 7 tensors on the way to memory and back, not 11.
//!
//! Its compiler takes no loop of more than eleven tensors and scalars: so the moments are m + (g − m) · (1 − β₁) and v + (g² − v) · (1 − β₂)
//! for clipped gradients g, which need no scalar of their own but the clipping factor. Nor does it join what is read from inputs as they
//! are, or computed from an input and a constant alone; other shapes of the same elements keep it from both. Of a loop with
//! several outputs it wants the last of the program to be the one that depends on the others.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::{Graph, GraphError, Node, Op, ValueId};
use crate::tensor::Elements;

/// How far factors that belong together may be apart: they were rounded to f32.
const ROUNDED: f64 = 1e-6;

/// An update as [`crate::optimizer`] builds it.
struct Update {
    parameter: ValueId,
    mean: ValueId,
    square: ValueId,
    gradient: ValueId,
    /// Clipping factor, where gradients are clipped.
    coefficient: Option<ValueId>,
    /// 1 − β₁ and 1 − β₂.
    shares: [f64; 2],
    epsilon: ValueId,
    rate: ValueId,
    /// 1 − η·λ, where weights decay.
    decay: Option<ValueId>,
    /// Parameter, mean and square after the step.
    next: [ValueId; 3],
}

/// Who makes a value, and how often it is read.
struct Links<'a> {
    makers: BTreeMap<ValueId, &'a Node>,
    readers: BTreeMap<ValueId, usize>,
}

impl Links<'_> {
    fn one(&self, value: ValueId, op: &Op) -> Option<ValueId> {
        let node = self.makers.get(&value).filter(|node| node.op == *op)?;
        node.inputs.first().copied()
    }

    fn two(&self, value: ValueId, op: &Op) -> Option<[ValueId; 2]> {
        let node = self.makers.get(&value).filter(|node| node.op == *op)?;
        node.inputs.as_slice().try_into().ok()
    }
}

impl Graph {
    /// Updates of matrices with an even number of rows, in the other form; results differ in the last bits.
    ///
    /// # Errors
    /// None that a well-formed graph causes.
    pub(super) fn update_at_once(&mut self) -> Result<(), GraphError> {
        let found = self.updates();
        let replaced: BTreeSet<ValueId> = found.values().flat_map(|update| update.next).collect();
        for node in std::mem::take(&mut self.nodes) {
            match node.outputs.as_slice() {
                [output] if replaced.contains(output) => {
                    if let Some(update) = found.get(output) {
                        self.rewrite(update)?;
                    }
                }
                _ => self.nodes.push(node),
            }
        }
        self.outputs.sort_by_key(|output| found.contains_key(output));
        self.drop_unread();
        Ok(())
    }

    /// By the parameter after the step, which is made last.
    fn updates(&self) -> BTreeMap<ValueId, Update> {
        let mut links = Links {
            makers: BTreeMap::new(),
            readers: BTreeMap::new(),
        };
        for node in &self.nodes {
            links.makers.extend(node.outputs.iter().map(|&output| (output, node)));
            for &input in &node.inputs {
                *links.readers.entry(input).or_default() += 1;
            }
        }
        let made = self.nodes.iter().filter(|node| node.op == Op::Sub);
        let updates = made.filter_map(|node| self.update(*node.outputs.first()?, &links));
        updates.map(|update| (update.next[0], update)).collect()
    }

    fn update(&self, next: ValueId, links: &Links<'_>) -> Option<Update> {
        let is_scalar = |id: &ValueId| self.shape(*id).is_empty();
        let [kept, change] = links.two(next, &Op::Sub)?;
        let [direction, rate] = links.two(change, &Op::Mul)?;
        let [next_mean, divisor] = links.two(direction, &Op::Div)?;
        let [root, epsilon] = links.two(divisor, &Op::Add)?;
        let next_square = links.one(root, &Op::Sqrt)?;
        let (parameter, decay) = match links.two(kept, &Op::Mul) {
            Some([parameter, decay]) if is_scalar(&decay) => (parameter, Some(decay)),
            _ => (kept, None),
        };

        let [kept, added] = links.two(next_mean, &Op::Add)?;
        let [mean, keep_mean] = links.two(kept, &Op::Mul)?;
        let [gradient, add_mean] = links.two(added, &Op::Mul)?;
        let [kept, added] = links.two(next_square, &Op::Add)?;
        let [square, keep_square] = links.two(kept, &Op::Mul)?;
        let [root, again] = links.two(added, &Op::Mul)?;
        let [same_gradient, add_root] = links.two(root, &Op::Mul)?;

        let (coefficient, of_mean) = self.factor(add_mean, links)?;
        let (coefficient_of_root, of_root) = self.factor(add_root, links)?;
        let shares = [of_mean, of_root * of_root];
        let keeps = [self.number(keep_mean)?, self.number(keep_square)?];

        let fits = root == again
            && gradient == same_gradient
            && coefficient == coefficient_of_root
            && shares
                .iter()
                .zip(keeps)
                .all(|(share, keep)| (share + keep - 1.0).abs() <= ROUNDED)
            && [rate, epsilon].iter().all(is_scalar)
            && [next_mean, next_square]
                .iter()
                .all(|id| links.readers.get(id) == Some(&1))
            && matches!(*self.shape(next), [rows, _] if rows > 0 && rows.is_multiple_of(2))
            && [parameter, mean, square, gradient]
                .iter()
                .all(|id| self.shape(*id) == self.shape(next));
        fits.then_some(Update {
            parameter,
            mean,
            square,
            gradient,
            coefficient,
            shares,
            epsilon,
            rate,
            decay,
            next: [next, next_mean, next_square],
        })
    }

    /// A constant of one element.
    fn number(&self, id: ValueId) -> Option<f64> {
        match self.constants.get(&id)?.elements() {
            Elements::F32(elements) => match elements.as_slice() {
                [one] => Some(f64::from(*one)),
                _ => None,
            },
            _ => None,
        }
    }

    /// A scalar as a number, or as a scalar times a number.
    fn factor(&self, id: ValueId, links: &Links<'_>) -> Option<(Option<ValueId>, f64)> {
        if let Some(number) = self.number(id) {
            return Some((None, number));
        }
        let [scalar, number] = links.two(id, &Op::Mul)?;
        let number = self.number(number)?;
        self.shape(id).is_empty().then_some((Some(scalar), number))
    }

    fn rewrite(&mut self, update: &Update) -> Result<(), GraphError> {
        let shape = self.shape(update.next[0]).to_vec();
        let &[rows, columns] = shape.as_slice() else {
            return Ok(());
        };
        let [parameter, mean, square, mut gradient] = [update.parameter, update.mean, update.square, update.gradient]
            .map(|id| self.reshape(id, &[rows / 2, columns * 2]));
        if let Some(coefficient) = update.coefficient {
            gradient = Ok(self.mul(gradient?, coefficient)?);
        }
        let (parameter, mean, square, gradient) = (parameter?, mean?, square?, gradient?);
        let mean = self.towards(mean, gradient, update.shares[0])?;
        let squared = self.mul(gradient, gradient)?;
        let square = self.towards(square, squared, update.shares[1])?;

        let root = self.one(Op::Sqrt, &[square])?;
        let divisor = self.add(root, update.epsilon)?;
        let direction = self.div(mean, divisor)?;
        let change = self.mul(direction, update.rate)?;
        let kept = match update.decay {
            Some(decay) => self.mul(parameter, decay)?,
            None => parameter,
        };
        let parameter = self.sub(kept, change)?;
        for (made, known) in [mean, square, parameter]
            .into_iter()
            .zip([update.next[1], update.next[2], update.next[0]])
        {
            let made = self.reshape(made, &shape)?;
            self.replace(made, known);
        }
        Ok(())
    }

    /// a + (b − a) · share
    fn towards(&mut self, a: ValueId, b: ValueId, share: f64) -> Result<ValueId, GraphError> {
        let difference = self.sub(b, a)?;
        let step = self.scale(difference, share)?;
        self.add(a, step)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::graph::{Graph, Op};
    use crate::optimizer::{self, AdamW, Slot};
    use crate::session::testing::evaluate;
    use crate::tensor::{ElementType, Elements, HostTensor};

    /// Updates of parameters by gradients that are inputs.
    fn graph(shapes: &[(&str, &[usize])], clip: bool) -> Graph {
        let mut graph = Graph::new();
        let slot = |&(name, shape): &(&str, &[usize])| Slot {
            name: name.to_owned(),
            parameter: graph.input(name, ElementType::F32, shape).unwrap(),
            gradient: graph.input(format!("g/{name}"), ElementType::F32, shape).unwrap(),
            decays: name != "still",
        };
        let slots: Vec<Slot> = shapes.iter().map(slot).collect();
        optimizer::update(&mut graph, &slots, &AdamW::default(), clip).unwrap();
        graph
    }

    fn inputs(shapes: &[(&str, &[usize])]) -> BTreeMap<String, HostTensor> {
        let mut inputs: BTreeMap<String, HostTensor> = [
            (optimizer::LEARNING_RATE, 0.01),
            (optimizer::WEIGHT_DECAY, 0.1),
            (optimizer::BIAS_CORRECTION_1, 0.271),
            (optimizer::BIAS_CORRECTION_2, 0.003),
            (optimizer::CLIP_NORM, 0.5),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), HostTensor::scalar(value)))
        .collect();
        for (name, shape) in shapes {
            for (stem, factor, offset) in [
                ("", 1.0, -0.5),
                ("g/", 0.7, -0.4),
                ("m/", 0.1, -0.03),
                ("v/", 0.01, 0.0),
            ] {
                let count = u8::try_from(shape.iter().product::<usize>()).unwrap();
                let number = |i: u8| factor * (f32::from(i.wrapping_mul(37)) / 255.0 + offset);
                let elements = Elements::F32((0..count).map(number).collect());
                inputs.insert(format!("{stem}{name}"), HostTensor::new(*shape, elements).unwrap());
            }
        }
        inputs
    }

    #[test]
    fn every_matrix_is_updated_in_the_other_form_with_the_same_result() {
        let shapes: [(&str, &[usize]); 5] = [
            ("bias", &[6]),
            ("matrix", &[4, 6]),
            ("odd", &[3, 2]),
            ("still", &[2, 5]),
            ("cube", &[2, 2, 2]),
        ];
        for clip in [false, true] {
            let graph = graph(&shapes, clip);
            let mut lowered = graph.clone();
            lowered.update_at_once().unwrap();
            let count = |graph: &Graph, name: &str| graph.nodes().iter().filter(|node| node.op.name() == name).count();
            assert_eq!(count(&lowered, "Reshape"), 2 * 7, "of two: four read, three made");
            assert_eq!(
                count(&lowered, "Sqrt"),
                count(&graph, "Sqrt"),
                "nothing is left of the other form"
            );

            let mut names: Vec<&str> = graph
                .outputs()
                .iter()
                .map(|&id| graph.value(id).name.as_str())
                .collect();
            let found: Vec<&str> = lowered
                .outputs()
                .iter()
                .map(|&id| lowered.value(id).name.as_str())
                .collect();
            assert_eq!(found[found.len() - 2..], ["next/matrix", "next/still"]);
            names.sort_unstable_by_key(|name| found.iter().position(|other| other == name));
            assert_eq!(names, found);

            let values = graph.outputs().to_vec();
            let inputs = inputs(&shapes);
            let (wanted, found) = (evaluate(&graph, &inputs, &values), evaluate(&lowered, &inputs, &values));
            for (wanted, found) in wanted.iter().zip(&found) {
                for (a, b) in wanted.as_f32().unwrap().iter().zip(found.as_f32().unwrap()) {
                    assert!((a - b).abs() <= 1e-6 * (a.abs() + 0.01), "{a} and {b}");
                }
            }
        }
    }

    #[test]
    fn what_is_built_otherwise_is_left_alone() {
        let mut graph = graph(&[("matrix", &[4, 6])], true);
        // Somebody reads a moment.
        let mean = graph.find("next/m/matrix").unwrap();
        let twice = graph.add(mean, mean).unwrap();
        graph.output(twice);
        let mut lowered = graph.clone();
        lowered.update_at_once().unwrap();
        assert_eq!(lowered.outputs(), graph.outputs());
        assert!(!lowered.nodes().iter().any(|node| matches!(node.op, Op::Reshape { .. })));
    }
}
