//! `resample`, `affine`: images read at any points.

use crate::{
    op::{Arg, Cx, Infer, Inferred, Op, OpDef, OpError, param::string_enum},
    types::Dim,
};
use mil_derive::Op;

use super::rules;

pub(crate) const OPS: &[&OpDef] = &[Affine::DEF, Resample::DEF];

string_enum! {
    /// What lies at a point between elements.
    PointMode {
        /// What lies around it in both directions, each as much as it is near.
        Bilinear = "bilinear",
        /// The nearest element; of two equally near ones that at the even place.
        Nearest = "nearest",
    }
}

string_enum! {
    /// What lies outside the image.
    PaddingMode {
        /// `padding_value`; at points between, it is mixed with the border.
        Constant = "constant",
        /// The nearest element of the border.
        Border = "border",
        /// The image mirrored at the centers of the elements of the border, which are not repeated.
        Reflection = "reflection",
        /// The image mirrored at its edges, so that elements of the border are repeated.
        Symmetric = "symmetric",
    }
}

string_enum! {
    /// What coordinates are.
    CoordinatesMode {
        /// Places of elements: from 0 to the size less 1.
        Unnormalized = "unnormalized",
        /// From -1 to 1.
        MinusOneToOne = "normalized_minus_one_to_one",
        /// From 0 to 1.
        ZeroToOne = "normalized_zero_to_one",
    }
}

/// The value of an image at each of the given points.
///
/// A point that is no number lies outside with `"constant"`, and else at the first element.
///
/// # Constraints
/// - C1 `x` and `coordinates` have rank 4.
/// - C2 `coordinates` has a last dimension of 2.
/// - C3 `x` and `coordinates` have the same first dimension.
#[derive(Op, Clone, Debug)]
#[op(name = "resample", since = iOS15)]
#[domain(T = F16 | F32)]
#[domain(U = F32 | I32, iOS16 = F16 | F32 | I32, iOS17 = F16 | F32 | I8 | I16 | I32 | U8 | U16)]
pub struct Resample {
    /// The images: `[B, C, H, W]`.
    #[dtype(T)]
    pub x: Arg,
    /// The points: `[B, new H, new W, 2]`; of the last two numbers the first goes along the width.
    #[dtype(U)]
    pub coordinates: Arg,
    /// What lies at a point between elements.
    #[dtype(String)]
    pub sampling_mode: PointMode,
    /// What lies outside the image.
    #[dtype(String)]
    pub padding_mode: PaddingMode,
    /// What lies outside the image if `padding_mode` is `"constant"`.
    #[dtype(T)]
    pub padding_value: f32,
    /// What coordinates are.
    #[dtype(String)]
    pub coordinates_mode: CoordinatesMode,
    /// Whether the ends of normalized coordinates are the centers of the outermost elements, and not their edges.
    #[dtype(Bool)]
    pub align_corners: bool,
}

impl Infer for Resample {
    fn infer(&self, _: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        rules::rank_in(&self.x, 4..=4, "x")?; // C1
        rules::rank_in(&self.coordinates, 4..=4, "coordinates")?;
        let points = self.coordinates.shape();
        if !points[3].may_equal(&Dim::from(2)) {
            let message = format!("`coordinates` must have a last dimension of 2, found {}", self.coordinates.ty); // C2
            return Err(
                OpError::at("coordinates", message).note("a point is the place along the width, then the height")
            );
        }
        let batch = self.x.dim(0);
        if !batch.may_equal(&points[0]) {
            let message = format!("`x` has {batch} images, but `coordinates` has points for {}", points[0]); // C3
            return Err(OpError::at("coordinates", message));
        }
        let shape = [batch, self.x.dim(1), &points[1], &points[2]].map(Clone::clone);
        Ok(vec![self.x.ty.with_shape(shape.to_vec()).into()])
    }
}

/// Turns, scales and moves images by matrices: the output at `(x, y)` is the input at `(a0 * x + a1 * y + a2,
/// b0 * x + b1 * y + b2)`, both in coordinates from -1 to 1, between elements by bilinear interpolation. Outside the
/// image there are zeros. The only element along a dimension has the coordinate 0.
///
/// # Constraints
/// - C1 `x` has rank 4.
/// - C2 `transform_matrix` is `[B, 6]` or `[1, 6]`.
/// - C3 `output_height` and `output_width` are at least 1.
/// - C4 `sampling_mode` is `"bilinear"`, `padding_mode` `"constant"`, `padding_value` 0, and `coordinates_mode`
///   `"normalized_minus_one_to_one"`: Core ML has no others.
/// - C5 `align_corners` is true, which is what Core ML has; a program that was read may say otherwise.
#[derive(Op, Clone, Debug)]
#[op(name = "affine", since = iOS15)]
#[domain(T = F16 | F32)]
pub struct Affine {
    /// The images: `[B, C, H, W]`.
    #[dtype(T)]
    pub x: Arg,
    /// `[a0, a1, a2, b0, b1, b2]` for each image, or for all: `[B, 6]` or `[1, 6]`.
    #[dtype(T)]
    pub transform_matrix: Arg,
    /// The height of the output.
    #[dtype(I32)]
    pub output_height: i64,
    /// The width of the output.
    #[dtype(I32)]
    pub output_width: i64,
    /// What lies at a point between elements: `"bilinear"`.
    #[dtype(String)]
    pub sampling_mode: PointMode,
    /// What lies outside the image: `"constant"`.
    #[dtype(String)]
    pub padding_mode: PaddingMode,
    /// What lies outside the image: 0.
    #[dtype(T)]
    pub padding_value: f32,
    /// What coordinates are: `"normalized_minus_one_to_one"`.
    #[dtype(String)]
    pub coordinates_mode: CoordinatesMode,
    /// Whether -1 and 1 are the centers of the outermost elements, and not their edges.
    #[dtype(Bool)]
    pub align_corners: bool,
}

impl Infer for Affine {
    fn infer(&self, cx: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        rules::rank_in(&self.x, 4..=4, "x")?; // C1
        rules::rank_in(&self.transform_matrix, 2..=2, "transform_matrix")?;
        let (batch, matrices) = (self.x.dim(0), self.transform_matrix.shape());
        let one_each = matrices[0].may_equal(batch) || matrices[0].may_equal(&Dim::from(1));
        if !one_each || !matrices[1].may_equal(&Dim::from(6)) {
            let message = format!("`transform_matrix` must be [{batch}, 6] or [1, 6], found {matrices}"); // C2
            return Err(OpError::at("transform_matrix", message).note("a matrix is [a0, a1, a2, b0, b1, b2]"));
        }
        rules::at_least(&[self.output_height], 1, "output_height")?; // C3
        rules::at_least(&[self.output_width], 1, "output_width")?;
        let only = |param: &str, is: bool, want: &str, found: &dyn std::fmt::Display| match is {
            true => Ok(()),
            false => Err(OpError::at(param, format!("`{param}` must be {want}, found {found}"))
                .note("use `resample`, which takes any points")),
        };
        let (sampling, padding, coordinates) = (self.sampling_mode, self.padding_mode, self.coordinates_mode); // C4
        only("sampling_mode", sampling == PointMode::Bilinear, "\"bilinear\"", &sampling.as_str())?;
        only("padding_mode", padding == PaddingMode::Constant, "\"constant\"", &padding.as_str())?;
        only("padding_value", self.padding_value == 0.0, "0", &self.padding_value)?;
        let wanted = CoordinatesMode::MinusOneToOne;
        only("coordinates_mode", coordinates == wanted, &format!("{:?}", wanted.as_str()), &coordinates.as_str())?;
        only("align_corners", self.align_corners || cx.reading, "true", &self.align_corners)?; // C5
        let mut shape = self.x.shape().to_vec();
        shape[2] = self.output_height.into();
        shape[3] = self.output_width.into();
        Ok(vec![self.x.ty.with_shape(shape).into()])
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        mb,
        op::{Call, Operand},
        ops::testing::{Test, fails, fails_in, infers},
        types::Opset,
    };

    const X: &str = "Tensor<f16, B, 3, H, W>";

    fn resample(x: &'static str, points: &'static str) -> impl Fn(&mut Test) -> Call<super::Resample> {
        move |g| mb::resample(g.t(x), g.t(points), "bilinear", "border", 0.0, "unnormalized", true)
    }

    #[test]
    fn resample_gives_one_element_per_point() {
        infers(resample(X, "Tensor<f32, B, K, 7, 2>"), "Tensor<f16, B, 3, K, 7>");
        infers(resample("Tensor<f32, 2, 3, 4, 5>", "Tensor<u8, 2, 1, W, 2>"), "Tensor<f32, 2, 3, 1, W>");
        fails_in(Opset::iOS16, resample(X, "Tensor<u8, B, 1, 1, 2>"), "coordinates", "opset iOS17 takes it");
        fails_in(Opset::iOS15, resample(X, "Tensor<f16, B, 1, 1, 2>"), "coordinates", "opset iOS16 takes it");
    }

    #[test]
    fn resample_constraints() {
        fails(resample("Tensor<f16, 3, H, W>", "Tensor<f32, B, 7, 7, 2>"), "x", "rank 4"); // C1
        fails(resample(X, "Tensor<f32, 7, 7, 2>"), "coordinates", "rank 4");
        fails(resample(X, "Tensor<f32, B, 7, 7, 3>"), "coordinates", "last dimension of 2"); // C2
        fails(resample("Tensor<f32, 2, 3, 4, 5>", "Tensor<f32, 3, 7, 7, 2>"), "coordinates", "2 images"); // C3
        let padded = |g: &mut Test| {
            let points = g.t("Tensor<f32, B, 7, 7, 2>");
            mb::resample(g.t(X), points, "bilinear", "zeros", 0.0, "unnormalized", true)
        };
        fails(padded, "padding_mode", "\"symmetric\"");
    }

    fn affine(
        matrix: &'static str,
        with: &'static [(&'static str, &'static str)],
    ) -> impl Fn(&mut Test) -> Call<super::Affine> {
        move |g| {
            let word = |param: &str, usual: &'static str| -> Operand {
                with.iter().find(|(p, _)| *p == param).map_or(usual, |(_, w)| w).into()
            };
            let padding: f64 =
                with.iter().find(|(p, _)| *p == "padding_value").map_or(0.0, |(_, w)| w.parse().unwrap());
            let height: i64 = with.iter().find(|(p, _)| *p == "output_height").map_or(5, |(_, w)| w.parse().unwrap());
            let corners = !with.contains(&("align_corners", "false"));
            let (x, matrix) = (g.t("Tensor<f32, 2, 3, H, W>"), g.t(matrix));
            let (sampling, outside) = (word("sampling_mode", "bilinear"), word("padding_mode", "constant"));
            let coordinates = word("coordinates_mode", "normalized_minus_one_to_one");
            mb::affine(x, matrix, height, 7, sampling, outside, padding, coordinates, corners)
        }
    }

    #[test]
    fn affine_constraints() {
        infers(affine("Tensor<f32, 2, 6>", &[]), "Tensor<f32, 2, 3, 5, 7>");
        infers(affine("Tensor<f32, 1, 6>", &[]), "Tensor<f32, 2, 3, 5, 7>");
        fails(affine("Tensor<f32, 12>", &[]), "transform_matrix", "rank 2");
        fails(affine("Tensor<f32, 3, 6>", &[]), "transform_matrix", "[2, 6] or [1, 6]"); // C2
        fails(affine("Tensor<f32, 2, 4>", &[]), "transform_matrix", "[2, 6] or [1, 6]");
        fails(affine("Tensor<f32, 1, 6>", &[("output_height", "0")]), "output_height", "1 or more"); // C3
        for (param, value) in [
            ("sampling_mode", "nearest"), // C4
            ("padding_mode", "border"),
            ("padding_value", "1"),
            ("coordinates_mode", "unnormalized"),
            ("align_corners", "false"), // C5
        ] {
            let with: &'static [_] = Box::leak(Box::new([(param, value)]));
            fails(affine("Tensor<f32, 1, 6>", with), param, "use `resample`");
        }
        let flat = |g: &mut Test| {
            let (x, matrix) = (g.t("Tensor<f32, 3, H, W>"), g.t("Tensor<f32, 1, 6>"));
            mb::affine(x, matrix, 1, 1, "bilinear", "constant", 0.0, "normalized_minus_one_to_one", true)
        };
        fails(flat, "x", "rank 4"); // C1
    }
}
