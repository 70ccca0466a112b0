//! Ops that move elements from one dimension to others: blocks of an image to channels or batch elements and back, and
//! sliding windows.

use crate::{
    op::{Arg, Cx, Infer, Inferred, Op, OpDef, OpError},
    types::{Dim, Shape},
};
use mil_derive::Op;

use super::{
    conv::{PadType, window},
    known, rules,
};

pub(crate) const OPS: &[&OpDef] = &[
    BatchToSpace::DEF,
    DepthToSpace::DEF,
    PixelShuffle::DEF,
    PixelUnshuffle::DEF,
    SlidingWindows::DEF,
    SpaceToBatch::DEF,
    SpaceToDepth::DEF,
];

/// An image whose sizes are those of `x`, `factor` times as large in height and width; the elements come from channels.
fn enlarged(x: &Arg, factor: i64, param: &str) -> Result<Vec<Inferred>, OpError> {
    rules::rank_in(x, 4..=4, "x")?;
    rules::at_least(&[factor], 1, param)?;
    let split = || {
        let message = format!("{} channels cannot be split into blocks of {factor} by {factor}", x.dim(1));
        OpError::at(param, message).note(format!("x: {}", x.ty))
    };
    let channels = divided(x.dim(1), factor.saturating_mul(factor)).ok_or_else(split)?;
    let [h, w] = [x.dim(2).clone() * factor, x.dim(3).clone() * factor];
    Ok(vec![x.ty.with_shape(vec![x.dim(0).clone(), channels, h, w]).into()])
}

/// The reverse of [`enlarged`].
fn reduced(x: &Arg, factor: i64, param: &str) -> Result<Vec<Inferred>, OpError> {
    rules::rank_in(x, 4..=4, "x")?;
    rules::at_least(&[factor], 1, param)?;
    let side = |axis: usize| {
        divided(x.dim(axis), factor).ok_or_else(|| {
            let message = format!("dimension {axis} of size {} cannot be split into blocks of {factor}", x.dim(axis));
            OpError::at(param, message).note(format!("x: {}\nmake it larger with `mb::pad`", x.ty))
        })
    };
    let channels = x.dim(1).clone() * factor * factor;
    Ok(vec![x.ty.with_shape(vec![x.dim(0).clone(), channels, side(2)?, side(3)?]).into()])
}

/// A size over a positive number; `None` if something is left over. Of symbols it is expected that nothing is.
fn divided(size: &Dim, by: i64) -> Option<Dim> {
    size.value().is_none_or(|n| n % by == 0).then(|| size.clone().floor_div(by))
}

/// Moves channels to blocks of the image: the element at place `(i, j)` of a block comes from channel
/// `(i * block_size + j) * C_out + c` (TensorFlow's order).
///
/// # Constraints
/// - C1 `x` has rank 4.
/// - C2 `block_size` is 1 or more.
/// - C3 `block_size` squared divides the channels.
#[derive(Op, Clone, Debug)]
#[op(name = "depth_to_space", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct DepthToSpace {
    /// `[N, C, H, W]`; the output is `[N, C / block_size^2, H * block_size, W * block_size]`.
    #[dtype(T)]
    pub x: Arg,
    /// Height and width of a block.
    #[dtype(I32)]
    pub block_size: i64,
}

impl Infer for DepthToSpace {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        enlarged(&self.x, self.block_size, "block_size") // C1 to C3
    }
}

/// Moves blocks of the image to channels: the element at place `(i, j)` of a block goes to channel
/// `(i * block_size + j) * C + c` (TensorFlow's order). The reverse of `depth_to_space`.
///
/// # Constraints
/// - C1 `x` has rank 4.
/// - C2 `block_size` is 1 or more.
/// - C3 `block_size` divides height and width.
#[derive(Op, Clone, Debug)]
#[op(name = "space_to_depth", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct SpaceToDepth {
    /// `[N, C, H, W]`; the output is `[N, C * block_size^2, H / block_size, W / block_size]`.
    #[dtype(T)]
    pub x: Arg,
    /// Height and width of a block.
    #[dtype(I32)]
    pub block_size: i64,
}

impl Infer for SpaceToDepth {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        reduced(&self.x, self.block_size, "block_size") // C1 to C3
    }
}

/// Moves channels to blocks of the image: the element at place `(i, j)` of a block comes from channel
/// `(c * upscale_factor + i) * upscale_factor + j` (PyTorch's order).
///
/// # Constraints
/// - C1 `x` has rank 4.
/// - C2 `upscale_factor` is 1 or more.
/// - C3 `upscale_factor` squared divides the channels.
#[derive(Op, Clone, Debug)]
#[op(name = "pixel_shuffle", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct PixelShuffle {
    /// `[N, C, H, W]`; the output is `[N, C / upscale_factor^2, H * upscale_factor, W * upscale_factor]`.
    #[dtype(T)]
    pub x: Arg,
    /// How many times as large height and width become.
    #[dtype(I32)]
    pub upscale_factor: i64,
}

impl Infer for PixelShuffle {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        enlarged(&self.x, self.upscale_factor, "upscale_factor") // C1 to C3
    }
}

/// Moves blocks of the image to channels: the element at place `(i, j)` of a block goes to channel
/// `(c * downscale_factor + i) * downscale_factor + j` (PyTorch's order). The reverse of `pixel_shuffle`.
///
/// # Constraints
/// - C1 `x` has rank 4.
/// - C2 `downscale_factor` is 1 or more.
/// - C3 `downscale_factor` divides height and width.
#[derive(Op, Clone, Debug)]
#[op(name = "pixel_unshuffle", since = iOS16)]
#[domain(T = F16 | F32)]
pub struct PixelUnshuffle {
    /// `[N, C, H, W]`; the output is `[N, C * downscale_factor^2, H / downscale_factor, W / downscale_factor]`.
    #[dtype(T)]
    pub x: Arg,
    /// How many times as small height and width become.
    #[dtype(U32)]
    pub downscale_factor: i64,
}

impl Infer for PixelUnshuffle {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        reduced(&self.x, self.downscale_factor, "downscale_factor") // C1 to C3
    }
}

/// What `space_to_batch` and `batch_to_space` say of height and width.
struct Blocks {
    size: [i64; 2],
    margins: [[i64; 2]; 2],
}

impl Blocks {
    fn new(x: &Arg, block_shape: &[i64], margins: &Arg, param: &str) -> Result<Blocks, OpError> {
        rules::rank_in(x, 4..=4, "x")?;
        rules::length(block_shape, 2, "block_shape")?;
        rules::at_least(block_shape, 1, "block_shape")?;
        if !margins.shape().compatible(&Shape::from([2usize, 2])) {
            let message = format!("`{param}` must have shape [2, 2], found {}", margins.shape());
            return Err(OpError::at(param, message).note("before and after, for height and for width"));
        }
        let unknown = || OpError::at(param, format!("`{param}` must be known when the program is built"));
        let known = margins.known_ints().filter(|v| v.len() == 4).ok_or_else(unknown)?;
        rules::at_least(&known, 0, param)?;
        let margins = [[known[0], known[1]], [known[2], known[3]]];
        Ok(Blocks { size: [block_shape[0], block_shape[1]], margins })
    }
}

/// Moves blocks of the image to batch elements, after putting zeros around it: the element at place `(i, j)` of a block
/// goes to batch element `(i * block_shape[1] + j) * N + n`.
///
/// # Constraints
/// - C1 `x` has rank 4.
/// - C2 `block_shape` has two elements of at least 1.
/// - C3 `paddings` has shape `[2, 2]` and no negative element.
/// - C4 `block_shape` divides height and width with their padding.
#[derive(Op, Clone, Debug)]
#[op(name = "space_to_batch", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct SpaceToBatch {
    /// `[N, C, H, W]`; the output is `[N * B0 * B1, C, (H + padding) / B0, (W + padding) / B1]`, `B` being
    /// `block_shape`.
    #[dtype(T)]
    pub x: Arg,
    /// Height and width of a block.
    #[dtype(I32)]
    pub block_shape: Vec<i64>,
    /// `[[top, bottom], [left, right]]`.
    #[dtype(I32)]
    #[constant]
    pub paddings: Arg,
}

impl SpaceToBatch {
    /// `paddings` as numbers: before and after, for height and for width.
    ///
    /// # Errors
    /// If C1 to C3 do not hold.
    pub fn margins(&self) -> Result<[[i64; 2]; 2], OpError> {
        Ok(Blocks::new(&self.x, &self.block_shape, &self.paddings, "paddings")?.margins)
    }
}

impl Infer for SpaceToBatch {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let x = &self.x;
        let blocks = Blocks::new(x, &self.block_shape, &self.paddings, "paddings")?; // C1 to C3
        let mut dims = vec![x.dim(0).clone() * blocks.size[0] * blocks.size[1], x.dim(1).clone()];
        for (i, (block, [before, after])) in blocks.size.into_iter().zip(blocks.margins).enumerate() {
            let padded = x.dim(i + 2).clone() + before + after;
            dims.push(divided(&padded, block).ok_or_else(|| {
                let message = format!("dimension {} of size {padded} cannot be split into blocks of {block}", i + 2);
                let note = format!("x: {}\nthe size is with `paddings`: make them larger", x.ty);
                OpError::at("block_shape", message).note(note) // C4
            })?);
        }
        Ok(vec![x.ty.with_shape(dims).into()])
    }
}

/// Moves batch elements to blocks of the image, and cuts the image: the element at place `(i, j)` of a block comes from
/// batch element `(i * block_shape[1] + j) * N_out + n`. The reverse of `space_to_batch`.
///
/// # Constraints
/// - C1 `x` has rank 4.
/// - C2 `block_shape` has two elements of at least 1.
/// - C3 `crops` has shape `[2, 2]` and no negative element.
/// - C4 the product of `block_shape` divides the batch size.
/// - C5 `crops` leave an element of height and width.
#[derive(Op, Clone, Debug)]
#[op(name = "batch_to_space", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct BatchToSpace {
    /// `[N, C, H, W]`; the output is `[N / (B0 * B1), C, H * B0 - crops, W * B1 - crops]`, `B` being `block_shape`.
    #[dtype(T)]
    pub x: Arg,
    /// Height and width of a block.
    #[dtype(I32)]
    pub block_shape: Vec<i64>,
    /// `[[top, bottom], [left, right]]`.
    #[dtype(I32)]
    #[constant]
    pub crops: Arg,
}

impl BatchToSpace {
    /// `crops` as numbers: before and after, for height and for width.
    ///
    /// # Errors
    /// If C1 to C3 do not hold.
    pub fn margins(&self) -> Result<[[i64; 2]; 2], OpError> {
        Ok(Blocks::new(&self.x, &self.block_shape, &self.crops, "crops")?.margins)
    }
}

impl Infer for BatchToSpace {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let x = &self.x;
        let Blocks { size, margins } = Blocks::new(x, &self.block_shape, &self.crops, "crops")?; // C1 to C3
        let batch = divided(x.dim(0), size[0].saturating_mul(size[1])).ok_or_else(|| {
            let message =
                format!("{} batch elements cannot be split into blocks of {} by {}", x.dim(0), size[0], size[1]);
            OpError::at("block_shape", message).note(format!("x: {}", x.ty)) // C4
        })?;
        let mut dims = vec![batch, x.dim(1).clone()];
        for (i, (block, [before, after])) in size.into_iter().zip(margins).enumerate() {
            let whole = x.dim(i + 2).clone() * block;
            let left = whole.clone() - before - after;
            if left.bounds().1.is_some_and(|max| max < 1) {
                let message = format!("`crops` leave nothing of dimension {} of size {whole}", i + 2); // C5
                return Err(OpError::at("crops", message).note(format!("x: {}", x.ty)));
            }
            dims.push(left);
        }
        Ok(vec![x.ty.with_shape(dims).into()])
    }
}

/// All windows of `size` elements along an axis, `stride` elements apart. The axis becomes two: which window, and which
/// element of it.
///
/// # Constraints
/// - C1 `axis` is a dimension of `x`.
/// - C2 `size` and `stride` are 1 or more.
/// - C3 a window fits into the dimension.
#[derive(Op, Clone, Debug)]
#[op(name = "sliding_windows", since = iOS15)]
#[domain(T = F16 | F32 | I32, iOS17 = F16 | F32 | I8 | I16 | I32 | U8 | U16 | Bool)]
pub struct SlidingWindows {
    /// Any tensor. Instead of `D` at `axis` the output has `(D - size) / stride + 1`, rounded down, and `size`.
    #[dtype(T)]
    pub x: Arg,
    /// The dimension along which windows slide; a negative one counts from the end.
    #[dtype(I32)]
    pub axis: i64,
    /// Elements of a window.
    #[dtype(I32)]
    pub size: i64,
    /// How far a window is from the one before. Default: 1.
    #[dtype(I32)]
    #[default(1)]
    pub stride: i64,
}

impl SlidingWindows {
    /// `axis`, counted from the start.
    ///
    /// # Errors
    /// If it is no dimension of `x` (C1).
    pub fn dimension(&self) -> Result<usize, OpError> {
        rules::axis(self.axis, self.x.rank(), "axis")
    }
}

impl Infer for SlidingWindows {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let x = &self.x;
        let axis = self.dimension()?; // C1
        rules::at_least(&[self.size], 1, "size")?; // C2
        rules::at_least(&[self.stride], 1, "stride")?;
        let size = Dim::from(self.size);
        let places = window(x.dim(axis), &size, self.stride, PadType::Valid, [0, 0], false).ok_or_else(|| {
            let message = format!("windows of {size} elements do not fit dimension {axis} of size {}", x.dim(axis)); // C3
            OpError::at("size", message).note(format!("x: {}", x.ty))
        })?;
        let mut dims = x.shape().to_vec();
        dims[axis] = places;
        dims.insert(axis + 1, size);
        let ty = x.ty.with_shape(dims);
        let known = known::moved(&[x], &ty.shape, |at| {
            let mut from = at.to_vec();
            let element = from.remove(axis + 1);
            from[axis] = from[axis] * self.stride as usize + element;
            (0, from)
        });
        Ok(vec![Inferred::known(ty, known)])
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        ir::Constant,
        mb,
        ops::testing::{fails, fails_in, infer_in, infers, knows},
        types::Opset,
    };

    #[test]
    fn shapes() {
        infers(|g| mb::depth_to_space(g.t("Tensor<f32, 2, 12, 3, 4>"), 2), "Tensor<f32, 2, 3, 6, 8>");
        infers(|g| mb::depth_to_space(g.t("Tensor<f16, N, 9, H, W>"), 3), "Tensor<f16, N, 1, 3 * H, 3 * W>");
        infers(|g| mb::space_to_depth(g.t("Tensor<f32, 2, 3, 6, 8>"), 2), "Tensor<f32, 2, 12, 3, 4>");
        infers(|g| mb::space_to_depth(g.t("Tensor<f16, N, C, H, 8>"), 2), "Tensor<f16, N, 4 * C, H / 2, 4>");
        infers(|g| mb::pixel_shuffle(g.t("Tensor<f32, 2, 12, 3, 4>"), 2), "Tensor<f32, 2, 3, 6, 8>");
        infers(|g| mb::pixel_shuffle(g.t("Tensor<f32, 2, 12, H, 4>"), 1), "Tensor<f32, 2, 12, H, 4>");
        infers(|g| mb::pixel_unshuffle(g.t("Tensor<f16, N, 3, 6, 9>"), 3), "Tensor<f16, N, 27, 2, 3>");
    }

    #[test]
    fn batches() {
        let x = "Tensor<f32, 2, 1, 2, 4>";
        infers(|g| mb::space_to_batch(g.t(x), [2, 2], [[0, 0], [2, 0]]), "Tensor<f32, 8, 1, 1, 3>");
        infers(|g| mb::batch_to_space(g.t("Tensor<f32, 8, 1, 1, 3>"), [2, 2], [[0, 0], [2, 0]]), x);
        let x = "Tensor<f16, N, C, H, W>";
        let symbols = "Tensor<f16, 6 * N, C, (H + 1) / 2, W / 3>";
        infers(|g| mb::space_to_batch(g.t(x), [2, 3], [[1, 0], [0, 0]]), symbols);
        let symbols = "Tensor<f16, N / 6, C, 2 * H - 1, 3 * W>";
        infers(|g| mb::batch_to_space(g.t(x), [2, 3], [[1, 0], [0, 0]]), symbols);
    }

    #[test]
    fn c1_images_have_rank_4() {
        let x = "Tensor<f32, 4, 4, 4>";
        fails(|g| mb::depth_to_space(g.t(x), 2), "x", "rank 4");
        fails(|g| mb::space_to_depth(g.t(x), 2), "x", "rank 4");
        fails(|g| mb::pixel_shuffle(g.t(x), 2), "x", "rank 4");
        fails(|g| mb::pixel_unshuffle(g.t(x), 2), "x", "rank 4");
        fails(|g| mb::space_to_batch(g.t(x), [2, 2], [[0, 0], [0, 0]]), "x", "rank 4");
        fails(|g| mb::batch_to_space(g.t(x), [2, 2], [[0, 0], [0, 0]]), "x", "rank 4");
    }

    const X: &str = "Tensor<f32, 2, 6, 5, 4>";

    #[test]
    fn c2_factors() {
        fails(|g| mb::depth_to_space(g.t(X), 0), "block_size", "1 or more, found 0");
        fails(|g| mb::space_to_depth(g.t(X), -1), "block_size", "1 or more, found -1");
        fails(|g| mb::pixel_shuffle(g.t(X), 0), "upscale_factor", "1 or more, found 0");
        fails(|g| mb::pixel_unshuffle(g.t(X), 0), "downscale_factor", "1 or more, found 0");
        fails(|g| mb::space_to_batch(g.t(X), [1], [[0, 0], [0, 0]]), "block_shape", "2 elements, found 1");
        fails(|g| mb::batch_to_space(g.t(X), [1, 0], [[0, 0], [0, 0]]), "block_shape", "1 or more, found 0");
    }

    #[test]
    fn c3_factors_divide() {
        fails(|g| mb::depth_to_space(g.t(X), 2), "block_size", "6 channels");
        fails(|g| mb::pixel_shuffle(g.t(X), i32::MAX), "upscale_factor", "6 channels");
        fails(|g| mb::space_to_depth(g.t(X), 2), "block_size", "dimension 2 of size 5");
        fails(|g| mb::pixel_unshuffle(g.t(X), 5), "downscale_factor", "dimension 3 of size 4");
    }

    #[test]
    fn c3_margins() {
        let four = || Constant::vector(&[0i32; 4]);
        fails(|g| mb::space_to_batch(g.t(X), [1, 1], four()), "paddings", "shape [2, 2], found [4]");
        fails(|g| mb::batch_to_space(g.t(X), [1, 1], [[0, 0], [0, -1]]), "crops", "0 or more, found -1");
        fails(|g| mb::batch_to_space(g.t(X), [1, 1], g.t("Tensor<i32, 2, 2>")), "crops", "must be a constant");
    }

    #[test]
    fn c4_blocks_divide() {
        let none = [[0, 0], [0, 0]];
        fails(|g| mb::space_to_batch(g.t(X), [2, 2], none), "block_shape", "dimension 2 of size 5");
        fails(|g| mb::space_to_batch(g.t(X), [2, 2], [[1, 0], [0, 1]]), "block_shape", "dimension 3 of size 5");
        fails(|g| mb::batch_to_space(g.t(X), [2, 2], none), "block_shape", "2 batch elements");
    }

    #[test]
    fn c5_crops_leave_something() {
        fails(|g| mb::batch_to_space(g.t(X), [2, 1], [[0, 0], [3, 1]]), "crops", "dimension 3 of size 4");
    }

    #[test]
    fn pixel_unshuffle_by_opset() {
        fails_in(Opset::iOS15, |g| mb::pixel_unshuffle(g.t("Tensor<f32, 1, 1, 2, 2>"), 2), "", "opset iOS16");
        assert!(infer_in(Opset::iOS16, |g| mb::pixel_unshuffle(g.t("Tensor<f32, 1, 1, 2, 2>"), 2)).is_ok());
    }

    #[test]
    fn windows() {
        infers(|g| mb::sliding_windows(g.t("Tensor<f32, 2, 10>"), 1, 3), "Tensor<f32, 2, 8, 3>");
        infers(|g| mb::sliding_windows(g.t("Tensor<i8, 2, 10>"), -1, 3).stride(4), "Tensor<i8, 2, 2, 3>");
        infers(|g| mb::sliding_windows(g.t("Tensor<f16, L, C>"), -2, 4).stride(2), "Tensor<f16, L / 2 - 1, 4, C>");
        knows(|g| mb::sliding_windows(g.c(Constant::vector(&[1i32, 2, 3, 4])), 0, 2).stride(2), "[1, 2, 3, 4]");
        knows(|g| mb::sliding_windows(g.c(Constant::vector(&[1i32, 2, 3])), 0, 2), "[1, 2, 2, 3]");
    }

    #[test]
    fn windows_by_opset() {
        let bools = |g: &mut crate::ops::testing::Test| mb::sliding_windows(g.t("Tensor<bool, 4>"), 0, 2);
        infers(bools, "Tensor<bool, 3, 2>");
        fails_in(Opset::iOS16, bools, "x", "opset iOS17 takes it");
    }

    #[test]
    fn windows_c1_to_c3() {
        let x = "Tensor<f32, 2, 5>";
        fails(|g| mb::sliding_windows(g.t(x), 2, 1), "axis", "out of range"); // C1
        fails(|g| mb::sliding_windows(g.t(x), 1, 0), "size", "1 or more, found 0"); // C2
        fails(|g| mb::sliding_windows(g.t(x), 1, 2).stride(0), "stride", "1 or more, found 0");
        fails(|g| mb::sliding_windows(g.t(x), 1, 6), "size", "dimension 1 of size 5"); // C3
    }
}
