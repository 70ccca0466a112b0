//! Element types, named as Rust names them and printed as MIL prints them.

use std::fmt;

macro_rules! dtypes {
    ($($(#[$doc:meta])* $variant:ident = $rust:literal, $mil:literal, $bits:literal;)*) => {
        /// The type of a tensor's elements.
        ///
        /// Every dtype that the MIL format can name is here, so that no file loses anything on the way through;
        /// which of them an op takes is written at the op.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs)] // the names say it all; the irregular ones are documented
        pub enum DType { $($(#[$doc])* $variant,)* }

        impl DType {
            /// All dtypes, in the order of declaration.
            pub const ALL: &'static [DType] = &[$(DType::$variant,)*];

            /// The name in Rust and in the DSL: `f16`, `i32`, `bool`, `string`.
            pub const fn rust_name(self) -> &'static str {
                match self { $(DType::$variant => $rust,)* }
            }

            /// The name in MIL text: `fp16`, `int32`, `bool`, `string`.
            pub const fn mil_name(self) -> &'static str {
                match self { $(DType::$variant => $mil,)* }
            }

            /// Bits of one element in a weight file; 0 for strings, which have no fixed size.
            pub const fn bits(self) -> usize {
                match self { $(DType::$variant => $bits,)* }
            }
        }
    };
}

dtypes! {
    F16 = "f16", "fp16", 16;
    F32 = "f32", "fp32", 32;
    F64 = "f64", "fp64", 64;
    BF16 = "bf16", "bf16", 16;
    /// 8-bit float, 4 exponent and 3 mantissa bits, finite.
    F8E4M3FN = "f8e4m3fn", "fp8e4m3fn", 8;
    /// 8-bit float, 5 exponent and 2 mantissa bits.
    F8E5M2 = "f8e5m2", "fp8e5m2", 8;
    I4 = "i4", "int4", 4;
    I8 = "i8", "int8", 8;
    I16 = "i16", "int16", 16;
    I32 = "i32", "int32", 32;
    I64 = "i64", "int64", 64;
    U1 = "u1", "uint1", 1;
    U2 = "u2", "uint2", 2;
    U3 = "u3", "uint3", 3;
    U4 = "u4", "uint4", 4;
    U6 = "u6", "uint6", 6;
    U8 = "u8", "uint8", 8;
    U16 = "u16", "uint16", 16;
    U32 = "u32", "uint32", 32;
    U64 = "u64", "uint64", 64;
    Bool = "bool", "bool", 8;
    String = "string", "string", 0;
}

impl DType {
    /// Parses the Rust or the MIL name.
    pub fn parse(name: &str) -> Option<DType> {
        DType::ALL.iter().copied().find(|d| d.rust_name() == name || d.mil_name() == name)
    }

    /// Whether this is a floating-point type.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F16 | DType::F32 | DType::F64 | DType::BF16 | DType::F8E4M3FN | DType::F8E5M2)
    }

    /// Whether this is a signed or unsigned integer type (`bool` is not).
    pub const fn is_int(self) -> bool {
        !self.is_float() && !matches!(self, DType::Bool | DType::String)
    }

    /// Whether this is an unsigned integer type.
    pub const fn is_unsigned(self) -> bool {
        use DType::*;
        matches!(self, U1 | U2 | U3 | U4 | U6 | U8 | U16 | U32 | U64)
    }

    /// Whether elements are smaller than a byte and stored as a packed stream, least significant bit first.
    pub const fn is_sub_byte(self) -> bool {
        !matches!(self, DType::String) && self.bits() < 8
    }

    /// Bytes that `count` elements take in a weight file; `None` for strings and on overflow.
    pub fn packed_len(self, count: usize) -> Option<usize> {
        match self {
            DType::String => None,
            d => Some(count.checked_mul(d.bits())?.div_ceil(8)),
        }
    }

    /// The smallest and largest value of an integer type.
    pub const fn int_range(self) -> Option<(i128, i128)> {
        if !self.is_int() {
            return None;
        }
        let bits = self.bits() as u32;
        Some(if self.is_unsigned() {
            (0, (1i128 << bits) - 1)
        } else {
            (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1)
        })
    }
}

/// Prints the Rust name.
impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.rust_name())
    }
}

impl fmt::Debug for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.rust_name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_are_unique() {
        for &d in DType::ALL {
            assert_eq!(DType::parse(d.rust_name()), Some(d));
            assert_eq!(DType::parse(d.mil_name()), Some(d));
        }
        assert_eq!(DType::parse("f12"), None);
    }

    #[test]
    fn sub_byte_lengths_round_up() {
        assert_eq!(DType::U3.packed_len(9), Some(4));
        assert_eq!(DType::I4.packed_len(3), Some(2));
        assert_eq!(DType::F32.packed_len(usize::MAX), None);
    }

    #[test]
    fn integer_ranges() {
        assert_eq!(DType::I4.int_range(), Some((-8, 7)));
        assert_eq!(DType::U64.int_range(), Some((0, u64::MAX as i128)));
        assert_eq!(DType::Bool.int_range(), None);
    }
}
