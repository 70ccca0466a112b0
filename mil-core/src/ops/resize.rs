//! Resizing to given sizes: of images, and of any last dimensions.

use crate::op::{Arg, Cx, Infer, Inferred, Op, OpDef, OpError, param::string_enum};
use mil_derive::Op;

use super::{known, rules};

pub(crate) const OPS: &[&OpDef] = &[Resize::DEF, ResizeBilinear::DEF, ResizeNearestNeighbor::DEF];

string_enum! {
    /// Where the sampled points lie. `X` is the input size, `Y` the output size, `i` the index of the output element;
    /// points beyond the first or last element are moved to it.
    SamplingMode {
        /// At `i * (X - 1) / (Y - 1)`: first and last elements stay; at 0 if `Y` is 1.
        StrictAlignCorners = "STRICT_ALIGN_CORNERS",
        /// The same, but in the middle if `Y` is 1.
        AlignCorners = "ALIGN_CORNERS",
        /// At `i * X / Y`.
        Default = "DEFAULT",
        /// At `(i + 1/2) * max(1, X - 1) / Y`.
        OffsetCorners = "OFFSET_CORNERS",
        /// At `(i + 1/2) * X / Y - 1/2`: elements are areas, whose centers are aligned.
        UnalignCorners = "UNALIGN_CORNERS",
    }
}

string_enum! {
    /// What an element between others is.
    InterpolationMode {
        /// Along each dimension, as far from one to the other as it lies between them.
        Linear = "LINEAR",
        /// The nearest; of two equally near ones the later.
        NearestNeighbor = "NEAREST_NEIGHBOR",
    }
}

/// Requires an image: `[*D, H, W]`.
pub(super) fn image(x: &Arg) -> Result<(), OpError> {
    if x.rank() >= 3 {
        return Ok(());
    }
    Err(OpError::at("x", format!("`x` must have rank 3 or more, found {}", x.ty)))
}

/// Resizes the last two dimensions to given sizes, with bilinear interpolation.
///
/// # Constraints
/// - C1 `x` has rank 3 or more.
/// - C2 the sizes are at least 1.
#[derive(Op, Clone, Debug)]
#[op(name = "resize_bilinear", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct ResizeBilinear {
    /// `[*D, H, W]`.
    #[dtype(T)]
    pub x: Arg,
    /// The new size of the last dimension but one. Default: 1.
    #[dtype(I32)]
    #[default(1)]
    pub target_size_height: i64,
    /// The new size of the last dimension. Default: 1.
    #[dtype(I32)]
    #[default(1)]
    pub target_size_width: i64,
    /// Where the sampled points lie. Default: `"DEFAULT"`.
    #[dtype(String)]
    #[default(SamplingMode::Default)]
    pub sampling_mode: SamplingMode,
}

impl Infer for ResizeBilinear {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        sized(&self.x, self.target_size_height, self.target_size_width)
    }
}

/// Resizes the last two dimensions to given sizes; each new element is the one at `floor((i + 1/2) * old size / new size)`.
///
/// # Constraints
/// - C1 `x` has rank 3 or more.
/// - C2 the sizes are at least 1.
#[derive(Op, Clone, Debug)]
#[op(name = "resize_nearest_neighbor", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct ResizeNearestNeighbor {
    /// `[*D, H, W]`.
    #[dtype(T)]
    pub x: Arg,
    /// The new size of the last dimension but one.
    #[dtype(I32)]
    pub target_size_height: i64,
    /// The new size of the last dimension.
    #[dtype(I32)]
    pub target_size_width: i64,
}

impl Infer for ResizeNearestNeighbor {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        sized(&self.x, self.target_size_height, self.target_size_width)
    }
}

fn sized(x: &Arg, height: i64, width: i64) -> Result<Vec<Inferred>, OpError> {
    image(x)?; // C1
    rules::at_least(&[height], 1, "target_size_height")?; // C2
    rules::at_least(&[width], 1, "target_size_width")?;
    let mut shape = x.shape().to_vec();
    let n = shape.len();
    shape[n - 2] = height.into();
    shape[n - 1] = width.into();
    Ok(vec![x.ty.with_shape(shape).into()])
}

/// Resizes the last `resized_dims` dimensions to the last `resized_dims` sizes of `shape`, which may be computed. A size
/// of 0 leaves the dimension as it is.
///
/// With `"NEAREST_NEIGHBOR"` the sampling mode `"DEFAULT"` is `"UNALIGN_CORNERS"`: elements are areas, as they are for
/// `resize_nearest_neighbor`, whose place this op takes in coremltools' conversions. Of integers, what lies between is
/// rounded towards 0.
///
/// # Constraints
/// - C1 `shape` is a list of a fixed length, which is at most the rank of `x`.
/// - C2 `resized_dims` is at most the length of `shape`.
/// - C3 no size is negative.
#[derive(Op, Clone, Debug)]
#[op(name = "resize", since = iOS17)]
#[domain(T = F16 | F32 | I32)]
#[domain(U = I16 | I32 | U16 | U32)]
pub struct Resize {
    /// Any tensor.
    #[dtype(T)]
    pub x: Arg,
    /// Sizes; the last ones count.
    #[dtype(U)]
    pub shape: Arg,
    /// How many dimensions are resized, counted from the last.
    #[dtype(U32)]
    pub resized_dims: i64,
    /// What an element between others is: `"LINEAR"` or `"NEAREST_NEIGHBOR"`. Default: `"LINEAR"`.
    #[dtype(String)]
    #[default(InterpolationMode::Linear)]
    pub interpolation_mode: InterpolationMode,
    /// Where the sampled points lie. Default: `"DEFAULT"`.
    #[dtype(String)]
    #[default(SamplingMode::Default)]
    pub sampling_mode: SamplingMode,
}

impl Infer for Resize {
    fn infer(&self, cx: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let (rank, length) = (self.x.rank(), known::list_length(&self.shape, "shape")?);
        if length > rank {
            let message = format!("`shape` has {length} elements, but `x` has rank {rank}: {}", self.x.ty); // C1
            return Err(OpError::at("shape", message));
        }
        rules::at_least(&[self.resized_dims], 0, "resized_dims")?;
        let Some(count) = usize::try_from(self.resized_dims).ok().filter(|n| *n <= length) else {
            let message = format!("`resized_dims` is {}, but `shape` has {length} elements", self.resized_dims); // C2
            return Err(OpError::at("resized_dims", message));
        };
        let sizes = self.shape.known_dims();
        let mut shape = self.x.shape().to_vec();
        for i in 0..count {
            let new = &mut shape[rank - count + i];
            match sizes.as_ref().map(|s| &s[length - count + i]) {
                Some(size) if size.is(0) => {}
                Some(size) if size.at_least(1) => *new = size.clone(),
                Some(size) if size.bounds().1.is_some_and(|max| max < 0) => {
                    let message = format!("`shape` must not be negative, found {size}"); // C3
                    return Err(OpError::at("shape", message).note("write 0 to leave a dimension as it is"));
                }
                Some(size) if *size == *new => {}
                _ => *new = cx.unknown(),
            }
        }
        Ok(vec![self.x.ty.with_shape(shape).into()])
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        mb,
        ops::testing::{Test, fails, fails_in, infers},
        types::Opset,
    };

    const X: &str = "Tensor<f32, 1, 3, 4, 5>";

    #[test]
    fn images() {
        infers(
            |g| mb::resize_bilinear(g.t("Tensor<f16, C, H, W>")).target_size_height(7).target_size_width(9),
            "Tensor<f16, C, 7, 9>",
        );
        infers(|g| mb::resize_nearest_neighbor(g.t("Tensor<f32, 2, C, H, W>"), 2, 3), "Tensor<f32, 2, C, 2, 3>");
    }

    #[test]
    fn image_constraints() {
        fails(|g| mb::resize_bilinear(g.t("Tensor<f32, 4, 5>")), "x", "rank 3 or more"); // C1
        fails(|g| mb::resize_nearest_neighbor(g.t("Tensor<f32, 4, 5>"), 1, 1), "x", "rank 3 or more");
        fails(|g| mb::resize_bilinear(g.t(X)).target_size_height(0), "target_size_height", "1 or more"); // C2
        fails(|g| mb::resize_bilinear(g.t(X)).target_size_width(-3), "target_size_width", "1 or more");
        fails(|g| mb::resize_nearest_neighbor(g.t(X), 0, 1), "target_size_height", "1 or more");
    }

    #[test]
    fn sampling_modes_are_checked() {
        fails(|g| mb::resize_bilinear(g.t(X)).sampling_mode("CORNERS"), "sampling_mode", "\"OFFSET_CORNERS\"");
        fails(|g| mb::resize(g.t(X), [0, 0], 2).interpolation_mode("CUBIC"), "interpolation_mode", "\"LINEAR\"");
    }

    /// The two examples of coremltools' documentation, and sizes of which less is known.
    #[test]
    fn sizes_come_from_shape_or_from_x() {
        let x = "Tensor<f32, 1, 2, 3, W>";
        infers(|g| mb::resize(g.t("Tensor<f32, 1, 2, 3, 4>"), [1, 6, 8], 2), "Tensor<f32, 1, 2, 6, 8>");
        infers(|g| mb::resize(g.t(x), [1, 0, 0], 2), x);
        infers(|g| mb::resize(g.t(x), [9, 9, 7], 1), "Tensor<f32, 1, 2, 3, 7>");
        infers(|g| mb::resize(g.t(x), [9], 0), x);
        infers(|g| mb::resize(g.t("Tensor<i32, 2, 3>"), g.t("Tensor<i16, 2>"), 2), "Tensor<i32, ?, ?>");
        let like = |g: &mut Test| {
            let other = g.t("Tensor<f32, K, W>");
            let shape = g.push(mb::shape(other)).unwrap().remove(0);
            mb::resize(g.t("Tensor<f32, 3, H, W>"), shape, 2).interpolation_mode("NEAREST_NEIGHBOR")
        };
        infers(like, "Tensor<f32, 3, K, W>");
        fails_in(Opset::iOS16, |g| mb::resize(g.t(x), [1], 1), "", "needs opset iOS17");
    }

    #[test]
    fn resize_constraints() {
        fails(|g| mb::resize(g.t(X), 3, 1), "shape", "rank 1"); // C1
        fails(|g| mb::resize(g.t(X), g.t("Tensor<i32, N>"), 1), "shape", "fixed length");
        fails(|g| mb::resize(g.t("Tensor<f32, 2>"), [3, 4], 1), "shape", "`x` has rank 1");
        fails(|g| mb::resize(g.t(X), [3, 4], 3), "resized_dims", "`shape` has 2 elements"); // C2
        fails(|g| mb::resize(g.t(X), [3, -1], 1), "shape", "not be negative, found -1"); // C3
    }
}
