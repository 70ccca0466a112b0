//! Axes, and places along them, that only the run knows. All numbers are scalars of `i32`.

use mil_core::{graph::Value, mb, types::DType};

use super::{Lowering, Refusal};

impl Lowering {
    /// An element of a list of numbers as a scalar.
    pub(crate) fn scalar_at(&mut self, list: &Value, at: usize) -> Result<Value, Refusal> {
        if list.shape().is_none_or(|s| s.rank() == 0) {
            return Ok(list.clone());
        }
        let at = at as i64;
        self.push(mb::slice_by_index(list, [at], [at + 1]).squeeze_mask([true]))
    }

    /// The size of a dimension as a scalar.
    pub(crate) fn scalar_size_of(&mut self, x: &Value, axis: usize) -> Result<Value, Refusal> {
        let size = self.size(x, axis)?;
        self.scalar_size(&size)
    }

    /// What lists say of an axis, `axes` being the list of those that they speak of: an element of each list, or the number
    /// beside it where the axis is not among them.
    pub(crate) fn said_of_axis<const N: usize>(
        &mut self,
        axis: usize,
        rank: usize,
        axes: &Value,
        lists: [(&Value, &Value); N],
    ) -> Result<[Value; N], Refusal> {
        let (from_start, from_end) = (axis as i64, axis as i64 - rank as i64);
        let (from_start, from_end) = (self.push(mb::equal(axes, from_start))?, self.push(mb::equal(axes, from_end))?);
        let is = self.push(mb::logical_or(&from_start, &from_end))?;
        let is = self.cast(&is, DType::I32)?;
        let named = self.push(mb::reduce_max(&is).axes([0]).keep_dims(false))?;
        let named = self.cast(&named, DType::Bool)?;
        let mut all = vec![];
        for (list, otherwise) in lists {
            let own = self.push(mb::mul(&is, list))?;
            let own = self.push(mb::reduce_sum(&own).axes([0]).keep_dims(false))?;
            all.push(self.select(&named, &own, otherwise)?);
        }
        all.try_into().map_err(|_| Refusal::new("its lists differ"))
    }

    /// A place along an axis as a slice means it: counted from the end if it is negative, and moved to the border if it is
    /// beyond. With a step that leads backwards the borders are those before the first and at the last element.
    pub(crate) fn slice_place(&mut self, place: &Value, size: &Value, step: &Value) -> Result<Value, Refusal> {
        let raised = self.push(mb::add(place, size))?;
        let negative = self.push(mb::less(place, 0))?;
        let place = self.select(&negative, &raised, place)?;
        let (one, zero) = (self.number(DType::I32, -1.0)?, self.number(DType::I32, 0.0)?);
        let backwards = self.push(mb::less(step, 0))?;
        let low = self.select(&backwards, &one, &zero)?;
        let high = self.push(mb::add(size, &low))?;
        let place = self.push(mb::maximum(&place, &low))?;
        self.push(mb::minimum(&place, &high))
    }

    /// The elements along an axis from one place to another, both within the borders, in steps of any sign.
    pub(crate) fn stride(&mut self, x: &Value, axis: usize, [begin, end, step]: [&Value; 3]) -> Result<Value, Refusal> {
        let (furthest, nearest) = (self.push(mb::maximum(begin, end))?, self.push(mb::minimum(begin, end))?);
        let backwards = self.push(mb::less(step, 0))?;
        // What leads away from its end is empty.
        let end = self.select(&backwards, &nearest, &furthest)?;
        let index = self.push(mb::range_1d(&end, begin, step))?;
        self.elements(x, axis, &index)
    }

    /// The elements of an axis from one place up to another, either of which may be outside: there is a number, a scalar of the
    /// tensor's dtype.
    pub(crate) fn window(
        &mut self,
        x: &Value,
        axis: usize,
        [first, end]: [&Value; 2],
        number: &Value,
    ) -> Result<Value, Refusal> {
        let size = self.scalar_size_of(x, axis)?;
        let index = self.push(mb::range_1d(end, first, 1))?;
        let within = self.within(&index, &size)?;
        let inside = self.push(mb::equal(&index, &within))?;
        let inside = self.mask_along(&inside, axis, x.shape().map_or(0, |s| s.rank()))?;
        self.without_bools(x, |l, x| {
            let y = l.push(mb::gather(x, &within).axis(axis as i64))?;
            let number = l.cast(number, y.dtype().unwrap_or(DType::F32))?;
            l.select(&inside, &y, &number)
        })
    }

    /// Slices of a tensor of any dtype, by their places along an axis.
    pub(crate) fn elements(&mut self, x: &Value, axis: usize, index: &Value) -> Result<Value, Refusal> {
        self.without_bools(x, |l, x| l.push(mb::gather(x, index).axis(axis as i64)))
    }

    /// Indices, those outside being moved to the outermost elements.
    pub(crate) fn within(&mut self, index: &Value, size: &Value) -> Result<Value, Refusal> {
        let last = self.push(mb::sub(size, 1))?;
        let index = self.push(mb::minimum(index, &last))?;
        self.push(mb::maximum(&index, 0))
    }

    /// A vector of bools as one that runs along an axis of tensors of this rank.
    pub(crate) fn mask_along(&mut self, mask: &Value, axis: usize, rank: usize) -> Result<Value, Refusal> {
        // Reshaped as integers: before iOS17 there is no `reshape` of bools.
        let mask = self.cast(mask, DType::I32)?;
        let mask = self.along(&mask, axis, rank)?;
        self.cast(&mask, DType::Bool)
    }
}

#[cfg(test)]
mod tests {
    use mil_core::types::Opset;

    use super::*;

    fn int(l: &mut Lowering, n: i64) -> Value {
        l.number(DType::I32, n as f64).unwrap()
    }

    fn ints(v: &Value) -> Vec<i64> {
        v.known().and_then(|k| k.constant()).and_then(|c| c.ints()).unwrap()
    }

    #[test]
    fn slices_take_what_python_takes() {
        let mut l = Lowering::new(Opset::iOS15);
        let x = l.ints(&[0, 1, 2, 3, 4]).unwrap();
        let (min, max) = (i64::from(i32::MIN), i64::from(i32::MAX));
        for (begin, end, step, wanted) in [
            (0, 5, 1, vec![0, 1, 2, 3, 4]),
            (-3, max, 1, vec![2, 3, 4]),
            (min, -1, 2, vec![0, 2]),
            (max, min, -1, vec![4, 3, 2, 1, 0]),
            (-1, 0, -2, vec![4, 2]),
            (3, -6, -1, vec![3, 2, 1, 0]),
        ] {
            let (size, step) = (int(&mut l, 5), int(&mut l, step));
            let (begin, end) = (int(&mut l, begin), int(&mut l, end));
            let begin = l.slice_place(&begin, &size, &step).unwrap();
            let end = l.slice_place(&end, &size, &step).unwrap();
            let y = l.stride(&x, 0, [&begin, &end, &step]).unwrap();
            assert_eq!(ints(&y), wanted);
        }
    }

    #[test]
    fn lists_speak_of_axes() {
        let mut l = Lowering::new(Opset::iOS15);
        let (axes, list) = (l.ints(&[-1, 0]).unwrap(), l.ints(&[7, 8]).unwrap());
        let otherwise = int(&mut l, 5);
        let said: Vec<i64> = (0..3)
            .map(|axis| {
                let [said] = l.said_of_axis(axis, 3, &axes, [(&list, &otherwise)]).unwrap();
                ints(&said)[0]
            })
            .collect();
        assert_eq!(said, [8, 5, 7]);
    }

    #[test]
    fn windows_reach_beyond() {
        let mut l = Lowering::new(Opset::iOS15);
        let x = l.ints(&[1, 2, 3]).unwrap();
        for (first, end, wanted) in [(-1, 5, vec![9, 1, 2, 3, 9, 9]), (1, 2, vec![2]), (-2, 1, vec![9, 9, 1])] {
            let (first, end, number) = (int(&mut l, first), int(&mut l, end), int(&mut l, 9));
            assert_eq!(ints(&l.window(&x, 0, [&first, &end], &number).unwrap()), wanted);
        }
    }
}
