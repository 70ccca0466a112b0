//! Host tensors with their dimensions in their type.

use std::{fmt, ops::Index};

use mil_core::ir::Element;

use crate::RunError;

/// The dimension that a tensor does not have: `Tensor<f32, 3>` is `Tensor<f32, 3, NONE, NONE, NONE, NONE>`.
pub const NONE: usize = usize::MAX;

/// A dimension of any size: what a flexible dimension of a program is in its signature.
pub const DYN: usize = usize::MAX - 1;

/// A tensor in memory, row-major: element type, then one const argument per dimension, up to five.
///
/// The dimensions are part of the type, so that a wrong one is found when the program compiles. [`DYN`] is a dimension of
/// any size.
///
/// ```
/// use mil_runtime::typed::{DYN, Tensor};
///
/// let a = Tensor::from([[1.0f32, 2.0, 3.0], [4.0, 5.0, 6.0]]); // Tensor<f32, 2, 3>
/// assert_eq!(a[[1, 2]], 6.0);
/// let b: Tensor<f32, DYN, 3> = Tensor::new([2, 3], a.into_vec())?;
/// assert_eq!(b.shape(), [2, 3]);
/// assert!(Tensor::<f32, DYN, 3>::new([3, 2], vec![0.0; 6]).is_err());
/// # Ok::<(), mil_runtime::RunError>(())
/// ```
#[derive(Clone, PartialEq)]
pub struct Tensor<
    T,
    const D0: usize = NONE,
    const D1: usize = NONE,
    const D2: usize = NONE,
    const D3: usize = NONE,
    const D4: usize = NONE,
> {
    shape: Vec<usize>,
    data: Vec<T>,
}

impl<T, const D0: usize, const D1: usize, const D2: usize, const D3: usize, const D4: usize>
    Tensor<T, D0, D1, D2, D3, D4>
{
    /// The dimensions that the type says; [`DYN`] among them for those of any size.
    pub fn dims() -> Vec<usize> {
        [D0, D1, D2, D3, D4].into_iter().take_while(|d| *d != NONE).collect()
    }

    /// A tensor of these elements, row-major.
    ///
    /// # Errors
    /// If the shape is not the type's, or the elements are not exactly as many as the shape has.
    pub fn new(shape: impl Into<Vec<usize>>, data: Vec<T>) -> Result<Self, RunError> {
        let (shape, dims) = (shape.into(), Self::dims());
        let fits = |(size, dim): (&usize, &usize)| *dim == DYN || size == dim;
        if shape.len() != dims.len() || !shape.iter().zip(&dims).all(fits) {
            return Err(RunError::new(format!("expected a tensor of shape {}, found {shape:?}", describe(&dims))));
        }
        let count = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        if count != Some(data.len()) {
            return Err(RunError::new(format!("{} elements given for a tensor of shape {shape:?}", data.len())));
        }
        Ok(Tensor { shape, data })
    }

    /// A tensor of these elements, its shape being all in its type.
    ///
    /// # Errors
    /// If a dimension is [`DYN`], or the elements are not exactly as many as the shape has.
    pub fn from_vec(data: Vec<T>) -> Result<Self, RunError> {
        let dims = Self::dims();
        if dims.contains(&DYN) {
            return Err(RunError::new("the shape is not all in the type; use `Tensor::new(shape, data)`"));
        }
        Tensor::new(dims, data)
    }

    /// Sizes, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements, row-major.
    pub fn as_slice(&self) -> &[T] {
        &self.data
    }

    /// The elements, row-major, to change in place.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.data
    }

    /// The elements, row-major.
    pub fn into_vec(self) -> Vec<T> {
        self.data
    }

    /// Each element through a function.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Tensor<U, D0, D1, D2, D3, D4> {
        Tensor { shape: self.shape, data: self.data.into_iter().map(f).collect() }
    }
}

impl<T> Tensor<T> {
    /// A tensor of rank 0.
    pub fn scalar(value: T) -> Tensor<T> {
        Tensor { shape: vec![], data: vec![value] }
    }

    /// The element of a tensor of rank 0.
    pub fn value(&self) -> &T {
        &self.data[0]
    }
}

/// `[2, _, 3]`.
fn describe(dims: &[usize]) -> String {
    let words = dims.iter().map(|d| if *d == DYN { "_".to_string() } else { d.to_string() });
    format!("[{}]", words.collect::<Vec<_>>().join(", "))
}

/// The element at an index per dimension.
///
/// # Panics
/// If there are not as many indices as dimensions, or one is out of range, as slices do.
impl<T, const N: usize, const D0: usize, const D1: usize, const D2: usize, const D3: usize, const D4: usize>
    Index<[usize; N]> for Tensor<T, D0, D1, D2, D3, D4>
{
    type Output = T;

    #[track_caller]
    fn index(&self, index: [usize; N]) -> &T {
        assert_eq!(N, self.shape.len(), "{N} indices for a tensor of shape {:?}", self.shape);
        let flat = index.iter().zip(&self.shape).fold(0, |at, (i, size)| {
            assert!(i < size, "index {index:?} out of range for a tensor of shape {:?}", self.shape);
            at * size + i
        });
        &self.data[flat]
    }
}

impl<T: Element, const D0: usize, const D1: usize, const D2: usize, const D3: usize, const D4: usize> fmt::Debug
    for Tensor<T, D0, D1, D2, D3, D4>
where
    T: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor<{}", T::DTYPE)?;
        self.shape.iter().try_for_each(|d| write!(f, ", {d}"))?;
        f.write_str("> ")?;
        match self.data.len() {
            0..=64 => fmt::Debug::fmt(&self.data, f),
            n => write!(f, "[{:?}, .. {n} elements]", self.data[0]),
        }
    }
}

impl<T: Element, const A: usize> From<[T; A]> for Tensor<T, A> {
    fn from(v: [T; A]) -> Self {
        Tensor { shape: vec![A], data: v.into() }
    }
}

impl<T: Element, const A: usize, const B: usize> From<[[T; B]; A]> for Tensor<T, A, B> {
    fn from(v: [[T; B]; A]) -> Self {
        Tensor { shape: vec![A, B], data: v.into_iter().flatten().collect() }
    }
}

impl<T: Element, const A: usize, const B: usize, const C: usize> From<[[[T; C]; B]; A]> for Tensor<T, A, B, C> {
    fn from(v: [[[T; C]; B]; A]) -> Self {
        Tensor { shape: vec![A, B, C], data: v.into_iter().flatten().flatten().collect() }
    }
}

impl<T: Element, const A: usize, const B: usize, const C: usize, const D: usize> From<[[[[T; D]; C]; B]; A]>
    for Tensor<T, A, B, C, D>
{
    fn from(v: [[[[T; D]; C]; B]; A]) -> Self {
        Tensor { shape: vec![A, B, C, D], data: v.into_iter().flatten().flatten().flatten().collect() }
    }
}

/// [`Tensor::from_vec`].
impl<T, const D0: usize, const D1: usize, const D2: usize, const D3: usize, const D4: usize> TryFrom<Vec<T>>
    for Tensor<T, D0, D1, D2, D3, D4>
{
    type Error = RunError;
    fn try_from(data: Vec<T>) -> Result<Self, RunError> {
        Tensor::from_vec(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_checked() {
        let e = Tensor::<f32, 2, DYN>::new([3, 2], vec![0.0; 6]).unwrap_err().to_string();
        assert_eq!(e, "expected a tensor of shape [2, _], found [3, 2]");
        assert!(Tensor::<f32, 2>::new([2, 1], vec![0.0; 2]).is_err());
        assert!(Tensor::<f32, 2>::from_vec(vec![0.0; 3]).unwrap_err().to_string().contains("3 elements"));
        assert!(Tensor::<f32, DYN>::from_vec(vec![0.0]).is_err());
        assert!(Tensor::<f32, DYN, DYN>::new([usize::MAX, 2], vec![]).is_err());
        assert_eq!(*Tensor::scalar(3).value(), 3);
    }

    #[test]
    fn nested_arrays_and_indices() {
        let t = Tensor::from([[[1, 2], [3, 4], [5, 6]]]);
        let t: Tensor<i32, 1, 3, 2> = t;
        assert_eq!((t.shape(), t[[0, 2, 1]]), (&[1, 3, 2][..], 6));
        assert_eq!(format!("{:?}", Tensor::from([1.5f32])), "Tensor<f32, 1> [1.5]");
        assert_eq!(Tensor::from([1, 2]).map(|v| v * 2), Tensor::from([2, 4]));
    }

    #[test]
    #[should_panic(expected = "out of range")]
    fn indices_are_checked() {
        let _ = Tensor::from([[1, 2], [3, 4]])[[0, 2]];
    }
}
