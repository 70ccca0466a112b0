//! Element types of safetensors files.

use std::fmt;

use crate::types::DType;

macro_rules! dtypes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $bits:literal;)*) => {
        /// Element type of a tensor in a safetensors file.
        ///
        /// Ordered by size: a file holds its tensors from the widest type to the narrowest, which keeps
        /// all of them aligned.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum SafeDType {
            $($(#[$doc])* $variant,)*
        }

        impl SafeDType {
            /// Every type, from the narrowest to the widest.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The type's name in a header, e.g. `F16`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The type of that name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Bits of one element.
            pub const fn bits(self) -> u32 {
                match self {
                    $(Self::$variant => $bits,)*
                }
            }
        }
    };
}

dtypes! {
    /// 4-bit float.
    F4 = "F4", 4;
    /// 6-bit float with 2 exponent bits.
    F6E2M3 = "F6_E2M3", 6;
    /// 6-bit float with 3 exponent bits.
    F6E3M2 = "F6_E3M2", 6;
    /// Truth value, one byte.
    Bool = "BOOL", 8;
    /// 8-bit unsigned integer.
    U8 = "U8", 8;
    /// 8-bit signed integer.
    I8 = "I8", 8;
    /// 8-bit float with 5 exponent bits.
    F8E5M2 = "F8_E5M2", 8;
    /// 8-bit float with 4 exponent bits.
    F8E4M3 = "F8_E4M3", 8;
    /// A power of two in 8 bits.
    F8E8M0 = "F8_E8M0", 8;
    /// 8-bit float with 4 exponent bits, finite values, no negative zero.
    F8E4M3Fnuz = "F8_E4M3FNUZ", 8;
    /// 8-bit float with 5 exponent bits, finite values, no negative zero.
    F8E5M2Fnuz = "F8_E5M2FNUZ", 8;
    /// 16-bit signed integer.
    I16 = "I16", 16;
    /// 16-bit unsigned integer.
    U16 = "U16", 16;
    /// IEEE half precision.
    F16 = "F16", 16;
    /// The upper half of a single precision float.
    Bf16 = "BF16", 16;
    /// 32-bit signed integer.
    I32 = "I32", 32;
    /// 32-bit unsigned integer.
    U32 = "U32", 32;
    /// IEEE single precision.
    F32 = "F32", 32;
    /// Complex number of two F32.
    C64 = "C64", 64;
    /// IEEE double precision.
    F64 = "F64", 64;
    /// 64-bit signed integer.
    I64 = "I64", 64;
    /// 64-bit unsigned integer.
    U64 = "U64", 64;
}

impl SafeDType {
    /// The element type of MIL that has the same values in the same bytes, if there is one.
    pub const fn dtype(self) -> Option<DType> {
        Some(match self {
            SafeDType::Bool => DType::Bool,
            SafeDType::U8 => DType::U8,
            SafeDType::I8 => DType::I8,
            SafeDType::I16 => DType::I16,
            SafeDType::U16 => DType::U16,
            SafeDType::I32 => DType::I32,
            SafeDType::U32 => DType::U32,
            SafeDType::I64 => DType::I64,
            SafeDType::U64 => DType::U64,
            SafeDType::F8E5M2 => DType::F8E5M2,
            SafeDType::F8E4M3 => DType::F8E4M3FN,
            SafeDType::F16 => DType::F16,
            SafeDType::Bf16 => DType::BF16,
            SafeDType::F32 => DType::F32,
            SafeDType::F64 => DType::F64,
            _ => return None,
        })
    }
}

impl fmt::Display for SafeDType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_and_sizes_ascend() {
        for dtype in SafeDType::ALL {
            assert_eq!(SafeDType::from_name(dtype.name()), Some(*dtype));
            assert!(dtype.dtype().is_none_or(|d| d.bits() == dtype.bits() as usize), "{dtype}");
        }
        assert!(SafeDType::ALL.is_sorted_by_key(|dtype| dtype.bits()));
        assert_eq!(SafeDType::from_name("f32"), None);
    }
}
