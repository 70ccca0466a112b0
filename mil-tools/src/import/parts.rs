//! Parts of tensors, joined and indexed, in any dtype that values have here.

use mil_core::{
    graph::Value,
    mb,
    op::Operand,
    types::{DType, Dim, Opset},
};

use super::{Lowering, Refusal, Size};

/// What a slice takes along one axis.
#[derive(Clone, Debug)]
pub(crate) struct Cut {
    pub(crate) axis: usize,
    /// The first place; `None` is the border.
    pub(crate) begin: Option<Size>,
    /// The place before which it ends; `None` is the border.
    pub(crate) end: Option<Size>,
    pub(crate) step: i64,
}

impl Cut {
    /// From a place to another, in steps of one.
    pub(crate) fn new(axis: usize, begin: impl Into<Option<Size>>, end: impl Into<Option<Size>>) -> Cut {
        Cut { axis, begin: begin.into(), end: end.into(), step: 1 }
    }
}

impl Lowering {
    /// A slice along some axes. Negative places count from the end, and places beyond a border are moved to it.
    pub(crate) fn cut(&mut self, x: &Value, cuts: &[Cut]) -> Result<Value, Refusal> {
        let rank = x.shape().map_or(0, |s| s.rank());
        let (mut begin, mut end) = (vec![Size::Fixed(0); rank], vec![Size::Fixed(0); rank]);
        let (mut from_border, mut to_border) = (vec![true; rank], vec![true; rank]);
        let mut step = vec![1i64; rank];
        for cut in cuts {
            let Cut { axis, .. } = *cut;
            let size = x.shape().and_then(|s| s.get(axis)).and_then(Dim::fixed).map(|n| n as i64);
            step[axis] = cut.step;
            let borders = size.map(|n| if cut.step > 0 { (0, n) } else { (n - 1, -1) });
            let from = place(&cut.begin, size, cut.step).or(borders.map(|b| Size::Fixed(b.0)));
            let to = place(&cut.end, size, cut.step).or(borders.map(|b| Size::Fixed(b.1)));
            if let (Some(Size::Fixed(b)), Some(Size::Fixed(e)), Some((first, last))) = (&from, &to, borders) {
                let nothing = if cut.step > 0 { b >= e } else { b <= e };
                if nothing {
                    (from_border[axis], to_border[axis], step[axis]) = (false, false, 1);
                    continue;
                }
                (from_border[axis], to_border[axis]) = (*b == first, *e == last);
                (begin[axis], end[axis]) = (Size::Fixed((*b).max(0)), Size::Fixed((*e).max(0)));
                continue;
            }
            if let Some(at) = place(&cut.begin, size, cut.step) {
                (from_border[axis], begin[axis]) = (false, at);
            }
            if let Some(at) = place(&cut.end, size, cut.step) {
                let border = matches!((&at, borders), (Size::Fixed(at), Some((_, last))) if *at == last);
                (to_border[axis], end[axis]) = (border, at);
            }
        }
        if from_border.iter().all(|b| *b) && to_border.iter().all(|b| *b) && step.iter().all(|s| *s == 1) {
            return Ok(x.clone());
        }
        for (places, border) in [(&mut begin, &from_border), (&mut end, &to_border)] {
            for (at, border) in places.iter_mut().zip(border) {
                if *border {
                    *at = Size::Fixed(0);
                }
            }
        }
        let (begin, end) = (self.shape_of_sizes(&begin)?, self.shape_of_sizes(&end)?);
        let mut call = mb::slice_by_index(x, begin, end);
        if step.iter().any(|s| *s != 1) {
            call = call.stride(step);
        }
        if from_border.iter().any(|b| *b) {
            call = call.begin_mask(from_border);
        }
        if to_border.iter().any(|b| *b) {
            call = call.end_mask(to_border);
        }
        self.push(call)
    }

    /// The elements from one place to another along an axis.
    pub(crate) fn range_of(
        &mut self,
        x: &Value,
        axis: usize,
        begin: impl Into<Option<Size>>,
        end: impl Into<Option<Size>>,
    ) -> Result<Value, Refusal> {
        self.cut(x, &[Cut::new(axis, begin, end)])
    }

    /// The element at a place of an axis, which goes.
    pub(crate) fn at(&mut self, x: &Value, axis: usize, place: i64) -> Result<Value, Refusal> {
        let end = (place != -1).then_some(Size::Fixed(place + 1));
        let one = self.range_of(x, axis, Size::Fixed(place), end)?;
        self.squeeze(&one, &[axis])
    }

    /// Tensors one after the other along an axis. Those that are empty there are left out.
    pub(crate) fn join(&mut self, parts: &[Value], axis: usize) -> Result<Value, Refusal> {
        let empty = |v: &&Value| v.shape().and_then(|s| s.get(axis)).is_some_and(|d| d.is(0));
        let full: Vec<Value> = parts.iter().filter(|v| !empty(v)).cloned().collect();
        match (&full[..], parts) {
            ([], [first, ..]) => Ok(first.clone()),
            ([], []) => Err(Refusal::new("joins no tensors")),
            ([one], _) => Ok(one.clone()),
            _ => self.push(mb::concat(full, axis as i64)),
        }
    }

    /// What `f` makes of a tensor, for ops that do not take bools: these travel as `i32`.
    pub(crate) fn without_bools(
        &mut self,
        x: &Value,
        f: impl FnOnce(&mut Lowering, &Value) -> Result<Value, Refusal>,
    ) -> Result<Value, Refusal> {
        if x.dtype() != Some(DType::Bool) {
            return f(self, x);
        }
        let wide = self.cast(x, DType::I32)?;
        let y = f(self, &wide)?;
        self.cast(&y, DType::Bool)
    }

    /// Indices along an axis of this size, where negative ones count from the end. Before iOS17 MIL's indices do so too;
    /// from then on Apple's runtime gives undefined values for them (source: MIL reference, `gather`).
    pub(crate) fn places(&mut self, indices: &Value, size: &Size) -> Result<Value, Refusal> {
        let not_negative = |d: &Dim| d.at_least(0);
        if indices.known().and_then(|k| k.dims()).is_some_and(|dims| dims.iter().all(not_negative)) {
            return Ok(indices.clone());
        }
        let known = indices.known().is_some() && matches!(size, Size::Fixed(_));
        if self.opset() < Opset::iOS17 && !known {
            return Ok(indices.clone());
        }
        self.counted_from_start(indices, size)
    }

    /// Indices, the negative ones raised by the size that they count from.
    pub(crate) fn counted_from_start(&mut self, indices: &Value, size: &Size) -> Result<Value, Refusal> {
        let size = self.scalar_size(size)?;
        let raised = self.push(mb::add(indices, size))?;
        let negative = self.push(mb::less(indices, 0i64))?;
        self.push(mb::select(&negative, &raised, indices))
    }

    /// A size as a scalar `i32`.
    pub(crate) fn scalar_size(&mut self, size: &Size) -> Result<Value, Refusal> {
        match size {
            Size::Fixed(n) => self.number(DType::I32, *n as f64),
            Size::Value(v) => self.squeeze(v, &[0]),
        }
    }

    /// The tensor repeated along each axis.
    pub(crate) fn repeat(&mut self, x: &Value, reps: &[Size]) -> Result<Value, Refusal> {
        if reps.iter().all(|r| matches!(r, Size::Fixed(1))) {
            return Ok(x.clone());
        }
        let reps = self.shape_of_sizes(reps)?;
        self.push(mb::tile(x, reps))
    }

    /// 0, 1, .. below a size.
    pub(crate) fn iota(&mut self, size: &Size) -> Result<Value, Refusal> {
        let end = self.scalar_size(size)?;
        self.push(mb::range_1d(&end, 0i64, 1i64))
    }

    /// The sum of two sizes.
    pub(crate) fn add_sizes(&mut self, a: &Size, b: &Size) -> Result<Size, Refusal> {
        match (a, b) {
            (Size::Fixed(a), Size::Fixed(b)) => Ok(Size::Fixed(a.saturating_add(*b))),
            (Size::Fixed(0), v) | (v, Size::Fixed(0)) => Ok(v.clone()),
            (Size::Value(v), other) | (other, Size::Value(v)) => {
                let other = self.size_operand(other)?;
                Ok(Size::Value(self.push(mb::add(v, other))?))
            }
        }
    }

    fn size_operand(&mut self, size: &Size) -> Result<Operand, Refusal> {
        self.shape_of_sizes(std::slice::from_ref(size))
    }

    /// An element of a list of integers: a number where it is known.
    pub(crate) fn element(&mut self, list: &Value, at: usize) -> Result<Size, Refusal> {
        let known = list.known().and_then(|k| k.dims()).and_then(|d| d.get(at).and_then(Dim::value));
        match (known, list.shape().map_or(0, |s| s.rank())) {
            (Some(n), _) => Ok(Size::Fixed(n)),
            (None, 0) => Ok(Size::Value(self.expand_dims(list, &[0])?)),
            _ => {
                let at = at as i64;
                Ok(Size::Value(self.push(mb::slice_by_index(list, [at], [at + 1]))?))
            }
        }
    }
}

/// A place as a number inside or at a border, if the size and the place are known.
fn place(at: &Option<Size>, size: Option<i64>, step: i64) -> Option<Size> {
    match (at, size) {
        (Some(Size::Fixed(v)), Some(n)) => {
            let (low, high) = if step > 0 { (0, n) } else { (-1, n - 1) };
            let v = if *v < 0 { v.saturating_add(n) } else { *v };
            Some(Size::Fixed(v.clamp(low, high)))
        }
        // As far as can be: the border.
        (Some(Size::Fixed(v)), None) if v.unsigned_abs() >= i32::MAX as u64 => None,
        (at, _) => at.clone(),
    }
}
