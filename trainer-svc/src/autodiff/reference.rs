//! Gradients of small models against JAX: `tools/fixtures/gradients.py` holds the same functions and made the fixture.

mod blocks;
mod small;

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};

use super::check::numbers;
use super::{CrossEntropy, cross_entropy, gradients};
use crate::graph::{Graph, Op, ValueId};
use crate::session::testing::Compiled;
use crate::tensor::{ElementType, Elements, HostTensor};

/// Norm-wise: ‖found − wanted‖ ≤ this · ‖wanted‖.
const TOLERANCE: f64 = 5e-6;

/// Tensors of the fixture whose names begin with `<prefix>/`, without it.
pub(crate) fn fixture(prefix: &str) -> BTreeMap<String, HostTensor> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    tensors(&folder.join("gradients.safetensors"), prefix)
}

/// Tensors of a file whose names begin with `<prefix>/`, without it.
pub(crate) fn tensors(path: &Path, prefix: &str) -> BTreeMap<String, HostTensor> {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let stem = format!("{prefix}/");
    let of_prefix = file
        .iter()
        .filter_map(|(name, view)| Some((name.strip_prefix(&stem)?, view)));
    of_prefix
        .map(|(name, view)| {
            let elements = match view.dtype() {
                Dtype::F32 => {
                    let chunks = view.data().as_chunks::<4>().0;
                    Elements::F32(chunks.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
                }
                Dtype::I64 => {
                    let chunks = view.data().as_chunks::<8>().0;
                    Elements::I64(chunks.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect())
                }
                other => panic!("{name}: {other:?}"),
            };
            (name.to_owned(), HostTensor::new(view.shape(), elements).unwrap())
        })
        .collect()
}

/// ‖found − wanted‖ / ‖wanted‖
pub(crate) fn distance(found: &HostTensor, wanted: &HostTensor) -> f64 {
    assert_eq!(found.shape(), wanted.shape());
    let (found, wanted) = (numbers(found), numbers(wanted));
    let norm = |xs: &mut dyn Iterator<Item = f64>| xs.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut found.iter().zip(&wanted).map(|(x, y)| x - y)) / norm(&mut wanted.iter().copied())
}

/// A graph whose inputs are the fixture's.
struct Model {
    graph: Graph,
    values: BTreeMap<String, ValueId>,
}

impl Model {
    fn get(&self, name: &str) -> ValueId {
        self.values[name]
    }

    /// x·W + b, W: `[inputs, outputs]`
    fn layer(&mut self, x: ValueId, weight: &str, bias: &str) -> ValueId {
        let (weight, bias) = (self.get(weight), self.get(bias));
        self.graph.gemm(x, weight, Some(bias), false, false).unwrap()
    }

    /// x·Wᵀ, W: `[outputs, inputs]`
    fn project(&mut self, x: ValueId, weight: &str) -> ValueId {
        let weight = self.get(weight);
        self.graph.gemm(x, weight, None, false, true).unwrap()
    }

    /// `[batch · length, heads · width]` to `[batch, heads, length, width]`
    fn heads(&mut self, x: ValueId, [batch, heads, length, width]: [usize; 4]) -> ValueId {
        let x = self.graph.reshape(x, &[batch, length, heads, width]).unwrap();
        self.graph.transpose(x, &[0, 2, 1, 3]).unwrap()
    }

    /// Causal attention of `[2, heads, 6, width]`, as `[12, heads · width]`; one head of k and v may serve all.
    fn attention(&mut self, q: ValueId, k: ValueId, v: ValueId) -> ValueId {
        let graph = &mut self.graph;
        let &[batch, heads, length, width] = graph.shape(q) else {
            panic!("four axes");
        };
        let k = graph.transpose(k, &[0, 1, 3, 2]).unwrap();
        let scores = graph.matmul(q, k).unwrap();
        let scores = graph.scale(scores, 1.0 / (width as f64).sqrt()).unwrap();
        let mask = (0..length * length)
            .map(|i| if i % length <= i / length { 0.0 } else { -1e9 })
            .collect();
        let mask = graph.constant(HostTensor::new([1, 1, length, length], Elements::F32(mask)).unwrap());
        let scores = graph.add(scores, mask).unwrap();
        let shares = graph.one(Op::Softmax { axis: 3 }, &[scores]).unwrap();
        let mixed = graph.matmul(shares, v).unwrap();
        let mixed = graph.transpose(mixed, &[0, 2, 1, 3]).unwrap();
        graph.reshape(mixed, &[batch * length, heads * width]).unwrap()
    }

    fn layer_norm(&mut self, x: ValueId, scale: &str, bias: &str) -> ValueId {
        let inputs = [x, self.get(scale), self.get(bias)];
        let op = Op::LayerNormalization { axis: 1, epsilon: 1e-5 };
        self.graph.one(op, &inputs).unwrap()
    }

    fn loss(&mut self, logits: ValueId) -> CrossEntropy {
        let (targets, weights) = (self.get("targets"), self.get("weights"));
        cross_entropy(&mut self.graph, logits, targets, weights).unwrap()
    }

    /// Σ y · seed, with the cotangent of y: two stages, so that the sum is good.
    fn seeded(&mut self, y: ValueId) -> (ValueId, ValueId, ValueId) {
        let seed = self.get("seed");
        let product = self.graph.mul(y, seed).unwrap();
        let count = self.graph.shape(product).iter().product();
        let flat = self.graph.reshape(product, &[count]).unwrap();
        let sum = self.graph.reduce_sum(flat, &[0], false).unwrap();
        (sum, y, seed)
    }
}

/// What a case computes: its value, and the seed of its gradient.
struct Outcome {
    value: ValueId,
    seed: (ValueId, ValueId),
}

/// Gradients with respect to everything that the fixture has a gradient for, those left out excepted.
fn compare(case: &str, left_out: &[&str], build: impl FnOnce(&mut Model) -> Outcome) {
    let inputs = fixture(&format!("{case}/in"));
    let mut wanted = fixture(&format!("{case}/grad"));
    wanted.retain(|name, _| !left_out.contains(&name.as_str()));
    assert!(!wanted.is_empty(), "{case}: nothing to compare");
    let mut model = Model {
        graph: Graph::new(),
        values: BTreeMap::new(),
    };
    for (name, tensor) in &inputs {
        let value = model.graph.input(name, tensor.element_type(), tensor.shape()).unwrap();
        model.values.insert(name.clone(), value);
    }
    let outcome = build(&mut model);
    let wrt: Vec<ValueId> = wanted.keys().map(|name| model.get(name)).collect();
    let found = gradients(&mut model.graph, &[outcome.seed], &wrt).unwrap();
    let mut values = vec![outcome.value];
    values.extend(found.into_iter().map(Option::unwrap));
    let got = Compiled::new(&model.graph, &values).run(&inputs);

    let value = &fixture(case)["value"];
    assert!(
        distance(&got[0], value) <= TOLERANCE,
        "{case}: value {:?}, JAX {value:?}",
        got[0]
    );
    for ((name, wanted), found) in wanted.iter().zip(&got[1..]) {
        let distance = distance(found, wanted);
        eprintln!("{case} {name}: {distance:.1e}");
        assert!(
            distance <= TOLERANCE,
            "{case}: gradient of {name} is off by {distance:e}"
        );
    }
}

/// Enough rows to be shared between threads, each id many times.
#[test]
fn embedding_gradients_are_the_same_bits_every_time() {
    let (rows, width, ids) = (200, 64, 4096);
    let mut graph = Graph::new();
    let table = graph.input("table", ElementType::F32, [rows, width]).unwrap();
    let indices = graph.input("ids", ElementType::I64, [ids]).unwrap();
    let seed = graph.input("seed", ElementType::F32, [ids, width]).unwrap();
    let looked_up = graph.gather(table, indices, 0).unwrap();
    let found = gradients(&mut graph, &[(looked_up, seed)], &[table]).unwrap();
    let seeds: Vec<f32> = (0..ids * width)
        .map(|i| ((i * 7919) % 2003) as f32 / 1001.5 - 1.0)
        .collect();
    let indices: Vec<usize> = (0..ids).map(|i| (i * i + 3 * i) % rows).collect();
    let mut wanted = vec![0.0_f64; rows * width];
    for (i, &id) in indices.iter().enumerate() {
        for column in 0..width {
            wanted[id * width + column] += f64::from(seeds[i * width + column]);
        }
    }
    let inputs = BTreeMap::from([
        ("table".to_owned(), HostTensor::zeros([rows, width])),
        (
            "ids".to_owned(),
            HostTensor::indices(indices.iter().map(|&id| i64::try_from(id).unwrap()).collect()),
        ),
        (
            "seed".to_owned(),
            HostTensor::new([ids, width], Elements::F32(seeds)).unwrap(),
        ),
    ]);
    let mut program = Compiled::new(&graph, &[found[0].unwrap()]);
    let first = program.run(&inputs);
    let wanted = HostTensor::new([rows, width], Elements::F64(wanted)).unwrap();
    assert!(distance(&first[0], &wanted) <= TOLERANCE);
    for _ in 0..20 {
        assert_eq!(program.run(&inputs), first);
    }
}
