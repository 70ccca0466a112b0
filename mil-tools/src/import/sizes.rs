//! Shapes that are numbers where they are known, and values where they are not.

use mil_core::{
    graph::Value,
    mb,
    op::Operand,
    types::{DType, Dim},
};

use super::{Lowering, Refusal};

/// One size of a shape.
#[derive(Clone, Debug)]
pub(crate) enum Size {
    /// A number; -1 in a `reshape` is what is left.
    Fixed(i64),
    /// A value `[1]` of `i32`.
    Value(Value),
}

impl From<usize> for Size {
    fn from(n: usize) -> Size {
        Size::Fixed(n as i64)
    }
}

impl Lowering {
    /// The shape as a value: `[rank]` of `i32`.
    pub(crate) fn shape(&mut self, x: &Value) -> Result<Value, Refusal> {
        self.push(mb::shape(x))
    }

    /// The size of a dimension.
    pub(crate) fn size(&mut self, x: &Value, axis: usize) -> Result<Size, Refusal> {
        match x.shape().and_then(|s| s.get(axis)).map(Dim::fixed) {
            Some(Some(n)) => Ok(n.into()),
            Some(None) => {
                let shape = self.shape(x)?;
                let at = axis as i64;
                Ok(Size::Value(self.push(mb::slice_by_index(&shape, [at], [at + 1]))?))
            }
            None => Err(Refusal::new(format!("there is no axis {axis} in {}", x.ty()))),
        }
    }

    /// All sizes.
    pub(crate) fn sizes(&mut self, x: &Value) -> Result<Vec<Size>, Refusal> {
        (0..x.shape().map_or(0, |s| s.rank())).map(|axis| self.size(x, axis)).collect()
    }

    /// The product of sizes.
    pub(crate) fn product(&mut self, sizes: &[Size]) -> Result<Size, Refusal> {
        let mut number = 1i64;
        let mut value: Option<Value> = None;
        for size in sizes {
            match (size, value.take()) {
                (Size::Fixed(n), before) => {
                    number = number.checked_mul(*n).ok_or_else(|| Refusal::new("a shape has too many elements"))?;
                    value = before;
                }
                (Size::Value(v), None) => value = Some(v.clone()),
                (Size::Value(v), Some(before)) => value = Some(self.push(mb::mul(&before, v))?),
            }
        }
        Ok(match value {
            None => Size::Fixed(number),
            Some(v) if number == 1 => Size::Value(v),
            Some(v) => Size::Value(self.push(mb::mul(&v, number))?),
        })
    }

    /// A shape as an operand: a constant if all sizes are numbers, else a list that is put together.
    pub(crate) fn shape_of_sizes(&mut self, sizes: &[Size]) -> Result<Operand, Refusal> {
        let numbers: Option<Vec<i64>> = sizes
            .iter()
            .map(|s| match s {
                Size::Fixed(n) => Some(*n),
                Size::Value(_) => None,
            })
            .collect();
        match (numbers, sizes) {
            (Some(numbers), _) => Ok(Operand::from(self.ints(&numbers)?)),
            (None, [Size::Value(one)]) => Ok(one.into()),
            _ => {
                let parts = sizes.iter().map(|s| match s {
                    Size::Fixed(n) => self.ints(&[*n]),
                    Size::Value(v) => Ok(v.clone()),
                });
                let parts: Vec<Value> = parts.collect::<Result<_, _>>()?;
                Ok(Operand::from(&self.push(mb::concat(parts, 0))?))
            }
        }
    }

    /// The tensor in another shape; one size may be -1, which is what is left. At most one size that is no number becomes
    /// -1, so that the shape is a constant where it can be.
    pub(crate) fn reshape(&mut self, x: &Value, sizes: &[Size]) -> Result<Value, Refusal> {
        let mut sizes = sizes.to_vec();
        let unknown = |s: &Size| !matches!(s, Size::Fixed(n) if *n >= 0);
        let open: Vec<usize> = (0..sizes.len()).filter(|i| unknown(&sizes[*i])).collect();
        if let [one] = open[..] {
            // What is left is known exactly unless the tensor is empty.
            let others = sizes.iter().all(|s| !matches!(s, Size::Fixed(0)));
            if others {
                sizes[one] = Size::Fixed(-1);
            }
        }
        let shape = self.shape_of_sizes(&sizes)?;
        let same = x.shape().and_then(|s| s.fixed()).is_some_and(|s| {
            let wanted = sizes.iter().map(|s| if let Size::Fixed(n) = s { *n } else { -1 });
            s.iter().map(|n| *n as i64).eq(wanted)
        });
        if same { Ok(x.clone()) } else { Ok(self.push(mb::reshape(x, shape))?) }
    }

    /// The tensor with dimensions of size 1 at these places of the result.
    pub(crate) fn expand_dims(&mut self, x: &Value, axes: &[usize]) -> Result<Value, Refusal> {
        if axes.is_empty() {
            return Ok(x.clone());
        }
        let axes: Vec<i64> = axes.iter().map(|a| *a as i64).collect();
        self.push(mb::expand_dims(x, axes))
    }

    /// The tensor without these dimensions, which are of size 1.
    pub(crate) fn squeeze(&mut self, x: &Value, axes: &[usize]) -> Result<Value, Refusal> {
        if axes.is_empty() {
            return Ok(x.clone());
        }
        let axes: Vec<i64> = axes.iter().map(|a| *a as i64).collect();
        self.push(mb::squeeze(x).axes(axes))
    }

    /// The dimensions in another order; nothing where they are in this order.
    pub(crate) fn transpose(&mut self, x: &Value, perm: &[usize]) -> Result<Value, Refusal> {
        if perm.iter().copied().eq(0..perm.len()) {
            return Ok(x.clone());
        }
        let perm: Vec<i64> = perm.iter().map(|p| *p as i64).collect();
        self.push(mb::transpose(x, perm))
    }

    /// The tensor repeated to these sizes, by numpy's rule: dimensions of size 1 are repeated, missing ones put in front.
    pub(crate) fn broadcast_to(&mut self, x: &Value, sizes: &[Size]) -> Result<Value, Refusal> {
        let rank = x.shape().map_or(0, |s| s.rank());
        let front: Vec<usize> = (0..sizes.len().saturating_sub(rank)).collect();
        let x = self.expand_dims(x, &front)?;
        let mut reps = Vec::with_capacity(sizes.len());
        for (axis, size) in sizes.iter().enumerate() {
            let here = x.shape().and_then(|s| s.get(axis)).and_then(Dim::fixed);
            reps.push(match (here, size) {
                (Some(1), size) => size.clone(),
                _ => Size::Fixed(1),
            });
        }
        if reps.iter().all(|r| matches!(r, Size::Fixed(1))) {
            return Ok(x);
        }
        let reps = self.shape_of_sizes(&reps)?;
        if x.dtype() == Some(DType::Bool) {
            // `tile` has no bools before iOS17, and no need of them.
            let wide = self.cast(&x, DType::I32)?;
            let wide = self.push(mb::tile(&wide, reps))?;
            return self.cast(&wide, DType::Bool);
        }
        self.push(mb::tile(&x, reps))
    }

    /// Part of the last dimension.
    pub(crate) fn last(&mut self, x: &Value, begin: i64, end: i64, step: i64) -> Result<Value, Refusal> {
        let rank = x.shape().map_or(1, |s| s.rank());
        let (mut begins, mut ends, mut steps, mut all) =
            (vec![0; rank], vec![0; rank], vec![1; rank], vec![true; rank]);
        (begins[rank - 1], ends[rank - 1], steps[rank - 1], all[rank - 1]) = (begin, end, step, false);
        self.push(mb::slice_by_index(x, begins, ends).stride(steps).begin_mask(all.clone()).end_mask(all))
    }
}
