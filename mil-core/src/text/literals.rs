//! Text -> messages: types and values.

use super::{
    error::ParseError,
    lexer::Token,
    numbers::{parse_float, put_float},
    parser::Parser,
};
use crate::{
    ir::{Attribute, Constant},
    spec::{
        embed::ByName,
        mil,
        types::{MAX_RANK, value_type},
        values,
    },
    types::{DType, Dim, TensorType, Type},
};

/// A value of the text.
#[derive(Debug)]
pub(super) struct Value {
    /// As a package holds it.
    pub(super) message: mil::Value,
    /// What it says, if it is a list, a tuple or a dictionary.
    pub(super) structure: Option<Attribute>,
}

/// The elements of a tensor, as they are met.
struct Elements {
    ty: TensorType,
    bytes: Vec<u8>,
    /// Bits of `bytes` that are used, for dtypes of less than a byte.
    bits: usize,
    strings: Vec<String>,
    /// Sizes found so far; the declared ones where there is a number.
    shape: Vec<Option<usize>>,
}

impl Parser<'_> {
    pub(super) fn ty(&mut self) -> Result<Type, ParseError> {
        let at = self.at;
        let word = self.word("a type")?;
        self.ty_of(word, at)
    }

    /// The type that starts with a word, which is taken already. A dtype alone is a scalar.
    pub(super) fn ty_of(&mut self, word: &str, at: usize) -> Result<Type, ParseError> {
        match word {
            "tensor" => {
                self.expect(b'<')?;
                let dtype = self.dtype()?;
                self.expect(b',')?;
                self.expect(b'[')?;
                let mut dims: Vec<Dim> = vec![];
                self.list(b']', |p| {
                    if dims.len() == MAX_RANK {
                        return Err(p.error_at(p.at, format!("a tensor has at most {MAX_RANK} dimensions")));
                    }
                    dims.push(p.size()?);
                    Ok(())
                })?;
                self.expect(b'>')?;
                Ok(Type::Tensor(TensorType::new(dtype, dims)))
            }
            "state" => {
                self.expect(b'<')?;
                let at = self.at;
                let Type::Tensor(t) = self.deeper(Self::ty)? else {
                    return Err(self.error_at(at, "expected the type of a tensor, which alone can be a state"));
                };
                self.expect(b'>')?;
                Ok(Type::State(t))
            }
            "list" => {
                self.expect(b'<')?;
                let element = self.deeper(Self::ty)?;
                self.expect(b',')?;
                let length = self.size()?;
                self.expect(b'>')?;
                Ok(Type::List(Box::new(element), length))
            }
            "tuple" => {
                let mut types = vec![];
                self.expect(b'<')?;
                self.list(b'>', |p| {
                    types.push(p.deeper(Self::ty)?);
                    Ok(())
                })?;
                Ok(Type::Tuple(types))
            }
            "dict" => {
                self.expect(b'<')?;
                let key = self.deeper(Self::ty)?;
                self.expect(b',')?;
                let value = self.deeper(Self::ty)?;
                self.expect(b'>')?;
                Ok(Type::Dictionary(Box::new(key), Box::new(value)))
            }
            word => match by_mil_name(word) {
                Some(dtype) => Ok(Type::Tensor(TensorType::scalar(dtype))),
                None => Err(self.error_at(at, format!("expected a type, found {}", Token::Word(word).shown()))),
            },
        }
    }

    fn dtype(&mut self) -> Result<DType, ParseError> {
        let dtype = match self.token {
            Token::Word(word) => by_mil_name(word),
            _ => None,
        };
        let dtype = dtype.ok_or_else(|| self.expected("an element type, such as `fp16`"))?;
        self.advance()?;
        Ok(dtype)
    }

    fn size(&mut self) -> Result<Dim, ParseError> {
        if self.accept(b'?')? {
            self.unknowns += 1;
            return Ok(Dim::unknown(self.unknowns));
        }
        let size = match self.token {
            Token::Number(number) => number.parse::<i64>().ok().filter(|n| *n >= 0),
            _ => None,
        };
        let size = size.ok_or_else(|| self.expected("a size or `?`"))?;
        self.advance()?;
        Ok(size.into())
    }

    /// The value behind its type: `(..)`.
    pub(super) fn value_of(&mut self, ty: Type) -> Result<Value, ParseError> {
        let at = self.at;
        self.expect(b'(')?;
        if self.token == Token::Word("BLOBFILE") {
            let blob = self.blob()?;
            self.expect(b')')?;
            let Type::Tensor(_) = ty else { return Err(self.error_at(at, "a weight file holds tensors alone")) };
            let value = Some(mil::value::Value::BlobFileValue(blob));
            let message = mil::Value { doc_string: String::new(), r#type: Some(value_type(&ty)), value };
            return Ok(Value { message, structure: None });
        }
        let attribute = self.literal(&ty)?;
        self.expect(b')')?;
        let message = values::attribute(&attribute, &mut ByName).map_err(|e| self.error_at(at, e.to_string()))?;
        Ok(Value { message, structure: Some(attribute).filter(|a| !matches!(a, Attribute::Tensor(_))) })
    }

    /// `BLOBFILE(path = string("@model_path/weights/weight.bin"), offset = uint64(64))`.
    fn blob(&mut self) -> Result<mil::value::BlobFileValue, ParseError> {
        self.expect_word("BLOBFILE")?;
        self.expect(b'(')?;
        self.expect_word("path")?;
        self.expect(b'=')?;
        let at = self.at;
        let path = self.scalar()?;
        let Some([file_name]) = path.as_strings() else { return Err(self.error_at(at, "expected a path in a string")) };
        let file_name = file_name.clone();
        self.expect(b',')?;
        self.expect_word("offset")?;
        self.expect(b'=')?;
        let at = self.at;
        let offset = self.scalar()?;
        let number = match offset.elements::<u64>() {
            Some(number) => number.first().copied(),
            None => offset.ints().and_then(|n| u64::try_from(*n.first()?).ok()),
        };
        let offset = number.ok_or_else(|| self.error_at(at, "expected an offset of uint64"))?;
        self.expect(b')')?;
        Ok(mil::value::BlobFileValue { file_name, offset })
    }

    /// A scalar with its type.
    fn scalar(&mut self) -> Result<Constant, ParseError> {
        let at = self.at;
        let Type::Tensor(ty) = self.ty()? else { return Err(self.error_at(at, "expected a scalar")) };
        if ty.rank() != 0 {
            return Err(self.error_at(at, "expected a scalar"));
        }
        self.expect(b'(')?;
        let constant = self.constant(&ty)?;
        self.expect(b')')?;
        Ok(constant)
    }

    /// A value of a known type; the depth is that of the type.
    fn literal(&mut self, ty: &Type) -> Result<Attribute, ParseError> {
        let at = self.at;
        Ok(match ty {
            Type::Tensor(t) => Attribute::Tensor(self.constant(t)?),
            Type::State(_) => return Err(self.error_at(at, "a state has no value")),
            Type::Tuple(types) => {
                let mut items = Vec::new();
                self.expect(b'(')?;
                self.list(b')', |p| {
                    let too_many = || p.error_at(p.at, format!("the tuple's type says {} values", types.len()));
                    let ty = types.get(items.len()).ok_or_else(too_many)?;
                    items.push(p.literal(ty)?);
                    Ok(())
                })?;
                if items.len() != types.len() {
                    let message = format!("the tuple's type says {} values, found {}", types.len(), items.len());
                    return Err(self.error_at(at, message));
                }
                Attribute::Tuple(items)
            }
            Type::List(element, length) => {
                let mut items = Vec::new();
                self.expect(b'[')?;
                self.list(b']', |p| {
                    items.push(p.literal(element)?);
                    Ok(())
                })?;
                if length.value().is_some_and(|n| usize::try_from(n).ok() != Some(items.len())) {
                    return Err(
                        self.error_at(at, format!("the list's type says {length} values, found {}", items.len()))
                    );
                }
                Attribute::List((**element).clone(), items)
            }
            Type::Dictionary(key, value) => {
                let mut entries = Vec::new();
                self.expect(b'{')?;
                self.list(b'}', |p| {
                    p.expect(b'{')?;
                    let k = p.literal(key)?;
                    p.expect(b',')?;
                    let v = p.literal(value)?;
                    p.expect(b'}')?;
                    entries.push((k, v));
                    Ok(())
                })?;
                Attribute::Dictionary { key: (**key).clone(), value: (**value).clone(), entries }
            }
        })
    }

    fn constant(&mut self, ty: &TensorType) -> Result<Constant, ParseError> {
        let at = self.at;
        if self.token == Token::Word("WEIGHT") {
            return self.weight(ty);
        }
        let shape: Vec<Option<usize>> = ty.shape.iter().map(Dim::fixed).collect();
        let mut elements = Elements { ty: ty.clone(), bytes: vec![], bits: 0, strings: vec![], shape };
        self.elements(&mut elements, 0)?;
        // A row that is not there has no size: nothing is in any.
        let shape: Vec<usize> = elements.shape.iter().map(|n| n.unwrap_or(0)).collect();
        let constant = match ty.dtype {
            DType::String => Constant::strings(shape, elements.strings),
            dtype => Constant::from_bytes(dtype, shape, elements.bytes),
        };
        constant.map_err(|_| self.error_at(at, format!("too few elements for {ty}")))
    }

    /// This project's own: `WEIGHT(name = "..")`.
    fn weight(&mut self, ty: &TensorType) -> Result<Constant, ParseError> {
        let at = self.at;
        self.expect_word("WEIGHT")?;
        self.expect(b'(')?;
        if self.token == Token::Word("fnv1a") {
            let message = "the elements of this constant were left out when the text was printed; print all of it \
                           (`Weights::Full`)";
            return Err(self.error_at(at, message));
        }
        self.expect_word("name")?;
        self.expect(b'=')?;
        let name = self.name("the name of a weight")?;
        self.expect(b')')?;
        let shape = ty.shape.fixed().ok_or_else(|| self.error_at(at, "a weight has a fixed shape"))?;
        Ok(Constant::weight(name, ty.dtype, shape))
    }

    /// The elements of a tensor from a dimension on; not deeper than a type's rank.
    fn elements(&mut self, e: &mut Elements, dimension: usize) -> Result<(), ParseError> {
        if dimension == e.shape.len() {
            return self.element(e);
        }
        let at = self.at;
        self.expect(b'[')?;
        let mut count = 0usize;
        self.list(b']', |p| {
            count += 1;
            p.elements(e, dimension + 1)
        })?;
        match e.shape[dimension] {
            // Nothing is in a tensor with a dimension of 0, whichever it is: `[]`.
            _ if count == 0 && e.shape.contains(&Some(0)) => {}
            None => e.shape[dimension] = Some(count),
            Some(n) if n == count => {}
            Some(n) => {
                let message = format!("expected {n} in dimension {dimension} of {}, found {count}", e.ty);
                return Err(self.error_at(at, message));
            }
        }
        Ok(())
    }

    fn element(&mut self, e: &mut Elements) -> Result<(), ParseError> {
        let (at, dtype) = (self.at, e.ty.dtype);
        let wrong = |p: &Self| p.expected(&format!("an element of {}", dtype.mil_name()));
        let unfit = |p: &Self, text: &str| {
            p.error_at(at, format!("{} does not fit {}", Token::Number(text).shown(), dtype.mil_name()))
        };
        match (self.token.clone(), dtype) {
            (Token::String(text), DType::String) => e.strings.push(text.into_owned()),
            (Token::Word(word @ ("true" | "false")), DType::Bool) => e.bytes.push(u8::from(word == "true")),
            (Token::Word("inf"), d) if d.is_float() => {
                if !put_float(&mut e.bytes, d, f64::INFINITY) {
                    return Err(unfit(self, "inf"));
                }
            }
            (Token::Word("nan"), d) if d.is_float() => return self.nan(e),
            (Token::Number(text), d) if d.is_float() => {
                let v = parse_float(text).ok_or_else(|| wrong(self))?;
                let too_large = v.is_infinite() && !text.ends_with("inf");
                if too_large || !put_float(&mut e.bytes, d, v) {
                    return Err(unfit(self, text));
                }
            }
            (Token::Number(text), d) if d.is_int() => {
                let v: i128 = match text.parse() {
                    Ok(v) => v,
                    // Digits alone: it is a number, but of more than 128 bits.
                    Err(_) if text.bytes().skip(1).all(|b| b.is_ascii_digit()) && text.len() > 30 => {
                        return Err(unfit(self, text));
                    }
                    Err(_) => return Err(wrong(self)),
                };
                if d.int_range().is_none_or(|(min, max)| v < min || v > max) {
                    return Err(unfit(self, text));
                }
                e.put_bits(v as u64);
            }
            _ => return Err(wrong(self)),
        }
        self.advance().map(drop)
    }

    /// `nan`, or with all its bits `nan(0x7e01)`.
    fn nan(&mut self, e: &mut Elements) -> Result<(), ParseError> {
        let dtype = e.ty.dtype;
        self.advance()?;
        if !self.accept(b'(')? {
            e.put_bits(super::numbers::default_nan(dtype).unwrap_or_default());
            return Ok(());
        }
        let bits = match self.token {
            Token::Number(text) => text.strip_prefix("0x").and_then(|d| u64::from_str_radix(d, 16).ok()),
            _ => None,
        };
        let fits = |bits: &u64| dtype.bits() == 64 || bits >> dtype.bits() == 0;
        let bits = bits.filter(fits).ok_or_else(|| self.expected(&format!("the bits of {}", dtype.mil_name())))?;
        e.put_bits(bits);
        self.advance()?;
        self.expect(b')')
    }
}

impl Elements {
    /// Appends the lowest bits of a number, as many as an element has.
    fn put_bits(&mut self, value: u64) {
        let bits = self.ty.dtype.bits();
        if bits >= 8 {
            self.bytes.extend(&value.to_le_bytes()[..bits / 8]);
            return;
        }
        for bit in 0..bits {
            if self.bits.is_multiple_of(8) {
                self.bytes.push(0);
            }
            if let Some(last) = self.bytes.last_mut() {
                *last |= ((value >> bit & 1) as u8) << (self.bits % 8);
            }
            self.bits += 1;
        }
    }
}

/// The dtype of that name in MIL, not in Rust.
fn by_mil_name(name: &str) -> Option<DType> {
    DType::ALL.iter().copied().find(|d| d.mil_name() == name)
}
