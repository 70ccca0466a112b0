//! `const`, `identity`, `cond`, `while_loop`.

use crate::{
    op::{AnyArg, Arg, Cx, Infer, Inferred, Op, OpDef, OpError},
    types::{DType, Type},
};
use mil_derive::Op;

pub(crate) const OPS: &[&OpDef] = &[Const::DEF, Identity::DEF, Cond::DEF, WhileLoop::DEF];

/// A constant. Its value is the attribute `val`, not a parameter.
///
/// The builder makes one of every constant that is given to an op; [`Graph::constant`](crate::graph::Graph::constant)
/// makes one by itself.
#[derive(Op, Clone, Debug)]
#[op(name = "const", since = iOS15, constructor = false)]
pub struct Const {}

impl Infer for Const {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        Err(OpError::new("a `const` has the type of its value and is not inferred from arguments"))
    }
}

/// Gives its input unchanged.
#[derive(Op, Clone, Debug)]
#[op(name = "identity", since = iOS15)]
pub struct Identity {
    /// Any tensor.
    pub x: Arg,
}

impl Infer for Identity {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        Ok(vec![Inferred::known(self.x.ty.clone(), self.x.known.clone())])
    }
}

/// Runs one of two blocks and gives what it gives.
///
/// # Constraints
/// - C1 `pred` is a scalar.
/// - C2 both blocks give the same number of values.
/// - C3 each pair of values has compatible types: the same dtype and rank; sizes that differ become unknown.
/// - C4 the blocks have no inputs: they see what is around them.
#[derive(Op, Clone, Debug)]
#[op(name = "cond", since = iOS15, outputs = variadic, blocks = 2, constructor = false)]
pub struct Cond {
    /// A bool: the first block runs if it is true, else the second.
    #[dtype(Bool)]
    pub pred: Arg,
}

impl Infer for Cond {
    fn infer(&self, cx: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        if !self.pred.shape().volume().is(1) || self.pred.rank() > 1 {
            return Err(OpError::at("pred", format!("`pred` must be a scalar, found {}", self.pred.ty))); // C1
        }
        let [yes, no] = cx.blocks else { return Err(OpError::new("needs two blocks")) };
        if !yes.inputs.is_empty() || !no.inputs.is_empty() {
            return Err(OpError::new("its blocks take no inputs")); // C4
        }
        if yes.outputs.len() != no.outputs.len() {
            let (a, b) = (yes.outputs.len(), no.outputs.len());
            return Err(OpError::new(format!("the branches give {a} and {b} values; they must give as many"))); // C2
        }
        let pairs: Vec<_> = yes.outputs.iter().zip(&no.outputs).map(|(a, b)| (a.clone(), b.clone())).collect();
        pairs
            .iter()
            .enumerate()
            .map(|(i, (a, b))| {
                Ok(join(a, b, cx)
                    .ok_or_else(|| {
                        OpError::new(format!("value {i} is {a} in one branch and {b} in the other")).index(i) // C3
                    })?
                    .into())
            })
            .collect()
    }
}

/// The type that is either of two: sizes that differ become unknown.
fn join(a: &Type, b: &Type, cx: &mut Cx<'_>) -> Option<Type> {
    match (a, b) {
        (Type::Tensor(s), Type::Tensor(t)) if s.dtype == t.dtype && s.rank() == t.rank() => {
            let dims = s.shape.iter().zip(t.shape.iter());
            let dims: Vec<_> = dims.map(|(m, n)| if m == n { m.clone() } else { cx.unknown() }).collect();
            Some(s.with_shape(dims).into())
        }
        _ => (a == b).then(|| a.clone()),
    }
}

/// Runs `body` as long as `condition` holds, over loop variables.
///
/// The first block takes the variables and gives a scalar bool; the second takes them and gives their next values. Gives
/// the variables' last values.
///
/// # Constraints
/// - C1 the condition gives exactly one scalar bool.
/// - C2 the body gives as many values as there are variables.
/// - C3 the body gives each variable's type again (sizes that change must be unknown from the start).
/// - C4 both blocks take exactly the variables, of their types.
#[derive(Op, Clone, Debug)]
#[op(name = "while_loop", since = iOS15, outputs = variadic, blocks = 2, constructor = false)]
pub struct WhileLoop {
    /// The variables' first values.
    pub loop_vars: Vec<AnyArg>,
}

impl Infer for WhileLoop {
    fn infer(&self, cx: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let [condition, body] = cx.blocks else { return Err(OpError::new("needs two blocks")) };
        for (block, which) in [(condition, "condition"), (body, "body")] {
            if block.inputs.len() != self.loop_vars.len() {
                let (a, b) = (self.loop_vars.len(), block.inputs.len());
                return Err(OpError::new(format!("there are {a} loop variables but the {which} takes {b}"))); // C4
            }
            for (i, (var, input)) in self.loop_vars.iter().zip(&block.inputs).enumerate() {
                if !var.ty.compatible(input) {
                    let message = format!("loop variable {i} is {} but the {which} takes {input}", var.ty);
                    return Err(OpError::at("loop_vars", message).index(i)); // C4
                }
            }
        }
        let bool_scalar =
            |t: &Type| t.tensor().is_some_and(|t| t.dtype == DType::Bool && t.shape.volume().is(1) && t.rank() <= 1);
        match &condition.outputs[..] {
            [one] if bool_scalar(one) => {}
            [one] => return Err(OpError::new(format!("the condition must give a scalar bool, found {one}"))), // C1
            all => {
                return Err(OpError::new(format!(
                    "the condition must give one scalar bool, found {} values",
                    all.len()
                )));
            }
        }
        if body.outputs.len() != self.loop_vars.len() {
            let (a, b) = (self.loop_vars.len(), body.outputs.len());
            return Err(OpError::new(format!("there are {a} loop variables but the body gives {b} values"))); // C2
        }
        for (i, (var, next)) in self.loop_vars.iter().zip(&body.outputs).enumerate() {
            if !var.ty.compatible(next) || !body.inputs[i].compatible(next) || !condition.inputs[i].compatible(next) {
                let message = format!("loop variable {i} starts as {} but the body gives {next}", var.ty);
                return Err(OpError::at("loop_vars", message).index(i)); // C3
            }
        }
        // What the body gives is what the loop's inputs were declared as; the declared input types hold for both.
        Ok(body.inputs.iter().zip(&body.outputs).map(|(i, _)| i.clone().into()).collect())
    }
}
