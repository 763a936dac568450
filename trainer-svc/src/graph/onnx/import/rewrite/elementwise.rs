//! Operators that work element by element. Those outside the core are replaced by what their definition in ONNX says.

use super::super::node::{Refusal, Site, malformed, single, unsupported};
use super::super::tensor;
use super::{Built, Rewriter};
use crate::graph::{Op, ValueId};
use crate::tensor::{ElementType, Elements, HostTensor};

impl Rewriter<'_> {
    pub(super) fn elementwise(&mut self, site: &Site<'_>) -> Result<Option<ValueId>, Refusal> {
        let same = match site.op() {
            "Add" => Op::Add,
            "Sub" => Op::Sub,
            "Mul" => Op::Mul,
            "Div" => Op::Div,
            "Sqrt" => Op::Sqrt,
            "Exp" => Op::Exp,
            "Log" => Op::Log,
            "Tanh" => Op::Tanh,
            "Erf" => Op::Erf,
            "Sigmoid" => Op::Sigmoid,
            "Relu" => Op::Relu,
            "Cos" => Op::Cos,
            "Sin" => Op::Sin,
            "Equal" => Op::Equal,
            "Greater" => Op::Greater,
            "Where" => Op::Where,
            "Less" | "LessOrEqual" | "GreaterOrEqual" | "And" | "Or" | "Not" | "IsNaN" => {
                return self.logic(site).map(Some);
            }
            "Min" | "Max" | "Sum" | "Clip" => return self.extremes(site).map(Some),
            "Gelu" | "Swish" | "LeakyRelu" | "HardSigmoid" | "HardSwish" | "Softplus" => {
                return self.activation(site).map(Some);
            }
            _ => return self.unary(site),
        };
        let inputs = self.all(site)?;
        Ok(Some(self.graph.one(same, &inputs)?))
    }

    fn unary(&mut self, site: &Site<'_>) -> Result<Option<ValueId>, Refusal> {
        let value = match site.op() {
            "Identity" => self.input(site, 0)?,
            "Dropout" => {
                let training = site.symbol(2).is_some()
                    && site
                        .constant(2)
                        .is_none_or(|flag| flag.elements() != &Elements::Bool(vec![false]));
                if training {
                    return unsupported("it drops elements");
                }
                self.input(site, 0)?
            }
            "Cast" => {
                let to = site
                    .int("to")
                    .and_then(|to| i32::try_from(to).ok())
                    .and_then(tensor::element);
                let Some(to) = to else {
                    return unsupported("it casts to a type that is not known");
                };
                let x = self.input(site, 0)?;
                if self.graph.element(x) == to {
                    x
                } else {
                    self.graph.one(Op::Cast { to }, &[x])?
                }
            }
            "Neg" => {
                let x = self.number(site)?;
                self.graph.scale(x, -1.0)?
            }
            "Abs" => {
                let x = self.number(site)?;
                let zero = self.graph.scalar_like(x, 0.0);
                let positive = self.graph.one(Op::Greater, &[x, zero])?;
                let negated = self.graph.scale(x, -1.0)?;
                self.graph.choose(positive, x, negated)?
            }
            "Reciprocal" => {
                let x = self.number(site)?;
                let one = self.graph.scalar_like(x, 1.0);
                self.graph.div(one, x)?
            }
            "Pow" => self.power(site)?,
            _ => return Ok(None),
        };
        Ok(Some(value))
    }

    /// The first input, of a type that scalars can be made of.
    fn number(&mut self, site: &Site<'_>) -> Built {
        let x = self.input(site, 0)?;
        match self.graph.element(x) {
            ElementType::F32 | ElementType::F64 | ElementType::I64 => Ok(x),
            other => unsupported(&format!("of {other:?}")),
        }
    }

    fn power(&mut self, site: &Site<'_>) -> Built {
        let x = self.number(site)?;
        let Some(exponent) = site.constant(1).and_then(single) else {
            return unsupported("its exponent is no constant number");
        };
        // Exactly these, as exporters write them.
        let halves = exponent * 2.0;
        if halves.fract() != 0.0 || !(-2.0..=8.0).contains(&halves) || !self.graph.element(x).is_float() {
            return unsupported(&format!("its exponent is {exponent}"));
        }
        #[expect(clippy::cast_possible_truncation, reason = "an integer between -2 and 8")]
        let halves = halves as i32;
        if halves == 0 {
            return unsupported("its exponent is 0");
        }
        let size = halves.unsigned_abs();
        let mut result = if size % 2 == 1 {
            Some(self.graph.one(Op::Sqrt, &[x])?)
        } else {
            None
        };
        for _ in 0..size / 2 {
            result = Some(match result {
                Some(product) => self.graph.mul(product, x)?,
                None => x,
            });
        }
        let result = result.map_or_else(|| malformed("has no exponent"), Ok)?;
        if halves > 0 {
            return Ok(result);
        }
        let one = self.graph.scalar_like(x, 1.0);
        Ok(self.graph.div(one, result)?)
    }

    /// Booleans: the core compares with Equal and Greater alone.
    fn logic(&mut self, site: &Site<'_>) -> Built {
        let a = self.input(site, 0)?;
        match site.op() {
            "Not" => return self.not(a),
            "IsNaN" => {
                let equal = self.graph.one(Op::Equal, &[a, a])?;
                return self.not(equal);
            }
            _ => {}
        }
        let b = self.input(site, 1)?;
        match site.op() {
            "Less" => Ok(self.graph.one(Op::Greater, &[b, a])?),
            "LessOrEqual" => {
                let greater = self.graph.one(Op::Greater, &[a, b])?;
                self.not(greater)
            }
            "GreaterOrEqual" => {
                let less = self.graph.one(Op::Greater, &[b, a])?;
                self.not(less)
            }
            op => {
                let to = ElementType::F32;
                let a = self.graph.one(Op::Cast { to }, &[a])?;
                let b = self.graph.one(Op::Cast { to }, &[b])?;
                let joined = if op == "And" {
                    self.graph.mul(a, b)?
                } else {
                    self.graph.add(a, b)?
                };
                let half = self.graph.scalar_like(joined, 0.5);
                Ok(self.graph.one(Op::Greater, &[joined, half])?)
            }
        }
    }

    fn not(&mut self, x: ValueId) -> Built {
        let never = HostTensor::new([], Elements::Bool(vec![false])).or_else(|error| malformed(error.to_string()))?;
        let never = self.graph.constant(never);
        Ok(self.graph.one(Op::Equal, &[x, never])?)
    }

    fn larger(&mut self, a: ValueId, b: ValueId) -> Built {
        let greater = self.graph.one(Op::Greater, &[a, b])?;
        Ok(self.graph.choose(greater, a, b)?)
    }

    fn smaller(&mut self, a: ValueId, b: ValueId) -> Built {
        let greater = self.graph.one(Op::Greater, &[a, b])?;
        Ok(self.graph.choose(greater, b, a)?)
    }

    fn extremes(&mut self, site: &Site<'_>) -> Built {
        let op = site.op();
        if op == "Clip" {
            let mut x = self.number(site)?;
            let low = match site.float("min") {
                Some(low) => Some(self.graph.scalar_like(x, f64::from(low))),
                None => self.optional(site, 1),
            };
            let high = match site.float("max") {
                Some(high) => Some(self.graph.scalar_like(x, f64::from(high))),
                None => self.optional(site, 2),
            };
            if let Some(low) = low {
                x = self.larger(x, low)?;
            }
            if let Some(high) = high {
                x = self.smaller(x, high)?;
            }
            return Ok(x);
        }
        let inputs = self.all(site)?;
        let mut inputs = inputs.into_iter();
        let Some(mut result) = inputs.next() else {
            return malformed("has no inputs");
        };
        for input in inputs {
            result = match op {
                "Max" => self.larger(result, input)?,
                "Min" => self.smaller(result, input)?,
                _ => self.graph.add(result, input)?,
            };
        }
        Ok(result)
    }

    fn activation(&mut self, site: &Site<'_>) -> Built {
        let x = self.number(site)?;
        let float = |name: &str, default: f64| site.float(name).map_or(default, f64::from);
        let graph = &mut *self.graph;
        let one = graph.scalar_like(x, 1.0);
        match site.op() {
            "Gelu" if site.text("approximate") == Some("tanh") => {
                let square = graph.mul(x, x)?;
                let cube = graph.mul(square, x)?;
                let cube = graph.scale(cube, 0.044_715)?;
                let sum = graph.add(x, cube)?;
                let sum = graph.scale(sum, (2.0 / std::f64::consts::PI).sqrt())?;
                let tanh = graph.one(Op::Tanh, &[sum])?;
                let share = graph.add(tanh, one)?;
                let half = graph.scale(x, 0.5)?;
                Ok(graph.mul(half, share)?)
            }
            "Gelu" => {
                let scaled = graph.scale(x, std::f64::consts::FRAC_1_SQRT_2)?;
                let erf = graph.one(Op::Erf, &[scaled])?;
                let share = graph.add(erf, one)?;
                let half = graph.scale(x, 0.5)?;
                Ok(graph.mul(half, share)?)
            }
            "Swish" => {
                let scaled = graph.scale(x, float("alpha", 1.0))?;
                let sigmoid = graph.one(Op::Sigmoid, &[scaled])?;
                Ok(graph.mul(x, sigmoid)?)
            }
            "LeakyRelu" => {
                let zero = graph.scalar_like(x, 0.0);
                let positive = graph.one(Op::Greater, &[x, zero])?;
                let leak = graph.scale(x, float("alpha", 0.01))?;
                Ok(graph.choose(positive, x, leak)?)
            }
            "Softplus" => {
                // ln(1 + exp x) = max(x, 0) + ln(1 + exp −|x|)
                let positive = graph.one(Op::Relu, &[x])?;
                let double = graph.scale(positive, 2.0)?;
                let exponent = graph.sub(x, double)?;
                let small = graph.one(Op::Exp, &[exponent])?;
                let sum = graph.add(small, one)?;
                let log = graph.one(Op::Log, &[sum])?;
                Ok(graph.add(positive, log)?)
            }
            op => {
                // max(0, min(1, αx + β)), times x for HardSwish (α = 1/6, β = 1/2).
                let swish = op == "HardSwish";
                let (slope, offset) = if swish {
                    (1.0 / 6.0, 0.5)
                } else {
                    (float("alpha", 0.2), float("beta", 0.5))
                };
                let scaled = graph.scale(x, slope)?;
                let offset = graph.scalar_like(x, offset);
                let line = graph.add(scaled, offset)?;
                let floor = graph.one(Op::Relu, &[line])?;
                let bounded = self.smaller(floor, one)?;
                if swish {
                    Ok(self.graph.mul(x, bounded)?)
                } else {
                    Ok(bounded)
                }
            }
        }
    }
}
