//! `slice_update`.

use crate::op::{Arg, Cx, Infer, Inferred, Op, OpDef, OpError};
use mil_derive::Op;

use super::{
    known,
    slice::{SliceByIndex, Span},
};

pub(crate) const OPS: &[&OpDef] = &[SliceUpdate::DEF];

/// Gives `x` with `x[begin:end:stride]` replaced by `update`.
///
/// The slice is the one that [`SliceByIndex`] takes with the same arguments.
///
/// # Constraints
/// - C1 `begin`, `end`, `stride` and the masks say a slice, as for [`SliceByIndex`].
/// - C2 `update` has the shape of the slice.
/// - C3 `update` is no scalar.
#[derive(Op, Clone, Debug)]
#[op(name = "slice_update", since = iOS18)]
#[domain(T = F16 | F32 | I8 | I16 | I32 | U8 | U16 | Bool)]
#[domain(U = I8 | I16 | I32)]
pub struct SliceUpdate {
    /// Any tensor.
    #[dtype(T)]
    pub x: Arg,
    /// What takes the place of the slice.
    #[dtype(T)]
    pub update: Arg,
    /// For each dimension, the first place.
    #[dtype(U)]
    pub begin: Arg,
    /// For each dimension, the place before which the slice ends.
    #[dtype(U)]
    pub end: Arg,
    /// For each dimension, the distance between two places; negative to go backwards. Default: all 1.
    #[dtype(U)]
    pub stride: Option<Vec<i64>>,
    /// Where true, the slice begins at the border, whatever `begin` says. Default: all false.
    #[dtype(Bool)]
    pub begin_mask: Option<Vec<bool>>,
    /// Where true, the slice goes on to the border, whatever `end` says. Default: all false.
    #[dtype(Bool)]
    pub end_mask: Option<Vec<bool>>,
    /// Where true, the slice is the one element at `begin`, and `update` lacks the dimension. Default: all false.
    #[dtype(Bool)]
    pub squeeze_mask: Option<Vec<bool>>,
}

impl SliceUpdate {
    /// The op that takes the slice.
    pub fn slice(&self) -> SliceByIndex {
        SliceByIndex {
            x: self.x.clone(),
            begin: self.begin.clone(),
            end: self.end.clone(),
            stride: self.stride.clone(),
            begin_mask: self.begin_mask.clone(),
            end_mask: self.end_mask.clone(),
            squeeze_mask: self.squeeze_mask.clone(),
        }
    }
}

/// Where a place of `x` lies in the slice; `None` if it is not in it.
fn inside(at: &[usize], spans: &[Span]) -> Option<Vec<usize>> {
    let mut found = vec![];
    for (at, span) in at.iter().zip(spans) {
        let distance = *at as i64 - span.start as i64;
        let index = usize::try_from(distance / span.step).ok()?;
        if distance % span.step != 0 || index >= span.count {
            return None;
        }
        if !span.squeeze {
            found.push(index);
        }
    }
    Some(found)
}

impl Infer for SliceUpdate {
    fn infer(&self, cx: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let slice = self.slice();
        let sizes = slice.sizes(cx)?; // C1
        let update = &self.update;
        if update.rank() != sizes.len() || !update.shape().iter().zip(&sizes).all(|(u, s)| u.may_equal(s)) {
            let expected = update.ty.with_shape(sizes);
            let message = format!("`update` must be {expected}, as the slice is, found {}", update.ty); // C2
            return Err(OpError::at("update", message).note(format!("x: {}", self.x.ty)));
        }
        if update.rank() == 0 {
            let message = "`update` must have rank 1 or more, found a scalar"; // C3
            return Err(OpError::at("update", message).note("leave a dimension out of `squeeze_mask`"));
        }
        let known = match (self.x.shape().fixed(), self.begin.known_ints(), self.end.known_ints()) {
            (Some(sizes), Some(begin), Some(end)) => {
                let spans = slice.spans(&sizes, &begin, &end)?;
                known::moved(&[&self.x, update], self.x.shape(), |at| match inside(at, &spans) {
                    Some(place) => (1, place),
                    None => (0, at.to_vec()),
                })
            }
            _ => None,
        };
        Ok(vec![Inferred::known(self.x.ty.clone(), known)])
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        ir::Constant,
        mb,
        ops::testing::{Test, fails, fails_in, infers, knows},
        types::Opset,
    };

    #[test]
    fn shapes() {
        let x = "Tensor<f16, 4, H, 3>";
        infers(|g| mb::slice_update(g.t(x), g.t("Tensor<f16, 2, 1, 3>"), [1, 0, 0], [3, 1, 3]), x);
        infers(
            |g| {
                let call = mb::slice_update(g.t(x), g.t("Tensor<f16, 2, H>"), [0, 0, -1], [4, 0, 0]);
                call.stride([2, 1, 1]).end_mask([false, true, false]).squeeze_mask([false, false, true])
            },
            x,
        );
        infers(
            |g| mb::slice_update(g.t("Tensor<u8, 4>"), g.t("Tensor<u8, N>"), g.t("Tensor<i32, 1>"), [3]),
            "Tensor<u8, 4>",
        );
    }

    #[test]
    fn known_values() {
        let six = |g: &mut Test| g.c(Constant::vector(&[0i32, 1, 2, 3, 4, 5]));
        knows(|g| mb::slice_update(six(g), [7, 8], [1], [3]), "[0, 7, 8, 3, 4, 5]");
        knows(|g| mb::slice_update(six(g), [7, 8, 9], [5], [0]).stride([-2]), "[0, 9, 2, 8, 4, 7]");
        let two = |g: &mut Test| g.c(Constant::new([2, 3], &[1i32, 2, 3, 4, 5, 6]).unwrap());
        let row = |g: &mut Test| mb::slice_update(two(g), [7, 8], [-1, 1], [0, 3]).squeeze_mask([true, false]);
        knows(row, "[1, 2, 3, 4, 7, 8]");
        let shape = |g: &mut Test| {
            let x = g.t("Tensor<f32, 2, H, 3>");
            let shape = g.push(mb::shape(x)).unwrap().remove(0);
            mb::slice_update(shape, [5], [2], [3])
        };
        knows(shape, "[2, H, 5]");
    }

    #[test]
    fn constraints() {
        let x = "Tensor<f32, 4, 5>";
        fails(|g| mb::slice_update(g.t(x), g.t(x), [0], [4, 5]), "begin", "are 2, found 1"); // C1
        fails(|g| mb::slice_update(g.t(x), g.t(x), [0, 0], [4, 5]).stride([0, 1]), "stride", "write 1");
        let two = |g: &mut Test| mb::slice_update(g.t(x), g.t("Tensor<f32, 3, 5>"), [0, 0], [2, 5]);
        fails(two, "update", "must be Tensor<f32, 2, 5>"); // C2
        let scalar = |g: &mut Test| mb::slice_update(g.t(x), 0.5, [0, 0], [1, 1]).squeeze_mask([true, true]);
        fails(scalar, "update", "found a scalar"); // C3
        fails_in(Opset::iOS17, two, "", "needs opset iOS18");
    }
}
