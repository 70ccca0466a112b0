//! Pooling.

use crate::{
    op::{Arg, Cx, Infer, Inferred, Op, OpDef, OpError},
    types::TensorType,
};
use mil_derive::Op;

use super::{
    conv::{PadType, spatial, window},
    rules,
};

pub(crate) const OPS: &[&OpDef] = &[AvgPool::DEF, L2Pool::DEF, MaxPool::DEF];

/// The mean of each window, over 1, 2 or 3 spatial dimensions.
///
/// With `ceil_mode`, elements beyond the padding at the end are never counted.
///
/// # Constraints
/// - C1 `x` has rank 3 to 5.
/// - C2 `kernel_sizes` and `strides` have one element of at least 1 per spatial dimension, `pad` two of at least 0.
/// - C3 the window fits into the padded input.
/// - C4 padding is smaller than the window, so that no window sees padding alone.
/// - C5 `ceil_mode` is for at most 2 spatial dimensions, not for `"same"` and `"same_lower"`, and with equal padding
///   before and after.
/// - C6 `pad_type` is not `"same_lower"` in iOS15.
#[derive(Op, Clone, Debug)]
#[op(name = "avg_pool", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct AvgPool {
    /// Whether a window's sum is divided by the number of its elements that are no padding. Default: `false`.
    #[dtype(Bool)]
    #[default(false)]
    pub exclude_padding_from_average: bool,
    /// `[N, C, *D]`.
    #[dtype(T)]
    pub x: Arg,
    /// The window, per spatial dimension.
    #[dtype(I32)]
    pub kernel_sizes: Vec<i64>,
    /// One stride per spatial dimension. Default: all 1.
    #[dtype(I32)]
    #[default(vec![1; spatial(&x)])]
    pub strides: Vec<i64>,
    /// How the borders are padded.
    #[dtype(String)]
    pub pad_type: PadType,
    /// Before and after, per spatial dimension; used if `pad_type` is `"custom"`. Default: all 0.
    #[dtype(I32)]
    #[default(vec![0; 2 * spatial(&x)])]
    pub pad: Vec<i64>,
    /// Whether windows that reach over the end count: output sizes are rounded up. Default: `false`.
    #[dtype(Bool)]
    #[default(false)]
    pub ceil_mode: bool,
}

/// The square root of the sum of squares of each window, over 1 or 2 spatial dimensions.
///
/// # Constraints
/// - C1 `x` has rank 3 to 4.
/// - C2 `kernel_sizes` and `strides` have one element of at least 1 per spatial dimension, `pad` two of at least 0.
/// - C3 the window fits into the padded input.
/// - C4 padding is smaller than the window, so that no window sees padding alone.
/// - C5 `ceil_mode` is for at most 2 spatial dimensions, not for `"same"` and `"same_lower"`, and with equal padding
///   before and after.
/// - C6 `pad_type` is not `"same_lower"` in iOS15.
#[derive(Op, Clone, Debug)]
#[op(name = "l2_pool", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct L2Pool {
    /// `[N, C, *D]`.
    #[dtype(T)]
    pub x: Arg,
    /// The window, per spatial dimension.
    #[dtype(I32)]
    pub kernel_sizes: Vec<i64>,
    /// One stride per spatial dimension. Default: all 1.
    #[dtype(I32)]
    #[default(vec![1; spatial(&x)])]
    pub strides: Vec<i64>,
    /// How the borders are padded.
    #[dtype(String)]
    pub pad_type: PadType,
    /// Before and after, per spatial dimension; used if `pad_type` is `"custom"`. Default: all 0.
    #[dtype(I32)]
    #[default(vec![0; 2 * spatial(&x)])]
    pub pad: Vec<i64>,
    /// Whether windows that reach over the end count: output sizes are rounded up. Default: `false`.
    #[dtype(Bool)]
    #[default(false)]
    pub ceil_mode: bool,
}

/// The greatest element of each window, over 1, 2 or 3 spatial dimensions. Padding is never the greatest.
///
/// # Constraints
/// - C1 `x` has rank 3 to 5.
/// - C2 `kernel_sizes` and `strides` have one element of at least 1 per spatial dimension, `pad` two of at least 0.
/// - C3 the window fits into the padded input.
/// - C4 padding is smaller than the window, so that no window sees padding alone.
/// - C5 `ceil_mode` is for at most 2 spatial dimensions, not for `"same"` and `"same_lower"`, and with equal padding
///   before and after.
/// - C6 `pad_type` is not `"same_lower"` in iOS15.
#[derive(Op, Clone, Debug)]
#[op(name = "max_pool", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct MaxPool {
    /// `[N, C, *D]`.
    #[dtype(T)]
    pub x: Arg,
    /// The window, per spatial dimension.
    #[dtype(I32)]
    pub kernel_sizes: Vec<i64>,
    /// One stride per spatial dimension. Default: all 1.
    #[dtype(I32)]
    #[default(vec![1; spatial(&x)])]
    pub strides: Vec<i64>,
    /// How the borders are padded.
    #[dtype(String)]
    pub pad_type: PadType,
    /// Before and after, per spatial dimension; used if `pad_type` is `"custom"`. Default: all 0.
    #[dtype(I32)]
    #[default(vec![0; 2 * spatial(&x)])]
    pub pad: Vec<i64>,
    /// Whether windows that reach over the end count: output sizes are rounded up. Default: `false`.
    #[dtype(Bool)]
    #[default(false)]
    pub ceil_mode: bool,
}

/// What the three have in common: the windows.
pub trait Pool {
    /// The parameters of the windows.
    fn windows(&self) -> Windows<'_>;
}

/// The windows of a pooling op.
#[derive(Clone, Copy, Debug)]
pub struct Windows<'a> {
    /// `[N, C, *D]`.
    pub x: &'a Arg,
    /// The window, per spatial dimension.
    pub kernel_sizes: &'a [i64],
    /// One stride per spatial dimension.
    pub strides: &'a [i64],
    /// How the borders are padded.
    pub pad_type: PadType,
    /// Before and after, per spatial dimension; used if `pad_type` is custom.
    pub pad: &'a [i64],
    /// Whether output sizes are rounded up.
    pub ceil_mode: bool,
}

macro_rules! pools {
    ($($op:ident: $max_rank:literal),*) => {$(
        impl Pool for $op {
            fn windows(&self) -> Windows<'_> {
                Windows {
                    x: &self.x,
                    kernel_sizes: &self.kernel_sizes,
                    strides: &self.strides,
                    pad_type: self.pad_type,
                    pad: &self.pad,
                    ceil_mode: self.ceil_mode,
                }
            }
        }

        impl Infer for $op {
            fn infer(&self, cx: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
                rules::rank_in(&self.x, 3..=$max_rank, "x")?; // C1
                self.windows().infer(cx)
            }
        }
    )*};
}
pools!(AvgPool: 5, L2Pool: 4, MaxPool: 5);

impl Windows<'_> {
    fn infer(&self, cx: &Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let (x, n) = (self.x, spatial(self.x));
        rules::length(self.kernel_sizes, n, "kernel_sizes")?; // C2
        rules::length(self.strides, n, "strides")?;
        rules::length(self.pad, 2 * n, "pad")?;
        rules::at_least(self.kernel_sizes, 1, "kernel_sizes")?;
        rules::at_least(self.strides, 1, "strides")?;
        rules::at_least(self.pad, 0, "pad")?;
        self.pad_type.check(cx)?; // C6
        if self.ceil_mode {
            self.check_ceil_mode()?; // C5
        }
        let mut shape = vec![x.dim(0).clone(), x.dim(1).clone()];
        for i in 0..n {
            let (size, pad) = (self.kernel_sizes[i], [self.pad[2 * i], self.pad[2 * i + 1]]);
            if self.pad_type == PadType::Custom && pad.iter().any(|p| *p >= size) {
                let message = format!("`pad` must be smaller than the window of {size}, found {pad:?}"); // C4
                return Err(OpError::at("pad", message));
            }
            let places = window(x.dim(i + 2), &size.into(), self.strides[i], self.pad_type, pad, self.ceil_mode);
            shape.push(places.ok_or_else(|| {
                let message = format!("a window of {size} does not fit dimension {} of `x`: {}", i + 2, x.ty); // C3
                OpError::at("kernel_sizes", message)
            })?);
        }
        Ok(vec![TensorType::new(x.dtype(), shape).into()])
    }

    fn check_ceil_mode(&self) -> Result<(), OpError> {
        if spatial(self.x) > 2 {
            let message = format!("`ceil_mode` is for 1 or 2 spatial dimensions, found 3: {}", self.x.ty);
            return Err(OpError::at("ceil_mode", message).note("pad the end with `pad` instead"));
        }
        if matches!(self.pad_type, PadType::Same | PadType::SameLower) {
            let found = self.pad_type.as_str();
            let message = format!("`ceil_mode` is for `pad_type` \"valid\" and \"custom\", found \"{found}\"");
            return Err(OpError::at("ceil_mode", message));
        }
        if self.pad_type == PadType::Custom && self.pad.chunks_exact(2).any(|p| p[0] != p[1]) {
            let message = format!("`ceil_mode` needs equal padding before and after, found {:?}", self.pad);
            return Err(OpError::at("pad", message));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        mb,
        ops::testing::{Test, fails, fails_in, infers},
        types::Opset,
    };

    const X: &str = "Tensor<f32, 1, 3, 10, 11>";

    #[test]
    fn shapes() {
        infers(|g| mb::max_pool(g.t(X), [2, 3], "valid"), "Tensor<f32, 1, 3, 9, 9>");
        infers(|g| mb::max_pool(g.t(X), [2, 2], "same").strides([3, 3]), "Tensor<f32, 1, 3, 4, 4>");
        infers(
            |g| mb::avg_pool(g.t("Tensor<f16, N, 3, H>"), [3], "custom").pad([1, 1]).strides([2]),
            "Tensor<f16, N, 3, (H + 1) / 2>",
        );
        infers(|g| mb::l2_pool(g.t(X), [5, 5], "valid").strides([5, 5]), "Tensor<f32, 1, 3, 2, 2>");
        infers(|g| mb::avg_pool(g.t("Tensor<f32, 1, 1, 4, 4, 4>"), [2, 2, 2], "valid"), "Tensor<f32, 1, 1, 3, 3, 3>");
    }

    #[test]
    fn sizes_rounded_up() {
        let ceil = |g: &mut Test, x: &str, pad: i64| {
            mb::max_pool(g.t(x), [3], "custom").pad([pad, pad]).strides([2]).ceil_mode(true)
        };
        // Windows at 0, 2, 4 and, over the end, 6.
        infers(|g| ceil(g, "Tensor<f32, 1, 1, 8>", 0), "Tensor<f32, 1, 1, 4>");
        // Windows at -1, 1, 3, 5; one at 7 would begin in the padding at the end.
        infers(|g| ceil(g, "Tensor<f32, 1, 1, 7>", 1), "Tensor<f32, 1, 1, 4>");
        infers(|g| ceil(g, "Tensor<f32, 1, 1, 8>", 1), "Tensor<f32, 1, 1, 5>");
        // With stride 3 and window 2 the rounded-up count goes beyond: the last window would begin after the input.
        infers(
            |g| mb::max_pool(g.t("Tensor<f32, 1, 1, 5>"), [2], "custom").pad([1, 1]).strides([3]).ceil_mode(true),
            "Tensor<f32, 1, 1, 2>",
        );
        infers(|g| ceil(g, "Tensor<f32, 1, 1, L>", 0), "Tensor<f32, 1, 1, L / 2>");
    }

    #[test]
    fn c1_ranks() {
        fails(|g| mb::max_pool(g.t("Tensor<f32, 3, 10>"), [2], "valid"), "x", "rank 3 to 5");
        fails(|g| mb::l2_pool(g.t("Tensor<f32, 1, 1, 4, 4, 4>"), [2, 2, 2], "valid"), "x", "rank 3 to 4");
    }

    #[test]
    fn c2_lists() {
        fails(|g| mb::max_pool(g.t(X), [2], "valid"), "kernel_sizes", "2 elements, found 1");
        fails(|g| mb::max_pool(g.t(X), [2, 0], "valid"), "kernel_sizes", "1 or more");
        fails(|g| mb::max_pool(g.t(X), [2, 2], "valid").strides([1]), "strides", "2 elements");
        fails(|g| mb::max_pool(g.t(X), [2, 2], "valid").strides([0, 1]), "strides", "1 or more");
        fails(|g| mb::max_pool(g.t(X), [2, 2], "valid").pad([1]), "pad", "4 elements");
        fails(|g| mb::max_pool(g.t(X), [2, 2], "custom").pad([-1, 0, 0, 0]), "pad", "0 or more");
        fails(|g| mb::max_pool(g.t(X), [2, 2], "full"), "pad_type", "\"valid\"");
    }

    #[test]
    fn c3_window_too_large() {
        fails(|g| mb::max_pool(g.t(X), [2, 12], "valid"), "kernel_sizes", "does not fit dimension 3");
    }

    #[test]
    fn c4_padding_too_large() {
        fails(|g| mb::avg_pool(g.t(X), [2, 2], "custom").pad([1, 1, 2, 0]), "pad", "smaller than the window of 2");
    }

    #[test]
    fn c5_ceil_mode() {
        let x = "Tensor<f32, 1, 1, 4, 4, 4>";
        fails(|g| mb::max_pool(g.t(x), [2, 2, 2], "valid").ceil_mode(true), "ceil_mode", "1 or 2 spatial");
        fails(|g| mb::max_pool(g.t(X), [2, 2], "same").ceil_mode(true), "ceil_mode", "found \"same\"");
        let call = |g: &mut Test, pad: [i64; 4]| mb::max_pool(g.t(X), [2, 2], "custom").pad(pad).ceil_mode(true);
        fails(|g| call(g, [1, 0, 0, 0]), "pad", "equal padding");
        infers(|g| call(g, [1, 1, 0, 0]), "Tensor<f32, 1, 3, 11, 10>");
    }

    #[test]
    fn c6_same_lower_by_opset() {
        let call = |g: &mut Test| mb::avg_pool(g.t(X), [2, 2], "same_lower");
        fails_in(Opset::iOS15, call, "pad_type", "needs opset iOS16");
        infers(call, "Tensor<f32, 1, 3, 10, 11>");
    }

    #[test]
    fn integers_are_refused() {
        fails(|g| mb::max_pool(g.t("Tensor<i32, 1, 3, 10>"), [2], "valid"), "x", "must be of f16 or f32");
    }
}
