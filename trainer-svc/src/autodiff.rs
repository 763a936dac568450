//! Reverse-mode differentiation: a graph extended by the nodes that compute gradients.
//!
//! The cotangent of a value v is ∂s/∂v for the scalar s whose gradient is asked for. It is carried from the seeds towards the inputs,
//! node by node, newest first; each operator has one rule ([`rules`]) that gives the cotangents of its inputs from those of its
//! outputs, and one row in the [`table`]. Only nodes on a path from a wanted value to a seed are visited, and a rule computes only
//! what is wanted, so that frozen weights cost nothing (Griewank and Walther, *Evaluating Derivatives*, 2nd edition, chapter 3).
//!
//! Where a cotangent is the same along an axis, it is kept with extent 1 there and left to broadcasting.

#[cfg(test)]
mod check;
mod loss;
#[cfg(test)]
pub(crate) mod reference;
mod rules;
mod site;
mod table;

use thiserror::Error;

pub use self::loss::{CrossEntropy, cross_entropy};
use self::site::{Cotangents, Site};
use crate::graph::{Graph, GraphError, Node, ValueId};

/// Gradients cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AutodiffError {
    /// The graph refuses a node.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// Operators without a rule lie between the wanted values and the seeds.
    #[error("no gradient is known for: {}", .nodes.join(", "))]
    NoRule {
        /// Operator and first output of each such node.
        nodes: Vec<String>,
    },
    /// A seed's cotangent is of another type than its value.
    #[error("the cotangent of {value:?} must be {wanted}, got {found}")]
    Seed {
        /// Name of the value.
        value: String,
        /// Its type.
        wanted: String,
        /// The cotangent's.
        found: String,
    },
    /// The gradient of something that is not a float is asked for.
    #[error("{0:?} is no float: it has no gradient")]
    NotFloat(String),
}

/// Extends the graph by the gradients of Σ ⟨value, cotangent⟩ over the seeds, with respect to each value of `wrt`, in their order, each of
/// its value's shape. `None` where no seed depends on the value.
///
/// # Errors
/// A seed whose cotangent is of another element type or shape, a value that is no float, or an operator without a rule on the way
/// (all such nodes at once).
pub fn gradients(
    graph: &mut Graph,
    seeds: &[(ValueId, ValueId)],
    wrt: &[ValueId],
) -> Result<Vec<Option<ValueId>>, AutodiffError> {
    check_arguments(graph, seeds, wrt)?;
    let wanted = wanted_values(graph, wrt);
    let nodes = path_nodes(graph, seeds, &wanted);
    let missing: Vec<String> = nodes
        .iter()
        .filter(|path| !table::has_rule(&path.node.op, &path.on_path))
        .map(|path| describe(graph, &path.node))
        .collect();
    if !missing.is_empty() {
        return Err(AutodiffError::NoRule { nodes: missing });
    }
    let mut cotangents = Cotangents::new(graph);
    for &(value, cotangent) in seeds {
        if wanted[value.0] {
            cotangents.add(value, cotangent)?;
        }
    }
    for path in nodes {
        // A node on the path may yet have got nothing: its reader's rule may give nothing to that input.
        if path.node.outputs.iter().any(|&output| cotangents.of(output).is_some()) {
            let rule = table::rule(&path.node.op);
            let mut site = Site::new(&mut cotangents, path.node, &wanted);
            if let Some(rule) = rule {
                rule(&mut site)?;
            }
        }
    }
    wrt.iter().map(|&value| Ok(cotangents.full(value)?)).collect()
}

fn check_arguments(graph: &Graph, seeds: &[(ValueId, ValueId)], wrt: &[ValueId]) -> Result<(), AutodiffError> {
    for &(value, cotangent) in seeds {
        if graph.element(value) != graph.element(cotangent) || graph.shape(value) != graph.shape(cotangent) {
            let describe = |id| format!("{:?} {:?}", graph.element(id), graph.shape(id));
            return Err(AutodiffError::Seed {
                value: graph.value(value).name.clone(),
                wanted: describe(value),
                found: describe(cotangent),
            });
        }
    }
    for &value in seeds.iter().map(|(value, _)| value).chain(wrt) {
        if !graph.element(value).is_float() {
            return Err(AutodiffError::NotFloat(graph.value(value).name.clone()));
        }
    }
    Ok(())
}

/// Which values depend on a value of `wrt` through floats, by id.
fn wanted_values(graph: &Graph, wrt: &[ValueId]) -> Vec<bool> {
    let mut wanted = vec![false; graph.value_count()];
    for value in wrt {
        wanted[value.0] = true;
    }
    for node in graph.nodes() {
        if node.inputs.iter().any(|input| wanted[input.0]) {
            for output in &node.outputs {
                wanted[output.0] |= graph.element(*output).is_float();
            }
        }
    }
    wanted
}

/// A node between wanted values and seeds.
struct PathNode {
    node: Node,
    /// Which of its outputs a seed depends on.
    on_path: Vec<bool>,
}

/// The nodes that read a wanted value and that a seed depends on, newest first.
fn path_nodes(graph: &Graph, seeds: &[(ValueId, ValueId)], wanted: &[bool]) -> Vec<PathNode> {
    let mut reaches = vec![false; graph.value_count()];
    for (value, _) in seeds {
        reaches[value.0] = true;
    }
    let mut path = Vec::new();
    for node in graph.nodes().iter().rev() {
        let on_path: Vec<bool> = node
            .outputs
            .iter()
            .map(|output| reaches[output.0] && wanted[output.0])
            .collect();
        if on_path.contains(&true) && node.inputs.iter().any(|input| wanted[input.0]) {
            for input in &node.inputs {
                reaches[input.0] |= wanted[input.0];
            }
            let node = node.clone();
            path.push(PathNode { node, on_path });
        }
    }
    path
}

fn describe(graph: &Graph, node: &Node) -> String {
    let output = node
        .outputs
        .first()
        .map_or("", |&output| graph.value(output).name.as_str());
    format!("{} ({output})", node.op.name())
}

#[cfg(test)]
mod tests;
