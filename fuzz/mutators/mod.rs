//! Changes that leave the shape of a file intact, so that what is behind its reader is reached as well.

#![allow(dead_code)] // each target uses a part

pub mod archive;
pub mod tokens;
pub mod wire;

/// Numbers that sizes, axes and indices trip over.
pub const NUMBERS: [i64; 24] = [
    0,
    1,
    -1,
    2,
    3,
    -2,
    4,
    5,
    6,
    7,
    8,
    -3,
    10,
    16,
    255,
    1000,
    65_536,
    1 << 24,
    i32::MAX as i64,
    i32::MIN as i64,
    1 << 40,
    1 << 62,
    i64::MAX,
    i64::MIN,
];

/// Numbers at random (xorshift).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u32) -> Random {
        Random((u64::from(seed) << 17) | 0x9e37_79b9)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `n`, or 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() >> 11) as usize % n.max(1)
    }

    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    /// A number that small ones are most of.
    pub fn number(&mut self) -> i64 {
        let among = if self.below(3) > 0 { 12 } else { NUMBERS.len() };
        NUMBERS[self.below(among)]
    }
}

/// Puts a mutant in place of what libFuzzer gave, if it is not too large.
pub fn put(data: &mut [u8], size: usize, max_size: usize, mutant: &[u8]) -> usize {
    if mutant.len() > max_size.min(data.len()) {
        return size;
    }
    data[..mutant.len()].copy_from_slice(mutant);
    mutant.len()
}
