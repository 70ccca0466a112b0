//! Memory that begins where a cache line does.

use std::{
    marker::PhantomData,
    ops::{Deref, DerefMut},
};

use bytemuck::Pod;

use super::pages::{Pages, Part};

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Zeros at first; aligned to 64 bytes, which whole vectors of every instruction set then are too.
pub(crate) struct Aligned<T = f32> {
    memory: Memory,
    /// How many elements there are.
    len: usize,
    of: PhantomData<T>,
}

enum Memory {
    Lines(Vec<Line>),
    Part(Part),
}

impl<T: Pod> Aligned<T> {
    /// So many zeros.
    pub(crate) fn zeros(len: usize) -> Aligned<T> {
        let lines = len.saturating_mul(size_of::<T>()).div_ceil(size_of::<Line>());
        Aligned { memory: Memory::Lines(vec![Line([0; 64]); lines]), len, of: PhantomData }
    }

    /// So many zeros, of the memory of `pages` where that has some.
    pub(crate) fn zeros_in(pages: Option<&Pages>, len: usize) -> Aligned<T> {
        match pages.and_then(|pages| pages.part(len.checked_mul(size_of::<T>())?)) {
            Some(part) => Aligned { memory: Memory::Part(part), len, of: PhantomData },
            None => Aligned::zeros(len),
        }
    }

    /// At least so many elements, whatever is in them.
    pub(crate) fn grow(&mut self, len: usize) -> &mut [T] {
        if self.len < len {
            *self = Aligned::zeros(len);
        }
        &mut self[..len]
    }
}

impl<T: Pod> Default for Aligned<T> {
    fn default() -> Self {
        Aligned::zeros(0)
    }
}

impl<T: Pod> Clone for Aligned<T> {
    fn clone(&self) -> Self {
        let mut same = Aligned::zeros(self.len);
        same.copy_from_slice(self);
        same
    }
}

impl<T: Pod> Deref for Aligned<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        let at = match &self.memory {
            Memory::Lines(lines) => lines.as_ptr().cast(),
            Memory::Part(part) => part.as_ptr().cast_const().cast(),
        };
        // SAFETY: there is memory for so many elements, ours alone; any bytes are elements, and the alignment is that of a cache line.
        unsafe { std::slice::from_raw_parts(at, self.len) }
    }
}

impl<T: Pod> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        let at = match &mut self.memory {
            Memory::Lines(lines) => lines.as_mut_ptr().cast(),
            Memory::Part(part) => part.as_ptr().cast(),
        };
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(at, self.len) }
    }
}

impl<T> std::fmt::Debug for Aligned<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Aligned({})", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begins_at_a_line<T: Pod + PartialEq + std::fmt::Debug>(one: T, pages: Option<&Pages>) {
        // The last is of more than one page; miri has no other memory for it, and takes minutes.
        let long = if cfg!(miri) { 3000 } else { 300_000 };
        for len in [0, 1, 16, 17, 1000, long] {
            let mut a = Aligned::<T>::zeros_in(pages, len);
            assert_eq!((a.as_ptr() as usize % 64, a.len()), (0, len));
            assert!(a.iter().all(|x| *x == T::zeroed()));
            a.fill(one);
            assert_eq!(a.clone()[..], a[..]);
            assert_eq!(a.grow(len / 2).len(), len / 2);
            assert!(a.grow(len + 100).iter().all(|x| *x == T::zeroed()));
        }
    }

    #[test]
    fn aligned_to_lines() {
        begins_at_a_line(1f32, None);
        begins_at_a_line(1u8, None);
        let pages = Pages::of(if cfg!(miri) { 0 } else { 2 << 20 });
        begins_at_a_line(1f32, Some(&pages));
        begins_at_a_line(-1i8, Some(&pages));
        begins_at_a_line(1u16, Some(&Pages::default()));
    }
}
