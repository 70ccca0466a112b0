//! Types that stand in a program's parameter list and hold nothing: the program is lowered while it compiles, and what is
//! left of such a parameter is in the program.

use std::marker::PhantomData;

use super::NONE;

macro_rules! parameter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name<
            T,
            const D0: usize = NONE,
            const D1: usize = NONE,
            const D2: usize = NONE,
            const D3: usize = NONE,
            const D4: usize = NONE,
        >(PhantomData<T>);
    };
}

parameter! {
    /// A constant of a program that is supplied when it is built, not when it runs.
    ///
    /// A parameter `#[weight("conv1.weight")] w: Weight<f32, 64, 3, 7, 7>` of a program; without the attribute the weight is
    /// named after the parameter.
    Weight
}

parameter! {
    /// A tensor that lives between predictions: a parameter `cache: &mut State<f16, 1, 8, 64>` of a program.
    ///
    /// `*cache` is what it holds now, `*cache = x` makes it hold something else. What it holds is in a
    /// [`ModelState`](crate::ModelState), of which a model can have many.
    State
}

/// All weights of a program's file: a parameter `w: Weights` of a program.
///
/// `w["conv1.weight"]` takes one, `w.at("conv1")` is what lies under a name, so that `w.at("conv1")["weight"]` is the same.
#[derive(Clone, Copy, Debug)]
pub struct Weights(());

impl Weights {
    /// The weights whose names begin with this one and a dot.
    #[doc(hidden)] // for the shadow; a program never runs
    pub fn at(&self, _name: &str) -> Weights {
        *self
    }
}
