//! `cumsum`.

use crate::op::{Arg, Cx, Infer, Inferred, Op, OpDef, OpError};
use mil_derive::Op;

use super::{fold, rules};

pub(crate) const OPS: &[&OpDef] = &[Cumsum::DEF];

/// Adds up elements along a dimension: each element of the output is the sum of those of `x` up to its place.
///
/// # Constraints
/// - C1 `axis` is a dimension of `x`; a negative one counts from the end.
#[derive(Op, Clone, Debug)]
#[op(name = "cumsum", since = iOS15)]
#[domain(T = F16 | F32 | I32)]
pub struct Cumsum {
    /// Any tensor.
    #[dtype(T)]
    pub x: Arg,
    /// The dimension along which elements are added up. Default: 0.
    #[dtype(I32)]
    #[default(0)]
    pub axis: i64,
    /// Whether a sum leaves out the element at its own place, so that the first is 0. Default: false.
    #[dtype(Bool)]
    #[default(false)]
    pub exclusive: bool,
    /// Whether to begin at the end. Default: false.
    #[dtype(Bool)]
    #[default(false)]
    pub reverse: bool,
}

impl Cumsum {
    /// `axis`, counted from the start.
    ///
    /// # Errors
    /// If it is no dimension of `x` (C1).
    pub fn dimension(&self) -> Result<usize, OpError> {
        rules::axis(self.axis, self.x.rank(), "axis")
    }

    /// The sums of these elements, along a dimension of a tensor of these sizes.
    pub fn sums<T: Clone>(&self, sizes: &[usize], axis: usize, x: &[T], zero: &T, add: impl Fn(&T, &T) -> T) -> Vec<T> {
        let inner: usize = sizes[axis + 1..].iter().product();
        let mut out = x.to_vec();
        let line = (sizes[axis] * inner).max(1);
        for block in (0..x.len()).step_by(line) {
            for start in block..block + inner {
                let mut sum = zero.clone();
                for i in 0..sizes[axis] {
                    let at = start + inner * if self.reverse { sizes[axis] - 1 - i } else { i };
                    let next = add(&sum, &x[at]);
                    out[at] = if self.exclusive { sum } else { next.clone() };
                    sum = next;
                }
            }
        }
        out
    }
}

impl Infer for Cumsum {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let axis = self.dimension()?;
        let known = fold::all(
            &self.x,
            |sizes, x| self.sums(sizes, axis, x, &0.0, |a, b| a + b),
            |sizes, x| self.sums(sizes, axis, x, &0.into(), |a, b| a.clone() + b.clone()),
        );
        Ok(vec![Inferred::known(self.x.ty.clone(), known)])
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        ir::Constant,
        mb,
        ops::testing::{Test, fails, infers, knows},
    };

    #[test]
    fn sums() {
        infers(|g| mb::cumsum(g.t("Tensor<f16, 2, H>")).axis(-1), "Tensor<f16, 2, H>");
        let six = |g: &mut Test| g.c(Constant::new([2, 3], &[1i32, 2, 3, 4, 5, 6]).unwrap());
        knows(|g| mb::cumsum(six(g)), "[1, 2, 3, 5, 7, 9]");
        knows(|g| mb::cumsum(six(g)).axis(1), "[1, 3, 6, 4, 9, 15]");
        knows(|g| mb::cumsum(six(g)).axis(1).exclusive(true), "[0, 1, 3, 0, 4, 9]");
        knows(|g| mb::cumsum(six(g)).axis(1).reverse(true), "[6, 5, 3, 15, 11, 6]");
        knows(|g| mb::cumsum(six(g)).axis(-2).reverse(true).exclusive(true), "[4, 5, 6, 0, 0, 0]");
        let shape = |g: &mut Test| {
            let x = g.t("Tensor<f32, 2, H, 3>");
            let shape = g.push(mb::shape(x)).unwrap().remove(0);
            mb::cumsum(shape)
        };
        knows(shape, "[2, H + 2, H + 5]");
    }

    #[test]
    fn constraints() {
        fails(|g| mb::cumsum(g.t("Tensor<f32, 2>")).axis(1), "axis", "out of range"); // C1
        fails(|g| mb::cumsum(g.t("Tensor<f32>")), "axis", "a scalar has no axis");
    }
}
