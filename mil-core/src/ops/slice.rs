//! `slice_by_index`, `slice_by_size`: ops that take a part of a tensor.

use crate::{
    op::{Arg, Cx, Infer, Inferred, Op, OpDef, OpError},
    types::Dim,
};
use mil_derive::Op;

use super::{known, rules};

pub(crate) const OPS: &[&OpDef] = &[SliceByIndex::DEF, SliceBySize::DEF];

/// Which elements of one dimension a slice takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// The first.
    pub start: usize,
    /// How many.
    pub count: usize,
    /// The distance from one to the next; may be negative.
    pub step: i64,
    /// Whether the dimension goes; then `count` is 1.
    pub squeeze: bool,
}

/// Takes `x[begin:end:stride]` in each dimension, with the meaning that Python gives it: negative places count from the
/// end, places outside are moved to the border.
///
/// # Constraints
/// - C1 `begin` and `end` have one element per dimension of `x`.
/// - C2 `stride` and the masks have one element per dimension of `x`.
/// - C3 no stride is 0.
/// - C4 where the size is known, the slice takes at least one element, unless `begin` equals `end`.
/// - C5 `end` does not lie before `begin` in the direction of the stride, where both count from the same side.
/// - C6 where `squeeze_mask` holds, `begin` is a place in the dimension.
#[derive(Op, Clone, Debug)]
#[op(name = "slice_by_index", since = iOS15)]
#[domain(T = F16 | F32 | I32 | Bool, iOS17 = F16 | F32 | I8 | I16 | I32 | U8 | U16 | Bool)]
#[domain(U = I8 | I16 | I32)]
pub struct SliceByIndex {
    /// Any tensor.
    #[dtype(T)]
    pub x: Arg,
    /// For each dimension, the first place.
    #[dtype(I32, iOS17 = U)]
    pub begin: Arg,
    /// For each dimension, the place before which the slice ends.
    #[dtype(I32, iOS17 = U)]
    pub end: Arg,
    /// For each dimension, the distance between two places; negative to go backwards. Default: all 1.
    #[dtype(I32, iOS17 = U)]
    pub stride: Option<Vec<i64>>,
    /// Where true, the slice begins at the border, whatever `begin` says. Default: all false.
    #[dtype(Bool)]
    pub begin_mask: Option<Vec<bool>>,
    /// Where true, the slice goes on to the border, whatever `end` says. Default: all false.
    #[dtype(Bool)]
    pub end_mask: Option<Vec<bool>>,
    /// Where true, the slice is the one element at `begin`, and the dimension goes. Default: all false.
    #[dtype(Bool)]
    pub squeeze_mask: Option<Vec<bool>>,
}

/// One end of a slice.
#[derive(Clone)]
enum Place {
    /// The border.
    Border,
    /// Here; it may hold symbols.
    At(Dim),
    /// Only the run will tell.
    Unknown,
}

impl Place {
    fn number(&self) -> Option<i64> {
        match self {
            Place::At(d) => d.value(),
            _ => None,
        }
    }
}

impl SliceByIndex {
    fn step(&self, i: usize) -> i64 {
        self.stride.as_ref().map_or(1, |s| s[i])
    }

    fn squeezes(&self, i: usize) -> bool {
        self.squeeze_mask.as_ref().is_some_and(|m| m[i])
    }

    fn place(mask: &Option<Vec<bool>>, known: Option<&[Dim]>, i: usize) -> Place {
        match (mask.as_ref().is_some_and(|m| m[i]), known) {
            (true, _) => Place::Border,
            (false, Some(known)) => Place::At(known[i].clone()),
            (false, None) => Place::Unknown,
        }
    }

    /// Which elements the slice takes of dimensions of these sizes, with these values of `begin` and `end`.
    ///
    /// # Errors
    /// If the slice takes nothing (C4, C5), or a place that is indexed is not there (C6).
    pub fn spans(&self, sizes: &[usize], begin: &[i64], end: &[i64]) -> Result<Vec<Span>, OpError> {
        let list = |v: &[i64]| v.iter().map(|n| Dim::from(*n)).collect::<Vec<_>>();
        let (begin, end) = (list(begin), list(end));
        let one = |(i, size): (usize, &usize)| {
            let begin = Self::place(&self.begin_mask, Some(&begin), i);
            let end = Self::place(&self.end_mask, Some(&end), i);
            self.span(i, *size, &begin, &end)
        };
        sizes.iter().enumerate().map(one).collect()
    }

    fn span(&self, i: usize, size: usize, begin: &Place, end: &Place) -> Result<Span, OpError> {
        let (n, step) = (i64::try_from(size).unwrap_or(i64::MAX), self.step(i));
        if self.squeezes(i) {
            let at = begin.number().unwrap_or(0);
            let start = if at < 0 { at.saturating_add(n) } else { at };
            if !(0..n).contains(&start) {
                let message = format!("`begin` is {at}, outside dimension {i} of size {size}"); // C6
                return Err(OpError::at("begin", message).note(format!("write a place from -{size} to {}", n - 1)));
            }
            return Ok(Span { start: start as usize, count: 1, step: 1, squeeze: true });
        }
        let (low, high) = if step > 0 { (0, n) } else { (-1, n - 1) };
        let inside = |v: i64| (if v < 0 { v.saturating_add(n) } else { v }).clamp(low, high);
        let (first, last) = if step > 0 { (low, high) } else { (high, low) };
        let start = begin.number().map_or(first, inside);
        let stop = end.number().map_or(last, inside);
        let distance = if step > 0 { stop - start } else { start - stop };
        let count = distance.max(0).unsigned_abs().div_ceil(step.unsigned_abs());
        if count == 0 && n > 0 && (begin.number() != end.number() || begin.number().is_none()) {
            let show = |p: &Place| p.number().map_or(String::new(), |v| v.to_string());
            let (b, e) = (show(begin), show(end));
            let message = format!("the slice {b}:{e}:{step} of dimension {i} of size {size} takes nothing"); // C4
            let param = if begin.number().is_some_and(|b| b >= n) { "begin" } else { "end" };
            return Err(OpError::at(param, message).note("set `begin_mask` or `end_mask` to go from or to the border"));
        }
        Ok(Span { start: start.max(0) as usize, count: count as usize, step, squeeze: false })
    }

    /// The size that is left of dimension `i`.
    fn size(&self, i: usize, begin: &Place, end: &Place, cx: &mut Cx<'_>) -> Result<Dim, OpError> {
        let (size, step) = (self.x.dim(i), self.step(i));
        if let (Some(b), Some(e)) = (begin.number(), end.number())
            && (b < 0) == (e < 0)
            && (e - b) * step.signum() < 0
        {
            let message = format!("`end` is {e}, before `begin`, which is {b}, in dimension {i} with stride {step}"); // C5
            return Err(
                OpError::at("end", message).note("the slice takes nothing; swap them, or turn the stride round")
            );
        }
        let known = |p: &Place| matches!(p, Place::Border) || p.number().is_some();
        if let (Some(n), true) = (size.fixed(), known(begin) && known(end)) {
            return Ok(Dim::from(self.span(i, n, begin, end)?.count));
        }
        // What coremltools takes for granted of a size that it does not know: that a single element asked for is there.
        match (begin.number(), end.number(), end) {
            _ if size.is(1) => return Ok(Dim::from(1)),
            (Some(-1), _, Place::Border) if step > 0 => return Ok(Dim::from(1)),
            (Some(0), _, Place::Border) if step < 0 => return Ok(Dim::from(1)),
            (Some(b), Some(e), _) if (b < 0) == (e < 0) => {
                let count = (e - b).unsigned_abs().div_ceil(step.unsigned_abs());
                if count <= 1 {
                    return Ok(Dim::from(count as i64));
                }
            }
            _ => {}
        }
        let (low, high) = if step > 0 { (Dim::from(0), size.clone()) } else { (Dim::from(-1), size.clone() - 1) };
        let (first, last) = if step > 0 { (&low, &high) } else { (&high, &low) };
        let inside = |p: &Place, border: &Dim| match p {
            Place::Border => Some(border.clone()),
            Place::At(v) if v.at_least(0) => Some(v.clone().min(high.clone())),
            Place::At(v) if v.bounds().1.is_some_and(|max| max < 0) => {
                Some((size.clone() + v.clone()).max(low.clone()))
            }
            Place::At(_) | Place::Unknown => None,
        };
        let (Some(start), Some(stop)) = (inside(begin, first), inside(end, last)) else { return Ok(cx.unknown()) };
        let distance = if step > 0 { stop - start } else { start - stop };
        Ok(match step.checked_abs() {
            Some(step) => distance.max(Dim::from(0)).ceil_div(step),
            None => cx.unknown(),
        })
    }
}

impl SliceByIndex {
    /// The sizes of the slice.
    ///
    /// # Errors
    /// If the slice cannot be.
    pub(crate) fn sizes(&self, cx: &mut Cx<'_>) -> Result<Vec<Dim>, OpError> {
        let rank = self.x.rank();
        known::one_per_dimension(&self.begin, &self.x, "begin")?; // C1
        known::one_per_dimension(&self.end, &self.x, "end")?;
        if let Some(stride) = &self.stride {
            rules::length(stride, rank, "stride")?; // C2
            if stride.contains(&0) {
                return Err(OpError::at("stride", "`stride` has a 0").note("write 1 to take every element")); // C3
            }
        }
        let masks = [&self.begin_mask, &self.end_mask, &self.squeeze_mask];
        for (mask, name) in masks.into_iter().zip(["begin_mask", "end_mask", "squeeze_mask"]) {
            mask.as_ref().map_or(Ok(()), |m| rules::length(m, rank, name))?;
        }
        let (begin, end) = (self.begin.known_dims(), self.end.known_dims());
        let mut dims = vec![];
        for i in 0..rank {
            let from = Self::place(&self.begin_mask, begin.as_deref(), i);
            let to = Self::place(&self.end_mask, end.as_deref(), i);
            if !self.squeezes(i) {
                dims.push(self.size(i, &from, &to, cx)?);
            } else if let (Some(size), Place::Border | Place::At(_)) = (self.x.dim(i).fixed(), &from)
                && (from.number().is_some() || matches!(from, Place::Border))
            {
                self.span(i, size, &from, &to)?;
            }
        }
        Ok(dims)
    }
}

impl Infer for SliceByIndex {
    fn infer(&self, cx: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let ty = self.x.ty.with_shape(self.sizes(cx)?);
        let numbers = self.x.shape().fixed().zip(self.begin.known_ints()).zip(self.end.known_ints());
        let known = match numbers {
            Some(((sizes, begin), end)) => {
                let spans = self.spans(&sizes, &begin, &end)?;
                known::moved(&[&self.x], &ty.shape, |at| {
                    let mut at = at.iter();
                    let place = |s: &Span| match s.squeeze {
                        true => s.start,
                        false => (s.start as i64 + s.step * at.next().map_or(0, |i| *i as i64)) as usize,
                    };
                    (0, spans.iter().map(place).collect())
                })
            }
            None => None,
        };
        Ok(vec![Inferred::known(ty, known)])
    }
}

/// Takes `size` elements from `begin` on in each dimension.
///
/// # Constraints
/// - C1 `begin` and `size` have one element per dimension of `x`.
/// - C2 each size is at least 1, or -1 for all that is left.
/// - C3 where they are known, `begin` is a place in the dimension and the slice ends inside it; a negative `begin` counts
///   from the end.
#[derive(Op, Clone, Debug)]
#[op(name = "slice_by_size", since = iOS15)]
#[domain(T = F16 | F32 | I32 | Bool, iOS17 = F16 | F32 | I8 | I16 | I32 | U8 | U16 | Bool)]
#[domain(U = I8 | I16 | I32)]
pub struct SliceBySize {
    /// Any tensor.
    #[dtype(T)]
    pub x: Arg,
    /// For each dimension, the first place.
    #[dtype(I32, iOS17 = U)]
    pub begin: Arg,
    /// For each dimension, how many elements; -1 for all that are left.
    #[dtype(I32, iOS17 = U)]
    pub size: Arg,
}

impl SliceBySize {
    /// Which elements the slice takes of dimensions of these sizes, with these values of `begin` and `size`.
    ///
    /// # Errors
    /// If it reaches outside a dimension (C2, C3).
    pub fn spans(&self, sizes: &[usize], begin: &[i64], size: &[i64]) -> Result<Vec<Span>, OpError> {
        let one = |(i, n): (usize, &usize)| Self::span(i, *n, begin[i], size[i]);
        sizes.iter().enumerate().map(one).collect()
    }

    fn span(i: usize, size: usize, begin: i64, count: i64) -> Result<Span, OpError> {
        let n = i64::try_from(size).unwrap_or(i64::MAX);
        Self::check_count(i, count)?;
        let start = if begin < 0 { begin.saturating_add(n) } else { begin };
        if !(0..n).contains(&start) {
            let message = format!("`begin` is {begin}, outside dimension {i} of size {size}"); // C3
            return Err(OpError::at("begin", message).note(format!("write a place from -{size} to {}", n - 1)));
        }
        let count = if count == -1 { n - start } else { count };
        if count > n - start {
            let message = format!("`size` is {count}, but dimension {i} has {} elements from {start} on", n - start); // C3
            return Err(OpError::at("size", message).note("write -1 to take all that are left"));
        }
        Ok(Span { start: start as usize, count: count as usize, step: 1, squeeze: false })
    }

    fn check_count(i: usize, count: i64) -> Result<(), OpError> {
        match count {
            -1 | 1.. => Ok(()),
            _ => {
                let message = format!("`size` is {count} in dimension {i}; it must be at least 1, or -1"); // C2
                Err(OpError::at("size", message).note("write -1 to take all that are left"))
            }
        }
    }
}

impl Infer for SliceBySize {
    fn infer(&self, cx: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        known::one_per_dimension(&self.begin, &self.x, "begin")?; // C1
        known::one_per_dimension(&self.size, &self.x, "size")?;
        let (begin, size) = (self.begin.known_dims(), self.size.known_dims());
        let mut dims = vec![];
        for i in 0..self.x.rank() {
            let (from, count) = (begin.as_ref().map(|b| &b[i]), size.as_ref().map(|s| &s[i]));
            let Some(count) = count else {
                dims.push(cx.unknown());
                continue;
            };
            if let Some(count) = count.value() {
                Self::check_count(i, count)?;
                let from = from.and_then(Dim::value);
                if let (Some(n), Some(from)) = (self.x.dim(i).fixed(), from) {
                    Self::span(i, n, from, count)?;
                } else if self.x.dim(i).bounds().1.is_some_and(|max| count > max) {
                    let message = format!("`size` is {count}, but dimension {i} has size {}", self.x.dim(i)); // C3
                    return Err(OpError::at("size", message).note("write -1 to take all that are left"));
                }
            }
            dims.push(match (count.is(-1), from) {
                (false, _) => known::as_size(count, cx),
                (true, Some(from)) if from.at_least(0) => self.x.dim(i).clone() - from.clone(),
                (true, Some(from)) if from.bounds().1.is_some_and(|max| max < 0) => Dim::from(0) - from.clone(),
                (true, _) => cx.unknown(),
            });
        }
        let ty = self.x.ty.with_shape(dims);
        let numbers = self.x.shape().fixed().zip(self.begin.known_ints()).zip(self.size.known_ints());
        let known = match numbers {
            Some(((sizes, begin), size)) => {
                let spans = self.spans(&sizes, &begin, &size)?;
                let source = |at: &[usize]| (0, spans.iter().zip(at).map(|(s, i)| s.start + i).collect());
                known::moved(&[&self.x], &ty.shape, source)
            }
            None => None,
        };
        Ok(vec![Inferred::known(ty, known)])
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        graph::Graph,
        ir::Constant,
        mb,
        ops::testing::{Test, fails, fails_in, infers, knows},
        types::{Opset, TensorType},
    };

    fn ten(g: &mut Test) -> crate::graph::Value {
        g.c(Constant::vector(&[0i32, 1, 2, 3, 4, 5, 6, 7, 8, 9]))
    }

    #[test]
    fn slices_mean_what_python_means() {
        // Each as `list(range(10))[..]` gives it.
        knows(|g| mb::slice_by_index(ten(g), [2], [5]), "[2, 3, 4]");
        knows(|g| mb::slice_by_index(ten(g), [-3], [100]), "[7, 8, 9]");
        knows(|g| mb::slice_by_index(ten(g), [-30], [3]).stride([2]), "[0, 2]");
        knows(|g| mb::slice_by_index(ten(g), [8], [2]).stride([-2]), "[8, 6, 4]");
        knows(|g| mb::slice_by_index(ten(g), [0], [0]).stride([-4]).begin_mask([true]).end_mask([true]), "[9, 5, 1]");
        knows(|g| mb::slice_by_index(ten(g), [7], [0]).end_mask([true]), "[7, 8, 9]");
        knows(|g| mb::slice_by_index(ten(g), [-2], [0]).squeeze_mask([true]), "[8]");
        knows(|g| mb::slice_by_index(ten(g), [3], [3]), "[]");
        let two = |g: &mut Test| g.c(Constant::new([2, 3], &[1i32, 2, 3, 4, 5, 6]).unwrap());
        knows(|g| mb::slice_by_index(two(g), [1, 0], [2, 3]).stride([1, 2]).squeeze_mask([true, false]), "[4, 6]");
    }

    #[test]
    fn slice_by_index_shapes() {
        let x = "Tensor<f32, H, 8, 4>";
        infers(|g| mb::slice_by_index(g.t(x), [0, 1, -1], [-1, 7, 4]), "Tensor<f32, H - 1, 6, 1>");
        infers(
            |g| mb::slice_by_index(g.t(x), [1, 0, 0], [0, 0, 0]).end_mask([true; 3]).stride([2, 1, -1]),
            "Tensor<f32, H / 2, 8, 1>",
        );
        infers(
            |g| mb::slice_by_index(g.t(x), [0, 2, 0], [1, 0, 2]).squeeze_mask([false, true, false]),
            "Tensor<f32, 1, 2>",
        );
        infers(|g| mb::slice_by_index(g.t("Tensor<i8, ?>"), [-1], [0]).end_mask([true]), "Tensor<i8, 1>");
        infers(|g| mb::slice_by_index(g.t("Tensor<i8, H>"), [0], [4]), "Tensor<i8, min(4, H)>");
        infers(|g| mb::slice_by_index(g.t("Tensor<i8, H>"), [-1], [0]).stride([-1]).end_mask([true]), "Tensor<i8, H>");
        infers(
            |g| {
                mb::slice_by_index(g.t("Tensor<f32, 3, 1, 5>"), g.t("Tensor<i32, 3>"), [3, 1, 5])
                    .begin_mask([true, false, false])
            },
            "Tensor<f32, 3, 1, ?>",
        );
    }

    #[test]
    fn bounds_that_are_computed_from_sizes() {
        let mut g = Graph::new("main", Opset::iOS17);
        let x = g.input("x", "Tensor<f32, H>".parse::<TensorType>().unwrap());
        let size = g.push(mb::shape(&x)).unwrap();
        let end = g.push(mb::add(&size, -2)).unwrap();
        let y = g.push(mb::slice_by_index(&x, [1], &size)).unwrap();
        assert_eq!(y.ty().to_string(), "Tensor<f32, H - 1>");
        // H - 2 may be negative, which would count from the end.
        let y = g.push(mb::slice_by_index(&x, [0], &end)).unwrap();
        assert_eq!(y.ty().to_string(), "Tensor<f32, ?>");
        let y = g.push(mb::slice_by_size(&x, [0], &size)).unwrap();
        assert_eq!(y.ty().to_string(), "Tensor<f32, H>");
    }

    #[test]
    fn slice_by_index_constraints() {
        let x = "Tensor<f32, 4, 5>";
        fails(|g| mb::slice_by_index(g.t(x), [0], [1, 2]), "begin", "are 2, found 1"); // C1
        fails(|g| mb::slice_by_index(g.t(x), [0, 0], 2), "end", "rank 1");
        fails(|g| mb::slice_by_index(g.t(x), [0, 0], [1, 2]).stride([1]), "stride", "2 elements, found 1"); // C2
        fails(|g| mb::slice_by_index(g.t(x), [0, 0], [1, 2]).end_mask([true]), "end_mask", "2 elements, found 1");
        fails(|g| mb::slice_by_index(g.t(x), [0, 0], [1, 2]).stride([1, 0]), "stride", "write 1"); // C3
        fails(|g| mb::slice_by_index(g.t(x), [4, 0], [6, 2]), "begin", "4:6:1 of dimension 0 of size 4 takes nothing"); // C4
        fails(|g| mb::slice_by_index(g.t(x), [0, 3], [1, -3]), "end", "end_mask");
        fails(|g| mb::slice_by_index(g.t("Tensor<f32, H>"), [3], [2]), "end", "swap them"); // C5
        fails(|g| mb::slice_by_index(g.t("Tensor<f32, H>"), [2], [3]).stride([-1]), "end", "stride -1");
        let squeezed = |g: &mut Test| mb::slice_by_index(g.t(x), [0, 5], [1, 2]).squeeze_mask([false, true]);
        fails(squeezed, "begin", "from -5 to 4"); // C6
        let u = |g: &mut Test| mb::slice_by_index(g.t(x), Constant::vector(&[0i8, 0]), Constant::vector(&[1i8, 2]));
        infers(u, "Tensor<f32, 1, 2>");
        fails_in(Opset::iOS16, u, "begin", "opset iOS17 takes it");
    }

    #[test]
    fn slice_by_size_takes() {
        infers(|g| mb::slice_by_size(g.t("Tensor<f32, H, 8>"), [1, 2], [-1, 3]), "Tensor<f32, H - 1, 3>");
        infers(|g| mb::slice_by_size(g.t("Tensor<f32, H, 8>"), [-2, 0], [-1, -1]), "Tensor<f32, 2, 8>");
        infers(|g| mb::slice_by_size(g.t("Tensor<f32, 9>"), g.t("Tensor<i32, 1>"), [3]), "Tensor<f32, 3>");
        infers(|g| mb::slice_by_size(g.t("Tensor<f32, 9>"), g.t("Tensor<i32, 1>"), [-1]), "Tensor<f32, ?>");
        infers(|g| mb::slice_by_size(g.t("Tensor<f32, 9>"), [1], g.t("Tensor<i32, 1>")), "Tensor<f32, ?>");
        knows(|g| mb::slice_by_size(ten(g), [-4], [2]), "[6, 7]");
        knows(|g| mb::slice_by_size(ten(g), [8], [-1]), "[8, 9]");
    }

    #[test]
    fn slice_by_size_constraints() {
        fails(|g| mb::slice_by_size(g.t("Tensor<f32, 9>"), [1, 2], [1]), "begin", "are 1, found 2"); // C1
        fails(|g| mb::slice_by_size(g.t("Tensor<f32, 9>"), [1], [0]), "size", "at least 1, or -1"); // C2
        fails(|g| mb::slice_by_size(g.t("Tensor<f32, 9>"), [9], [-1]), "begin", "from -9 to 8"); // C3
        fails(|g| mb::slice_by_size(g.t("Tensor<f32, 9>"), [7], [3]), "size", "2 elements from 7 on");
        fails(|g| mb::slice_by_size(g.t("Tensor<f32, 9>"), g.t("Tensor<i32, 1>"), [10]), "size", "has size 9");
    }
}
