//! Resizing along an axis, in the terms that ONNX and ATen share: places between elements, and what a point takes of the elements
//! around it. Known sizes become a constant matrix, computed ones arithmetic that the model does.

mod computed;
mod matrix;

pub(crate) use computed::{Scale, Stretch};

/// Where points lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Coordinates {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    CropAndResize,
}

impl Coordinates {
    /// Whether elements are areas whose centers are aligned, for scales that are whole or follow from sizes. Those of torch
    /// are so for all sizes but 1, to which a whole scale leads from 1 alone.
    pub(crate) fn half_pixel(self) -> bool {
        matches!(self, Coordinates::HalfPixel | Coordinates::HalfPixelSymmetric | Coordinates::PytorchHalfPixel)
    }
}

/// Which element is nearest to a point between two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Nearest {
    RoundPreferFloor,
    RoundPreferCeil,
    Floor,
    Ceil,
}

/// How much of an element a point takes, by their distance.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Filter {
    Linear,
    /// Keys' cubic kernel with this coefficient.
    Cubic(f64),
}

impl Filter {
    /// From this distance on nothing is taken.
    fn reach(self) -> f64 {
        match self {
            Filter::Linear => 1.0,
            Filter::Cubic(_) => 2.0,
        }
    }

    /// The part at a distance (source: R. Keys, "Cubic convolution interpolation for digital image processing", equation 4).
    fn part(self, distance: f64) -> f64 {
        let x = distance.abs();
        match self {
            Filter::Linear => (1.0 - x).max(0.0),
            Filter::Cubic(a) if x <= 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
            Filter::Cubic(a) if x < 2.0 => ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a,
            Filter::Cubic(_) => 0.0,
        }
    }
}

/// What a point takes of the elements around it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Kernel {
    pub(crate) filter: Filter,
    /// Whether it is as wide as the elements of the result are, where these are larger, and adds up to 1.
    pub(crate) antialias: bool,
    /// Whether elements outside take no part; else they are copies of the outermost.
    pub(crate) exclude_outside: bool,
}
