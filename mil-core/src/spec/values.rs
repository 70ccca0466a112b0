//! Constants and attributes <-> messages.

use super::{
    SpecError, mil,
    types::{Unknowns, read_type, tensor_type, value_type},
};
use crate::{
    ir::{Attribute, Constant, Element},
    types::{DType, TensorType, Type},
    weights::{BlobDType, BlobEntry},
};

/// Where weights go when a program is written.
pub trait WeightSink {
    /// Takes a constant, and says where it is now: file name and offset. `None`: it belongs into the message.
    ///
    /// # Errors
    /// If it cannot be written.
    fn put(&mut self, constant: &Constant) -> Result<Option<(String, u64)>, SpecError>;
}

/// Where weights come from when a program is read.
pub trait WeightSource {
    /// The constant at a place that a [`WeightSink`] named.
    ///
    /// # Errors
    /// If there is none.
    fn get(&self, file: &str, offset: u64, ty: &TensorType) -> Result<Constant, SpecError>;
}

macro_rules! blob_dtypes {
    ($($dtype:ident = $blob:ident),* $(,)?) => {
        /// The weight file's number for a dtype; `None` if it cannot hold it.
        pub fn blob_dtype(dtype: DType) -> Option<BlobDType> {
            match dtype { $(DType::$dtype => Some(BlobDType::$blob),)* _ => None }
        }
    };
}
blob_dtypes! {
    F16 = Float16, F32 = Float32, BF16 = BFloat16, F8E4M3FN = Float8E4M3FN, F8E5M2 = Float8E5M2,
    I4 = Int4, I8 = Int8, I16 = Int16, I32 = Int32,
    U1 = UInt1, U2 = UInt2, U3 = UInt3, U4 = UInt4, U6 = UInt6, U8 = UInt8, U16 = UInt16, U32 = UInt32,
}

/// The constant in a weight file's entry.
///
/// # Errors
/// If dtype or size are not those that the program declares.
pub(crate) fn from_blob(entry: BlobEntry, ty: &TensorType) -> Result<Constant, SpecError> {
    if blob_dtype(ty.dtype) != Some(entry.dtype) {
        return Err(SpecError::new(format!("the weight file holds {:?} where {} is declared", entry.dtype, ty)));
    }
    let shape = ty.shape.fixed().ok_or_else(|| SpecError::new(format!("a constant has a fixed shape, found {ty}")))?;
    Constant::from_bytes(ty.dtype, shape, entry.bytes).map_err(|e| SpecError::new(format!("in the weight file: {e}")))
}

/// Whether coremltools puts a constant into the weight file: ten elements or more, of a dtype that the specification
/// version has there (source: `should_use_weight_file` as described in the notes on its serialization).
pub(crate) fn belongs_into_file(constant: &Constant, spec_version: i32) -> bool {
    let narrow = matches!(constant.dtype(), DType::F16 | DType::F32 | DType::U8 | DType::I8);
    let wide = matches!(constant.dtype(), DType::I16 | DType::U16 | DType::I32 | DType::U32) && spec_version >= 9;
    constant.count() >= 10 && (narrow || wide || constant.dtype().is_sub_byte())
}

/// A constant as a message, in place.
pub(crate) fn immediate(c: &Constant) -> Result<mil::TensorValue, SpecError> {
    use mil::tensor_value::{
        RepeatedBools, RepeatedBytes, RepeatedDoubles, RepeatedFloats, RepeatedInts, RepeatedLongInts, RepeatedStrings,
        Value as V,
    };
    let unattached = || {
        let name = c.weight_name().unwrap_or_default();
        SpecError::new(format!("weight `{name}` is not attached; load the weights before writing"))
    };
    fn all<T: Element>(c: &Constant) -> Vec<T> {
        c.elements().unwrap_or_default()
    }
    if c.weight_name().is_some() {
        return Err(unattached());
    }
    let value = match c.dtype() {
        DType::Bool => V::Bools(RepeatedBools { values: all(c) }),
        DType::I16 => V::Ints(RepeatedInts { values: all::<i16>(c).into_iter().map(i32::from).collect() }),
        DType::U16 => V::Ints(RepeatedInts { values: all::<u16>(c).into_iter().map(i32::from).collect() }),
        DType::I32 => V::Ints(RepeatedInts { values: all(c) }),
        DType::I64 => V::LongInts(RepeatedLongInts { values: all(c) }),
        DType::U64 => V::LongInts(RepeatedLongInts { values: all::<u64>(c).into_iter().map(|v| v as i64).collect() }),
        DType::F32 => V::Floats(RepeatedFloats { values: all(c) }),
        DType::F64 => V::Doubles(RepeatedDoubles { values: all(c) }),
        DType::String => V::Strings(RepeatedStrings { values: c.as_strings().unwrap_or_default().to_vec() }),
        _ => V::Bytes(RepeatedBytes { values: c.bytes().map(|b| b.to_vec()).unwrap_or_default() }),
    };
    Ok(mil::TensorValue { value: Some(value) })
}

/// A constant out of a message. Readers are lenient: numbers may stand in any field that can hold them.
pub(crate) fn read_immediate(t: &mil::TensorValue, ty: &TensorType) -> Result<Constant, SpecError> {
    use mil::tensor_value::Value as V;
    let shape = ty.shape.fixed().ok_or_else(|| SpecError::new(format!("a constant has a fixed shape, found {ty}")))?;
    let misfit = |what: &str| SpecError::new(format!("a constant of {ty} is written as {what}"));
    let mut bytes = Vec::new();
    fn put<T: Element>(bytes: &mut Vec<u8>, values: impl Iterator<Item = T>) {
        values.for_each(|v| v.put(bytes));
    }
    let ints = |values: &mut dyn Iterator<Item = i64>, bytes: &mut Vec<u8>| -> Result<(), SpecError> {
        let (min, max) = ty.dtype.int_range().ok_or_else(|| misfit("integers"))?;
        for v in values {
            // Unsigned 64-bit integers are stored in the bits of signed ones.
            let fits = ty.dtype == DType::U64 || (i128::from(v) >= min && i128::from(v) <= max);
            if !fits || ty.dtype.is_sub_byte() {
                return Err(SpecError::new(format!("the integer {v} does not fit {}", ty.dtype)));
            }
            bytes.extend(&v.to_le_bytes()[..ty.dtype.bits() / 8]);
        }
        Ok(())
    };
    match t.value.as_ref() {
        Some(V::Floats(v)) if ty.dtype == DType::F32 => put(&mut bytes, v.values.iter().copied()),
        Some(V::Floats(v)) if ty.dtype == DType::F16 => {
            put(&mut bytes, v.values.iter().map(|v| half::f16::from_f32(*v)));
        }
        Some(V::Doubles(v)) if ty.dtype == DType::F64 => put(&mut bytes, v.values.iter().copied()),
        Some(V::Bools(v)) if ty.dtype == DType::Bool => put(&mut bytes, v.values.iter().copied()),
        Some(V::Ints(v)) => ints(&mut v.values.iter().map(|v| i64::from(*v)), &mut bytes)?,
        Some(V::LongInts(v)) => ints(&mut v.values.iter().copied(), &mut bytes)?,
        Some(V::Bytes(v)) if ty.dtype != DType::String => bytes.extend(&v.values),
        Some(V::Strings(v)) if ty.dtype == DType::String => {
            return Constant::strings(shape, v.values.clone()).map_err(SpecError::new);
        }
        // An empty tensor may have no field at all.
        None if ty.dtype == DType::String => return Constant::strings(shape, vec![]).map_err(SpecError::new),
        None => {}
        Some(V::Floats(_) | V::Doubles(_)) => return Err(misfit("floats")),
        Some(V::Bools(_)) => return Err(misfit("bools")),
        Some(V::Strings(_)) => return Err(misfit("strings")),
        Some(V::Bytes(_)) => return Err(misfit("bytes")),
    }
    Constant::from_bytes(ty.dtype, shape, bytes).map_err(SpecError::new)
}

fn value(ty: &Type, value: mil::value::immediate_value::Value) -> mil::Value {
    let immediate = mil::value::ImmediateValue { value: Some(value) };
    mil::Value {
        doc_string: String::new(),
        r#type: Some(value_type(ty)),
        value: Some(mil::value::Value::ImmediateValue(immediate)),
    }
}

/// A constant as a value: in the weight file if the sink takes it.
pub(crate) fn constant(c: &Constant, sink: &mut dyn WeightSink) -> Result<mil::Value, SpecError> {
    if let Some((file_name, offset)) = sink.put(c)? {
        return Ok(mil::Value {
            doc_string: String::new(),
            r#type: Some(mil::ValueType { r#type: Some(mil::value_type::Type::TensorType(tensor_type(&c.ty()))) }),
            value: Some(mil::value::Value::BlobFileValue(mil::value::BlobFileValue { file_name, offset })),
        });
    }
    Ok(value(&c.ty().into(), mil::value::immediate_value::Value::Tensor(immediate(c)?)))
}

/// An attribute as a value.
pub(crate) fn attribute(a: &Attribute, sink: &mut dyn WeightSink) -> Result<mil::Value, SpecError> {
    use mil::value::immediate_value::Value as V;
    let mut all = |items: &[Attribute]| items.iter().map(|i| attribute(i, sink)).collect::<Result<Vec<_>, _>>();
    let inner = match a {
        Attribute::Tensor(c) => return constant(c, sink),
        Attribute::Tuple(items) => V::Tuple(mil::TupleValue { values: all(items)? }),
        Attribute::List(_, items) => V::List(mil::ListValue { values: all(items)? }),
        Attribute::Dictionary { entries, .. } => {
            let mut values = Vec::with_capacity(entries.len());
            for (k, v) in entries {
                let (key, value) = (Some(attribute(k, sink)?), Some(attribute(v, sink)?));
                values.push(mil::dictionary_value::KeyValuePair { key, value });
            }
            V::Dictionary(mil::DictionaryValue { values })
        }
    };
    Ok(value(&a.ty(), inner))
}

/// An attribute out of a value.
pub(crate) fn read_attribute(v: &mil::Value, source: &dyn WeightSource) -> Result<Attribute, SpecError> {
    use mil::value::immediate_value::Value as V;
    let missing = || SpecError::new("a value is incomplete");
    let mut unknowns = Unknowns::of("value");
    let ty = read_type(v.r#type.as_ref().ok_or_else(missing)?, &mut unknowns)?;
    let all = |items: &[mil::Value]| items.iter().map(|i| read_attribute(i, source)).collect::<Result<Vec<_>, _>>();
    let immediate = match v.value.as_ref().ok_or_else(missing)? {
        mil::value::Value::ImmediateValue(i) => i.value.as_ref().ok_or_else(missing)?,
        mil::value::Value::BlobFileValue(b) => {
            let ty = ty.tensor().ok_or_else(|| SpecError::new(format!("a weight file holds tensors, found {ty}")))?;
            return Ok(Attribute::Tensor(source.get(&b.file_name, b.offset, ty)?));
        }
    };
    Ok(match (immediate, ty) {
        (V::Tensor(t), Type::Tensor(ty)) => Attribute::Tensor(read_immediate(t, &ty)?),
        (V::Tuple(t), Type::Tuple(_)) => Attribute::Tuple(all(&t.values)?),
        (V::List(l), Type::List(element, _)) => Attribute::List(*element, all(&l.values)?),
        (V::Dictionary(d), Type::Dictionary(key, value)) => {
            let pair = |p: &mil::dictionary_value::KeyValuePair| {
                let one = |v: &Option<mil::Value>| read_attribute(v.as_ref().ok_or_else(missing)?, source);
                Ok((one(&p.key)?, one(&p.value)?))
            };
            let entries = d.values.iter().map(pair).collect::<Result<_, SpecError>>()?;
            Attribute::Dictionary { key: *key, value: *value, entries }
        }
        (_, ty) => return Err(SpecError::new(format!("a value of {ty} is written as something else"))),
    })
}
