//! Numbers as bytes.

use half::bf16;

use crate::{ir::f16_from_f64, types::DType};

/// A float: decimal, or hexadecimal with a binary exponent, rounded to nearest (ties to even). `None` if it is none.
pub(super) fn parse_float(text: &str) -> Option<f64> {
    let (negative, size) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let hex = size.strip_prefix("0x").or_else(|| size.strip_prefix("0X"));
    let size = match (size, hex) {
        ("inf", _) => f64::INFINITY,
        (_, Some(digits)) => hexadecimal(digits)?,
        // What else Rust reads as a float (`infinity`, `nan`) is no number here.
        (decimal, None) if decimal.starts_with(|c: char| c.is_ascii_digit() || c == '.') => decimal.parse().ok()?,
        _ => return None,
    };
    Some(if negative { -size } else { size })
}

/// Behind `0x`: digits with or without a point, and with or without an exponent.
fn hexadecimal(text: &str) -> Option<f64> {
    let (digits, exponent) = match text.split_once(['p', 'P']) {
        // No float is so large or small that a further exponent makes a difference.
        Some((digits, exponent)) => (digits, exponent.parse::<i64>().ok()?.clamp(-1 << 40, 1 << 40)),
        None => (text, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.len() + fraction.len() == 0 {
        return None;
    }
    // The first 60 bits, and whether there is anything behind them.
    let (mut mantissa, mut more, mut exponent) = (0u64, false, exponent - 4 * fraction.len() as i64);
    for digit in whole.bytes().chain(fraction.bytes()) {
        let digit = char::from(digit).to_digit(16)?;
        if mantissa >> 56 == 0 {
            mantissa = mantissa << 4 | u64::from(digit);
        } else {
            more |= digit != 0;
            exponent += 4;
        }
    }
    if mantissa == 0 {
        return Some(0.0);
    }
    // The exponent of the last bit that an f64 of this size has.
    let top = 63 - i64::from(mantissa.leading_zeros());
    let last = (top + exponent - 52).max(-1074);
    let dropped = last - exponent;
    if dropped <= 0 {
        // All bits fit. Beyond 2048 it is infinite in any case.
        return Some(libm::ldexp(mantissa as f64, exponent.clamp(-2048, 2048) as i32));
    }
    if dropped > 64 {
        return Some(0.0);
    }
    let wide = u128::from(mantissa) << 1 | u128::from(more);
    let (kept, rest, half) = (wide >> (dropped + 1), wide & ((2 << dropped) - 1), 1u128 << dropped);
    let kept = kept + u128::from(rest > half || rest == half && kept & 1 == 1);
    Some(libm::ldexp(kept as f64, last.min(2048) as i32))
}

/// Appends a float; `false` if it is finite and too large for the dtype, or the dtype is no float.
pub(super) fn put_float(out: &mut Vec<u8>, dtype: DType, v: f64) -> bool {
    let fits = |infinite: bool| !infinite || v.is_infinite();
    match dtype {
        DType::F16 => {
            let v = f16_from_f64(v);
            out.extend(v.to_le_bytes());
            fits(v.is_infinite())
        }
        DType::F32 => {
            let v = v as f32;
            out.extend(v.to_le_bytes());
            fits(v.is_infinite())
        }
        DType::F64 => {
            out.extend(v.to_le_bytes());
            true
        }
        DType::BF16 => {
            let v = bf16::from_f64(v);
            out.extend(v.to_le_bytes());
            fits(v.is_infinite())
        }
        DType::F8E5M2 => {
            // The upper half of an f16, rounded to even.
            let bits = f16_from_f64(v).to_bits();
            let rounded = if v.is_nan() { bits } else { bits + 0x7f + (bits >> 8 & 1) };
            out.push((rounded >> 8) as u8);
            fits(rounded >> 8 & 0x7f == 0x7c)
        }
        DType::F8E4M3FN => match f8e4m3fn(v) {
            Some(bits) => {
                out.push(bits);
                true
            }
            None => false,
        },
        _ => false,
    }
}

/// 4 exponent bits (bias 7), 3 mantissa bits, no infinities; `None` beyond the largest, 448.
fn f8e4m3fn(v: f64) -> Option<u8> {
    let sign = u8::from(v.is_sign_negative()) << 7;
    if v.is_nan() {
        return Some(0x7f);
    }
    let size = v.abs();
    let exponent = libm::ilogb(size.max(f64::powi(2.0, -6)).min(f64::powi(2.0, 10)));
    let eighths = (size / f64::powi(2.0, exponent - 3)).round_ties_even();
    // Below 8 it is subnormal; 16 is the first of the next exponent, as which it counts here by itself.
    let bits = eighths + f64::from((exponent + 6) * 8);
    (bits < 127.0).then_some(sign | bits as u8)
}

/// What `nan` stands for, as bits of the dtype.
pub(super) fn default_nan(dtype: DType) -> Option<u64> {
    Some(match dtype {
        DType::F16 => 0x7e00,
        DType::F32 => 0x7fc0_0000,
        DType::F64 => 0x7ff8_0000_0000_0000,
        DType::BF16 => 0x7fc0,
        DType::F8E5M2 => 0x7e,
        DType::F8E4M3FN => 0x7f,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_read() {
        let cases = [
            ("0x1.8p+1", 3.0),
            ("-0x0p+0", -0.0),
            ("0x1.999999999999ap-4", 0.1),
            ("0x0.0000000000001p-1022", f64::from_bits(1)),
            ("0x1p-1074", f64::from_bits(1)),
            ("0x1.fffffffffffffp+1023", f64::MAX),
            ("0x1p+1024", f64::INFINITY),
            ("0x1p+99999999999999", f64::INFINITY),
            ("0x1p-99999999999999", 0.0),
            ("0xA", 10.0),
            ("0x.8", 0.5),
            // Halfway between two f64: to even, unless there is a digit more.
            ("0x1.00000000000008p0", 1.0),
            ("0x1.000000000000080000000000001p0", 1.0 + f64::EPSILON),
            ("0x1.00000000000018p0", 1.0 + 2.0 * f64::EPSILON),
            // Rounded once where it becomes subnormal: 1.5 units to 2, a little less to 1, half a unit to 0.
            ("0x1.8p-1074", f64::from_bits(2)),
            ("0x1.7ffffffffffffffp-1074", f64::from_bits(1)),
            ("0x1p-1075", 0.0),
            ("0x1.0000000000000000000001p-1075", f64::from_bits(1)),
            ("1.5", 1.5),
            ("-1e-3", -0.001),
            (".5", 0.5),
            ("7", 7.0),
            ("+7", 7.0),
            ("-inf", f64::NEG_INFINITY),
        ];
        for (text, v) in cases {
            assert_eq!(parse_float(text).map(f64::to_bits), Some(v.to_bits()), "{text}");
        }
        for bad in ["", "-", "0x", "0x.", "0xg", "0x1p", "0x1p+", "0x1pz", "1p3", "infinity", "-nan", "1.2.3", "--1"] {
            assert_eq!(parse_float(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_too_large_is_told() {
        let put = |dtype, v| {
            let mut out = vec![];
            put_float(&mut out, dtype, v).then_some(out)
        };
        assert_eq!(put(DType::F16, 65504.0), Some(vec![0xff, 0x7b]));
        assert_eq!(put(DType::F16, 65520.0), None);
        assert_eq!(put(DType::F16, f64::INFINITY), Some(vec![0, 0x7c]));
        assert_eq!(put(DType::F32, 1e39), None);
        assert_eq!(put(DType::BF16, f64::MAX), None);
        assert_eq!(put(DType::F8E5M2, 57344.0), Some(vec![0x7b]));
        assert_eq!(put(DType::F8E5M2, 61440.0), None);
        assert_eq!(put(DType::F8E5M2, f64::NEG_INFINITY), Some(vec![0xfc]));
        assert_eq!(put(DType::F8E5M2, 1.125), Some(vec![0x3c]), "a tie goes to even");
        assert_eq!(put(DType::F8E4M3FN, 464.0), Some(vec![0x7e]), "a tie goes to even");
        assert_eq!(put(DType::F8E4M3FN, 465.0), None);
        assert_eq!(put(DType::F8E4M3FN, f64::INFINITY), None);
        assert_eq!(put(DType::F8E4M3FN, 460.0), Some(vec![0x7e]));
        assert_eq!(put(DType::F8E4M3FN, 15.9), Some(vec![0x58]));
        assert_eq!(put(DType::I8, 1.0), None);
    }
}
