//! Choosing between tensors, and products with vectors, as Core ML's readers want them.

use mil_core::{graph::Value, mb, types::Dim};

use super::{Lowering, Refusal, Size};

impl Lowering {
    /// `a` where the condition holds, else `b`. MIL says the shape of a `select` to be that of `a` and `b` (so coremltools infers it),
    /// so that a condition that has dimensions which neither of them has wants one of them repeated.
    pub(crate) fn select(&mut self, condition: &Value, a: &Value, b: &Value) -> Result<Value, Refusal> {
        let dims = |v: &Value| v.shape().map(|s| s.to_vec()).unwrap_or_default();
        let (wanted, x, y) = (dims(condition), dims(a), dims(b));
        let from_end = |v: &[Dim], i: usize| v.len().checked_sub(i + 1).map(|at| v[at].clone());
        let one = Dim::from(1);
        let missing = |i: usize| {
            let dim = from_end(&wanted, i).unwrap_or(one.clone());
            let has = |v: &[Dim]| from_end(v, i).is_some_and(|d| d != one);
            (i >= x.len() && i >= y.len()) || (dim != one && !has(&x) && !has(&y))
        };
        if !(0..wanted.len()).any(missing) {
            return self.push(mb::select(condition, a, b));
        }
        let rank = wanted.len().max(y.len());
        let mut sizes = Vec::with_capacity(rank);
        for i in (0..rank).rev() {
            let own = from_end(&y, i).filter(|d| *d != one);
            sizes.push(match own {
                Some(_) => self.size(b, y.len() - 1 - i)?,
                None if i < wanted.len() => self.size(condition, wanted.len() - 1 - i)?,
                None => Size::Fixed(1),
            });
        }
        let b = self.broadcast_to(b, &sizes)?;
        self.push(mb::select(condition, a, &b))
    }

    /// The product of matrices, either of which may be a vector, by numpy's rule. MIL's `matmul` takes vectors, but coremltools
    /// does not read it then.
    pub(crate) fn matmul(&mut self, x: &Value, y: &Value) -> Result<Value, Refusal> {
        let rank = |v: &Value| v.shape().map_or(0, |s| s.rank());
        let (row, column) = (rank(x) == 1, rank(y) == 1);
        let x = self.expand_dims(x, if row { &[0] } else { &[] })?;
        let y = self.expand_dims(y, if column { &[1] } else { &[] })?;
        let z = self.push(mb::matmul(&x, &y))?;
        let last = rank(&z);
        let axes: Vec<usize> = [(row, 2), (column, 1)].iter().filter(|(is, _)| *is).map(|(_, n)| last - n).collect();
        self.squeeze(&z, &axes)
    }
}

#[cfg(test)]
mod tests {
    use mil_core::types::{DType, Opset, TensorType};

    use super::*;

    fn value(l: &mut Lowering, dtype: DType, sizes: &[usize]) -> Value {
        l.graph().input("x", TensorType::new(dtype, sizes))
    }

    fn shape(v: &Value) -> Vec<usize> {
        v.shape().and_then(|s| s.fixed()).unwrap()
    }

    fn kinds(l: Lowering, v: &Value) -> Vec<&'static str> {
        let program = l.finish().0.finish([("y", v.clone())]).unwrap();
        let main = program.main().unwrap();
        main.walk().into_iter().map(|op| main.op(op).def.name).filter(|name| *name != "const").collect()
    }

    #[test]
    fn a_branch_is_as_large_as_the_condition() {
        for (a, b, repeated) in
            [(vec![], vec![], true), (vec![2, 3], vec![], false), (vec![3], vec![2, 1], false), (vec![3], vec![], true)]
        {
            let mut l = Lowering::new(Opset::iOS15);
            let condition = value(&mut l, DType::Bool, &[2, 3]);
            let (a, b) = (value(&mut l, DType::F32, &a), value(&mut l, DType::F32, &b));
            let y = l.select(&condition, &a, &b).unwrap();
            assert_eq!(shape(&y), [2, 3]);
            assert_eq!(kinds(l, &y).contains(&"tile"), repeated, "{a:?} {b:?}");
        }
    }

    #[test]
    fn products_with_vectors_are_of_matrices() {
        for (x, y, z) in [
            (vec![4], vec![4], vec![]),
            (vec![4], vec![2, 4, 3], vec![2, 3]),
            (vec![2, 5, 4], vec![4], vec![2, 5]),
            (vec![5, 4], vec![4, 3], vec![5, 3]),
        ] {
            let mut l = Lowering::new(Opset::iOS15);
            let (x, y) = (value(&mut l, DType::F32, &x), value(&mut l, DType::F32, &y));
            let product = l.matmul(&x, &y).unwrap();
            assert_eq!(shape(&product), z);
        }
    }
}
