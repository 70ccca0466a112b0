//! Element types of a blob.

use std::fmt;

/// Element type of a blob.
///
/// The codes are those of the file format, and not those of the program's `DataType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum BlobDType {
    /// IEEE half precision.
    Float16 = 1,
    /// IEEE single precision.
    Float32 = 2,
    /// 8-bit unsigned integer.
    UInt8 = 3,
    /// 8-bit signed integer.
    Int8 = 4,
    /// The upper half of a single precision float.
    BFloat16 = 5,
    /// 16-bit signed integer.
    Int16 = 6,
    /// 16-bit unsigned integer.
    UInt16 = 7,
    /// 4-bit signed integer.
    Int4 = 8,
    /// 1-bit unsigned integer.
    UInt1 = 9,
    /// 2-bit unsigned integer.
    UInt2 = 10,
    /// 4-bit unsigned integer.
    UInt4 = 11,
    /// 3-bit unsigned integer.
    UInt3 = 12,
    /// 6-bit unsigned integer.
    UInt6 = 13,
    /// 32-bit signed integer.
    Int32 = 14,
    /// 32-bit unsigned integer.
    UInt32 = 15,
    /// 8-bit float with 4 exponent bits.
    Float8E4M3FN = 16,
    /// 8-bit float with 5 exponent bits.
    Float8E5M2 = 17,
}

impl BlobDType {
    /// Every type, in the order of the codes.
    pub const ALL: [Self; 17] = [
        Self::Float16,
        Self::Float32,
        Self::UInt8,
        Self::Int8,
        Self::BFloat16,
        Self::Int16,
        Self::UInt16,
        Self::Int4,
        Self::UInt1,
        Self::UInt2,
        Self::UInt4,
        Self::UInt3,
        Self::UInt6,
        Self::Int32,
        Self::UInt32,
        Self::Float8E4M3FN,
        Self::Float8E5M2,
    ];

    /// The number that stands for the type in a file.
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// The type that `code` stands for.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(code).ok()?.checked_sub(1)?).copied()
    }

    /// Bits of one element.
    pub const fn bits(self) -> u32 {
        match self {
            Self::UInt1 => 1,
            Self::UInt2 => 2,
            Self::UInt3 => 3,
            Self::Int4 | Self::UInt4 => 4,
            Self::UInt6 => 6,
            Self::UInt8 | Self::Int8 | Self::Float8E4M3FN | Self::Float8E5M2 => 8,
            Self::Float16 | Self::BFloat16 | Self::Int16 | Self::UInt16 => 16,
            Self::Float32 | Self::Int32 | Self::UInt32 => 32,
        }
    }

    /// The type's short name, e.g. `f16` or `u4`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Float16 => "f16",
            Self::Float32 => "f32",
            Self::UInt8 => "u8",
            Self::Int8 => "i8",
            Self::BFloat16 => "bf16",
            Self::Int16 => "i16",
            Self::UInt16 => "u16",
            Self::Int4 => "i4",
            Self::UInt1 => "u1",
            Self::UInt2 => "u2",
            Self::UInt4 => "u4",
            Self::UInt3 => "u3",
            Self::UInt6 => "u6",
            Self::Int32 => "i32",
            Self::UInt32 => "u32",
            Self::Float8E4M3FN => "f8e4m3fn",
            Self::Float8E5M2 => "f8e5m2",
        }
    }
}

impl fmt::Display for BlobDType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_one_to_seventeen() {
        for (index, dtype) in BlobDType::ALL.into_iter().enumerate() {
            assert_eq!(dtype.code() as usize, index + 1);
            assert_eq!(BlobDType::from_code(dtype.code()), Some(dtype));
        }
        assert_eq!([0, 18, u32::MAX].map(BlobDType::from_code), [None; 3]);
    }

    #[test]
    fn names_tell_the_bits() {
        for dtype in BlobDType::ALL {
            let digits: String =
                dtype.name().chars().skip_while(|c| !c.is_numeric()).take_while(|c| c.is_numeric()).collect();
            assert_eq!(digits, dtype.bits().to_string(), "{dtype}");
        }
    }
}
