//! `reshape_like`.

use crate::{
    op::{Arg, Cx, Infer, Inferred, Op, OpDef, OpError},
    types::{Dim, Shape},
};
use mil_derive::Op;

use super::known;

pub(crate) const OPS: &[&OpDef] = &[ReshapeLike::DEF];

/// The same elements, in the same row-major order, in a shape put together from sizes of other tensors.
///
/// Of each of `ref_tensors`, the sizes `begin:end` are taken, with the meaning that Python gives it. `begins`, `ends` and
/// `end_masks` are written into the op and have one element per tensor.
///
/// # Constraints
/// - C1 there is at least one tensor in `ref_tensors`.
/// - C2 `begins`, `ends` and `end_masks` have one scalar per tensor, known when the program is built.
/// - C3 the sizes taken are fixed when the op is built; a program that was read may have symbols there.
/// - C4 the output has as many elements as `x`.
#[derive(Op, Clone, Debug)]
#[op(name = "reshape_like", since = iOS16)]
#[domain(T = F16 | F32 | I32 | Bool, iOS17 = F16 | F32 | I8 | I16 | I32 | U8 | U16 | Bool)]
pub struct ReshapeLike {
    /// Any tensor.
    #[dtype(T)]
    pub x: Arg,
    /// The tensors whose sizes are taken, in order.
    #[dtype(F16 | F32 | I32 | Bool, iOS17 = F16 | F32 | I8 | I16 | I32 | U8 | U16 | Bool)]
    pub ref_tensors: Vec<Arg>,
    /// For each tensor, the first dimension taken; a negative one counts from the end.
    #[dtype(I32)]
    #[in_place]
    pub begins: Vec<Arg>,
    /// For each tensor, the dimension before which the taking ends; a negative one counts from the end.
    #[dtype(I32)]
    #[in_place]
    pub ends: Vec<Arg>,
    /// For each tensor, whether all dimensions from the first on are taken, whatever `ends` says.
    #[dtype(Bool)]
    #[in_place]
    pub end_masks: Vec<Arg>,
}

/// The known numbers (or bools) of a list of scalars, one per tensor.
fn scalars(args: &[Arg], count: usize, param: &str) -> Result<Vec<i64>, OpError> {
    if args.len() != count {
        let message = format!("`{param}` must have {count} elements, one per tensor, found {}", args.len()); // C2
        return Err(OpError::at(param, message));
    }
    let one = |(i, arg): (usize, &Arg)| {
        let scalar = arg.rank() == 0;
        arg.known_ints().filter(|v| scalar && v.len() == 1).map(|v| v[0]).ok_or_else(|| {
            let message = format!("`{param}` must have scalars, known when the program is built, found {}", arg.ty); // C2
            OpError::at(param, message).index(i)
        })
    };
    args.iter().enumerate().map(one).collect()
}

impl ReshapeLike {
    /// The sizes taken.
    fn sizes(&self) -> Result<Vec<Dim>, OpError> {
        let count = self.ref_tensors.len();
        let begins = scalars(&self.begins, count, "begins")?;
        let ends = scalars(&self.ends, count, "ends")?;
        let masks = scalars(&self.end_masks, count, "end_masks")?;
        let mut sizes = vec![];
        for (i, tensor) in self.ref_tensors.iter().enumerate() {
            let rank = tensor.rank() as i64;
            let place = |v: i64| (if v < 0 { v.saturating_add(rank) } else { v }).clamp(0, rank) as usize;
            let (begin, end) = (place(begins[i]), if masks[i] != 0 { tensor.rank() } else { place(ends[i]) });
            sizes.extend_from_slice(&tensor.shape()[begin..end.max(begin)]);
        }
        Ok(sizes)
    }
}

impl Infer for ReshapeLike {
    fn infer(&self, cx: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        if self.ref_tensors.is_empty() {
            let message = "`ref_tensors` is empty"; // C1
            return Err(OpError::at("ref_tensors", message).note("give at least one tensor"));
        }
        let shape = Shape::from(self.sizes()?);
        if shape.fixed().is_none() && !cx.reading {
            let message = format!("the sizes taken must be fixed, found {shape}"); // C3
            return Err(OpError::at("ref_tensors", message).note("use `mb::reshape` with sizes from `mb::shape`"));
        }
        if !shape.volume().may_equal(&self.x.shape().volume()) {
            let (found, needed) = (shape.volume(), self.x.shape().volume());
            let message = format!("{shape} has {found} elements, but `x` has {needed}"); // C4
            return Err(OpError::at("ref_tensors", message).note(format!("x: {}", self.x.ty)));
        }
        let ty = self.x.ty.with_shape(shape);
        let known = known::reshaped(&self.x, &ty.shape);
        Ok(vec![Inferred::known(ty, known)])
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        graph::Graph,
        ir::{Attribute, Binding, Constant},
        mb,
        op::Operand,
        ops::testing::{Test, fails, fails_in, infers, knows},
        types::{Opset, TensorType},
    };

    fn list(items: Vec<Operand>) -> Operand {
        Operand::List(items)
    }

    #[test]
    fn shapes() {
        let refs = |g: &mut Test| vec![g.t("Tensor<f32, 2, 3, 4>"), g.t("Tensor<bool, 1, 5, 6>")];
        let call = |g: &mut Test| {
            let (x, refs) = (g.t("Tensor<i32, 180>"), refs(g));
            mb::reshape_like(x, refs, [0, 1], [2, 0], [false, true])
        };
        infers(call, "Tensor<i32, 2, 3, 5, 6>");
        fails_in(Opset::iOS15, call, "", "needs opset iOS16");
        // Places count as in Python.
        let call = |g: &mut Test| {
            let (x, refs) = (g.t("Tensor<i32, N>"), refs(g));
            mb::reshape_like(x, refs, [-2, 2], [9, 1], [false, false])
        };
        infers(call, "Tensor<i32, 3, 4>");
        let one = |g: &mut Test| vec![g.t("Tensor<f32, 3, 1>")];
        knows(|g| mb::reshape_like(g.c(Constant::vector(&[1i32, 2, 3])), one(g), [0], [0], [true]), "[1, 2, 3]");
    }

    #[test]
    fn constraints() {
        let x = "Tensor<f32, 6>";
        let empty = || list(vec![]);
        fails(|g| mb::reshape_like(g.t(x), empty(), empty(), empty(), empty()), "ref_tensors", "is empty"); // C1
        let one = |g: &mut Test| vec![g.t("Tensor<f32, 2, 3>")];
        fails(
            |g| mb::reshape_like(g.t(x), one(g), [0, 1], [2], [true]),
            "begins",
            "1 elements, one per tensor, found 2",
        ); // C2
        fails(|g| mb::reshape_like(g.t(x), one(g), [0], vec![g.t("Tensor<i32>")], [true]), "ends", "known when");
        fails(|g| mb::reshape_like(g.t(x), one(g), [0], [2], vec![g.t("Tensor<bool, 1>")]), "end_masks", "scalars");
        let symbols = |g: &mut Test| vec![g.t("Tensor<f32, H, 3>")];
        fails(|g| mb::reshape_like(g.t(x), symbols(g), [0], [2], [false]), "ref_tensors", "must be fixed, found"); // C3
        infers(|g| mb::reshape_like(g.t("Tensor<f32, 3>"), symbols(g), [1], [2], [false]), "Tensor<f32, 3>");
        fails(|g| mb::reshape_like(g.t(x), one(g), [0], [1], [false]), "ref_tensors", "2 elements, but `x` has 6"); // C4
    }

    #[test]
    fn numbers_are_written_into_the_op() {
        let mut g = Graph::new("main", Opset::iOS16);
        let x = g.input("x", "Tensor<f32, 6>".parse::<TensorType>().unwrap());
        let like = g.input("like", "Tensor<f32, 2, 3>".parse::<TensorType>().unwrap());
        let zero = g.constant("zero", Constant::scalar(0i32));
        let out = g.push(mb::reshape_like(x, [like], [&zero], [2], [false])).unwrap();
        let program = g.finish([out]).unwrap();
        let f = program.main().unwrap();
        let op = f.walk().into_iter().map(|o| f.op(o)).find(|o| o.def.name == "reshape_like").unwrap();
        let inline = |c: Constant| [Binding::Inline(Attribute::Tensor(c))];
        assert_eq!(op.bindings("begins"), inline(Constant::scalar(0i32)));
        assert_eq!(op.bindings("ends"), inline(Constant::scalar(2i32)));
        assert_eq!(op.bindings("end_masks"), inline(Constant::scalar(false)));
        crate::validate::validate(&program).unwrap();
    }
}
