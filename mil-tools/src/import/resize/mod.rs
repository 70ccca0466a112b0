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

/// A factor as a quotient of small integers that `f32` does not tell from it.
fn quotient(factor: f64) -> Option<[i64; 2]> {
    const MOST: i64 = 1 << 10;
    let [mut p, mut q] = [[1i64, 0], [0, 1]];
    let mut rest = factor;
    // The convergents of its continued fraction, of which the denominators grow as Fibonacci's numbers at least.
    for _ in 0..16 {
        let whole = rest.floor();
        if !(0.0..=MOST as f64).contains(&whole) {
            return None;
        }
        p = [whole as i64 * p[0] + p[1], p[0]];
        q = [whole as i64 * q[0] + q[1], q[0]];
        if p[0] > MOST || q[0] > MOST {
            return None;
        }
        if p[0] > 0 && (p[0] as f64 / q[0] as f64 / factor - 1.0).abs() < f64::from(f32::EPSILON) / 2.0 {
            return Some([p[0], q[0]]);
        }
        rest = 1.0 / (rest - whole);
    }
    None
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_quotients() {
        for (factor, [p, q]) in
            [(2.0, [2, 1]), (1.7, [17, 10]), (0.3f32.into(), [3, 10]), (1.0 / 3.0, [1, 3]), (1e-3, [1, 1000])]
        {
            assert_eq!(quotient(factor), Some([p, q]));
        }
        for factor in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9, 1e-9, std::f64::consts::PI] {
            assert_eq!(quotient(factor), None, "{factor}");
        }
    }
}
