//! When may an output be written over an input?
//!
//! ONNX Runtime runs a node when its inputs are there, in whatever order that allows. A node that writes its output over an input's
//! memory is therefore safe if every other reader of that memory must have run before it, that is, if the writer depends on each
//! of them. A training step with a global gradient norm is like that: each update depends on every gradient, and every reader of a
//! parameter serves a gradient or the loss.

use std::collections::BTreeSet;

use super::SessionError;
use crate::graph::{Graph, Op, ValueId};
use crate::tensor::element_count;

/// Checks that each output may be written over the input it is paired with.
///
/// # Errors
/// [`SessionError::Binding`] names the output and the node that might read the input too late.
pub(super) fn check(graph: &Graph, pairs: &[(&str, &str)]) -> Result<(), SessionError> {
    let made_by = makers(graph);
    let live = live(graph, &made_by);
    for &(input, output) in pairs {
        let source = named(graph, graph.inputs(), input)?;
        let target = named(graph, graph.outputs(), output)?;
        if graph.element(source) != graph.element(target) || graph.shape(source) != graph.shape(target) {
            return Err(SessionError::binding(output, format!("is not of {input:?}'s type")));
        }
        let Some(writer) = made_by.get(target.0).copied().flatten() else {
            return Err(SessionError::binding(output, "is not made by a node"));
        };
        let before = dependencies(graph, &made_by, writer);
        if let Some(late) = readers(graph, source)
            .into_iter()
            .find(|reader| *reader != writer && live.contains(reader) && !before.contains(reader))
        {
            let reader = graph.nodes().get(late).map_or("", |node| node.op.name());
            return Err(SessionError::binding(
                output,
                format!("cannot be written over {input:?}, which node {late} ({reader}) may read later"),
            ));
        }
        if !element_by_element(graph, writer, source) {
            return Err(SessionError::binding(
                output,
                format!("cannot be written over {input:?}: its node reads elements after it wrote others"),
            ));
        }
    }
    Ok(())
}

fn named(graph: &Graph, among: &[ValueId], name: &str) -> Result<ValueId, SessionError> {
    graph
        .find(name)
        .filter(|id| among.contains(id))
        .ok_or_else(|| SessionError::binding(name, "the graph has no such input or output"))
}

/// Which node makes a value, by value.
fn makers(graph: &Graph) -> Vec<Option<usize>> {
    let mut made_by = vec![None; graph.value_count()];
    for (index, node) in graph.nodes().iter().enumerate() {
        for output in &node.outputs {
            if let Some(slot) = made_by.get_mut(output.0) {
                *slot = Some(index);
            }
        }
    }
    made_by
}

/// The nodes that must have run before a node.
fn dependencies(graph: &Graph, made_by: &[Option<usize>], node: usize) -> BTreeSet<usize> {
    let (mut before, mut open) = (BTreeSet::new(), vec![node]);
    while let Some(index) = open.pop() {
        let inputs = graph.nodes().get(index).map_or(&[][..], |node| &node.inputs);
        for maker in inputs
            .iter()
            .filter_map(|input| made_by.get(input.0).copied().flatten())
        {
            if before.insert(maker) {
                open.push(maker);
            }
        }
    }
    before
}

/// The nodes that outputs depend on; the others are not run.
fn live(graph: &Graph, made_by: &[Option<usize>]) -> BTreeSet<usize> {
    let mut live = BTreeSet::new();
    for output in graph.outputs() {
        if let Some(maker) = made_by.get(output.0).copied().flatten()
            && live.insert(maker)
        {
            live.extend(dependencies(graph, made_by, maker));
        }
    }
    live
}

/// The nodes that read a value's memory: also through what ONNX Runtime may make a view of it, such as a reshape or an addition of
/// a constant zero.
fn readers(graph: &Graph, value: ValueId) -> Vec<usize> {
    let mut views = BTreeSet::from([value]);
    let mut readers = Vec::new();
    let elements = |id: &ValueId| element_count(graph.shape(*id));
    // Nodes come after those whose outputs they read, so that one pass finds views of views.
    for (index, node) in graph.nodes().iter().enumerate() {
        if !node.inputs.iter().any(|input| views.contains(input)) {
            continue;
        }
        readers.push(index);
        let others = node.inputs.iter().filter(|input| !views.contains(input));
        if others.into_iter().all(|input| graph.constant_value(*input).is_some()) {
            let same_size = node
                .outputs
                .iter()
                .filter(|output| elements(output) == elements(&value));
            views.extend(same_size);
        }
    }
    readers
}

/// Does the node, if it reads the value, read each element no later than it writes that place?
fn element_by_element(graph: &Graph, node: usize, value: ValueId) -> bool {
    let Some(node) = graph.nodes().get(node) else {
        return false;
    };
    let elementwise = matches!(node.op, Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Where);
    let same_shape = |output: &ValueId| graph.shape(*output) == graph.shape(value);
    !node.inputs.contains(&value) || (elementwise && node.outputs.iter().all(same_shape))
}
