//! `non_zero`.

use crate::{
    ir::{Constant, Known},
    op::{Arg, Cx, Infer, Inferred, Op, OpDef, OpError},
    types::{DType, Dim, TensorType},
};
use mil_derive::Op;

use super::known;

pub(crate) const OPS: &[&OpDef] = &[NonZero::DEF];

/// The places of the elements that are not 0, one per row, in row-major order.
///
/// The output is of i32, with a row for each such element and a column for each dimension of `x`.
///
/// # Constraints
/// - C1 `x` has rank 1 or more.
#[derive(Op, Clone, Debug)]
#[op(name = "non_zero", since = iOS15)]
#[domain(T = F16 | F32 | I32 | Bool)]
pub struct NonZero {
    /// Any tensor. A NaN is not 0.
    #[dtype(T)]
    pub x: Arg,
}

impl NonZero {
    /// The places of the elements that are not 0, row after row.
    pub fn places(sizes: &[usize], non_zero: impl Iterator<Item = bool>) -> Vec<i32> {
        let found = non_zero.enumerate().filter(|(_, found)| *found);
        found.flat_map(|(i, _)| known::coordinates(i, sizes)).map(|place| place as i32).collect()
    }
}

impl Infer for NonZero {
    fn infer(&self, cx: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let rank = self.x.rank();
        if rank == 0 {
            let message = format!("`x` must have rank 1 or more, found {}", self.x.ty); // C1
            return Err(OpError::at("x", message).note("use `mb::not_equal` with 0"));
        }
        let truths = self.x.constant().and_then(|c| match c.ints() {
            Some(ints) => Some(ints.iter().map(|v| *v != 0).collect::<Vec<_>>()),
            None => c.floats().map(|floats| floats.iter().map(|v| *v != 0.0).collect()),
        });
        let rows = match &truths {
            Some(truths) => Dim::from(truths.iter().filter(|t| **t).count()),
            None => cx.unknown(),
        };
        let ty = TensorType::new(DType::I32, [rows, Dim::from(rank)]);
        let known = truths.zip(self.x.shape().fixed()).zip(ty.shape.fixed()).and_then(|((truths, sizes), shape)| {
            known::small_count(&shape)?;
            Constant::new(shape, &NonZero::places(&sizes, truths.into_iter())).ok().map(Known::Constant)
        });
        Ok(vec![Inferred::known(ty, known)])
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        ir::Constant,
        mb,
        ops::testing::{fails, infers, knows},
    };

    #[test]
    fn rows() {
        infers(|g| mb::non_zero(g.t("Tensor<f16, 2, H>")), "Tensor<i32, ?, 2>");
        infers(
            |g| mb::non_zero(g.c(Constant::new([2, 2], &[0f32, -0.0, f32::NAN, 2.0]).unwrap())),
            "Tensor<i32, 2, 2>",
        );
        knows(|g| mb::non_zero(g.c(Constant::new([2, 3], &[0i32, 2, 0, 4, 0, -6]).unwrap())), "[0, 1, 1, 0, 1, 2]");
        knows(|g| mb::non_zero(g.c(Constant::vector(&[false, true]))), "[1]");
        infers(|g| mb::non_zero(g.c(Constant::vector(&[0i32; 3]))), "Tensor<i32, 0, 1>");
    }

    #[test]
    fn constraints() {
        fails(|g| mb::non_zero(g.t("Tensor<f32>")), "x", "rank 1 or more"); // C1
    }
}
