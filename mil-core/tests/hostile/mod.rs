//! Made-up ops and damaged programs, out of a stream of choices. Tests and fuzz targets share this file.

#![allow(dead_code, unreachable_pub)] // each of them uses a part, some from outside this crate

pub mod models;
pub mod ops;
pub mod run;
pub mod text;

/// A stream of choices: bytes while there are any, then zeros, the tamest choice.
pub struct Choices<'a>(pub &'a [u8]);

impl Choices<'_> {
    /// One byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        let wide = if n > 256 { usize::from(self.byte()) << 8 } else { 0 };
        (wide + usize::from(self.byte())) % n
    }

    /// Whether one in `n` holds.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    /// One of a list.
    pub fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }
}

/// Numbers that parameters trip over.
pub const NUMBERS: [i64; 20] = [
    0,
    1,
    -1,
    2,
    3,
    -2,
    4,
    7,
    16,
    255,
    256,
    65_536,
    1 << 24,
    1 << 30,
    i32::MAX as i64 - 1,
    i32::MAX as i64,
    i32::MIN as i64,
    i32::MIN as i64 + 1,
    -7,
    1000,
];

/// Sizes that shapes trip over.
pub const SIZES: [i64; 14] =
    [0, 1, 2, 3, 5, 16, 255, 1 << 16, 1 << 31, 1 << 32, 1 << 40, 1 << 62, i64::MAX - 1, i64::MAX];
