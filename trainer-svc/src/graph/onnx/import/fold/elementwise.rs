//! Arithmetic, comparison and choice, element by element. f32 is computed in f64 and rounded once.

use super::super::node::{Refusal, Site, malformed};
use super::super::tensor;
use super::{Budget, element_of, pick, places, repeating};
use crate::graph::broadcast;
use crate::tensor::{ElementType, Elements, HostTensor};

/// Elements without their width.
#[derive(Debug, Clone)]
pub(super) enum Numbers {
    Float(Vec<f64>),
    Int(Vec<i64>),
    Bool(Vec<bool>),
}

impl Numbers {
    pub(super) fn of(tensor: &HostTensor) -> Self {
        match tensor.elements() {
            Elements::F32(elements) => Self::Float(elements.iter().map(|&x| f64::from(x)).collect()),
            Elements::F64(elements) => Self::Float(elements.clone()),
            Elements::I64(elements) => Self::Int(elements.clone()),
            Elements::I32(elements) => Self::Int(elements.iter().map(|&x| i64::from(x)).collect()),
            Elements::Bool(elements) => Self::Bool(elements.clone()),
        }
    }

    /// A tensor of an element type, converted as Cast does: towards zero, and cut off at the limits.
    #[expect(clippy::cast_possible_truncation, reason = "that is what a cast does")]
    pub(super) fn tensor(self, shape: &[usize], element: ElementType) -> Result<HostTensor, Refusal> {
        let floats: Vec<f64>;
        let elements = match (self, element) {
            (Self::Int(items), ElementType::I64) => Elements::I64(items),
            (Self::Int(items), ElementType::I32) => Elements::I32(items.into_iter().map(|x| x as i32).collect()),
            (Self::Bool(items), ElementType::Bool) => Elements::Bool(items),
            (Self::Int(items), ElementType::Bool) => Elements::Bool(items.into_iter().map(|x| x != 0).collect()),
            (Self::Bool(items), ElementType::I64) => Elements::I64(items.into_iter().map(i64::from).collect()),
            (numbers, _) => {
                floats = match numbers {
                    Self::Float(items) => items,
                    Self::Int(items) => items.into_iter().map(|x| x as f64).collect(),
                    Self::Bool(items) => items.into_iter().map(|x| f64::from(u8::from(x))).collect(),
                };
                match element {
                    ElementType::F32 => Elements::F32(floats.iter().map(|&x| x as f32).collect()),
                    ElementType::F64 => Elements::F64(floats),
                    ElementType::I64 => Elements::I64(floats.iter().map(|&x| x as i64).collect()),
                    ElementType::I32 => Elements::I32(floats.iter().map(|&x| x as i32).collect()),
                    ElementType::Bool => Elements::Bool(floats.iter().map(|&x| x != 0.0).collect()),
                }
            }
        };
        super::tensor_of(shape, elements)
    }
}

pub(super) fn fold(site: &Site<'_>, budget: &mut Budget) -> Result<Option<HostTensor>, Refusal> {
    match site.op() {
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Mod" | "Min" | "Max" | "Sum" => chain(site, budget).map(Some),
        "Equal" | "Greater" | "Less" | "GreaterOrEqual" | "LessOrEqual" | "And" | "Or" | "Xor" => {
            let (shape, mut inputs) = together(site, budget, 2)?;
            let (Some(b), Some(a)) = (inputs.pop(), inputs.pop()) else {
                return malformed("needs two inputs");
            };
            let compared = compare(site.op(), &a, &b)?;
            Numbers::Bool(compared).tensor(&shape, ElementType::Bool).map(Some)
        }
        "Where" => {
            let (shape, mut inputs) = together(site, budget, 3)?;
            let (Some(b), Some(a), Some(Numbers::Bool(condition))) = (inputs.pop(), inputs.pop(), inputs.pop()) else {
                return malformed("needs a condition and two inputs");
            };
            choose(&condition, a, b)?.tensor(&shape, element_of(site, 1)?).map(Some)
        }
        _ => unary(site, budget),
    }
}

/// The inputs, each repeated to the shape that they broadcast to.
fn together(site: &Site<'_>, budget: &mut Budget, least: usize) -> Result<(Vec<usize>, Vec<Numbers>), Refusal> {
    let inputs: Vec<&HostTensor> = (0..site.inputs.len())
        .filter_map(|index| site.constant(index))
        .collect();
    if inputs.len() < least || inputs.len() != site.inputs.len() {
        return malformed(format!("needs {least} inputs"));
    }
    let shape = inputs
        .iter()
        .try_fold(Vec::new(), |shape: Vec<usize>, input| broadcast(&shape, input.shape()))
        .map_or_else(|| malformed("shapes do not broadcast"), Ok)?;
    let count = budget.spend(&shape)?;
    let mut numbers = Vec::new();
    for input in inputs {
        numbers.push(if input.shape() == shape {
            Numbers::of(input)
        } else {
            let places = places(&shape, &repeating(input.shape(), &shape), 0, count);
            Numbers::of(&pick(input, &shape, &places)?)
        });
    }
    Ok((shape, numbers))
}

/// a ∘ b ∘ …; all but Min, Max and Sum have two inputs.
fn chain(site: &Site<'_>, budget: &mut Budget) -> Result<HostTensor, Refusal> {
    let variadic = matches!(site.op(), "Min" | "Max" | "Sum");
    let (shape, inputs) = together(site, budget, if variadic { 1 } else { 2 })?;
    if !variadic && inputs.len() != 2 {
        return malformed("needs two inputs");
    }
    let mut inputs = inputs.into_iter();
    let Some(mut result) = inputs.next() else {
        return malformed("has no inputs");
    };
    for input in inputs {
        result = arithmetic(site, result, &input)?;
    }
    result.tensor(&shape, element_of(site, 0)?)
}

fn arithmetic(site: &Site<'_>, a: Numbers, b: &Numbers) -> Result<Numbers, Refusal> {
    let op = site.op();
    // A power may have an exponent of another type.
    let promoted = match (&a, b) {
        (Numbers::Float(_), Numbers::Int(items)) if op == "Pow" => {
            Some(Numbers::Float(items.iter().map(|&x| x as f64).collect()))
        }
        _ => None,
    };
    match (a, promoted.as_ref().unwrap_or(b)) {
        (Numbers::Float(a), Numbers::Float(b)) => {
            let of: fn(f64, f64) -> f64 = match op {
                "Add" | "Sum" => |a, b| a + b,
                "Sub" => |a, b| a - b,
                "Mul" => |a, b| a * b,
                "Div" => |a, b| a / b,
                "Pow" => f64::powf,
                "Min" => f64::min,
                "Max" => f64::max,
                _ => |a, b| a % b,
            };
            Ok(Numbers::Float(a.iter().zip(b).map(|(&a, &b)| of(a, b)).collect()))
        }
        (Numbers::Int(a), Numbers::Int(b)) => {
            let fmod = site.int("fmod") == Some(1);
            let results: Option<Vec<i64>> = a.iter().zip(b).map(|(&a, &b)| integer(op, a, b, fmod)).collect();
            results.map_or_else(
                || malformed("divides by zero or overflows"),
                |results| Ok(Numbers::Int(results)),
            )
        }
        _ => malformed("element types differ"),
    }
}

fn integer(op: &str, a: i64, b: i64, fmod: bool) -> Option<i64> {
    Some(match op {
        "Add" | "Sum" => a.checked_add(b)?,
        "Sub" => a.checked_sub(b)?,
        "Mul" => a.checked_mul(b)?,
        "Div" => a.checked_div(b)?,
        "Pow" => a.checked_pow(u32::try_from(b).ok()?)?,
        "Min" => a.min(b),
        "Max" => a.max(b),
        _ if fmod => a.checked_rem(b)?,
        // The sign of the divisor, as Python has it.
        _ => {
            let rest = a.checked_rem(b)?;
            if rest != 0 && (rest < 0) != (b < 0) {
                rest + b
            } else {
                rest
            }
        }
    })
}

fn compare(op: &str, a: &Numbers, b: &Numbers) -> Result<Vec<bool>, Refusal> {
    fn each<T: PartialOrd>(op: &str, a: &[T], b: &[T]) -> Vec<bool> {
        let of: fn(&T, &T) -> bool = match op {
            "Equal" => |a, b| a == b,
            "Greater" => |a, b| a > b,
            "Less" => |a, b| a < b,
            "GreaterOrEqual" => |a, b| a >= b,
            _ => |a, b| a <= b,
        };
        a.iter().zip(b).map(|(a, b)| of(a, b)).collect()
    }
    match (a, b) {
        (Numbers::Bool(a), Numbers::Bool(b)) => {
            let of: fn(bool, bool) -> bool = match op {
                "And" => |a, b| a && b,
                "Or" => |a, b| a || b,
                "Xor" => |a, b| a != b,
                "Equal" => |a, b| a == b,
                _ => return malformed("does not take booleans"),
            };
            Ok(a.iter().zip(b).map(|(&a, &b)| of(a, b)).collect())
        }
        _ if matches!(op, "And" | "Or" | "Xor") => malformed("takes booleans"),
        (Numbers::Float(a), Numbers::Float(b)) => Ok(each(op, a, b)),
        (Numbers::Int(a), Numbers::Int(b)) => Ok(each(op, a, b)),
        _ => malformed("element types differ"),
    }
}

fn choose(condition: &[bool], a: Numbers, b: Numbers) -> Result<Numbers, Refusal> {
    fn each<T: Copy>(condition: &[bool], a: &[T], b: &[T]) -> Vec<T> {
        condition
            .iter()
            .zip(a.iter().zip(b))
            .map(|(&first, (&a, &b))| if first { a } else { b })
            .collect()
    }
    match (a, b) {
        (Numbers::Float(a), Numbers::Float(b)) => Ok(Numbers::Float(each(condition, &a, &b))),
        (Numbers::Int(a), Numbers::Int(b)) => Ok(Numbers::Int(each(condition, &a, &b))),
        (Numbers::Bool(a), Numbers::Bool(b)) => Ok(Numbers::Bool(each(condition, &a, &b))),
        _ => malformed("element types differ"),
    }
}

fn unary(site: &Site<'_>, budget: &mut Budget) -> Result<Option<HostTensor>, Refusal> {
    let of_float: Option<fn(f64) -> f64> = match site.op() {
        "Neg" => Some(|x| -x),
        "Abs" => Some(f64::abs),
        "Sqrt" => Some(f64::sqrt),
        "Exp" => Some(f64::exp),
        "Log" => Some(f64::ln),
        "Sin" => Some(f64::sin),
        "Cos" => Some(f64::cos),
        "Tanh" => Some(f64::tanh),
        "Sigmoid" => Some(|x| 1.0 / (1.0 + (-x).exp())),
        "Reciprocal" => Some(|x| 1.0 / x),
        "Floor" => Some(f64::floor),
        "Ceil" => Some(f64::ceil),
        "Sign" => Some(|x| if x == 0.0 { 0.0 } else { x.signum() }),
        "Cast" | "Not" | "IsNaN" => None,
        _ => return Ok(None),
    };
    let Some(input) = site.constant(0) else {
        return malformed("has no input");
    };
    budget.spend(input.shape())?;
    let (shape, element) = (input.shape(), input.element_type());
    let result = match (site.op(), Numbers::of(input)) {
        ("Cast", numbers) => {
            let to = site
                .int("to")
                .and_then(|to| i32::try_from(to).ok())
                .and_then(tensor::element);
            let Some(to) = to else {
                return super::super::node::unsupported("it casts to a type that is not known");
            };
            return numbers.tensor(shape, to).map(Some);
        }
        ("Not", Numbers::Bool(items)) => Numbers::Bool(items.into_iter().map(|x| !x).collect()),
        ("IsNaN", Numbers::Float(items)) => {
            let nan = items.into_iter().map(f64::is_nan).collect();
            return Numbers::Bool(nan).tensor(shape, ElementType::Bool).map(Some);
        }
        ("Neg", Numbers::Int(items)) => Numbers::Int(items.into_iter().map(i64::wrapping_neg).collect()),
        ("Abs", Numbers::Int(items)) => Numbers::Int(items.into_iter().map(i64::wrapping_abs).collect()),
        ("Sign", Numbers::Int(items)) => Numbers::Int(items.into_iter().map(i64::signum).collect()),
        (_, Numbers::Float(items)) => match of_float {
            Some(of) => Numbers::Float(items.into_iter().map(of).collect()),
            None => return malformed("takes another element type"),
        },
        _ => return malformed("takes another element type"),
    };
    result.tensor(shape, element).map(Some)
}
