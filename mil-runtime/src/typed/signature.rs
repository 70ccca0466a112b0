//! From a program's signature to the tensors that go in and come out.

use mil_core::types::DType;

use super::Tensor;
use crate::{AnyTensor, RunError, tensor::Number};

/// A tensor type that a signature can have: [`Tensor`].
pub trait HostTensor: Sized {
    /// Element type.
    const DTYPE: DType;

    /// The tensor without its type.
    fn into_any(self) -> AnyTensor;

    /// The tensor with its type again.
    ///
    /// # Errors
    /// If dtype or shape are not the type's.
    fn from_any(tensor: &AnyTensor) -> Result<Self, RunError>;
}

impl<T: Number, const D0: usize, const D1: usize, const D2: usize, const D3: usize, const D4: usize> HostTensor
    for Tensor<T, D0, D1, D2, D3, D4>
{
    const DTYPE: DType = T::DTYPE;

    fn into_any(self) -> AnyTensor {
        let shape = self.shape().to_vec();
        let data = T::data(self.into_vec());
        // A `Tensor` has as many elements as its shape says, which is all that is checked.
        AnyTensor::from_data(shape, data).unwrap_or_else(|e| unreachable!("{e}"))
    }

    fn from_any(tensor: &AnyTensor) -> Result<Self, RunError> {
        let elements = tensor.as_slice::<T>();
        let elements = elements
            .ok_or_else(|| RunError::new(format!("expected a tensor of {}, found {}", T::DTYPE, tensor.ty())))?;
        Tensor::new(tensor.shape(), elements.to_vec())
    }
}

/// The inputs of a signature: a tuple of tensors.
pub trait Inputs {
    /// The tensors, in order.
    fn into_any(self) -> Vec<AnyTensor>;
}

/// The outputs of a signature: one tensor, or a tuple.
pub trait Outputs: Sized {
    /// From the outputs, in order.
    ///
    /// # Errors
    /// If their number, dtypes or shapes are not the signature's.
    fn from_any(tensors: &[AnyTensor]) -> Result<Self, RunError>;
}

impl<T: HostTensor> Outputs for T {
    fn from_any(tensors: &[AnyTensor]) -> Result<T, RunError> {
        match tensors {
            [one] => HostTensor::from_any(one),
            all => Err(RunError::new(format!("expected one output, found {}", all.len()))),
        }
    }
}

/// The signature of a program: `fn(Tensor<f32, 2>) -> Tensor<f32, 2>`.
pub trait Signature {
    /// A tuple of tensors.
    type Inputs: Inputs;
    /// One tensor, or a tuple.
    type Outputs: Outputs;
}

macro_rules! tuples {
    ($($name:ident)*) => {
        impl<$($name: HostTensor),*> Inputs for ($($name,)*) {
            #[allow(non_snake_case)]
            fn into_any(self) -> Vec<AnyTensor> {
                let ($($name,)*) = self;
                vec![$($name.into_any()),*]
            }
        }

        impl<$($name: HostTensor),*> Outputs for ($($name,)*) {
            #[allow(non_snake_case, unused_variables)]
            fn from_any(tensors: &[AnyTensor]) -> Result<Self, RunError> {
                let count = [$(stringify!($name)),*].len();
                if tensors.len() != count {
                    return Err(RunError::new(format!("expected {count} outputs, found {}", tensors.len())));
                }
                let mut rest = tensors.iter();
                $(let $name = match rest.next() {
                    Some(t) => HostTensor::from_any(t)?,
                    None => return Err(RunError::new("an output is missing")),
                };)*
                Ok(($($name,)*))
            }
        }

        impl<$($name: HostTensor,)* R: Outputs> Signature for fn($($name),*) -> R {
            type Inputs = ($($name,)*);
            type Outputs = R;
        }
    };
}

macro_rules! all_tuples {
    ($first:ident $($rest:ident)*) => { tuples!($first $($rest)*); all_tuples!($($rest)*); };
    () => {
        impl<R: Outputs> Signature for fn() -> R {
            type Inputs = ();
            type Outputs = R;
        }

        impl Inputs for () {
            fn into_any(self) -> Vec<AnyTensor> {
                vec![]
            }
        }
    };
}
all_tuples!(A0 A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12 A13 A14 A15);

#[cfg(test)]
mod tests {
    use super::*;

    type Example = fn(Tensor<f32, 2>, Tensor<i32>) -> (Tensor<f32, 2>, Tensor<i32, 1>);

    #[test]
    fn tensors_go_in_and_come_out() {
        let inputs: <Example as Signature>::Inputs = (Tensor::from([1.0, 2.0]), Tensor::scalar(7));
        let any = Inputs::into_any(inputs);
        assert_eq!((any[0].ty().to_string(), any[1].ty().to_string()), ("Tensor<f32, 2>".into(), "Tensor<i32>".into()));
        let one = AnyTensor::new([1], vec![3i32]).unwrap();
        let (a, b) = <<Example as Signature>::Outputs>::from_any(&[any[0].clone(), one.clone()]).unwrap();
        assert_eq!((a[[1]], b[[0]]), (2.0, 3));
        let e = <<Example as Signature>::Outputs>::from_any(&[one.clone(), one]).unwrap_err().to_string();
        assert_eq!(e, "expected a tensor of f32, found Tensor<i32, 1>");
        let e = <Tensor<f32, 3> as HostTensor>::from_any(&any[0]).unwrap_err().to_string();
        assert_eq!(e, "expected a tensor of shape [3], found [2]");
    }
}
