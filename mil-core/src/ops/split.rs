//! `split`.

use crate::{
    op::{Arg, Cx, Infer, Inferred, Op, OpDef, OpError},
    types::Dim,
};
use mil_derive::Op;

use super::{known, rules};

pub(crate) const OPS: &[&OpDef] = &[Split::DEF];

/// Cuts a tensor along one dimension into several.
///
/// # Constraints
/// - C1 `num_splits` or `split_sizes` is given.
/// - C2 `num_splits` is 1 to 65536.
/// - C3 without `split_sizes`, `num_splits` divides the size of the dimension.
/// - C4 with both, `split_sizes` has `num_splits` elements.
/// - C5 `split_sizes` are not negative and add up to the size of the dimension.
/// - C6 `axis` is a dimension of `x`; a negative one counts from the end.
#[derive(Op, Clone, Debug)]
#[op(name = "split", since = iOS15, outputs = variadic)]
#[domain(T = F16 | F32 | I32 | Bool)]
pub struct Split {
    /// Any tensor.
    #[dtype(T)]
    pub x: Arg,
    /// How many parts. Default: as many as `split_sizes` has.
    #[dtype(I32)]
    pub num_splits: Option<i64>,
    /// The size of each part. Default: all the same.
    #[dtype(I32)]
    pub split_sizes: Option<Vec<i64>>,
    /// The dimension that is cut.
    #[dtype(I32)]
    pub axis: i64,
}

impl Split {
    /// More outputs than this are refused: a number in a file must not exhaust memory.
    const MAX_PARTS: i64 = 1 << 16;

    /// The dimension that is cut, counted from the start.
    ///
    /// # Errors
    /// If it is none (C6).
    pub fn dimension(&self) -> Result<usize, OpError> {
        rules::axis(self.axis, self.x.rank(), "axis")
    }

    /// The sizes of the parts.
    fn sizes(&self, size: &Dim) -> Result<Vec<Dim>, OpError> {
        if let Some(n) = self.num_splits
            && !(1..=Self::MAX_PARTS).contains(&n)
        {
            let message = format!("`num_splits` must be 1 to {}, found {n}", Self::MAX_PARTS); // C2
            return Err(OpError::at("num_splits", message));
        }
        match (&self.split_sizes, self.num_splits) {
            (None, None) => {
                let message = "`split` needs `num_splits` or `split_sizes`"; // C1
                Err(OpError::at("num_splits", message))
            }
            (None, Some(n)) => {
                if size.value().is_some_and(|size| size % n != 0) {
                    let message = format!("{size} elements cannot be split into {n} equal parts"); // C3
                    return Err(OpError::at("num_splits", message).note("write `split_sizes` for parts that differ"));
                }
                Ok(vec![size.clone().floor_div(n); n as usize])
            }
            (Some(sizes), n) => {
                n.map_or(Ok(()), |n| rules::length(sizes, n as usize, "split_sizes"))?; // C4
                rules::at_least(sizes, 0, "split_sizes")?; // C5
                let total = sizes.iter().fold(0i64, |n, s| n.saturating_add(*s));
                if sizes.is_empty() || !size.may_equal(&Dim::from(total)) {
                    let message = format!("`split_sizes` add up to {total}, but the dimension has size {size}"); // C5
                    return Err(OpError::at("split_sizes", message).note(format!("x: {}", self.x.ty)));
                }
                Ok(sizes.iter().map(|s| Dim::from(*s)).collect())
            }
        }
    }
}

impl Infer for Split {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let axis = self.dimension()?; // C6
        let mut start = Some(0);
        let part = |size: Dim| {
            let mut ty = self.x.ty.clone();
            let from = start;
            start = start.zip(size.fixed()).map(|(start, size)| start + size);
            ty.shape.dims_mut()[axis] = size;
            let known = from.and_then(|from| {
                known::moved(&[&self.x], &ty.shape, |at| {
                    let mut at = at.to_vec();
                    at[axis] += from;
                    (0, at)
                })
            });
            Inferred::known(ty, known)
        };
        Ok(self.sizes(self.x.dim(axis))?.into_iter().map(part).collect())
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        mb,
        ops::testing::{Test, fails, infers, knows},
    };

    #[test]
    fn split_cuts() {
        infers(|g| mb::split(g.t("Tensor<f32, 6, H>"), 0).num_splits(2), "Tensor<f32, 3, H>; Tensor<f32, 3, H>");
        infers(
            |g| mb::split(g.t("Tensor<f32, 6, H>"), -1).num_splits(2),
            "Tensor<f32, 6, H / 2>; Tensor<f32, 6, H / 2>",
        );
        infers(|g| mb::split(g.t("Tensor<f32, 6>"), 0).split_sizes([1, 5]), "Tensor<f32, 1>; Tensor<f32, 5>");
        infers(
            |g| mb::split(g.t("Tensor<f32, H>"), 0).split_sizes([1, 5]).num_splits(2),
            "Tensor<f32, 1>; Tensor<f32, 5>",
        );
        let parts = |g: &mut Test| {
            let v = g.t("Tensor<f32, 2, H, 3>");
            let shape = g.push(mb::shape(v)).unwrap().remove(0);
            g.push(mb::split(shape, 0).split_sizes([1, 2])).unwrap().remove(1)
        };
        knows(|g| mb::identity(parts(g)), "[H, 3]");
    }

    #[test]
    fn split_constraints() {
        fails(|g| mb::split(g.t("Tensor<f32, 6>"), 0), "num_splits", "`num_splits` or `split_sizes`"); // C1
        fails(|g| mb::split(g.t("Tensor<f32, H>"), 0).num_splits(1 << 30), "num_splits", "1 to 65536"); // C2
        fails(|g| mb::split(g.t("Tensor<f32, 6>"), 0).num_splits(4), "num_splits", "write `split_sizes`"); // C3
        fails(|g| mb::split(g.t("Tensor<f32, 6>"), 0).num_splits(3).split_sizes([2, 4]), "split_sizes", "3 elements"); // C4
        fails(|g| mb::split(g.t("Tensor<f32, 6>"), 0).split_sizes([2, 5]), "split_sizes", "add up to 7"); // C5
        fails(|g| mb::split(g.t("Tensor<f32, 6>"), 0).split_sizes([-1, 7]), "split_sizes", "0 or more");
        fails(|g| mb::split(g.t("Tensor<f32, 6>"), 1).num_splits(2), "axis", "out of range"); // C6
    }
}
