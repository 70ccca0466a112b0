//! What the shadows of programs are made of: types and functions that rust-analyzer shows and nobody runs.

use mil_core::op::Operand;

/// A value whose type could not be inferred.
#[derive(Clone, Copy, Debug)]
pub struct Unknown;

/// A list of values.
#[derive(Clone, Copy, Debug)]
pub struct List;

impl List {
    #[allow(clippy::new_without_default, missing_docs)]
    pub fn new() -> List {
        List
    }

    /// One more.
    #[must_use]
    pub fn with<T>(self, _: T) -> List {
        self
    }
}

/// A value of a type.
pub fn any<T>() -> T {
    never()
}

/// The value of a call.
pub fn of<C, T>(_: C) -> T {
    never()
}

/// The value behind an expression that may be a reference.
pub fn own<C, T>(_: C) -> T {
    never()
}

/// The body of a function whose program has problems, which the compiler has told.
pub fn failed<T>() -> T {
    never()
}

fn never<T>() -> T {
    unreachable!("a program's shadow does not run")
}

macro_rules! operands {
    ($(<$($d:ident),*> $t:ty;)*) => {$(
        impl<T, $(const $d: usize),*> From<$t> for Operand {
            fn from(_: $t) -> Operand { never() }
        }

        impl<T, $(const $d: usize),*> From<&$t> for Operand {
            fn from(_: &$t) -> Operand { never() }
        }
    )*};
}

macro_rules! plain_operands {
    ($($t:ty),*) => {$(
        impl From<$t> for Operand {
            fn from(_: $t) -> Operand { never() }
        }

        impl From<&$t> for Operand {
            fn from(_: &$t) -> Operand { never() }
        }
    )*};
}
plain_operands!(Unknown, List, super::Weights);

/// One `Tensor` per rank, so that what the IDE shows reads as the user writes it: `Tensor<f32, 1, 5>`, without filler.
#[allow(missing_docs)]
pub mod shape {
    use super::{Operand, never};
    use std::marker::PhantomData;

    macro_rules! rank {
        ($module:ident $($d:ident)*) => {
            pub mod $module {
                use super::*;

                #[derive(Clone, Copy, Debug)]
                pub struct Tensor<T, $(const $d: usize),*>(PhantomData<T>);

                #[derive(Clone, Copy, Debug)]
                pub struct Weight<T, $(const $d: usize),*>(PhantomData<T>);
            }
            operands! { <$($d),*> $module::Tensor<T, $($d),*>; <$($d),*> $module::Weight<T, $($d),*>; }
        };
    }
    rank!(r0);
    rank!(r1 A);
    rank!(r2 A B);
    rank!(r3 A B C);
    rank!(r4 A B C D);
    rank!(r5 A B C D E);
}
