//! Sizes that only the run knows: the places and what is taken of elements, as ops.
//!
//! Places are fractions of integers wherever sizes say them, since these stay exact when a program is made to compute in `f16`;
//! scales that are floats are computed with as floats.

use mil_core::{graph::Value, mb, types::DType};

use super::{Coordinates, Filter, Kernel, Nearest, quotient};
use crate::import::{Lowering, Refusal};

/// How many times as large an axis becomes: scalars.
#[derive(Clone, Debug)]
pub(crate) enum Scale {
    /// The quotient of the sizes.
    Sizes,
    /// A quotient of other `i32`, small ones or the sizes of another axis.
    Ratio(Value, Value),
    /// An `f32`.
    Factor(Value),
    /// Its inverse, the distance of two places, an `f32`.
    Step(Value),
}

/// How an axis is resized. All values are scalars.
#[derive(Clone, Debug)]
pub(crate) struct Stretch {
    /// `i32`
    pub(crate) size: Value,
    /// `i32`
    pub(crate) out: Value,
    pub(crate) scale: Scale,
    /// The part that is sampled, as fractions of the size less 1, both `f32`; `None` is all. For `CropAndResize`.
    pub(crate) part: Option<[Value; 2]>,
}

/// Where the elements of the result lie in the input, along one axis.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// The element before the point or at it: `[out]` of `i32`.
    first: Value,
    /// How far behind it the point is: `[out]`, of `i32` or `f32`, less than `unit`.
    rest: Value,
    /// The distance of two elements, a scalar of the dtype of `rest`.
    unit: Value,
    /// Which points lie inside: `[out]`, where it matters.
    pub(crate) inside: Option<Value>,
}

impl Lowering {
    /// The places of an axis's new elements (source: ONNX, `Resize`, `coordinate_transformation_mode`).
    pub(crate) fn places_of(&mut self, s: &Stretch, mode: Coordinates) -> Result<Places, Refusal> {
        let index = self.push(mb::range_1d(&s.out, 0, 1))?;
        let (up, down) = match (&s.scale, mode) {
            (_, Coordinates::CropAndResize) | (Scale::Factor(_) | Scale::Step(_), _) => {
                return self.float_places(s, mode, &index);
            }
            (Scale::Sizes, _) => (&s.out, &s.size),
            (Scale::Ratio(..), Coordinates::AlignCorners | Coordinates::HalfPixelSymmetric) => {
                return self.float_places(s, mode, &index);
            }
            (Scale::Ratio(up, down), _) => (up, down),
        };
        let (over, under) = match mode {
            Coordinates::Asymmetric => (self.push(mb::mul(&index, down))?, up.clone()),
            Coordinates::AlignCorners => {
                let (last, end) = (self.push(mb::sub(down, 1))?, self.push(mb::sub(up, 1))?);
                // A result of one element has the index 0.
                (self.push(mb::mul(&index, &last))?, self.push(mb::maximum(&end, 1))?)
            }
            _ => {
                let center = self.push(mb::mul(&index, 2))?;
                let center = self.push(mb::add(&center, 1))?;
                let center = self.push(mb::mul(&center, down))?;
                let over = self.push(mb::sub(&center, up))?;
                let under = self.push(mb::mul(up, 2))?;
                (self.only_element(&over, mode, s, &under)?, under)
            }
        };
        let first = self.push(mb::floor_div(&over, &under))?;
        let whole = self.push(mb::mul(&first, &under))?;
        let rest = self.push(mb::sub(&over, &whole))?;
        Ok(Places { first, rest, unit: under, inside: None })
    }

    /// With torch's rule, a result of one element lies half an element before the first.
    fn only_element(&mut self, over: &Value, mode: Coordinates, s: &Stretch, under: &Value) -> Result<Value, Refusal> {
        if mode != Coordinates::PytorchHalfPixel {
            return Ok(over.clone());
        }
        let one = match &s.scale {
            // What is not rounded is 1 exactly where up times size is down.
            Scale::Ratio(up, down) => {
                let wide = self.push(mb::mul(up, &s.size))?;
                self.push(mb::equal(&wide, down))?
            }
            _ => self.push(mb::equal(&s.out, 1))?,
        };
        let half = self.push(mb::floor_div(under, -2))?;
        self.select(&one, &half, over)
    }

    fn float_places(&mut self, s: &Stretch, mode: Coordinates, index: &Value) -> Result<Places, Refusal> {
        let index = self.cast(index, DType::F32)?;
        let size = self.cast(&s.size, DType::F32)?;
        let out = self.cast(&s.out, DType::F32)?;
        let scale = self.factor(s)?;
        // What the result's size would be if it were not rounded.
        let wide = if let Scale::Sizes = s.scale { out.clone() } else { self.push(mb::mul(&size, &scale))? };
        let one = self.push(mb::equal(&wide, 1.0))?;
        let last = self.push(mb::sub(&size, 1.0))?;
        let along_edges = |l: &mut Lowering| -> Result<Value, Refusal> {
            let end = l.push(mb::sub(&wide, 1.0))?;
            let safe = l.number(DType::F32, 1.0)?;
            let end = l.select(&one, &safe, &end)?;
            l.push(mb::real_div(&index, &end))
        };
        let back = |l: &mut Lowering, place: &Value| match &s.scale {
            Scale::Step(step) => l.push(mb::mul(place, step)),
            _ => l.push(mb::real_div(place, &scale)),
        };
        let centers = |l: &mut Lowering| -> Result<Value, Refusal> {
            let center = l.push(mb::add(&index, 0.5))?;
            let center = back(l, &center)?;
            l.push(mb::sub(&center, 0.5))
        };
        let mut inside = None;
        let place = match mode {
            Coordinates::HalfPixel => centers(self)?,
            Coordinates::HalfPixelSymmetric => {
                let kept = self.push(mb::real_div(&out, &wide))?;
                let lost = self.push(mb::sub(1.0, &kept))?;
                let half = self.push(mb::mul(&size, 0.5))?;
                let offset = self.push(mb::mul(&half, &lost))?;
                let place = centers(self)?;
                self.push(mb::add(&place, &offset))?
            }
            Coordinates::PytorchHalfPixel => {
                let (before, place) = (self.number(DType::F32, -0.5)?, centers(self)?);
                self.select(&one, &before, &place)?
            }
            Coordinates::AlignCorners => {
                let within = along_edges(self)?;
                self.push(mb::mul(&within, &last))?
            }
            Coordinates::Asymmetric => back(self, &index)?,
            Coordinates::CropAndResize => {
                let (middle, within) = (self.number(DType::F32, 0.5)?, along_edges(self)?);
                let mut within = self.select(&one, &middle, &within)?;
                if let Some([start, end]) = &s.part {
                    let length = self.push(mb::sub(end, start))?;
                    within = self.push(mb::mul(&within, &length))?;
                    within = self.push(mb::add(&within, start))?;
                }
                let place = self.push(mb::mul(&within, &last))?;
                let (from, to) =
                    (self.push(mb::greater_equal(&place, 0.0))?, self.push(mb::less_equal(&place, &last))?);
                inside = Some(self.push(mb::logical_and(&from, &to))?);
                let place = self.push(mb::maximum(&place, 0.0))?;
                self.push(mb::minimum(&place, &last))?
            }
        };
        let floor = self.push(mb::floor(&place))?;
        let rest = self.push(mb::sub(&place, &floor))?;
        Ok(Places { first: self.cast(&floor, DType::I32)?, rest, unit: self.number(DType::F32, 1.0)?, inside })
    }

    /// How many times as large the axis becomes, as a scalar `f32`.
    fn factor(&mut self, s: &Stretch) -> Result<Value, Refusal> {
        let (up, down) = match &s.scale {
            Scale::Factor(scale) => return Ok(scale.clone()),
            Scale::Step(step) => return self.push(mb::real_div(1.0, step)),
            Scale::Sizes => (&s.out, &s.size),
            Scale::Ratio(up, down) => (up, down),
        };
        let (up, down) = (self.cast(up, DType::F32)?, self.cast(down, DType::F32)?);
        self.push(mb::real_div(&up, &down))
    }

    /// An axis resized by taking the nearest elements.
    pub(crate) fn take_nearest(
        &mut self,
        x: &Value,
        axis: usize,
        places: &Places,
        mode: Nearest,
    ) -> Result<Value, Refusal> {
        let Places { first, rest, unit, .. } = places;
        let twice = |l: &mut Lowering| match rest.dtype() {
            Some(DType::I32) => l.push(mb::mul(rest, 2)),
            _ => l.push(mb::mul(rest, 2.0)),
        };
        let next = match mode {
            Nearest::Floor => None,
            Nearest::Ceil if rest.dtype() == Some(DType::I32) => Some(self.push(mb::greater(rest, 0))?),
            Nearest::Ceil => Some(self.push(mb::greater(rest, 0.0))?),
            Nearest::RoundPreferFloor => {
                let twice = twice(self)?;
                Some(self.push(mb::greater(&twice, unit))?)
            }
            Nearest::RoundPreferCeil => {
                let twice = twice(self)?;
                Some(self.push(mb::greater_equal(&twice, unit))?)
            }
        };
        let index = match next {
            Some(next) => {
                let next = self.cast(&next, DType::I32)?;
                self.push(mb::add(first, &next))?
            }
            None => first.clone(),
        };
        let size = self.scalar_size_of(x, axis)?;
        let index = self.within(&index, &size)?;
        self.elements(x, axis, &index)
    }

    /// An axis resized by adding up parts of elements; `x` is of floats.
    pub(crate) fn blend(
        &mut self,
        x: &Value,
        axis: usize,
        s: &Stretch,
        places: &Places,
        kernel: &Kernel,
    ) -> Result<Value, Refusal> {
        let ratio = {
            let (rest, unit) = (self.cast(&places.rest, DType::F32)?, self.cast(&places.unit, DType::F32)?);
            self.push(mb::real_div(&rest, &unit))?
        };
        if kernel.antialias {
            let rows = self.smooth_rows(&places.first, &ratio, s, kernel)?;
            return self.product_along(x, axis, &rows);
        }
        let size = self.scalar_size_of(x, axis)?;
        let (dtype, rank) = (x.dtype().unwrap_or(DType::F32), x.shape().map_or(0, |s| s.rank()));
        let mut taps = vec![];
        for (offset, part) in self.neighbours(&ratio, kernel.filter)? {
            let index = if offset == 0 { places.first.clone() } else { self.push(mb::add(&places.first, offset))? };
            let index_within = self.within(&index, &size)?;
            let part = if kernel.exclude_outside {
                let inside = self.push(mb::equal(&index, &index_within))?;
                let inside = self.cast(&inside, DType::F32)?;
                self.push(mb::mul(&part, &inside))?
            } else {
                part
            };
            taps.push((index_within, part));
        }
        if kernel.exclude_outside {
            let parts: Vec<Value> = taps.iter().map(|(_, part)| part.clone()).collect();
            let sum = self.total(&parts)?;
            let sum = self.not_zero(&sum)?;
            for (_, part) in &mut taps {
                *part = self.push(mb::real_div(&*part, &sum))?;
            }
        }
        let mut all = vec![];
        for (index, part) in taps {
            let part = self.along(&part, axis, rank)?;
            let part = self.cast(&part, dtype)?;
            let read = self.push(mb::gather(x, &index).axis(axis as i64))?;
            all.push(self.push(mb::mul(&read, &part))?);
        }
        self.total(&all)
    }

    fn total(&mut self, values: &[Value]) -> Result<Value, Refusal> {
        let Some((first, more)) = values.split_first() else { return Err(Refusal::new("it adds up nothing")) };
        more.iter().try_fold(first.clone(), |sum, value| self.push(mb::add(&sum, value)))
    }

    /// What a point at `ratio` behind an element takes of those around it, by their distance from that element.
    pub(crate) fn neighbours(&mut self, ratio: &Value, filter: Filter) -> Result<Vec<(i64, Value)>, Refusal> {
        let rest = self.push(mb::sub(1.0, ratio))?;
        let Filter::Cubic(a) = filter else { return Ok(vec![(0, rest), (1, ratio.clone())]) };
        let (before, after) = (self.cubic_far(ratio, &rest, a)?, self.cubic_far(&rest, ratio, a)?);
        let (here, next) = (self.cubic_near(ratio, &rest, a)?, self.cubic_near(&rest, ratio, a)?);
        Ok(vec![(-1, before), (0, here), (1, next), (2, after)])
    }

    /// Keys' kernel up to 1, `(a + 2) x^3 - (a + 3) x^2 + 1`, `rest` being `1 - x`: as a product it is exact to the last digits where
    /// it is near 0, in f16 too.
    fn cubic_near(&mut self, x: &Value, rest: &Value, a: f64) -> Result<Value, Refusal> {
        let y = self.push(mb::mul(x, a + 2.0))?;
        let y = self.push(mb::sub(1.0, &y))?;
        let y = self.push(mb::mul(&y, x))?;
        let y = self.push(mb::add(&y, 1.0))?;
        self.push(mb::mul(&y, rest))
    }

    /// Keys' kernel from 1 to 2, `a (x + 1)^3 - 5 a (x + 1)^2 + 8 a (x + 1) - 4 a` at a distance of `x + 1`, `rest` being `1 - x`.
    fn cubic_far(&mut self, x: &Value, rest: &Value, a: f64) -> Result<Value, Refusal> {
        let y = self.push(mb::mul(rest, rest))?;
        let y = self.push(mb::mul(&y, x))?;
        self.push(mb::mul(&y, a))
    }

    /// The filter's parts at distances of any sign.
    fn parts_at(&mut self, distance: &Value, filter: Filter) -> Result<Value, Refusal> {
        let x = self.push(mb::abs(distance))?;
        // Far away distances are infinite in f16.
        let x = self.push(mb::minimum(&x, filter.reach()))?;
        let rest = self.push(mb::sub(1.0, &x))?;
        let Filter::Cubic(a) = filter else { return Ok(rest) };
        let near = self.cubic_near(&x, &rest, a)?;
        let (beyond, rest) = (self.push(mb::sub(&x, 1.0))?, self.push(mb::sub(2.0, &x))?);
        let far = self.cubic_far(&beyond, &rest, a)?;
        let is_near = self.push(mb::less_equal(&x, 1.0))?;
        self.push(mb::select(&is_near, &near, &far))
    }

    /// A kernel that is wider where the result is smaller: a matrix `[out, size]`.
    fn smooth_rows(&mut self, first: &Value, ratio: &Value, s: &Stretch, kernel: &Kernel) -> Result<Value, Refusal> {
        let scale = self.factor(s)?;
        let scale = self.push(mb::minimum(&scale, 1.0))?;
        let (first, ratio) = (self.expand_dims(first, &[1])?, self.expand_dims(ratio, &[1])?);
        let parts = |l: &mut Lowering, elements: &Value| -> Result<Value, Refusal> {
            let elements = l.expand_dims(elements, &[0])?;
            let distance = l.push(mb::sub(&elements, &first))?;
            let distance = l.cast(&distance, DType::F32)?;
            let distance = l.push(mb::sub(&distance, &ratio))?;
            let distance = l.push(mb::mul(&distance, &scale))?;
            l.parts_at(&distance, kernel.filter)
        };
        let elements = self.push(mb::range_1d(&s.size, 0, 1))?;
        let mut rows = parts(self, &elements)?;
        if !kernel.exclude_outside {
            let reach = self.push(mb::real_div(kernel.filter.reach(), &scale))?;
            let reach = self.push(mb::ceil(&reach))?;
            let reach = self.cast(&reach, DType::I32)?;
            let reach = self.push(mb::add(&reach, 1))?;
            let before = self.push(mb::mul(&reach, -1))?;
            let after = self.push(mb::add(&s.size, &reach))?;
            let last = self.push(mb::sub(&s.size, 1))?;
            let zero = self.number(DType::I32, 0.0)?;
            for (start, end, outermost) in [(&before, &zero, &zero), (&s.size, &after, &last)] {
                let outside = self.push(mb::range_1d(end, start, 1))?;
                let outside = parts(self, &outside)?;
                let sum = self.push(mb::reduce_sum(&outside).axes([1]).keep_dims(true))?;
                let here = self.push(mb::equal(&elements, outermost))?;
                let here = self.cast(&here, DType::F32)?;
                let here = self.expand_dims(&here, &[0])?;
                let sum = self.push(mb::mul(&sum, &here))?;
                rows = self.push(mb::add(&rows, &sum))?;
            }
        }
        let sum = self.push(mb::reduce_sum(&rows).axes([1]).keep_dims(true))?;
        let sum = self.not_zero(&sum)?;
        self.push(mb::real_div(&rows, &sum))
    }

    /// What can be divided by: 1 in place of 0.
    fn not_zero(&mut self, x: &Value) -> Result<Value, Refusal> {
        let zero = self.push(mb::equal(x, 0.0))?;
        let one = self.number(DType::F32, 1.0)?;
        self.select(&zero, &one, x)
    }

    /// A number put where points lie outside along an axis.
    pub(crate) fn put_outside(
        &mut self,
        y: &Value,
        axis: usize,
        places: &Places,
        number: f64,
    ) -> Result<Value, Refusal> {
        let Some(inside) = &places.inside else { return Ok(y.clone()) };
        let inside = self.mask_along(inside, axis, y.shape().map_or(0, |s| s.rank()))?;
        let number = self.number(y.dtype().unwrap_or(DType::F32), number)?;
        self.select(&inside, y, &number)
    }

    /// The sizes that keep the ratio of an image's: the smallest or the largest of all scales is that of every axis. Gives for
    /// each axis how it is resized (source: ONNX, `Resize`, `keep_aspect_ratio_policy`).
    pub(crate) fn keep_ratio(&mut self, sizes: &[(Value, Value)], smallest: bool) -> Result<Vec<Stretch>, Refusal> {
        let Some(((down, up), more)) = sizes.split_first() else { return Ok(vec![]) };
        let (mut up, mut down) = (up.clone(), down.clone());
        for (size, wanted) in more {
            let (other, this) = (self.push(mb::mul(wanted, &down))?, self.push(mb::mul(&up, size))?);
            let better = if smallest { mb::less(&other, &this) } else { mb::less(&this, &other) };
            let better = self.push(better)?;
            (up, down) = (self.select(&better, wanted, &up)?, self.select(&better, size, &down)?);
        }
        let mut all = vec![];
        for (size, _) in sizes {
            // Half of the divisor is added, which rounds.
            let out = self.push(mb::mul(size, &up))?;
            let out = self.push(mb::mul(&out, 2))?;
            let out = self.push(mb::add(&out, &down))?;
            let twice = self.push(mb::mul(&down, 2))?;
            let out = self.push(mb::floor_div(&out, &twice))?;
            let out = self.push(mb::maximum(&out, 1))?;
            let scale = Scale::Ratio(up.clone(), down.clone());
            all.push(Stretch { size: size.clone(), out, scale, part: None });
        }
        Ok(all)
    }

    /// An axis of this size resized by a factor that is a scalar `f32`. The new size is rounded down.
    pub(crate) fn stretch_by(&mut self, size: Value, factor: Value) -> Result<Stretch, Refusal> {
        let wide = self.cast(&size, DType::F32)?;
        let out = self.push(mb::mul(&wide, &factor))?;
        let out = self.push(mb::floor(&out))?;
        Ok(Stretch { size, out: self.cast(&out, DType::I32)?, scale: Scale::Factor(factor), part: None })
    }

    /// An axis of this size resized by a factor that is known: by integers, if it is a quotient of small ones, so that 0.7 times 10 is 7.
    pub(crate) fn stretch_by_known(&mut self, size: Value, factor: f64) -> Result<Stretch, Refusal> {
        if !(factor > 0.0 && factor.is_finite()) {
            return Err(Refusal::new(format!("resizes by a factor of {factor}")));
        }
        let Some([up, down]) = quotient(factor) else {
            let value = self.number(DType::F32, factor)?;
            let stretch = self.stretch_by(size, value)?;
            // Rounded once.
            let step = self.number(DType::F32, 1.0 / factor)?;
            return Ok(Stretch { scale: Scale::Step(step), ..stretch });
        };
        let out = self.push(mb::mul(&size, up))?;
        let out = self.push(mb::floor_div(&out, down))?;
        let (up, down) = (self.number(DType::I32, up as f64)?, self.number(DType::I32, down as f64)?);
        Ok(Stretch { size, out, scale: Scale::Ratio(up, down), part: None })
    }
}

#[cfg(test)]
mod tests {
    use mil_core::types::Opset;

    use super::*;

    fn int(l: &mut Lowering, n: i64) -> Value {
        l.number(DType::I32, n as f64).unwrap()
    }

    fn numbers(v: &Value) -> Vec<f64> {
        let c = v.known().and_then(|k| k.constant()).unwrap();
        c.floats().or_else(|| Some(c.ints()?.into_iter().map(|n| n as f64).collect())).unwrap()
    }

    /// Computed at once, since all is known.
    #[test]
    fn what_is_computed_is_what_a_matrix_gives() {
        let x = [3.0f32, -1.0, 4.0, 1.5, -5.0, 9.0, 2.0];
        for size in [1, 2, 5, 7] {
            for out in [1, 3, 4, 8] {
                for filter in [Filter::Linear, Filter::Cubic(-0.75)] {
                    for (antialias, exclude_outside) in [(false, false), (true, false), (false, true), (true, true)] {
                        let kernel = Kernel { filter, antialias, exclude_outside };
                        let mut l = Lowering::new(Opset::iOS15);
                        let x = l.constant(mil_core::ir::Constant::vector(&x[..size]));
                        let (from, to) = (int(&mut l, size as i64), int(&mut l, out as i64));
                        let s = Stretch { size: from, out: to, scale: Scale::Sizes, part: None };
                        let places = l.places_of(&s, Coordinates::HalfPixel).unwrap();
                        let y = l.blend(&x, 0, &s, &places, &kernel).unwrap();
                        let scale = out as f64 / size as f64;
                        let places = (0..out).map(|i| (i as f64 + 0.5) / scale - 0.5);
                        let wanted = l.resize_known(&x, 0, places, &kernel, scale).unwrap();
                        let same = numbers(&y).into_iter().zip(numbers(&wanted)).all(|(a, b)| (a - b).abs() < 1e-5);
                        assert!(same, "{kernel:?} {size} {out}: {:?} {:?}", numbers(&y), numbers(&wanted));
                    }
                }
            }
        }
    }

    #[test]
    fn halves_go_where_the_mode_says() {
        let mut l = Lowering::new(Opset::iOS15);
        let x = l.ints(&[0, 1, 2, 3]).unwrap();
        let (size, out) = (int(&mut l, 4), int(&mut l, 2));
        let half = l.number(DType::F32, 0.5).unwrap();
        let exact = Stretch { size: size.clone(), out, scale: Scale::Sizes, part: None };
        let float = l.stretch_by(size.clone(), half).unwrap();
        let known = l.stretch_by_known(size, 0.5).unwrap();
        for s in [exact, float, known] {
            let places = l.places_of(&s, Coordinates::HalfPixel).unwrap();
            let mut nearest = |mode| numbers(&l.take_nearest(&x, 0, &places, mode).unwrap());
            assert_eq!(nearest(Nearest::RoundPreferFloor), [0.0, 2.0]);
            assert_eq!(nearest(Nearest::RoundPreferCeil), [1.0, 3.0]);
            assert_eq!((nearest(Nearest::Floor), nearest(Nearest::Ceil)), (vec![0.0, 2.0], vec![1.0, 3.0]));
        }
    }

    #[test]
    fn sizes_are_rounded_down_as_fractions() {
        let mut l = Lowering::new(Opset::iOS15);
        let ten = int(&mut l, 10);
        // 0.7 in `f32` is a little less than 0.7.
        for (factor, wanted) in [(0.7f32.into(), 7.0), (0.7, 7.0), (1.25, 12.0)] {
            let s = l.stretch_by_known(ten.clone(), factor).unwrap();
            assert_eq!(numbers(&s.out), [wanted]);
        }
        assert!(l.stretch_by_known(ten, 0.0).is_err());
    }

    #[test]
    fn the_ratio_of_an_image_is_kept() {
        let mut l = Lowering::new(Opset::iOS15);
        let sizes = [(4, 8), (6, 9)].map(|(size, wanted)| (int(&mut l, size), int(&mut l, wanted)));
        for (smallest, wanted) in [(true, [6.0, 9.0]), (false, [8.0, 12.0])] {
            let all = l.keep_ratio(&sizes, smallest).unwrap();
            let out: Vec<f64> = all.iter().flat_map(|s| numbers(&s.out)).collect();
            assert_eq!(out, wanted);
        }
    }
}
