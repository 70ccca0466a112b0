//! Chains of elementwise ops over strided views, a block that stays in the nearest cache at a time.

use std::ops::Range;

use super::{
    binary::{Binary, Operand, binary_in},
    scaled::scaled,
    simd::{Isa, Simd, dispatch},
    threads::{Shared, Threads},
    unary::{Unary, apply_in},
    view::{Loops, View, Walk},
};

#[cfg(test)]
pub(crate) mod tests;

/// One op of a chain, of what the ops before it give.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Stage {
    /// Of that alone.
    Unary(Unary),
    /// Of that and an operand, which is the first argument if `swapped`.
    Binary { op: Binary, operand: usize, swapped: bool },
    /// Rounded to f16.
    Half,
}

/// Elementwise ops one after the other, from an input to an output.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    /// Over the output, the input and the operands.
    loops: Loops,
    stages: Vec<Stage>,
    /// How many of the loops are outside of blocks: all but the last, which blocks cut, or but two if the last is short, where a block is some
    /// rows of it.
    depth: usize,
    /// Rows of a block, and elements of a row in it.
    block: [usize; 2],
    /// Blocks of each position of the outer loops.
    parts: usize,
    /// How many blocks are worth another thread.
    grain: usize,
}

/// Elements of a block.
const BLOCK: usize = scaled(1024, 64);
/// Rows shorter than this are taken several at once;
const SHORT: usize = scaled(48, 8);
/// those shorter than this where they follow each other anyway.
const SHORT_RUN: usize = scaled(512, 32);

impl Chain {
    /// A chain over tensors of a shape. Elements of `out` must not overlap.
    pub(crate) fn new(shape: &[usize], out: View, input: View, operands: Vec<View>, stages: Vec<Stage>) -> Chain {
        let views: Vec<&View> = [&out, &input].into_iter().chain(&operands).collect();
        let loops = Loops::new(shape, &views);
        let valid = |stage: &Stage| !matches!(stage, Stage::Binary { operand, .. } if *operand >= operands.len());
        assert!(stages.iter().all(valid), "an operand for each stage");
        let rank = loops.shape.len();
        let (rows, row) = (loops.shape[rank - 2], loops.shape[rank - 1].max(1));
        let follow = loops.strides[..2].iter().all(|s| s[rank - 2..] == [row, 1]);
        let short = rows > 1 && (row < SHORT || (follow && row < SHORT_RUN));
        let (depth, block, parts) = if short {
            let some = (BLOCK / row).min(rows);
            (rank - 2, [some, row], rows.div_ceil(some))
        } else {
            let some = BLOCK.min(row);
            (rank - 1, [1, some], row.div_ceil(some))
        };
        let cost = |stage: &Stage| match stage {
            Stage::Unary(Unary::Relu | Unary::Relu6 | Unary::Abs | Unary::Clip { .. }) | Stage::Half => 1,
            Stage::Unary(_) => 6,
            Stage::Binary { op: Binary::Pow | Binary::FloorDiv | Binary::Mod, .. } => 30,
            Stage::Binary { .. } => 1,
        };
        let cost: usize = 1 + stages.iter().map(cost).sum::<usize>();
        let grain = (32_768 / (cost * block[0] * block[1])).max(1);
        Chain { loops, stages, depth, block, parts, grain }
    }

    /// Runs it. Without an `input`, `out` is that too, and in the same view whatever was said.
    pub(crate) fn run(&self, isa: Isa, threads: &Threads, out: &mut [f32], input: Option<&[f32]>, operands: &[&[f32]]) {
        if self.loops.shape.contains(&0) {
            return;
        }
        let given = input.map_or(self.loops.reach[1], <[f32]>::len);
        self.loops.check([out.len(), given].into_iter().chain(operands.iter().map(|o| o.len())));
        let out = Shared::new(out);
        let tasks = self.loops.shape[..self.depth].iter().product::<usize>() * self.parts;
        threads.run(tasks, self.grain, &|range| {
            // SAFETY: the views are within the slices, and blocks write elements of their own.
            unsafe { range_at(isa, self, range, out.as_mut_ptr(), input, operands) }
        });
    }
}

dispatch! { unsafe fn range_at(chain: &Chain, range: Range<usize>, out: *mut f32, input: Option<&[f32]>, operands: &[&[f32]]) = super::chain::range_in }

/// Rows of elements.
#[derive(Clone, Copy)]
struct Rows {
    rows: usize,
    row: usize,
}

impl Rows {
    /// Whether elements with these strides, of rows and in a row, follow each other.
    fn are_run(self, [far, near]: [usize; 2]) -> bool {
        near == 1 && (self.rows == 1 || far == self.row)
    }

    /// Whether they are all the same one.
    fn are_one(self, [far, near]: [usize; 2]) -> bool {
        near == 0 && (self.rows == 1 || far == 0)
    }

    /// `to` in one run of what is in `from` with strides; or the other way round if `back`, `to` being what has strides.
    ///
    /// # Safety
    /// Elements are where the strides say.
    #[inline(always)]
    unsafe fn copy(self, to: *mut f32, from: *const f32, [far, near]: [usize; 2], back: bool) {
        // SAFETY: the caller's.
        let one = |r: usize, i: usize| unsafe {
            let (run, strided) = (r * self.row + i, r * far + i * near);
            let (to_at, from_at) = if back { (strided, run) } else { (run, strided) };
            to.add(to_at).write(from.add(from_at).read());
        };
        if far == 0 && !back {
            (0..self.row).for_each(|i| one(0, i));
            let (mut done, all) = (self.row, self.rows * self.row);
            while done < all {
                let some = done.min(all - done);
                // SAFETY: the caller's.
                unsafe { to.copy_to_nonoverlapping(to.add(done), some) };
                done += some;
            }
        } else if far < near {
            (0..self.row).for_each(|i| (0..self.rows).for_each(|r| one(r, i)));
        } else {
            (0..self.rows).for_each(|r| (0..self.row).for_each(|i| one(r, i)));
        }
    }
}

/// The blocks of a range.
#[inline(always)]
unsafe fn range_in<S: Simd>(
    chain: &Chain,
    range: Range<usize>,
    out: *mut f32,
    input: Option<&[f32]>,
    operands: &[&[f32]],
) {
    let loops = &chain.loops;
    let rank = loops.shape.len();
    let short = chain.depth + 2 == rank;
    let whole = if short { loops.shape[rank - 2] } else { loops.shape[rank - 1] };
    let inner = |view: usize| {
        let s = &loops.strides[view];
        [if short { s[rank - 2] } else { 0 }, s[rank - 1]]
    };
    let out_strides = inner(0);
    let input_strides = if input.is_some() { inner(1) } else { out_strides };
    let mut scratch = [0f32; BLOCK];
    let mut other = [0f32; BLOCK];
    // What `other` has: rows that are all the same stay for the next block.
    let mut held = (std::ptr::null(), 0, 0);
    let mut walk = Walk::new(loops, chain.depth, range.start / chain.parts);
    let mut part = range.start % chain.parts;
    for _ in range {
        // What the block is cut from: rows, or the elements of one.
        let step = if short { chain.block[0] } else { chain.block[1] };
        let start = part * step;
        let some = step.min(whole - start);
        let block = if short { Rows { rows: some, row: chain.block[1] } } else { Rows { rows: 1, row: some } };
        let n = block.rows * block.row;
        let place = |view: usize, strides: [usize; 2]| walk.offsets[view] + start * strides[usize::from(!short)];
        // SAFETY: the views' elements are in the slices, which `run` checked; `n` is at most `BLOCK`.
        unsafe {
            let target = out.add(place(0, out_strides));
            let direct = block.are_run(out_strides);
            let to = if direct { target } else { scratch.as_mut_ptr() };
            let source = match input {
                Some(input) => input.as_ptr().add(place(1, input_strides)),
                None => target.cast_const(),
            };
            // Where the values are: not yet at `to` if they can be read where they are.
            let mut value = source;
            if !block.are_run(input_strides) {
                block.copy(to, source, input_strides, false);
                value = to;
            }
            for stage in &chain.stages {
                if let Stage::Binary { op, operand, swapped } = *stage {
                    let strides = inner(2 + operand);
                    let mut at = operands[operand].as_ptr().add(place(2 + operand, strides));
                    let b = if block.are_one(strides) {
                        Operand::One(at.read())
                    } else {
                        if !block.are_run(strides) {
                            let is_held = strides[0] == 0 && (held.0, held.1) == (at, strides[1]) && held.2 >= n;
                            if !is_held {
                                block.copy(other.as_mut_ptr(), at, strides, false);
                                held = if strides[0] == 0 { (at, strides[1], n) } else { (std::ptr::null(), 0, 0) };
                            }
                            at = other.as_ptr();
                        }
                        Operand::Run(at)
                    };
                    binary_in::<S>(op, swapped, to, value, b, n);
                } else {
                    if value != to.cast_const() {
                        value.copy_to_nonoverlapping(to, n);
                    }
                    match stage {
                        Stage::Unary(op) => apply_in::<S>(op, to, n),
                        _ => half_in::<S>(to, n),
                    }
                }
                value = to;
            }
            if !direct {
                block.copy(target, value, out_strides, true);
            } else if value != to.cast_const() {
                value.copy_to_nonoverlapping(to, n);
            }
        }
        part += 1;
        if part == chain.parts {
            part = 0;
            walk.step();
        }
    }
}

/// Rounds to f16.
#[inline(always)]
unsafe fn half_in<S: Simd>(p: *mut f32, n: usize) {
    let mut at = 0;
    while at < n {
        let count = S::LANES.min(n - at);
        // SAFETY: `n` elements are there.
        unsafe { S::store_first(p.add(at), S::half(S::load_first(p.add(at), count)), count) };
        at += S::LANES;
    }
}
