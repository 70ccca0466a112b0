//! Constants and attributes as literals.

use std::fmt::{self, Write};

use half::{bf16, f16};

use super::{
    MAX_SHOWN, Style, Weights,
    numbers::default_nan,
    types::{write_tensor_type, write_type},
};
use crate::{
    ir::{Attribute, Constant, Element},
    types::DType,
};

/// A value with its type: `tensor<fp16, []>(0x1p+1)`.
pub(super) fn write_value(out: &mut dyn Write, value: &Attribute, style: Style) -> fmt::Result {
    match value {
        Attribute::Tensor(c) => write_tensor_type(out, &c.ty(), style)?,
        other => write_type(out, &other.ty(), style)?,
    }
    // A tuple brings its own parentheses: `tuple<T>((..))`.
    out.write_char('(')?;
    write_literal(out, value, style)?;
    out.write_char(')')
}

fn write_literal(out: &mut dyn Write, value: &Attribute, style: Style) -> fmt::Result {
    match value {
        Attribute::Tensor(c) => write_constant(out, c, style),
        Attribute::Tuple(items) => write_items(out, items, style, '(', ')'),
        Attribute::List(_, items) => write_items(out, items, style, '[', ']'),
        Attribute::Dictionary { entries, .. } => {
            out.write_char('{')?;
            for (i, (key, value)) in entries.iter().enumerate() {
                out.write_str(if i == 0 { "{" } else { ", {" })?;
                write_literal(out, key, style)?;
                out.write_str(", ")?;
                write_literal(out, value, style)?;
                out.write_char('}')?;
            }
            out.write_char('}')
        }
    }
}

fn write_items(out: &mut dyn Write, items: &[Attribute], style: Style, open: char, close: char) -> fmt::Result {
    out.write_char(open)?;
    for (i, item) in items.iter().enumerate() {
        out.write_str(if i == 0 { "" } else { ", " })?;
        write_literal(out, item, style)?;
    }
    out.write_char(close)
}

fn write_constant(out: &mut dyn Write, c: &Constant, style: Style) -> fmt::Result {
    if let Some(name) = c.weight_name() {
        out.write_str("WEIGHT(name = ")?;
        write_string(out, name)?;
        return out.write_char(')');
    }
    // From here on the elements are there, so that their number is one that fits.
    if style.weights == Weights::Elide && c.count() > MAX_SHOWN {
        let (hash, bytes) = hash(c);
        return write!(out, "WEIGHT(fnv1a = {hash:#018x}, bytes = {bytes})");
    }
    if let Some(strings) = c.as_strings() {
        return write_nested(out, c.shape(), &mut |out, i| write_string(out, &strings[i]));
    }
    let Some(bytes) = c.bytes() else { return Ok(()) };
    macro_rules! elements {
        ($t:ty, $write:expr) => {{
            let at = |i: usize| <$t as Element>::get(&bytes[i * size_of::<$t>()..][..size_of::<$t>()]);
            write_nested(out, c.shape(), &mut |out, i| $write(out, at(i)))
        }};
    }
    fn plain<T: fmt::Display>(out: &mut dyn Write, v: T) -> fmt::Result {
        write!(out, "{v}")
    }
    let dtype = c.dtype();
    let float = |out: &mut dyn Write, v: f64, bits: u64| match v.is_nan() && default_nan(dtype) != Some(bits) {
        true => write!(out, "nan({bits:#x})"),
        false => write_float(out, v),
    };
    match dtype {
        DType::F16 => elements!(f16, |out: &mut dyn Write, v: f16| float(out, v.into(), v.to_bits().into())),
        DType::F32 => elements!(f32, |out: &mut dyn Write, v: f32| float(out, v.into(), v.to_bits().into())),
        DType::F64 => elements!(f64, |out: &mut dyn Write, v: f64| float(out, v, v.to_bits())),
        DType::BF16 => elements!(u16, |out: &mut dyn Write, v: u16| float(out, bf16::from_bits(v).into(), v.into())),
        // An 8-bit float with 5 exponent bits is the upper half of an f16.
        DType::F8E5M2 => {
            elements!(u8, |out: &mut dyn Write, v: u8| float(out, f16::from_bits(u16::from(v) << 8).into(), v.into()))
        }
        DType::F8E4M3FN => elements!(u8, |out: &mut dyn Write, v: u8| float(out, f8e4m3fn(v), v.into())),
        DType::I8 => elements!(i8, plain),
        DType::I16 => elements!(i16, plain),
        DType::I32 => elements!(i32, plain),
        DType::I64 => elements!(i64, plain),
        DType::U8 => elements!(u8, plain),
        DType::U16 => elements!(u16, plain),
        DType::U32 => elements!(u32, plain),
        DType::U64 => elements!(u64, plain),
        DType::Bool => elements!(bool, plain),
        DType::I4 | DType::U1 | DType::U2 | DType::U3 | DType::U4 | DType::U6 => {
            let ints = c.ints().unwrap_or_default();
            write_nested(out, c.shape(), &mut |out, i| plain(out, ints[i]))
        }
        DType::String => Ok(()), // has no bytes
    }
}

/// Elements in row-major order, in brackets by dimension. Without recursion: a file may say any rank.
fn write_nested(
    out: &mut dyn Write,
    shape: &[usize],
    element: &mut dyn FnMut(&mut dyn Write, usize) -> fmt::Result,
) -> fmt::Result {
    let count: usize = shape.iter().product();
    if count == 0 {
        return out.write_str("[]");
    }
    let mut index = vec![0; shape.len()];
    let mut opening = shape.len();
    for i in 0..count {
        (0..opening).try_for_each(|_| out.write_char('['))?;
        element(out, i)?;
        // To the next index: as many rows end as dimensions wrap around.
        let mut ended = 0;
        for (at, size) in index.iter_mut().zip(shape).rev() {
            *at += 1;
            if *at < *size {
                break;
            }
            *at = 0;
            ended += 1;
        }
        (0..ended).try_for_each(|_| out.write_char(']'))?;
        if i + 1 < count {
            out.write_str(", ")?;
        }
        opening = ended;
    }
    Ok(())
}

/// A float without loss, as C's `%a` prints it: `0x1.8p+1` is 3.
fn write_float(out: &mut dyn Write, v: f64) -> fmt::Result {
    if v.is_nan() {
        return out.write_str("nan");
    }
    if v.is_sign_negative() {
        out.write_char('-')?;
    }
    if v.is_infinite() {
        return out.write_str("inf");
    }
    const FRACTION_BITS: u32 = 52;
    let bits = v.to_bits();
    let (exponent, fraction) = ((bits >> FRACTION_BITS & 0x7ff) as i32, bits & ((1 << FRACTION_BITS) - 1));
    let (lead, exponent) = match (exponent, fraction) {
        (0, 0) => (0, 0),
        (0, _) => (0, -1022),
        (e, _) => (1, e - 1023),
    };
    write!(out, "0x{lead}")?;
    if fraction != 0 {
        let digits = format!("{fraction:013x}");
        write!(out, ".{}", digits.trim_end_matches('0'))?;
    }
    write!(out, "p{exponent:+}")
}

/// 4 exponent bits (bias 7), 3 mantissa bits, no infinities, one NaN.
fn f8e4m3fn(bits: u8) -> f64 {
    let (exponent, mantissa) = (i32::from(bits >> 3 & 0xf), f64::from(bits & 7));
    let size = match (exponent, bits & 7) {
        (15, 7) => f64::NAN,
        (0, _) => mantissa * f64::powi(2.0, -9),
        _ => (8.0 + mantissa) * f64::powi(2.0, exponent - 10),
    };
    if bits >> 7 == 1 { -size } else { size }
}

/// A string in quotes.
pub(super) fn write_string(out: &mut dyn Write, text: &str) -> fmt::Result {
    out.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => out.write_str("\\\"")?,
            '\\' => out.write_str("\\\\")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            // Control characters are all below U+00A0.
            c if c.is_control() => write!(out, "\\u{:04x}", u32::from(c))?,
            c => out.write_char(c)?,
        }
    }
    out.write_char('"')
}

/// 64-bit FNV-1a of the content, the same on every platform, and the number of bytes. Strings count with a zero
/// byte after each, so that `["ab", "c"]` and `["a", "bc"]` differ.
fn hash(c: &Constant) -> (u64, usize) {
    let mut state = (0xcbf2_9ce4_8422_2325u64, 0usize);
    let mut feed = |bytes: &[u8]| {
        for b in bytes {
            state.0 = (state.0 ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        state.1 += bytes.len();
    };
    match (c.bytes(), c.as_strings()) {
        (Some(bytes), _) => feed(bytes),
        (_, Some(strings)) => strings.iter().for_each(|s| {
            feed(s.as_bytes());
            feed(&[0]);
        }),
        _ => {}
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(c: Constant) -> String {
        let mut text = String::new();
        let style = Style { weights: Weights::Full, symbols: false, short: false };
        write_value(&mut text, &Attribute::Tensor(c), style).unwrap();
        text
    }

    fn float(v: f64) -> String {
        let mut text = String::new();
        write_float(&mut text, v).unwrap();
        text
    }

    #[test]
    fn floats_are_exact() {
        let cases = [
            (0.0, "0x0p+0"),
            (-0.0, "-0x0p+0"),
            (1.0, "0x1p+0"),
            (-3.0, "-0x1.8p+1"),
            (0.1, "0x1.999999999999ap-4"),
            (f64::from(f32::MIN_POSITIVE) / 2.0, "0x1p-127"),
            (f64::from_bits(1), "0x0.0000000000001p-1022"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ];
        for (v, text) in cases {
            assert_eq!(float(v), text);
        }
    }

    #[test]
    fn small_floats() {
        let f8 = |dtype, bits: Vec<u8>| Constant::from_bytes(dtype, [bits.len()], bits).unwrap();
        // 1, the largest (448), the smallest (2^-9), NaN.
        let c = f8(DType::F8E4M3FN, vec![0x38, 0x7e, 0x81, 0x7f]);
        assert_eq!(full(c), "tensor<fp8e4m3fn, [4]>([0x1p+0, 0x1.cp+8, -0x1p-9, nan])");
        assert_eq!(full(f8(DType::F8E5M2, vec![0x3c, 0x7c])), "tensor<fp8e5m2, [2]>([0x1p+0, inf])");
        assert_eq!(full(f8(DType::F8E5M2, vec![0x7e, 0x7d])), "tensor<fp8e5m2, [2]>([nan, nan(0x7d)])");
        let c = Constant::from_bytes(DType::BF16, [1], vec![0x40, 0xc0]).unwrap();
        assert_eq!(full(c), "tensor<bf16, [1]>([-0x1.8p+1])");
    }

    #[test]
    fn tensors_nest_by_dimension() {
        let c = Constant::new([2, 1, 2], &[1i32, -2, 3, 4]).unwrap();
        assert_eq!(full(c), "tensor<int32, [2, 1, 2]>([[[1, -2]], [[3, 4]]])");
        assert_eq!(full(Constant::vector::<bool>(&[true, false])), "tensor<bool, [2]>([true, false])");
        assert_eq!(full(Constant::new::<f32>([2, 0], &[]).unwrap()), "tensor<fp32, [2, 0]>([])");
        let c = Constant::from_bytes(DType::I4, [3], vec![0x7f, 0x08]).unwrap();
        assert_eq!(full(c), "tensor<int4, [3]>([-1, 7, -8])");
        let deep = Constant::new(vec![1; 50_000], &[1u8]).unwrap();
        assert!(full(deep).ends_with("]]])"));
    }

    #[test]
    fn strings_are_escaped() {
        let c = Constant::string("a\"b\\c\nd\u{1}\u{7f}é");
        assert_eq!(full(c), r#"tensor<string, []>("a\"b\\c\nd\u0001\u007fé")"#);
    }

    #[test]
    fn hashes_tell_contents_apart() {
        // The published test vector of FNV-1a for "foobar".
        let c = Constant::from_bytes(DType::U8, [6], b"foobar".to_vec()).unwrap();
        assert_eq!(hash(&c), (0x8594_4171_f739_67e8, 6));
        let strings = |a: &str, b: &str| hash(&Constant::strings([2], vec![a.into(), b.into()]).unwrap());
        assert_ne!(strings("ab", "c"), strings("a", "bc"));
    }
}
