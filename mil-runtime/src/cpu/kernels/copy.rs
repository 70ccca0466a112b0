//! Strided copies: from one view to another, widened from f16 or rounded to it; and what fills views.

use std::ops::Range;

use half::f16;

use super::{
    scaled::scaled,
    simd::{Isa, Simd, dispatch},
    threads::Threads,
    view::{Loops, View, Walk},
};

#[cfg(test)]
mod tests;

/// A copy of the elements of one view to another.
#[derive(Clone, Debug)]
pub(crate) struct Copy {
    /// Over the views `to` and `from`. Of the last two, the second has the least stride in `to`, the first, where there is one, stride 1
    /// in `from`.
    loops: Loops,
    /// Elements of the longer of the last two loops that make up a part, and parts of it.
    step: usize,
    parts: usize,
}

/// Elements of a part, about.
const PART: usize = scaled(16_384, 512);
/// Elements of f16 that are converted at once.
const HALVES: usize = scaled(4096, 1024);

impl Copy {
    /// A copy between tensors of a shape. Elements of `to` must not overlap.
    pub(crate) fn new(shape: &[usize], to: View, from: View) -> Copy {
        let mut loops = Loops::new(shape, &[&to, &from]);
        let rank = loops.shape.len();
        if loops.strides[1][rank - 1] != 1 {
            let unit = (0..rank - 1).rev().find(|d| loops.strides[1][*d] == 1);
            if let Some(unit) = unit {
                // Next to the last.
                loops.shape[unit..rank - 1].rotate_left(1);
                loops.strides.iter_mut().for_each(|s| s[unit..rank - 1].rotate_left(1));
            }
        }
        let (rows, row) = (loops.shape[rank - 2], loops.shape[rank - 1]);
        let (longer, other) = (rows.max(row).max(1), rows.min(row).max(1));
        let step = (PART / other).next_multiple_of(16).min(longer);
        Copy { loops, step, parts: longer.div_ceil(step) }
    }

    /// Copies numbers of f32.
    pub(crate) fn run(&self, isa: Isa, threads: &Threads, to: &mut [f32], from: &[f32]) {
        self.each(threads, to, from, &|to, from, region| {
            // SAFETY: `each` vouches for the region.
            unsafe { region_at(isa, to, from, region) }
        });
    }

    /// Copies numbers of f16 to f32.
    pub(crate) fn load_halves(&self, isa: Isa, threads: &Threads, to: &mut [f32], from: &[f16]) {
        self.each(threads, to, from, &|to, from, region| {
            // SAFETY: as above.
            unsafe { load_at(isa, to, from, region) }
        });
    }

    /// Copies numbers of f32 to f16, rounded to nearest, ties to even.
    pub(crate) fn store_halves(&self, isa: Isa, threads: &Threads, to: &mut [f16], from: &[f32]) {
        self.each(threads, to, from, &|to, from, region| {
            // SAFETY: as above.
            unsafe { store_at(isa, to, from, region) }
        });
    }

    /// Calls `copy` for regions that make up all, each with pointers to its first elements in `to` and `from`. The elements of a region are in
    /// the slices, and those in `to` are its own.
    fn each<T: Send, F: Sync>(
        &self,
        threads: &Threads,
        to: &mut [T],
        from: &[F],
        copy: &(dyn Fn(*mut T, *const F, Region) + Sync),
    ) {
        let loops = &self.loops;
        if loops.shape.contains(&0) {
            return;
        }
        loops.check([to.len(), from.len()]);
        let target = Target(to.as_mut_ptr());
        let depth = loops.shape.len() - 2;
        let last = |v: usize| [loops.strides[v][depth], loops.strides[v][depth + 1]];
        let size = [loops.shape[depth], loops.shape[depth + 1]];
        let longer = usize::from(size[1] >= size[0]);
        let tasks = loops.shape[..depth].iter().product::<usize>() * self.parts;
        let grain = (2 * PART / (self.step * size[1 - longer])).max(1);
        threads.run(tasks, grain, &|range: Range<usize>| {
            let target = &target;
            let mut walk = Walk::new(loops, depth, range.start / self.parts);
            let mut part = range.start % self.parts;
            for _ in range {
                let start = part * self.step;
                let mut region = Region { size, to: last(0), from: last(1) };
                region.size[longer] = self.step.min(size[longer] - start);
                let at = [0, 1].map(|v| walk.offsets[v] + start * last(v)[longer]);
                // SAFETY: `check` found the views within the slices.
                let (to, from) = unsafe { (target.0.add(at[0]), from.as_ptr().add(at[1])) };
                copy(to, from, region);
                part += 1;
                if part == self.parts {
                    part = 0;
                    walk.step();
                }
            }
        });
    }
}

/// What several threads write, each its own elements.
struct Target<T>(*mut T);

// SAFETY: whoever writes through the pointer vouches that no two threads do so at one place; numbers may go to other threads.
unsafe impl<T: Send> Sync for Target<T> {}

/// Two loops: their sizes, and the strides of each in what is written and what is read.
#[derive(Clone, std::marker::Copy, Debug)]
struct Region {
    size: [usize; 2],
    to: [usize; 2],
    from: [usize; 2],
}

dispatch! { unsafe fn region_at(to: *mut f32, from: *const f32, region: Region) = super::copy::region_in }
dispatch! { unsafe fn load_at(to: *mut f32, from: *const f16, region: Region) = super::copy::load_in }
dispatch! { unsafe fn store_at(to: *mut f16, from: *const f32, region: Region) = super::copy::store_in }

/// # Safety
/// The region's elements are at the pointers; so for all below.
#[inline(always)]
unsafe fn region_in<S: Simd>(to: *mut f32, from: *const f32, region: Region) {
    let Region { size: [rows, row], to: t, from: f } = region;
    // SAFETY: the caller's.
    unsafe {
        match (t[1], f[1]) {
            (1, 1) if row >= 32 => {
                for r in 0..rows {
                    from.add(r * f[0]).copy_to_nonoverlapping(to.add(r * t[0]), row);
                }
            }
            (1, 1) => {
                for r in 0..rows {
                    let (to, from) = (to.add(r * t[0]), from.add(r * f[0]));
                    let mut at = 0;
                    while at < row {
                        let count = S::LANES.min(row - at);
                        S::store_first(to.add(at), S::load_first(from.add(at), count), count);
                        at += S::LANES;
                    }
                }
            }
            (1, 0) => {
                for r in 0..rows {
                    std::slice::from_raw_parts_mut(to.add(r * t[0]), row).fill(from.add(r * f[0]).read());
                }
            }
            // Few streams that are merged, or that one is parted into.
            (1, _) if f[0] == 1 && row <= 4 => match row {
                2 if t[0] == 2 => streams::<2>(to, [2, 1], from, [1, f[1]], rows),
                3 if t[0] == 3 => streams::<3>(to, [3, 1], from, [1, f[1]], rows),
                4 if t[0] == 4 => streams::<4>(to, [4, 1], from, [1, f[1]], rows),
                _ => plain(to, t, from, f, [rows, row]),
            },
            (1, _) if f[0] == 1 && rows <= 4 => match rows {
                2 if f[1] == 2 => streams::<2>(to, [1, t[0]], from, [2, 1], row),
                3 if f[1] == 3 => streams::<3>(to, [1, t[0]], from, [3, 1], row),
                4 if f[1] == 4 => streams::<4>(to, [1, t[0]], from, [4, 1], row),
                _ => plain(to, [t[1], t[0]], from, [f[1], f[0]], [row, rows]),
            },
            (1, _) if f[0] == 1 => {
                // Blocks of 16x16: whole lines are read and written.
                for i in (0..row).step_by(16) {
                    for j in (0..rows).step_by(16) {
                        let (to, from) = (to.add(i + j * t[0]), from.add(i * f[1] + j));
                        let (height, width) = ((row - i).min(16), (rows - j).min(16));
                        if height == 16 && width == 16 {
                            S::transpose_8(to, t[0], from, f[1]);
                            S::transpose_8(to.add(8), t[0], from.add(8 * f[1]), f[1]);
                            S::transpose_8(to.add(8 * t[0]), t[0], from.add(8), f[1]);
                            S::transpose_8(to.add(8 + 8 * t[0]), t[0], from.add(8 + 8 * f[1]), f[1]);
                        } else {
                            plain(to, t, from, f, [width, height]);
                        }
                    }
                }
            }
            _ => plain(to, t, from, f, [rows, row]),
        }
    }
}

/// Loops over `N` elements in each of so many.
#[inline(always)]
unsafe fn streams<const N: usize>(to: *mut f32, t: [usize; 2], from: *const f32, f: [usize; 2], count: usize) {
    for i in 0..count {
        for j in 0..N {
            // SAFETY: the caller's.
            unsafe { to.add(i * t[0] + j * t[1]).write(from.add(i * f[0] + j * f[1]).read()) };
        }
    }
}

/// Any two loops.
#[inline(always)]
unsafe fn plain(to: *mut f32, t: [usize; 2], from: *const f32, f: [usize; 2], [rows, row]: [usize; 2]) {
    for r in 0..rows {
        for i in 0..row {
            // SAFETY: the caller's.
            unsafe { to.add(r * t[0] + i * t[1]).write(from.add(r * f[0] + i * f[1]).read()) };
        }
    }
}

/// The sizes of tiles of at most [`HALVES`] elements, the longer along the loop in which the halves have the least stride.
fn tiles(size: [usize; 2], strides: [usize; 2]) -> ([usize; 2], usize) {
    let near = usize::from(strides[1] <= strides[0]);
    // Whole blocks of a transpose, where there are any.
    let whole = |some: usize| if some > 16 { some - some % 16 } else { some };
    let mut tile = [0; 2];
    tile[near] = size[near].min(whole(HALVES / size[1 - near].clamp(1, 64)));
    tile[1 - near] = size[1 - near].min(whole(HALVES / tile[near]));
    (tile, near)
}

#[inline(always)]
unsafe fn load_in<S: Simd>(to: *mut f32, from: *const f16, region: Region) {
    let Region { size, to: t, from: f } = region;
    let (tile, near) = tiles(size, f);
    let far = 1 - near;
    let mut scratch = [0f32; HALVES];
    for i in (0..size[0]).step_by(tile[0]) {
        for j in (0..size[1]).step_by(tile[1]) {
            let size = [tile[0].min(size[0] - i), tile[1].min(size[1] - j)];
            // SAFETY: the caller's, and a tile is no larger than the scratch.
            unsafe {
                let (to, from) = (to.add(i * t[0] + j * t[1]), from.add(i * f[0] + j * f[1]).cast::<u16>());
                for r in 0..size[far] {
                    widen::<S>(scratch.as_mut_ptr().add(r * size[near]), from.add(r * f[far]), f[near], size[near]);
                }
                let mut strides = [1; 2];
                strides[far] = size[near];
                region_in::<S>(to, scratch.as_ptr(), Region { size, to: t, from: strides });
            }
        }
    }
}

#[inline(always)]
unsafe fn store_in<S: Simd>(to: *mut f16, from: *const f32, region: Region) {
    let Region { size, to: t, from: f } = region;
    let (tile, near) = tiles(size, t);
    let far = 1 - near;
    let mut scratch = [0f32; HALVES];
    for i in (0..size[0]).step_by(tile[0]) {
        for j in (0..size[1]).step_by(tile[1]) {
            let size = [tile[0].min(size[0] - i), tile[1].min(size[1] - j)];
            // SAFETY: as above.
            unsafe {
                let (to, from) = (to.add(i * t[0] + j * t[1]).cast::<u16>(), from.add(i * f[0] + j * f[1]));
                let mut strides = [1; 2];
                strides[far] = size[near];
                region_in::<S>(scratch.as_mut_ptr(), from, Region { size, to: strides, from: f });
                for r in 0..size[far] {
                    narrow::<S>(to.add(r * t[far]), t[near], scratch.as_ptr().add(r * size[near]), size[near]);
                }
            }
        }
    }
}

/// A run of numbers from halves with a stride.
#[inline(always)]
unsafe fn widen<S: Simd>(to: *mut f32, from: *const u16, stride: usize, n: usize) {
    // SAFETY: the caller's.
    unsafe {
        let mut at = 0;
        if stride == 1 {
            while at + S::LANES <= n {
                S::store(to.add(at), S::load_f16(from.add(at)));
                at += S::LANES;
            }
        }
        let mut some = [0u16; 16];
        while at < n {
            let count = S::LANES.min(n - at);
            for (i, half) in some.iter_mut().enumerate().take(count) {
                *half = from.add((at + i) * stride).read();
            }
            S::store_first(to.add(at), S::load_f16(some.as_ptr()), count);
            at += count;
        }
    }
}

/// Halves with a stride from a run of numbers.
#[inline(always)]
unsafe fn narrow<S: Simd>(to: *mut u16, stride: usize, from: *const f32, n: usize) {
    // SAFETY: the caller's.
    unsafe {
        let mut at = 0;
        if stride == 1 {
            while at + S::LANES <= n {
                S::store_f16(to.add(at), S::load(from.add(at)));
                at += S::LANES;
            }
        }
        let mut some = [0u16; 16];
        while at < n {
            let count = S::LANES.min(n - at);
            S::store_f16(some.as_mut_ptr(), S::load_first(from.add(at), count));
            for (i, half) in some.iter().enumerate().take(count) {
                to.add((at + i) * stride).write(*half);
            }
            at += count;
        }
    }
}
