//! `const`, `identity`, `cond`, `while_loop`.

use crate::{
    op::{AnyArg, Arg, Cx, Infer, Inferred, Op, OpDef, OpError},
    types::{DType, Dim, Symbol, Type},
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
/// A size that changes from round to round is unknown in the blocks; the builder makes it so.
///
/// # Constraints
/// - C1 the condition gives exactly one scalar bool.
/// - C2 both blocks take as many values as there are variables, and the body gives as many.
/// - C3 a variable has the type that the blocks take, at the start and after each round: the same dtype and rank, and the
///   sizes that the blocks know.
#[derive(Op, Clone, Debug)]
#[op(name = "while_loop", since = iOS15, outputs = variadic, blocks = 2, constructor = false)]
pub struct WhileLoop {
    /// The variables' first values.
    pub loop_vars: Vec<AnyArg>,
}

impl Infer for WhileLoop {
    fn infer(&self, cx: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let [condition, body] = cx.blocks else { return Err(OpError::new("needs two blocks")) };
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
        let counts = [body.outputs.len(), body.inputs.len(), condition.inputs.len()];
        if let Some(n) = counts.into_iter().find(|n| *n != self.loop_vars.len()) {
            let what = if n == counts[0] { "the body gives" } else { "a block takes" };
            let message = format!("there are {} loop variables but {what} {n} values", self.loop_vars.len()); // C2
            return Err(OpError::at("loop_vars", message));
        }
        for (i, var) in self.loop_vars.iter().enumerate() {
            let fail = |message: String| Err(OpError::at("loop_vars", message).index(i)); // C3
            let (taken, next) = (&body.inputs[i], &body.outputs[i]);
            if !condition.inputs[i].compatible(taken) {
                let other = &condition.inputs[i];
                return fail(format!("loop variable {i} is {taken} in the body but {other} in the condition"));
            }
            if !takes(taken, &var.ty) || !takes(taken, next) {
                return fail(format!("loop variable {i} starts as {} but the body gives {next}", var.ty));
            }
        }
        let types = self.loop_vars.iter().zip(body.inputs.iter().zip(&body.outputs));
        Ok(types.map(|(var, (taken, next))| after(&var.ty, taken, next, cx).into()).collect())
    }
}

/// Whether a block that takes values of one type takes one of another: equal, but for sizes that may be equal or of which
/// the block knows nothing.
fn takes(taken: &Type, given: &Type) -> bool {
    let (Some(t), Some(g)) = (taken.tensor(), given.tensor()) else { return taken.compatible(given) };
    let any = |d: &Dim| d.as_symbol().is_some_and(Symbol::is_anonymous);
    let fits = |(t, g): (&Dim, &Dim)| any(t) || t.may_equal(g);
    t.dtype == g.dtype && t.rank() == g.rank() && t.shape.iter().zip(g.shape.iter()).all(fits)
}

/// The type that a loop variable has in the end: a size that the body keeps is that of the start.
fn after(start: &Type, taken: &Type, next: &Type, cx: &mut Cx<'_>) -> Type {
    let (Some(s), Some(t), Some(n)) = (start.tensor(), taken.tensor(), next.tensor()) else { return taken.clone() };
    let sizes = s.shape.iter().zip(t.shape.iter().zip(n.shape.iter()));
    let dims: Vec<_> = sizes.map(|(s, (t, n))| if t == n { s.clone() } else { cx.unknown() }).collect();
    s.with_shape(dims).into()
}

#[cfg(test)]
mod tests {
    use crate::{
        graph::{BuildError, Graph, Value},
        mb,
        types::{DType, Opset, TensorType, Type},
    };

    fn input(g: &mut Graph, ty: &str) -> Value {
        g.input("x", ty.parse::<TensorType>().unwrap())
    }

    fn types(values: &[Value]) -> Vec<String> {
        values.iter().map(|v| v.ty().to_string()).collect()
    }

    fn graph() -> (Graph, Value) {
        let mut g = Graph::new("main", Opset::iOS17);
        let go = g.input("go", TensorType::scalar(DType::Bool));
        (g, go)
    }

    #[track_caller]
    fn fails(result: Result<Vec<Value>, BuildError>, text: &str) {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }

    #[test]
    fn identity_keeps_what_is_known() {
        let (mut g, _) = graph();
        let x = input(&mut g, "Tensor<f32, H, 2>");
        let shape = g.push(mb::shape(&x)).unwrap();
        let copy = g.push(mb::identity(&shape)).unwrap();
        assert_eq!(copy.known(), shape.known());
    }

    #[test]
    fn branches_of_different_sizes() {
        let (mut g, go) = graph();
        let (a, b) = (input(&mut g, "Tensor<f32, 2, H>"), input(&mut g, "Tensor<f32, 3, H>"));
        let out = g.cond(&go, |_| Ok(vec![a.clone(), a.clone()]), |_| Ok(vec![b.clone(), a.clone()])).unwrap();
        assert_eq!(types(&out), ["Tensor<f32, ?, H>", "Tensor<f32, 2, H>"]);
    }

    #[test]
    fn branches_must_agree() {
        let (mut g, go) = graph();
        let (a, b) = (input(&mut g, "Tensor<f32, 2>"), input(&mut g, "Tensor<f16, 2>"));
        let c = input(&mut g, "Tensor<f32, 2, 1>");
        let one = |v: &Value| vec![v.clone()];
        fails(g.cond(&a, |_| Ok(one(&a)), |_| Ok(one(&a))), "`pred` must be of bool"); // dtype
        let two = g.input("two", "Tensor<bool, 2>".parse::<TensorType>().unwrap());
        fails(g.cond(&two, |_| Ok(one(&a)), |_| Ok(one(&a))), "must be a scalar"); // C1
        fails(g.cond(&go, |_| Ok(one(&a)), |_| Ok(vec![])), "give 1 and 0 values"); // C2
        fails(g.cond(&go, |_| Ok(one(&a)), |_| Ok(one(&b))), "value 0 is Tensor<f32, 2> in one branch"); // C3
        fails(g.cond(&go, |_| Ok(one(&a)), |_| Ok(one(&c))), "and Tensor<f32, 2, 1> in the other");
    }

    #[test]
    fn loops_keep_sizes_that_do_not_change() {
        let (mut g, go) = graph();
        let (x, y) = (input(&mut g, "Tensor<f32, 2, H>"), input(&mut g, "Tensor<f32, 2>"));
        let body = |g: &mut Graph, v: &[Value]| Ok(vec![g.push(mb::add(&v[0], 1.0))?, v[1].clone()]);
        let out = g.while_loop(vec![x, y], |_, _| Ok(go.clone()), body).unwrap();
        assert_eq!(types(&out), ["Tensor<f32, 2, H>", "Tensor<f32, 2>"]);
    }

    /// A body that makes its first variable one longer each round, by what `f` makes of it.
    fn grow(g: &mut Graph, v: &[Value]) -> Result<Vec<Value>, BuildError> {
        let more = g.push(mb::slice_by_index(&v[0], [0, 0], [1, 0]).end_mask([false, true]))?;
        Ok(vec![g.push(mb::concat([&v[0], &more], 0))?])
    }

    #[test]
    fn sizes_that_change_are_unknown_in_the_loop() {
        let (mut g, go) = graph();
        let x = input(&mut g, "Tensor<f32, 1, H>");
        let mut inside = vec![];
        let condition = |g: &mut Graph, v: &[Value]| {
            inside.push(v[0].id());
            inside.push(g.push(mb::shape(&v[0]))?.id());
            Ok(go.clone())
        };
        let out = g.while_loop(vec![x], condition, grow).unwrap();
        assert_eq!(types(&out), ["Tensor<f32, ?, H>"]);
        let f = g.function();
        assert_eq!(f.value(inside[0]).ty.to_string(), "Tensor<f32, ?, H>");
        let known = f.value(inside[1]).known.as_ref().and_then(|k| k.dims());
        assert_eq!(format!("{known:?}"), "Some([?, H])");
    }

    #[test]
    fn sizes_that_change_reach_loops_within() {
        let (mut g, go) = graph();
        let (x, y) = (input(&mut g, "Tensor<f32, 1, H>"), input(&mut g, "Tensor<f32, 3>"));
        let mut inner = None;
        let body = |g: &mut Graph, v: &[Value]| {
            let grown = grow(g, v)?;
            let again = g.while_loop(vec![v[0].clone(), v[1].clone()], |_, _| Ok(go.clone()), |_, v| Ok(v.to_vec()))?;
            inner = Some(again[0].id());
            Ok(vec![grown[0].clone(), again[1].clone()])
        };
        let out = g.while_loop(vec![x, y], |_, _| Ok(go.clone()), body).unwrap();
        assert_eq!(types(&out), ["Tensor<f32, ?, H>", "Tensor<f32, 3>"]);
        assert_eq!(g.function().value(inner.unwrap()).ty.to_string(), "Tensor<f32, ?, H>");
    }

    #[test]
    fn a_body_that_needs_the_size_which_changes_is_refused() {
        let (mut g, go) = graph();
        let x = input(&mut g, "Tensor<f32, 1, 2>");
        let body = |g: &mut Graph, v: &[Value]| {
            let size = g.push(mb::shape(&v[0]))?;
            let sizes = g.push(mb::slice_by_index(&size, [0], [1]))?;
            g.push(mb::expand_dims(&v[0], sizes))?;
            grow(g, v)
        };
        fails(g.while_loop(vec![x], |_, _| Ok(go.clone()), body), "`axes` must be");
    }

    #[test]
    fn loops_must_agree() {
        let (mut g, go) = graph();
        let x = input(&mut g, "Tensor<f32, 2>");
        let keep = |_: &mut Graph, v: &[Value]| Ok(v.to_vec());
        let vars = || vec![x.clone()];
        fails(g.while_loop(vars(), |_, v| Ok(v[0].clone()), keep), "must give a scalar bool, found Tensor<f32, 2>"); // C1
        fails(g.while_loop(vars(), |_, _| Ok(go.clone()), |_, _| Ok(vec![])), "but the body gives 0 values"); // C2
        let rank = |g: &mut Graph, v: &[Value]| Ok(vec![g.push(mb::expand_dims(&v[0], [0]))?]);
        fails(
            g.while_loop(vars(), |_, _| Ok(go.clone()), rank),
            "starts as Tensor<f32, 2> but the body gives Tensor<f32, 1, 2>", // C3
        );
        let dtype = |_: &mut Graph, _: &[Value]| Ok(vec![go.clone()]);
        fails(g.while_loop(vars(), |_, _| Ok(go.clone()), dtype), "but the body gives Tensor<bool>");
        let state = g.input("s", Type::State(TensorType::new(DType::F16, [2])));
        assert_eq!(types(&g.while_loop(vec![state], |_, _| Ok(go.clone()), keep).unwrap()), ["State<f16, 2>"]);
    }
}
