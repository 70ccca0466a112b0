//! `select`.

use crate::op::{Arg, Cx, Infer, Inferred, Op, OpDef, OpError};
use mil_derive::Op;

use super::{fold, rules};

pub(crate) const OPS: &[&OpDef] = &[Select::DEF];

/// `a` where `cond` is true, else `b`.
///
/// The three broadcast. (coremltools leaves `cond` out when it infers the shape, though its documentation and its values
/// do not; the shape here is that of the values.)
///
/// # Constraints
/// - C1 the shapes of `cond`, `a` and `b` broadcast.
#[derive(Op, Clone, Debug)]
#[op(name = "select", since = iOS15)]
#[domain(T = F16 | F32 | I32 | Bool)]
pub struct Select {
    /// Which to take.
    #[dtype(Bool)]
    pub cond: Arg,
    /// What is taken where `cond` is true.
    #[dtype(T)]
    pub a: Arg,
    /// What is taken where it is false.
    #[dtype(T)]
    pub b: Arg,
}

impl Infer for Select {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let both = rules::broadcast(self.a.shape(), self.b.shape(), "b")?; // C1
        let shape = rules::broadcast(&both, self.cond.shape(), "cond")?;
        Ok(vec![Inferred::known(self.a.ty.with_shape(shape), fold::select(&self.cond, &self.a, &self.b))])
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        ir::Constant,
        mb,
        ops::testing::{fails, infer_in, infers, knows},
        types::Opset,
    };

    #[test]
    fn shapes() {
        infers(
            |g| mb::select(g.t("Tensor<bool, 2, 1>"), g.t("Tensor<f32, 3>"), g.t("Tensor<f32>")),
            "Tensor<f32, 2, 3>",
        );
        infers(
            |g| mb::select(g.t("Tensor<bool, N>"), g.t("Tensor<bool, N>"), g.t("Tensor<bool, 1>")),
            "Tensor<bool, N>",
        );
        infers(|g| mb::select(g.t("Tensor<bool, 4>"), 1.0, 0.0), "Tensor<f32, 4>");
    }

    #[test]
    fn c1_broadcast() {
        fails(|g| mb::select(g.t("Tensor<bool, 2>"), g.t("Tensor<f32, 2>"), g.t("Tensor<f32, 3>")), "b", "broadcast");
        fails(
            |g| mb::select(g.t("Tensor<bool, 2>"), g.t("Tensor<f32, 3>"), g.t("Tensor<f32, 3>")),
            "cond",
            "broadcast",
        );
    }

    #[test]
    fn dtypes() {
        fails(|g| mb::select(g.t("Tensor<i32, 2>"), g.t("Tensor<f32, 2>"), 0.0), "cond", "must be of bool");
        fails(|g| mb::select(g.t("Tensor<bool, 2>"), g.t("Tensor<f32, 2>"), g.t("Tensor<f16>")), "b", "same dtype");
    }

    #[test]
    fn known_values() {
        let cond = || Constant::vector(&[true, false]);
        knows(|g| mb::select(g.c(cond()), [1, 2], [3, 4]), "[1, 4]");
        knows(|g| mb::select(g.c(cond()), 7, [3, 4]), "[7, 4]");
        let out = infer_in(Opset::iOS18, |g| mb::select(g.c(cond()), [0.5, 1.5], -1.0)).unwrap();
        assert_eq!(out[0].known().and_then(|k| k.constant()), Some(&Constant::vector(&[0.5f32, -1.0])));
    }
}
