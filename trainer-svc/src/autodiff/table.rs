//! One row per operator: its rule, and the cases in which finite differences check it.

use super::rules;
use super::site::Site;
use crate::graph::{GraphError, Op};

/// Gives the wanted cotangents of a node's inputs.
pub(super) type Rule = fn(&mut Site<'_, '_>) -> Result<(), GraphError>;

/// A row of the table.
pub(super) struct Row {
    /// The operator's name in ONNX.
    pub(super) operator: &'static str,
    /// Its rule; none where nothing is differentiated.
    pub(super) rule: Option<Rule>,
    /// Cases that check the rule.
    #[cfg(test)]
    pub(super) cases: fn() -> Vec<super::check::Case>,
}

macro_rules! table {
    ($($operator:literal => $module:ident,)* ; $($without:literal,)*) => {
        &[
            $(Row {
                operator: $operator,
                rule: Some(rules::$module::rule),
                #[cfg(test)]
                cases: rules::$module::cases,
            },)*
            $(Row { operator: $without, rule: None, #[cfg(test)] cases: Vec::new },)*
        ]
    };
}

/// The table. Operators after the semicolon make booleans, through which nothing is differentiated, or stand only in graphs that have
/// been made ready for a provider.
pub(super) const TABLE: &[Row] = table! {
    "Add" => add,
    "Sub" => sub,
    "Mul" => mul,
    "Div" => div,
    "Sqrt" => sqrt,
    "Exp" => exp,
    "Log" => log,
    "Tanh" => tanh,
    "Erf" => erf,
    "Sigmoid" => sigmoid,
    "Relu" => relu,
    "Cos" => cos,
    "Sin" => sin,
    "Softmax" => softmax,
    "LayerNormalization" => layer_normalization,
    "Gemm" => gemm,
    "MatMul" => matmul,
    "ReduceSum" => reduce_sum,
    "ReduceMean" => reduce_mean,
    "ReduceMax" => reduce_max,
    "Transpose" => transpose,
    "Reshape" => reshape,
    "Expand" => expand,
    "Split" => split,
    "Concat" => concat,
    "Where" => r#where,
    "Cast" => cast,
    "Gather" => gather,
    "GatherElements" => gather_elements,
    "ScatterElements" => scatter_elements,
    ;
    "Equal",
    "Greater",
    "ReduceL2",
};

/// The operator's rule.
pub(super) fn rule(op: &Op) -> Option<Rule> {
    TABLE
        .iter()
        .find(|row| row.operator == op.name())
        .and_then(|row| row.rule)
}

/// Is there a rule for the cotangents of these outputs? Mean and deviation of a layer normalisation have none.
pub(super) fn has_rule(op: &Op, on_path: &[bool]) -> bool {
    let moments = matches!(op, Op::LayerNormalization { .. }) && on_path.iter().skip(1).any(|&on_path| on_path);
    rule(op).is_some() && !moments
}
