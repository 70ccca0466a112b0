//! Types <-> messages.

use std::borrow::Cow;

use super::{SpecError, mil};
use crate::types::{DType, Dim, TensorType, Type, scope_id};

macro_rules! data_types {
    ($($dtype:ident = $proto:ident),* $(,)?) => {
        /// The message's number for a dtype.
        pub(crate) fn data_type(dtype: DType) -> mil::DataType {
            match dtype { $(DType::$dtype => mil::DataType::$proto),* }
        }

        /// The dtype of a number in a message.
        pub(crate) fn dtype(number: i32) -> Result<DType, SpecError> {
            match mil::DataType::try_from(number) {
                $(Ok(mil::DataType::$proto) => Ok(DType::$dtype),)*
                _ => Err(SpecError::new(format!("{number} is no data type"))),
            }
        }
    };
}
data_types! {
    F16 = Float16, F32 = Float32, F64 = Float64, BF16 = Bfloat16, F8E4M3FN = Float8e4m3fn, F8E5M2 = Float8e5m2,
    I4 = Int4, I8 = Int8, I16 = Int16, I32 = Int32, I64 = Int64,
    U1 = Uint1, U2 = Uint2, U3 = Uint3, U4 = Uint4, U6 = Uint6, U8 = Uint8, U16 = Uint16, U32 = Uint32, U64 = Uint64,
    Bool = Bool, String = String,
}

fn dimension(dim: &Dim) -> mil::Dimension {
    use mil::dimension::{ConstantDimension, Dimension, UnknownDimension};
    let dimension = match dim.fixed() {
        Some(size) => Dimension::Constant(ConstantDimension { size: size as u64 }),
        None => Dimension::Unknown(UnknownDimension { variadic: false }),
    };
    mil::Dimension { dimension: Some(dimension) }
}

pub(crate) fn tensor_type(ty: &TensorType) -> mil::TensorType {
    mil::TensorType {
        data_type: data_type(ty.dtype).into(),
        rank: ty.rank() as i64,
        dimensions: ty.shape.iter().map(dimension).collect(),
        attributes: Default::default(),
    }
}

/// A type as a message. Symbols become unknown dimensions: the format has no names for sizes.
pub(crate) fn value_type(ty: &Type) -> mil::ValueType {
    use mil::value_type::Type as T;
    let boxed = |t: &Type| Some(Box::new(value_type(t)));
    let kind = match ty {
        Type::Tensor(t) => T::TensorType(tensor_type(t)),
        Type::State(t) => {
            let wrapped_type = Some(Box::new(mil::ValueType { r#type: Some(T::TensorType(tensor_type(t))) }));
            T::StateType(Box::new(mil::StateType { wrapped_type }))
        }
        Type::List(t, n) => T::ListType(Box::new(mil::ListType { r#type: boxed(t), length: Some(dimension(n)) })),
        Type::Tuple(types) => T::TupleType(mil::TupleType { types: types.iter().map(value_type).collect() }),
        Type::Dictionary(k, v) => {
            T::DictionaryType(Box::new(mil::DictionaryType { key_type: boxed(k), value_type: boxed(v) }))
        }
    };
    mil::ValueType { r#type: Some(kind) }
}

/// No tensor has more dimensions: Core ML takes five, and constants of packed weights have a few more.
pub(crate) const MAX_RANK: usize = 32;

/// How unknown dimensions are named when types are read: after the value, so that each is its own.
pub(crate) struct Unknowns<'a> {
    name: Cow<'a, str>,
    count: usize,
}

impl<'a> Unknowns<'a> {
    pub(crate) fn of(value: &'a str) -> Unknowns<'a> {
        Unknowns { name: scope_id(value), count: 0 }
    }

    fn next(&mut self) -> Dim {
        self.count += 1;
        Dim::unknown(format_args!("{}.{}", self.name, self.count))
    }
}

fn read_dimension(d: &mil::Dimension, unknowns: &mut Unknowns<'_>) -> Result<Dim, SpecError> {
    use mil::dimension::Dimension;
    match &d.dimension {
        Some(Dimension::Constant(c)) => i64::try_from(c.size)
            .map(Dim::from)
            .map_err(|_| SpecError::new(format!("a dimension of size {} is too large", c.size))),
        Some(Dimension::Unknown(u)) if u.variadic => {
            Err(SpecError::new("a tensor of unknown rank is not supported; convert the model with fixed ranks"))
        }
        Some(Dimension::Unknown(_)) => Ok(unknowns.next()),
        None => Err(SpecError::new("a dimension is neither constant nor unknown")),
    }
}

pub(crate) fn read_tensor_type(t: &mil::TensorType, unknowns: &mut Unknowns<'_>) -> Result<TensorType, SpecError> {
    if t.rank != t.dimensions.len() as i64 {
        let message = format!("a tensor type says rank {} but has {} dimensions", t.rank, t.dimensions.len());
        return Err(SpecError::new(message));
    }
    if t.dimensions.len() > MAX_RANK {
        return Err(SpecError::new(format!("a tensor of rank {} is not supported; at most {MAX_RANK}", t.rank)));
    }
    let dims = t.dimensions.iter().map(|d| read_dimension(d, unknowns)).collect::<Result<Vec<_>, _>>()?;
    Ok(TensorType::new(dtype(t.data_type)?, dims))
}

/// A type out of a message.
pub(crate) fn read_type(ty: &mil::ValueType, unknowns: &mut Unknowns<'_>) -> Result<Type, SpecError> {
    use mil::value_type::Type as T;
    let missing = || SpecError::new("a type is incomplete");
    let mut inner = |t: &Option<Box<mil::ValueType>>| -> Result<Box<Type>, SpecError> {
        Ok(Box::new(read_type(t.as_deref().ok_or_else(missing)?, unknowns)?))
    };
    Ok(match ty.r#type.as_ref().ok_or_else(missing)? {
        T::TensorType(t) => Type::Tensor(read_tensor_type(t, unknowns)?),
        T::ListType(l) => {
            let element = inner(&l.r#type)?;
            let length = l.length.as_ref().ok_or_else(missing)?;
            Type::List(element, read_dimension(length, unknowns)?)
        }
        T::TupleType(t) => Type::Tuple(t.types.iter().map(|t| read_type(t, unknowns)).collect::<Result<_, _>>()?),
        T::DictionaryType(d) => Type::Dictionary(inner(&d.key_type)?, inner(&d.value_type)?),
        T::StateType(s) => match *inner(&s.wrapped_type)? {
            Type::Tensor(t) => Type::State(t),
            other => return Err(SpecError::new(format!("a state holds a tensor, found {other}"))),
        },
    })
}
