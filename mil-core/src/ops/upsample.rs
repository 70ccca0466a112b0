//! Upsampling of images: the last two dimensions, by factors.

use crate::{
    ir::Literal,
    op::{AnyArg, Arg, Cx, Infer, Inferred, Op, OpDef, OpError, Param, ParamKind},
    types::Dim,
};
use mil_derive::Op;

use super::resize::{SamplingMode, image};

pub(crate) const OPS: &[&OpDef] = &[UpsampleBilinear::DEF, UpsampleNearestNeighbor::DEF];

/// How many times as large a dimension becomes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Scale {
    /// So many times.
    Whole(i64),
    /// So many times, the result rounded down.
    Fraction(f32),
}

impl Scale {
    /// The new size of a dimension. The product is taken in f32, as coremltools takes it.
    pub fn of(self, size: i64) -> i64 {
        match self {
            Scale::Whole(k) => size.saturating_mul(k),
            Scale::Fraction(f) => (size as f32 * f).floor() as i64,
        }
    }

    fn of_dim(self, dim: &Dim, cx: &mut Cx<'_>) -> Dim {
        match (self, dim.value()) {
            (_, Some(size)) => self.of(size).into(),
            (Scale::Whole(k), None) => dim.clone() * k,
            (Scale::Fraction(f), None) => {
                // Halves, quarters and eighths are exact; of other fractions rounding decides.
                let exact = [1i64, 2, 4, 8].into_iter().find(|d| (f * *d as f32).fract() == 0.0 && f < 4096.0);
                match exact {
                    Some(d) => (dim.clone() * (f * d as f32) as i64).floor_div(d),
                    None => cx.unknown(),
                }
            }
        }
    }
}

impl Param for Scale {
    const KIND: ParamKind = ParamKind::Float;

    fn from_args(name: &'static str, args: &[AnyArg]) -> Result<Scale, OpError> {
        let whole = args.first().and_then(|a| a.ty.tensor()).is_some_and(|t| t.dtype.is_int());
        if whole {
            i64::from_args(name, args).map(Scale::Whole)
        } else {
            f32::from_args(name, args).map(Scale::Fraction)
        }
    }

    fn literal(&self) -> Option<Literal> {
        match self {
            Scale::Whole(k) => k.literal(),
            Scale::Fraction(f) => f.literal(),
        }
    }
}

/// Resizes the last two dimensions by factors, with bilinear interpolation.
///
/// # Constraints
/// - C1 `x` has rank 3 or more.
/// - C2 the factors are greater than 0, and so are the sizes they give.
/// - C3 `align_corners` and `half_pixel_centers` are not both true.
#[derive(Op, Clone, Debug)]
#[op(name = "upsample_bilinear", since = iOS15)]
#[domain(T = F16 | F32)]
#[domain(U = F32 | I32)]
pub struct UpsampleBilinear {
    /// `[*D, H, W]`.
    #[dtype(T)]
    pub x: Arg,
    /// The factor of the last dimension but one. Default: 1.
    #[dtype(U)]
    #[default(Scale::Whole(1))]
    pub scale_factor_height: Scale,
    /// The factor of the last dimension. Default: 1.
    #[dtype(U)]
    #[default(Scale::Whole(1))]
    pub scale_factor_width: Scale,
    /// Whether first and last elements stay. Default: `true`.
    #[dtype(Bool)]
    #[default(true)]
    pub align_corners: bool,
    /// Whether elements are areas whose centers are aligned. Default: the contrary of `align_corners`.
    #[dtype(Bool)]
    #[since(iOS16)]
    pub half_pixel_centers: Option<bool>,
}

impl UpsampleBilinear {
    /// Where the sampled points lie.
    pub fn sampling_mode(&self) -> SamplingMode {
        match (self.align_corners, self.half_pixel_centers.unwrap_or(!self.align_corners)) {
            (true, _) => SamplingMode::StrictAlignCorners,
            (false, true) => SamplingMode::UnalignCorners,
            (false, false) => SamplingMode::Default,
        }
    }
}

impl Infer for UpsampleBilinear {
    fn infer(&self, cx: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        if self.align_corners && self.half_pixel_centers == Some(true) {
            let message = "`half_pixel_centers` and `align_corners` cannot both be true"; // C3
            return Err(OpError::at("half_pixel_centers", message));
        }
        scaled(&self.x, self.scale_factor_height, self.scale_factor_width, cx)
    }
}

/// Resizes the last two dimensions by factors; each new element is the one at `floor(i * old size / new size)`.
///
/// # Constraints
/// - C1 `x` has rank 3 or more.
/// - C2 the factors are greater than 0, and so are the sizes they give.
#[derive(Op, Clone, Debug)]
#[op(name = "upsample_nearest_neighbor", since = iOS15)]
#[domain(T = F16 | F32)]
#[domain(U = F32 | I32)]
pub struct UpsampleNearestNeighbor {
    /// `[*D, H, W]`.
    #[dtype(T)]
    pub x: Arg,
    /// The factor of the last dimension but one. Default: 1.
    #[dtype(U)]
    #[default(Scale::Whole(1))]
    pub scale_factor_height: Scale,
    /// The factor of the last dimension. Default: 1.
    #[dtype(U)]
    #[default(Scale::Whole(1))]
    pub scale_factor_width: Scale,
}

impl Infer for UpsampleNearestNeighbor {
    fn infer(&self, cx: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        scaled(&self.x, self.scale_factor_height, self.scale_factor_width, cx)
    }
}

fn scaled(x: &Arg, height: Scale, width: Scale, cx: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
    image(x)?; // C1
    let mut shape = x.shape().to_vec();
    let n = shape.len();
    for (axis, scale, param) in [(n - 2, height, "scale_factor_height"), (n - 1, width, "scale_factor_width")] {
        let (positive, found) = match scale {
            Scale::Whole(k) => (k > 0, k.to_string()),
            Scale::Fraction(f) => (f > 0.0 && f.is_finite(), f.to_string()),
        };
        if !positive {
            return Err(OpError::at(param, format!("`{param}` must be greater than 0, found {found}"))); // C2
        }
        let size = scale.of_dim(&shape[axis], cx);
        if size.bounds().1.is_some_and(|max| max < 1) {
            let message = format!("`{param}` of {found} leaves nothing of dimension {axis} of `x`: {}", x.ty);
            return Err(OpError::at(param, message));
        }
        shape[axis] = size;
    }
    Ok(vec![x.ty.with_shape(shape).into()])
}

#[cfg(test)]
mod tests {
    use super::Scale;
    use crate::{
        ir::Constant,
        mb,
        ops::testing::{Test, fails, fails_in, infers},
        types::Opset,
    };

    const X: &str = "Tensor<f32, 1, 3, 4, 5>";

    #[test]
    fn shapes() {
        infers(
            |g| mb::upsample_nearest_neighbor(g.t(X)).scale_factor_height(2).scale_factor_width(3),
            "Tensor<f32, 1, 3, 8, 15>",
        );
        infers(
            |g| mb::upsample_bilinear(g.t("Tensor<f16, 3, H, W>")).scale_factor_height(2).scale_factor_width(2),
            "Tensor<f16, 3, 2 * H, 2 * W>",
        );
        infers(
            |g| mb::upsample_bilinear(g.t("Tensor<f16, 3, 5, W>")).scale_factor_height(2.5).scale_factor_width(1.5),
            "Tensor<f16, 3, 12, (3 * W) / 2>",
        );
        infers(|g| mb::upsample_bilinear(g.t("Tensor<f32, 3, H, 5>")).scale_factor_height(1.3), "Tensor<f32, 3, ?, 5>");
    }

    #[test]
    fn fractions_multiply_in_f32() {
        // In f64 the product is 12.9999995 and rounds down to 12.
        assert_eq!(Scale::Fraction(1.3).of(10), 13);
        assert_eq!(Scale::Fraction(2.5).of(5), 12);
        assert_eq!(Scale::Whole(3).of(5), 15);
    }

    #[test]
    fn c1_ranks() {
        fails(|g| mb::upsample_bilinear(g.t("Tensor<f32, 4, 5>")), "x", "rank 3 or more");
        fails(|g| mb::upsample_nearest_neighbor(g.t("Tensor<f32, 4, 5>")), "x", "rank 3 or more");
    }

    #[test]
    fn c2_sizes() {
        fails(|g| mb::upsample_bilinear(g.t(X)).scale_factor_height(0), "scale_factor_height", "greater than 0");
        fails(|g| mb::upsample_bilinear(g.t(X)).scale_factor_width(-1.5), "scale_factor_width", "found -1.5");
        fails(
            |g| mb::upsample_nearest_neighbor(g.t(X)).scale_factor_width(0.1),
            "scale_factor_width",
            "leaves nothing",
        );
    }

    #[test]
    fn c3_centers_or_corners() {
        let call =
            |g: &mut Test, corners: bool| mb::upsample_bilinear(g.t(X)).align_corners(corners).half_pixel_centers(true);
        fails(|g| call(g, true), "half_pixel_centers", "cannot both be true");
        infers(|g| call(g, false), X);
        fails_in(Opset::iOS15, |g| call(g, false), "half_pixel_centers", "needs opset iOS16");
    }

    #[test]
    fn factors_have_one_dtype() {
        let call = |g: &mut Test, width: Constant| {
            mb::upsample_bilinear(g.t(X)).scale_factor_height(Constant::scalar(2i32)).scale_factor_width(width)
        };
        infers(|g| call(g, Constant::scalar(3i32)), "Tensor<f32, 1, 3, 8, 15>");
        fails(|g| call(g, Constant::scalar(1.5f32)), "scale_factor_width", "same dtype");
        // Numbers adapt to each other.
        infers(
            |g| mb::upsample_bilinear(g.t(X)).scale_factor_height(2).scale_factor_width(1.5),
            "Tensor<f32, 1, 3, 8, 7>",
        );
    }
}
