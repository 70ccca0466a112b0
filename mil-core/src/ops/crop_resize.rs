//! `crop_resize`.

use crate::{
    ir::{Constant, Literal},
    op::{AnyArg, Arg, Cx, Infer, Inferred, Op, OpDef, OpError, Param, ParamKind, param::string_enum},
    types::Dim,
};
use mil_derive::Op;

use super::{resize::SamplingMode, rules};

pub(crate) const OPS: &[&OpDef] = &[CropResize::DEF];

/// The list of images is not made up for more boxes.
const MAX_BOXES: usize = 1 << 16;

string_enum! {
    /// What the four numbers of a box are.
    BoxCoordinateMode {
        /// `[top, left, bottom, right]`.
        CornersHeightFirst = "CORNERS_HEIGHT_FIRST",
        /// `[left, top, right, bottom]`.
        CornersWidthFirst = "CORNERS_WIDTH_FIRST",
        /// `[center y, center x, height, width]`.
        CenterSizeHeightFirst = "CENTER_SIZE_HEIGHT_FIRST",
        /// `[center x, center y, width, height]`.
        CenterSizeWidthFirst = "CENTER_SIZE_WIDTH_FIRST",
    }
}

/// Which image each box is cut from; `None` where nobody says.
#[derive(Clone, PartialEq, Debug)]
pub struct BoxIndices(pub Option<Arg>);

impl BoxIndices {
    /// One image per box, in order, if the number of boxes is known.
    fn in_order(boxes: Option<&Arg>) -> BoxIndices {
        let count = boxes.and_then(|b| b.shape().first()?.fixed()).filter(|n| *n <= MAX_BOXES);
        BoxIndices(count.map(|n| {
            let constant = Constant::vector(&(0..n as i32).collect::<Vec<_>>());
            Arg { id: None, ty: constant.ty(), known: Some(crate::ir::Known::Constant(constant)), is_const: true }
        }))
    }
}

impl Param for BoxIndices {
    const KIND: ParamKind = ParamKind::Tensor;
    fn from_args(name: &'static str, args: &[AnyArg]) -> Result<BoxIndices, OpError> {
        Arg::from_args(name, args).map(|arg| BoxIndices(Some(arg)))
    }
    fn literal(&self) -> Option<Literal> {
        self.0.as_ref()?.literal()
    }
}

/// Cuts boxes out of images and resizes each to one size, with bilinear interpolation.
///
/// From opset iOS17, `boxes` and `box_indices` say the boxes, and the output is `[N, C, target_height, target_width]`.
/// Before, `roi` does: as `[N, 1, 4, 1, 1]` each box is cut from all images, which gives `[N, B, C, target_height,
/// target_width]`; as `[N, 1, 5, 1, 1]` the first of the five numbers is the image, which gives `[N, 1, C,
/// target_height, target_width]`.
///
/// A coordinate is the place of an element's center: from 0 to the size less 1, or from 0 to 1 if they are normalized.
/// A box reaches from the center of its first element to that of its last, so that the box of a whole image is resized
/// as `resize_bilinear` would. The end may lie before the start, which turns the crop round. What lies outside the image
/// is `pad_value`, and 0 in opset iOS15. In sampling mode `"UNALIGN_CORNERS"` a box whose end lies before its start has
/// no area to sample, and stands for the whole image, as coremltools' test of that case expects.
///
/// # Constraints
/// - C1 `x` has rank 4.
/// - C2 `boxes` is `[N, 4]`; `roi` is `[N, 1, 4, 1, 1]` or `[N, 1, 5, 1, 1]`.
/// - C3 `box_indices` is `[N]`, and each is the index of an image; it may be left out if there are no more boxes than
///   images, both known.
/// - C4 `target_height` and `target_width` are at least 1.
/// - C5 normalized coordinates are floats.
#[derive(Op, Clone, Debug)]
#[op(name = "crop_resize", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct CropResize {
    /// The images: `[B, C, H, W]`.
    #[dtype(T)]
    pub x: Arg,
    /// The boxes, before opset iOS17: `[N, 1, 4, 1, 1]`, or `[N, 1, 5, 1, 1]` with the image first.
    #[dtype(T)]
    #[until(iOS17)]
    #[needed]
    pub roi: Option<Arg>,
    /// The boxes, from opset iOS17: `[N, 4]`.
    #[dtype(F16 | F32 | U16)]
    #[since(iOS17)]
    #[needed]
    pub boxes: Option<Arg>,
    /// Which image each box is cut from: `[N]`. Default: box `i` from image `i`.
    #[dtype(I32 | U16)]
    #[since(iOS17)]
    #[default(BoxIndices::in_order(boxes.as_ref()))]
    pub box_indices: BoxIndices,
    /// The height of what is given. Default: 1.
    #[dtype(I32)]
    #[default(1)]
    pub target_height: i64,
    /// The width of what is given. Default: 1.
    #[dtype(I32)]
    #[default(1)]
    pub target_width: i64,
    /// Whether coordinates are fractions of height and width less 1. Default: `false`.
    #[dtype(Bool)]
    #[default(false)]
    pub normalized_coordinates: bool,
    /// What coordinates are multiplied with. Default: 1.0.
    #[dtype(F32)]
    #[default(1.0)]
    pub spatial_scale: f32,
    /// What the four numbers of a box are. Default: `"CORNERS_HEIGHT_FIRST"`.
    #[dtype(String)]
    #[default(BoxCoordinateMode::CornersHeightFirst)]
    pub box_coordinate_mode: BoxCoordinateMode,
    /// Where the sampled points lie, as in `resize_bilinear`. Default: `"DEFAULT"`.
    #[dtype(String)]
    #[default(SamplingMode::Default)]
    pub sampling_mode: SamplingMode,
    /// What lies outside the image. Default: 0.0.
    #[dtype(T)]
    #[since(iOS16)]
    #[default(0.0)]
    pub pad_value: f32,
}

/// Whether the shape is this; `None` stands for any size.
fn is(arg: &Arg, shape: &[Option<i64>]) -> bool {
    let fits = |(dim, want): (&Dim, &Option<i64>)| want.is_none_or(|n| dim.may_equal(&Dim::from(n)));
    arg.rank() == shape.len() && arg.shape().iter().zip(shape).all(fits)
}

impl CropResize {
    /// Number of boxes, and of images that each is cut from.
    fn roi(&self, roi: &Arg, cx: &mut Cx<'_>) -> Result<[Dim; 2], OpError> {
        let with = |n: i64| [None, Some(1), Some(n), Some(1), Some(1)];
        let images = match (is(roi, &with(4)), is(roi, &with(5))) {
            (true, false) => self.x.dim(0).clone(),
            (false, true) => Dim::from(1),
            (true, true) => cx.unknown(),
            (false, false) => {
                let message = format!("`roi` must be [N, 1, 4, 1, 1] or [N, 1, 5, 1, 1], found {}", roi.shape()); // C2
                return Err(OpError::at("roi", message).note("4 numbers are a box; of 5 the first is the image"));
            }
        };
        Ok([roi.dim(0).clone(), images])
    }

    fn check_indices(&self, count: &Dim) -> Result<(), OpError> {
        let images = self.x.dim(0);
        let at = |message: String| OpError::at("box_indices", message);
        let Some(indices) = &self.box_indices.0 else {
            let message = "`box_indices` must be given where the number of boxes is not known"; // C3
            return Err(at(message.into()).note("name the image of each box: a tensor of i32"));
        };
        if !is(indices, &[None]) || !indices.dim(0).may_equal(count) {
            return Err(at(format!("`box_indices` must be [{count}], one per box, found {}", indices.shape()))); // C3
        }
        let known = indices.constant().and_then(Constant::ints).unwrap_or_default();
        let bad = known.iter().find(|i| **i < 0 || images.bounds().1.is_some_and(|max| **i >= max));
        match bad {
            Some(i) => {
                let error = at(format!("`box_indices` has {i}, but `x` has {images} images")); // C3
                Err(error.note("give `box_indices`: without it, box `i` is cut from image `i`"))
            }
            None => Ok(()),
        }
    }
}

impl Infer for CropResize {
    fn infer(&self, cx: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        rules::rank_in(&self.x, 4..=4, "x")?; // C1
        rules::at_least(&[self.target_height], 1, "target_height")?; // C4
        rules::at_least(&[self.target_width], 1, "target_width")?;
        let mut shape = match (&self.roi, &self.boxes) {
            (Some(roi), _) => self.roi(roi, cx)?.to_vec(),
            (None, Some(boxes)) => {
                if !is(boxes, &[None, Some(4)]) {
                    return Err(OpError::at("boxes", format!("`boxes` must be [N, 4], found {}", boxes.shape()))); // C2
                }
                self.check_indices(boxes.dim(0))?;
                if self.normalized_coordinates && !boxes.dtype().is_float() {
                    let message = format!("normalized coordinates are floats, found `boxes` of {}", boxes.dtype()); // C5
                    return Err(OpError::at("boxes", message).note("convert them with `mb::cast`"));
                }
                vec![boxes.dim(0).clone()]
            }
            (None, None) => return Err(OpError::new("has no boxes")),
        };
        shape.extend([self.x.dim(1).clone(), self.target_height.into(), self.target_width.into()]);
        Ok(vec![self.x.ty.with_shape(shape).into()])
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        graph::Graph,
        ir::Constant,
        mb,
        ops::testing::{Test, fails, fails_in, infer_in, infers},
        types::{Opset, TensorType},
    };

    const X: &str = "Tensor<f32, 2, 3, H, W>";

    #[track_caller]
    fn infers_before(x: &str, roi: &str, expected: &str) {
        let call = |g: &mut Test| mb::crop_resize(g.t(x)).roi(g.t(roi)).target_height(5).target_width(7);
        assert_eq!(infer_in(Opset::iOS16, call).unwrap()[0].ty().to_string(), expected);
    }

    #[test]
    fn regions_before_ios17() {
        infers_before(X, "Tensor<f32, 6, 1, 4, 1, 1>", "Tensor<f32, 6, 2, 3, 5, 7>");
        infers_before(X, "Tensor<f32, N, 1, 5, 1, 1>", "Tensor<f32, N, 1, 3, 5, 7>");
        infers_before(X, "Tensor<f32, 6, 1, K, 1, 1>", "Tensor<f32, 6, ?, 3, 5, 7>");
        let roi = "Tensor<f32, 6, 1, 4, 1, 1>";
        fails(|g| mb::crop_resize(g.t(X)).roi(g.t(roi)), "roi", "gone from opset iOS17 on");
        fails_in(Opset::iOS16, |g| mb::crop_resize(g.t(X)), "roi", "needs `roi`");
        let padded = |g: &mut Test| mb::crop_resize(g.t(X)).roi(g.t(roi)).pad_value(1.0);
        fails_in(Opset::iOS15, padded, "pad_value", "needs opset iOS16");
        let boxes = |g: &mut Test| mb::crop_resize(g.t(X)).roi(g.t(roi)).boxes(g.t("Tensor<f32, 6, 4>"));
        fails_in(Opset::iOS16, boxes, "boxes", "needs opset iOS17");
        let flat = |g: &mut Test| mb::crop_resize(g.t(X)).roi(g.t("Tensor<f32, 6, 4>"));
        fails_in(Opset::iOS16, flat, "roi", "[N, 1, 4, 1, 1]"); // C2
    }

    #[test]
    fn boxes_since_ios17() {
        let indexed = |g: &mut Test| {
            let call = mb::crop_resize(g.t(X)).boxes(g.t("Tensor<u16, N, 4>")).box_indices(g.t("Tensor<i32, N>"));
            call.target_height(5)
        };
        infers(indexed, "Tensor<f32, N, 3, 5, 1>");
        infers(|g| mb::crop_resize(g.t(X)).boxes(g.t("Tensor<f16, 2, 4>")), "Tensor<f32, 2, 3, 1, 1>");
        fails(|g| mb::crop_resize(g.t(X)), "boxes", "needs `boxes`");
    }

    /// Before iOS17 there are no `box_indices` to write out; then there are, one per box.
    #[test]
    fn the_images_are_written_out() {
        for (opset, written) in [(Opset::iOS16, false), (Opset::iOS17, true)] {
            let mut g = Graph::new("main", opset);
            let ty = |t: &str| t.parse::<TensorType>().unwrap();
            let x = g.input("x", ty("Tensor<f32, 2, 3, 8, 8>"));
            let call = if written {
                mb::crop_resize(x).boxes(g.input("b", ty("Tensor<f32, 2, 4>")))
            } else {
                mb::crop_resize(x).roi(g.input("b", ty("Tensor<f32, 2, 1, 4, 1, 1>")))
            };
            let out = g.push(call).unwrap();
            let program = g.finish([out]).unwrap();
            crate::validate::validate(&program).unwrap();
            let f = program.main().unwrap();
            let op = f.walk().into_iter().map(|o| f.op(o)).find(|o| o.def.name == "crop_resize").unwrap();
            assert_eq!(!op.bindings("box_indices").is_empty(), written);
        }
    }

    #[test]
    fn constraints() {
        let boxes = "Tensor<f32, 2, 4>";
        fails(|g| mb::crop_resize(g.t("Tensor<f32, 3, H, W>")).boxes(g.t(boxes)), "x", "rank 4"); // C1
        fails(|g| mb::crop_resize(g.t(X)).boxes(g.t("Tensor<f32, 2, 5>")), "boxes", "[N, 4]"); // C2
        let at = |indices: &'static [i32]| {
            move |g: &mut Test| mb::crop_resize(g.t(X)).boxes(g.t(boxes)).box_indices(Constant::vector(indices))
        };
        infers(at(&[1, 1]), "Tensor<f32, 2, 3, 1, 1>");
        fails(at(&[1]), "box_indices", "one per box"); // C3
        fails(at(&[0, 2]), "box_indices", "has 2, but `x` has 2 images");
        fails(at(&[0, -1]), "box_indices", "has -1");
        fails(|g| mb::crop_resize(g.t(X)).boxes(g.t("Tensor<f32, 3, 4>")), "box_indices", "box `i` is cut from");
        fails(|g| mb::crop_resize(g.t(X)).boxes(g.t("Tensor<f32, N, 4>")), "box_indices", "not known");
        fails(|g| mb::crop_resize(g.t(X)).boxes(g.t(boxes)).target_width(0), "target_width", "1 or more"); // C4
        let normal =
            |g: &mut Test| mb::crop_resize(g.t(X)).boxes(g.t("Tensor<u16, 2, 4>")).normalized_coordinates(true);
        fails(normal, "boxes", "are floats"); // C5
        let mode = |g: &mut Test| mb::crop_resize(g.t(X)).boxes(g.t(boxes)).box_coordinate_mode("CORNERS");
        fails(mode, "box_coordinate_mode", "\"CENTER_SIZE_WIDTH_FIRST\"");
    }
}
