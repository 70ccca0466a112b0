//! From arguments to the Rust types of an op's fields.

use crate::{
    ir::{Constant, Literal},
    types::{DType, Type},
};

use super::{
    args::{AnyArg, Arg},
    error::OpError,
};

/// What a parameter's field holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ParamKind {
    /// A tensor.
    Tensor,
    /// Any number of tensors.
    Tensors,
    /// A value of any type (a state, a list).
    Any,
    /// Any number of values of any type.
    Anys,
    /// A known integer.
    Int,
    /// Known integers of rank 1.
    Ints,
    /// A known bool.
    Bool,
    /// Known bools of rank 1.
    Bools,
    /// A known number.
    Float,
    /// Known text.
    Str,
    /// A known list of scalars, which files write in place.
    List,
}

impl ParamKind {
    /// Whether it takes any number of arguments.
    pub const fn is_variadic(self) -> bool {
        matches!(self, ParamKind::Tensors | ParamKind::Anys)
    }

    /// Whether its value is read when the op is bound, so that it must be known.
    pub const fn is_read(self) -> bool {
        !matches!(self, ParamKind::Tensor | ParamKind::Tensors | ParamKind::Any | ParamKind::Anys)
    }

    /// As a message says it.
    pub const fn describe(self) -> &'static str {
        match self {
            ParamKind::Tensor => "a tensor",
            ParamKind::Tensors => "a list of tensors",
            ParamKind::Any => "a value",
            ParamKind::Anys => "a list of values",
            ParamKind::Int => "a constant integer",
            ParamKind::Ints => "a constant list of integers",
            ParamKind::Bool => "a constant `true` or `false`",
            ParamKind::Bools => "a constant list of bools",
            ParamKind::Float => "a constant number",
            ParamKind::Str => "a constant string",
            ParamKind::List => "a constant list, written in place",
        }
    }
}

/// A type that a field of an op can have.
pub trait Param: Sized {
    /// What the field holds.
    const KIND: ParamKind;

    /// From the arguments (exactly one, unless the kind is variadic).
    ///
    /// # Errors
    /// If an argument is of another kind, or its value is not known.
    fn from_args(name: &'static str, args: &[AnyArg]) -> Result<Self, OpError>;

    /// The value as a literal, for defaults that are written out; `None` for tensors.
    fn literal(&self) -> Option<Literal> {
        None
    }
}

fn misfit<T: Param>(name: &'static str, arg: &AnyArg) -> OpError {
    OpError::at(name, format!("`{name}` must be {}, found {}", T::KIND.describe(), arg.ty))
}

fn one(args: &[AnyArg]) -> Result<&AnyArg, OpError> {
    match args {
        [arg] => Ok(arg),
        _ => Err(OpError::new(format!("expected one argument, found {}", args.len()))),
    }
}

fn tensor<T: Param>(name: &'static str, arg: &AnyArg) -> Result<Arg, OpError> {
    match &arg.ty {
        Type::Tensor(ty) => Ok(Arg { id: arg.id, ty: ty.clone(), known: arg.known.clone(), is_const: arg.is_const }),
        _ => Err(misfit::<T>(name, arg)),
    }
}

impl Param for Arg {
    const KIND: ParamKind = ParamKind::Tensor;
    fn from_args(name: &'static str, args: &[AnyArg]) -> Result<Arg, OpError> {
        tensor::<Arg>(name, one(args)?)
    }
    /// A default that depends on other arguments (zeros, as many as something has elements) is a constant in place.
    fn literal(&self) -> Option<Literal> {
        let constant = self.constant().filter(|c| self.id.is_none() && c.shape().len() <= 1)?;
        let numbers = match constant.ints() {
            Some(ints) => ints.into_iter().map(Literal::Int).collect::<Vec<_>>(),
            None => constant.floats()?.into_iter().map(Literal::Float).collect(),
        };
        if constant.shape().is_empty() { numbers.into_iter().next() } else { Some(Literal::List(numbers)) }
    }
}

impl Param for Vec<Arg> {
    const KIND: ParamKind = ParamKind::Tensors;
    fn from_args(name: &'static str, args: &[AnyArg]) -> Result<Vec<Arg>, OpError> {
        let each = |(i, a)| tensor::<Arg>(name, a).map_err(|e| e.index(i));
        args.iter().enumerate().map(each).collect()
    }
}

impl Param for AnyArg {
    const KIND: ParamKind = ParamKind::Any;
    fn from_args(_: &'static str, args: &[AnyArg]) -> Result<AnyArg, OpError> {
        Ok(one(args)?.clone())
    }
}

impl Param for Vec<AnyArg> {
    const KIND: ParamKind = ParamKind::Anys;
    fn from_args(_: &'static str, args: &[AnyArg]) -> Result<Vec<AnyArg>, OpError> {
        Ok(args.to_vec())
    }
}

/// The integers or bools of a known argument of the given rank.
fn ints<T: Param>(name: &'static str, args: &[AnyArg], rank: usize, bools: bool) -> Result<Vec<i64>, OpError> {
    let arg = one(args)?;
    let bad = || misfit::<T>(name, arg);
    let ty = arg.ty.tensor().ok_or_else(bad)?;
    // Files written by hand have scalars as tensors of one element, and the other way round.
    let shape_fits = ty.rank() == rank || (ty.rank() <= 1 && ty.shape.volume().is(1));
    if (ty.dtype == DType::Bool) != bools || !shape_fits || ty.dtype == DType::String || ty.dtype.is_float() {
        return Err(bad());
    }
    let unknown = || OpError::at(name, format!("`{name}` must be known when the program is built"));
    let dims = arg.known.as_ref().and_then(|k| k.dims()).ok_or_else(unknown)?;
    dims.iter().map(|d| d.value()).collect::<Option<_>>().ok_or_else(unknown)
}

fn first(name: &'static str, values: &[i64]) -> Result<i64, OpError> {
    values.first().copied().ok_or_else(|| OpError::at(name, format!("`{name}` is empty")))
}

impl Param for i64 {
    const KIND: ParamKind = ParamKind::Int;
    fn from_args(name: &'static str, args: &[AnyArg]) -> Result<i64, OpError> {
        first(name, &ints::<i64>(name, args, 0, false)?)
    }
    fn literal(&self) -> Option<Literal> {
        Some(Literal::Int(*self))
    }
}

impl Param for Vec<i64> {
    const KIND: ParamKind = ParamKind::Ints;
    fn from_args(name: &'static str, args: &[AnyArg]) -> Result<Vec<i64>, OpError> {
        ints::<Vec<i64>>(name, args, 1, false)
    }
    fn literal(&self) -> Option<Literal> {
        Some(Literal::from(&self[..]))
    }
}

impl Param for bool {
    const KIND: ParamKind = ParamKind::Bool;
    fn from_args(name: &'static str, args: &[AnyArg]) -> Result<bool, OpError> {
        Ok(first(name, &ints::<bool>(name, args, 0, true)?)? != 0)
    }
    fn literal(&self) -> Option<Literal> {
        Some(Literal::Bool(*self))
    }
}

impl Param for Vec<bool> {
    const KIND: ParamKind = ParamKind::Bools;
    fn from_args(name: &'static str, args: &[AnyArg]) -> Result<Vec<bool>, OpError> {
        Ok(ints::<Vec<bool>>(name, args, 1, true)?.into_iter().map(|b| b != 0).collect())
    }
    fn literal(&self) -> Option<Literal> {
        Some(Literal::from(&self[..]))
    }
}

/// A number of any dtype; f64 holds every i32.
impl Param for f64 {
    const KIND: ParamKind = ParamKind::Float;
    fn from_args(name: &'static str, args: &[AnyArg]) -> Result<f64, OpError> {
        let arg = one(args)?;
        let number = arg.ty.tensor().is_some_and(|t| t.dtype.is_float() || t.dtype.is_int());
        if !number {
            return Err(misfit::<f64>(name, arg));
        }
        let known = arg.known.as_ref().and_then(|k| k.constant()).and_then(|c| c.number());
        known.ok_or_else(|| OpError::at(name, format!("`{name}` must be one number, known when the program is built")))
    }
    fn literal(&self) -> Option<Literal> {
        Some(Literal::Float(*self))
    }
}

impl Param for f32 {
    const KIND: ParamKind = ParamKind::Float;
    fn from_args(name: &'static str, args: &[AnyArg]) -> Result<f32, OpError> {
        f64::from_args(name, args).map(|v| v as f32)
    }
    fn literal(&self) -> Option<Literal> {
        // The shortest decimal that is this f32, so that 0.2f32 is the literal 0.2.
        Some(Literal::Float(self.to_string().parse().unwrap_or(f64::from(*self))))
    }
}

/// One element of any dtype that keeps it, as `fill.value` does.
impl Param for Constant {
    const KIND: ParamKind = ParamKind::Float;
    fn from_args(name: &'static str, args: &[AnyArg]) -> Result<Constant, OpError> {
        let arg = one(args)?;
        let known = arg.known.as_ref().and_then(|k| k.constant()).filter(|c| c.number().is_some());
        let unknown = || OpError::at(name, format!("`{name}` must be one number, known when the program is built"));
        known.cloned().ok_or_else(unknown)
    }
    fn literal(&self) -> Option<Literal> {
        match self.dtype() {
            DType::Bool => Some(Literal::Bool(self.number()? != 0.0)),
            d if d.is_float() => Some(Literal::Float(self.number()?)),
            _ => self.ints()?.first().map(|v| Literal::Int(*v)),
        }
    }
}

impl Param for String {
    const KIND: ParamKind = ParamKind::Str;
    fn from_args(name: &'static str, args: &[AnyArg]) -> Result<String, OpError> {
        let arg = one(args)?;
        let known = arg.known.as_ref().and_then(|k| k.constant()).and_then(|c| c.as_strings());
        known.and_then(|s| s.first().cloned()).ok_or_else(|| misfit::<String>(name, arg))
    }
    fn literal(&self) -> Option<Literal> {
        Some(Literal::Str(self.clone()))
    }
}

/// A dtype named by a string, as `cast.dtype` is.
impl Param for DType {
    const KIND: ParamKind = ParamKind::Str;
    fn from_args(name: &'static str, args: &[AnyArg]) -> Result<DType, OpError> {
        let text = String::from_args(name, args)?;
        DType::parse(&text).ok_or_else(|| OpError::at(name, format!("`{name}` names no dtype: \"{text}\"")))
    }
    fn literal(&self) -> Option<Literal> {
        Some(Literal::from(*self))
    }
}

/// Declares an enum that MIL spells as a string, as a [`Param`].
macro_rules! string_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $name { $($(#[$vdoc])* $variant),* }

        impl $name {
            /// As MIL spells it.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text),* }
            }
        }

        impl $crate::op::Param for $name {
            const KIND: $crate::op::ParamKind = $crate::op::ParamKind::Str;
            fn from_args(name: &'static str, args: &[$crate::op::AnyArg]) -> Result<$name, $crate::op::OpError> {
                let text = String::from_args(name, args)?;
                match &text[..] {
                    $($text => Ok($name::$variant),)*
                    _ => {
                        let all = [$($text),*].map(|t| format!("\"{t}\"")).join(", ");
                        Err($crate::op::OpError::at(name, format!("`{name}` must be one of {all}, found \"{text}\"")))
                    }
                }
            }
            fn literal(&self) -> Option<$crate::ir::Literal> {
                Some($crate::ir::Literal::Str(self.as_str().into()))
            }
        }
    };
}
pub(crate) use string_enum;
