//! One dimension that is resized: where its points lie, and what they are made of.

use super::Node;
use crate::import::{
    Refusal,
    resize::{Coordinates, Filter, Kernel, Nearest},
};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    Nearest,
    Linear,
    Cubic,
}

/// What the node's attributes say.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) mode: Mode,
    pub(super) coordinates: Coordinates,
    pub(super) nearest: Nearest,
    pub(super) cubic_coeff: f64,
    pub(super) exclude_outside: bool,
    pub(super) antialias: bool,
    pub(super) extrapolation_value: f64,
    pub(super) keep_aspect_ratio: bool,
}

impl Rule {
    /// What a point takes of the elements around it; `None` if it takes the nearest.
    pub(super) fn kernel(&self) -> Option<Kernel> {
        let filter = match self.mode {
            Mode::Nearest => return None,
            Mode::Linear => Filter::Linear,
            Mode::Cubic => Filter::Cubic(self.cubic_coeff),
        };
        Some(Kernel { filter, antialias: self.antialias, exclude_outside: self.exclude_outside })
    }

    /// Reads the attributes; `old` ops (before opset 11) have their own rule.
    pub(super) fn read(n: &Node<'_, '_>, old: bool) -> Result<Rule, Refusal> {
        let no = |name: &str, found: &str| {
            Err(Refusal::new(format!("its attribute `{name}` is `{}`, which is not known", found.escape_debug())))
        };
        let mode = match &n.string_or("mode", "nearest")?[..] {
            "nearest" => Mode::Nearest,
            // The name in the first versions.
            "linear" | "bilinear" => Mode::Linear,
            "cubic" => Mode::Cubic,
            other => return no("mode", other),
        };
        let name = "coordinate_transformation_mode";
        let coordinates = match &n.string_or(name, if old { "asymmetric" } else { "half_pixel" })?[..] {
            "half_pixel" => Coordinates::HalfPixel,
            "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
            "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
            "align_corners" => Coordinates::AlignCorners,
            "asymmetric" => Coordinates::Asymmetric,
            "tf_crop_and_resize" => Coordinates::CropAndResize,
            other => return no(name, other),
        };
        let nearest = match &n.string_or("nearest_mode", if old { "floor" } else { "round_prefer_floor" })?[..] {
            "round_prefer_floor" => Nearest::RoundPreferFloor,
            "round_prefer_ceil" => Nearest::RoundPreferCeil,
            "floor" => Nearest::Floor,
            "ceil" => Nearest::Ceil,
            other => return no("nearest_mode", other),
        };
        Ok(Rule {
            mode,
            coordinates,
            nearest,
            cubic_coeff: f64::from(n.float_or("cubic_coeff_a", -0.75)?),
            exclude_outside: n.int_or("exclude_outside", 0)? != 0,
            antialias: n.int_or("antialias", 0)? != 0,
            extrapolation_value: f64::from(n.float_or("extrapolation_value", 0.0)?),
            // Scales say themselves what is kept.
            keep_aspect_ratio: n.string_or("keep_aspect_ratio_policy", "stretch")? != "stretch" && n.has_input(3),
        })
    }

    /// Whether it is linear without anything that MIL's ops do not have.
    pub(super) fn is_plain_linear(&self) -> bool {
        self.mode == Mode::Linear
            && !self.exclude_outside
            && !self.antialias
            && self.coordinates != Coordinates::CropAndResize
    }

    /// Whether whole scales repeat each element: places within an element's area are nearer to its center than to others.
    pub(super) fn repeats(&self) -> bool {
        match self.nearest {
            Nearest::Floor => self.coordinates == Coordinates::Asymmetric,
            Nearest::RoundPreferFloor | Nearest::RoundPreferCeil => self.coordinates.half_pixel(),
            Nearest::Ceil => false,
        }
    }
}

/// A dimension that is resized.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub(super) axis: usize,
    pub(super) size: usize,
    pub(super) out: usize,
    pub(super) scale: f64,
    /// Whether the scale is the quotient of the sizes, which is computed without rounding twice.
    pub(super) exact: bool,
    /// The part that is sampled, as fractions of the size less 1.
    pub(super) roi: [f64; 2],
}

impl Axis {
    /// A place of the result in the scale of the input.
    fn back(&self, place: f64) -> f64 {
        if self.exact { place * self.size as f64 / self.out as f64 } else { place / self.scale }
    }

    /// Where the points lie, in elements of the input (source: ONNX, `Resize`, `coordinate_transformation_mode`).
    pub(super) fn places(&self, rule: &Rule) -> impl ExactSizeIterator<Item = f64> + '_ {
        let size = self.size as f64;
        // What the result's size would be if it were not rounded.
        let wide = if self.exact { self.out as f64 } else { self.scale * size };
        let coordinates = rule.coordinates;
        (0..self.out).map(move |i| {
            let i = i as f64;
            match coordinates {
                Coordinates::HalfPixel => self.back(i + 0.5) - 0.5,
                Coordinates::HalfPixelSymmetric => {
                    let offset = size / 2.0 * (1.0 - self.out as f64 / wide);
                    offset + self.back(i + 0.5) - 0.5
                }
                Coordinates::PytorchHalfPixel if wide == 1.0 => -0.5,
                Coordinates::PytorchHalfPixel => self.back(i + 0.5) - 0.5,
                Coordinates::AlignCorners if wide == 1.0 => 0.0,
                Coordinates::AlignCorners => i * (size - 1.0) / (wide - 1.0),
                Coordinates::Asymmetric => self.back(i),
                Coordinates::CropAndResize => {
                    let [start, end] = self.roi;
                    let within = if wide == 1.0 { 0.5 } else { i / (wide - 1.0) };
                    (start + within * (end - start)) * (size - 1.0)
                }
            }
        })
    }

    /// Whether nothing changes.
    pub(super) fn is_identity(&self, rule: &Rule) -> bool {
        self.size == self.out && self.places(rule).enumerate().all(|(i, v)| v == i as f64)
    }

    /// The nearest element to each point.
    pub(super) fn nearest(&self, rule: &Rule) -> Vec<i64> {
        let index = |v: f64| match rule.nearest {
            Nearest::RoundPreferFloor => (v - 0.5).ceil(),
            Nearest::RoundPreferCeil => (v + 0.5).floor(),
            Nearest::Floor => v.floor(),
            Nearest::Ceil => v.ceil(),
        };
        self.places(rule).map(|v| index(v).clamp(0.0, (self.size - 1) as f64) as i64).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(mode: Mode, coordinates: Coordinates) -> Rule {
        Rule {
            mode,
            coordinates,
            nearest: Nearest::RoundPreferFloor,
            cubic_coeff: -0.75,
            exclude_outside: false,
            antialias: false,
            extrapolation_value: 0.0,
            keep_aspect_ratio: false,
        }
    }

    fn axis(size: usize, out: usize) -> Axis {
        Axis { axis: 0, size, out, scale: out as f64 / size as f64, exact: true, roi: [0.0, 1.0] }
    }

    #[test]
    fn places_are_those_of_the_modes() {
        let places = |mode| axis(4, 2).places(&rule(Mode::Linear, mode)).collect::<Vec<_>>();
        assert_eq!(places(Coordinates::HalfPixel), [0.5, 2.5]);
        assert_eq!(places(Coordinates::AlignCorners), [0.0, 3.0]);
        assert_eq!(places(Coordinates::Asymmetric), [0.0, 2.0]);
    }

    #[test]
    fn halves_go_where_the_mode_says() {
        let nearest = |nearest| axis(4, 2).nearest(&Rule { nearest, ..rule(Mode::Nearest, Coordinates::HalfPixel) });
        assert_eq!(nearest(Nearest::RoundPreferFloor), [0, 2]);
        assert_eq!(nearest(Nearest::RoundPreferCeil), [1, 3]);
        assert_eq!((nearest(Nearest::Floor), nearest(Nearest::Ceil)), (vec![0, 2], vec![1, 3]));
    }
}
