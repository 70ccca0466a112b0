//! One dimension that is resized: where its points lie, and what they are made of.

use super::Node;
use crate::import::Refusal;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    Nearest,
    Linear,
    Cubic,
}

/// Which element is nearest to a point between two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Nearest {
    RoundPreferFloor,
    RoundPreferCeil,
    Floor,
    Ceil,
}

/// Where points lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Coordinates {
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
    pub(super) fn half_pixel(self) -> bool {
        matches!(self, Coordinates::HalfPixel | Coordinates::HalfPixelSymmetric | Coordinates::PytorchHalfPixel)
    }
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
    pub(super) fn places(&self, rule: &Rule) -> impl Iterator<Item = f64> + '_ {
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

    /// What each element of the result takes of each of the input: a row of `size` numbers for each of `out`.
    pub(super) fn matrix(&self, rule: &Rule) -> Vec<f32> {
        let mut all = vec![0f32; self.out * self.size];
        for (place, row) in self.places(rule).zip(all.chunks_exact_mut(self.size)) {
            let left = place.floor();
            // A point at an element lies at the end of the gap before it.
            let (ratio, first) = if place == left { (1.0, left - 1.0) } else { (place - left, left) };
            let (start, mut parts) = self.parts(rule, ratio);
            let index = |k: usize| first as i64 + start + k as i64;
            let inside = |k: usize| (0..self.size as i64).contains(&index(k));
            if rule.exclude_outside {
                let sum: f64 = (0..parts.len()).filter(|k| inside(*k)).map(|k| parts[k]).sum();
                let sum = if sum == 0.0 { 1.0 } else { sum };
                parts.iter_mut().enumerate().for_each(|(k, p)| *p = if inside(k) { *p / sum } else { 0.0 });
            }
            let mut wide = std::collections::BTreeMap::<usize, f64>::new();
            for (k, part) in parts.iter().enumerate() {
                *wide.entry(index(k).clamp(0, self.size as i64 - 1) as usize).or_default() += part;
            }
            wide.into_iter().for_each(|(i, part)| row[i] = part as f32);
        }
        all
    }

    /// What a point takes of the elements around it, and where the first of them is, the one before the point being 0. The
    /// point lies at `ratio` between it and the next.
    fn parts(&self, rule: &Rule, ratio: f64) -> (i64, Vec<f64>) {
        let reach = if rule.mode == Mode::Cubic { 2.0 } else { 1.0 };
        // With antialiasing the kernel is as wide as the elements of the result are.
        let scale = if rule.antialias { self.scale.min(1.0) } else { 1.0 };
        let start = (-reach / scale).floor() as i64 + 1;
        let kernel = |x: f64| match rule.mode {
            Mode::Cubic => cubic(x.abs(), rule.cubic_coeff),
            _ => (1.0 - x.abs()).max(0.0),
        };
        let mut parts: Vec<f64> = (start..2 - start).map(|i| kernel((i as f64 - ratio) * scale)).collect();
        if rule.antialias {
            let sum: f64 = parts.iter().sum();
            parts.iter_mut().for_each(|p| *p /= sum);
        }
        (start, parts)
    }
}

/// Keys' cubic kernel (source: R. Keys, "Cubic convolution interpolation for digital image processing", equation 4).
fn cubic(x: f64, a: f64) -> f64 {
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    } else {
        0.0
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
    fn rows_add_up_to_one() {
        for mode in [Mode::Linear, Mode::Cubic] {
            for (antialias, exclude_outside) in [(false, false), (true, false), (false, true), (true, true)] {
                let rule = Rule { antialias, exclude_outside, ..rule(mode, Coordinates::HalfPixel) };
                for (size, out) in [(1, 4), (4, 1), (5, 3), (3, 5), (7, 7)] {
                    let matrix = axis(size, out).matrix(&rule);
                    assert_eq!(matrix.len(), size * out);
                    let one = |row: &[f32]| (row.iter().sum::<f32>() - 1.0).abs() < 1e-6;
                    assert!(matrix.chunks(size).all(one), "{rule:?} {size} {out}: {matrix:?}");
                }
            }
        }
    }

    #[test]
    fn places_are_those_of_the_modes() {
        let places = |mode| axis(4, 2).places(&rule(Mode::Linear, mode)).collect::<Vec<_>>();
        assert_eq!(places(Coordinates::HalfPixel), [0.5, 2.5]);
        assert_eq!(places(Coordinates::AlignCorners), [0.0, 3.0]);
        assert_eq!(places(Coordinates::Asymmetric), [0.0, 2.0]);
        assert_eq!(
            axis(4, 2).matrix(&rule(Mode::Linear, Coordinates::HalfPixel)),
            [0.5, 0.5, 0., 0., 0., 0., 0.5, 0.5]
        );
    }

    #[test]
    fn halves_go_where_the_mode_says() {
        let nearest = |nearest| axis(4, 2).nearest(&Rule { nearest, ..rule(Mode::Nearest, Coordinates::HalfPixel) });
        assert_eq!(nearest(Nearest::RoundPreferFloor), [0, 2]);
        assert_eq!(nearest(Nearest::RoundPreferCeil), [1, 3]);
        assert_eq!((nearest(Nearest::Floor), nearest(Nearest::Ceil)), (vec![0, 2], vec![1, 3]));
    }
}
