//! `pad`, `crop`: borders put on and cut off.

use crate::{
    op::{Arg, Cx, Infer, Inferred, Op, OpDef, OpError, param::string_enum},
    types::Dim,
};
use mil_derive::Op;

use super::{known, rules};

pub(crate) const OPS: &[&OpDef] = &[Pad::DEF, Crop::DEF];

string_enum! {
    /// What is put around a tensor.
    PadMode {
        /// One number everywhere.
        Constant = "constant",
        /// The tensor mirrored at its border, without repeating the border itself.
        Reflect = "reflect",
        /// The border, repeated.
        Replicate = "replicate",
    }
}

/// Puts elements before and after those of `x`, in its last dimensions.
///
/// # Constraints
/// - C1 `pad` is a list of an even number of elements, two for each of the last dimensions.
/// - C2 `pad` has at most two elements per dimension of `x`; if it is not known, exactly two.
/// - C3 no element of `pad` is negative.
/// - C4 with mode `"reflect"`, no element of `pad` is more than the size less 1.
/// - C5 with mode `"replicate"`, no element of `pad` is more than the size.
#[derive(Op, Clone, Debug)]
#[op(name = "pad", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct Pad {
    /// Any tensor.
    #[dtype(T)]
    pub x: Arg,
    /// Elements before and after, for each of the last dimensions in order.
    #[dtype(I32)]
    pub pad: Arg,
    /// What is put there. Default: `"constant"`.
    #[dtype(String)]
    #[default(PadMode::Constant)]
    pub mode: PadMode,
    /// The number for mode `"constant"`. Default: 0.
    #[dtype(T)]
    #[default(0.0)]
    pub constant_val: f32,
}

impl Pad {
    /// Elements before and after, for every dimension of `x`, from the elements of `pad`.
    ///
    /// # Errors
    /// If an amount cannot be (C3 to C5) for a dimension of this size.
    pub fn amounts(&self, sizes: &[Dim], pad: &[Dim]) -> Result<Vec<(Dim, Dim)>, OpError> {
        let first = sizes.len().saturating_sub(pad.len() / 2);
        let mut amounts = vec![(Dim::from(0), Dim::from(0)); first];
        for (i, pair) in pad.chunks_exact(2).enumerate() {
            let size = &sizes[first + i];
            for (n, amount) in pair.iter().enumerate() {
                if amount.bounds().1.is_some_and(|max| max < 0) {
                    let message = format!("`pad` must be 0 or more, found {amount} at {}", 2 * i + n); // C3
                    return Err(OpError::at("pad", message).note("cut with `mb::slice_by_index`"));
                }
                let most = match self.mode {
                    PadMode::Constant => continue,
                    PadMode::Reflect => size.clone() - 1, // C4
                    PadMode::Replicate => size.clone(),   // C5
                };
                if (most.clone() - amount.clone()).bounds().1.is_some_and(|room| room < 0) {
                    let (mode, at) = (self.mode.as_str(), first + i);
                    let message = format!("dimension {at} of size {size} cannot be padded by {amount} with \"{mode}\"");
                    return Err(OpError::at("pad", message).note(format!("\"{mode}\" pads by {most} at most")));
                }
            }
            amounts.push((pair[0].clone(), pair[1].clone()));
        }
        Ok(amounts)
    }
}

impl Infer for Pad {
    fn infer(&self, cx: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let (length, rank) = (known::list_length(&self.pad, "pad")?, self.x.rank());
        if length % 2 != 0 {
            let message = format!("`pad` must have an even number of elements, found {length}"); // C1
            return Err(OpError::at("pad", message).note("two per dimension: before and after"));
        }
        let known = self.pad.known_dims();
        if length > 2 * rank || (known.is_none() && length != 2 * rank) {
            let bound = if known.is_none() { "exactly" } else { "at most" };
            let message = format!("`pad` must have {bound} {} elements for rank {rank}, found {length}", 2 * rank); // C2
            return Err(OpError::at("pad", message).note(format!("x: {}", self.x.ty)));
        }
        let dims: Vec<Dim> = match known {
            None => (0..rank).map(|_| cx.unknown()).collect(),
            Some(pad) => {
                let amounts = self.amounts(self.x.shape(), &pad)?;
                let padded = |(d, (before, after)): (&Dim, (Dim, Dim))| match before.at_least(0) && after.at_least(0) {
                    true => d.clone() + before + after,
                    false => cx.unknown(),
                };
                self.x.shape().iter().zip(amounts).map(padded).collect()
            }
        };
        Ok(vec![self.x.ty.with_shape(dims).into()])
    }
}

/// Cuts rows and columns off the borders of images.
///
/// # Constraints
/// - C1 `x` has rank 3 or more; the last two dimensions are height and width.
/// - C2 `crop_height` and `crop_width` have two elements each, which are not negative.
/// - C3 at least one row and one column is left.
#[derive(Op, Clone, Debug)]
#[op(name = "crop", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct Crop {
    /// Images, in the last two dimensions.
    #[dtype(T)]
    pub x: Arg,
    /// How many rows are cut off at the top and at the bottom.
    #[dtype(I32)]
    pub crop_height: Vec<i64>,
    /// How many columns are cut off at the left and at the right.
    #[dtype(I32)]
    pub crop_width: Vec<i64>,
}

impl Infer for Crop {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let rank = self.x.rank();
        if rank < 3 {
            return Err(OpError::at("x", format!("`x` must have rank 3 or more, found {}", self.x.ty))); // C1
        }
        let mut ty = self.x.ty.clone();
        let both = [(rank - 2, &self.crop_height, "crop_height"), (rank - 1, &self.crop_width, "crop_width")];
        for (axis, amounts, param) in both {
            rules::length(amounts, 2, param)?; // C2
            rules::at_least(amounts, 0, param)?;
            let size = self.x.dim(axis);
            let left = size.clone() - amounts[0].saturating_add(amounts[1]);
            if left.bounds().1.is_some_and(|max| max < 1) {
                let message = format!("`{param}` leaves nothing of dimension {axis} of size {size}"); // C3
                return Err(OpError::at(param, message).note(format!("x: {}", self.x.ty)));
            }
            ty.shape.dims_mut()[axis] = left;
        }
        Ok(vec![ty.into()])
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        mb,
        ops::testing::{fails, infers},
    };

    #[test]
    fn shapes() {
        infers(|g| mb::pad(g.t("Tensor<f32, 2, H, 5>"), [1, 0, 2, 3]), "Tensor<f32, 2, H + 1, 10>");
        infers(|g| mb::pad(g.t("Tensor<f16, 2, 5>"), [0, 0, 4, 4]).mode("reflect"), "Tensor<f16, 2, 13>");
        infers(|g| mb::pad(g.t("Tensor<f16, 2, 5>"), [5, 5]).mode("replicate"), "Tensor<f16, 2, 15>");
        infers(|g| mb::pad(g.t("Tensor<f16, 2>"), [1, 1]).constant_val(0.5), "Tensor<f16, 4>");
        infers(|g| mb::pad(g.t("Tensor<f32, 2, 5>"), g.t("Tensor<i32, 4>")), "Tensor<f32, ?, ?>");
    }

    #[test]
    fn constraints() {
        fails(|g| mb::pad(g.t("Tensor<f32, 5>"), 1), "pad", "rank 1"); // C1
        fails(|g| mb::pad(g.t("Tensor<f32, 5>"), [1]), "pad", "even number");
        fails(|g| mb::pad(g.t("Tensor<f32, 5>"), [1, 1, 1, 1]), "pad", "at most 2 elements"); // C2
        fails(|g| mb::pad(g.t("Tensor<f32, 5, 5>"), g.t("Tensor<i32, 2>")), "pad", "exactly 4 elements");
        fails(|g| mb::pad(g.t("Tensor<f32, 5>"), [0, -1]), "pad", "found -1 at 1"); // C3
        fails(|g| mb::pad(g.t("Tensor<f32, 5>"), [5, 0]).mode("reflect"), "pad", "by 4 at most"); // C4
        fails(|g| mb::pad(g.t("Tensor<f32, 5>"), [0, 6]).mode("replicate"), "pad", "by 5 at most"); // C5
        fails(|g| mb::pad(g.t("Tensor<f32, 5>"), [0, 6]).mode("edge"), "mode", "\"replicate\"");
        fails(|g| mb::pad(g.t("Tensor<i32, 5>"), [0, 6]), "x", "mb::cast");
    }
    #[test]
    fn crops() {
        infers(|g| mb::crop(g.t("Tensor<f16, 2, H, 9>"), [1, 2], [0, 3]), "Tensor<f16, 2, H - 3, 6>");
        fails(|g| mb::crop(g.t("Tensor<f32, 4, 9>"), [0, 0], [0, 0]), "x", "rank 3 or more"); // C1
        let x = "Tensor<f32, 1, 4, 9>";
        fails(|g| mb::crop(g.t(x), [1], [0, 0]), "crop_height", "2 elements, found 1"); // C2
        fails(|g| mb::crop(g.t(x), [0, 0], [0, -1]), "crop_width", "0 or more, found -1");
        fails(|g| mb::crop(g.t(x), [2, 2], [0, 0]), "crop_height", "leaves nothing of dimension 1 of size 4"); // C3
    }
}
