//! Weights in the order in which a matrix kernel reads them.

use bytemuck::Pod;
use half::f16;

use super::{
    aligned::Aligned,
    pages::Pages,
    simd::{Isa, Set, Simd, dispatch},
    threads::Threads,
};

/// A matrix of `k` rows and `n` columns (channels), in groups of up to four vectors of columns; a group has its rows one after the other.
/// Columns behind the last are zeros.
#[derive(Clone, Debug)]
pub(crate) struct Panels {
    pub(crate) k: usize,
    pub(crate) n: usize,
    pub(crate) groups: Vec<Group>,
    pub(crate) data: PanelData,
}

/// Some columns of a matrix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Group {
    /// The first column.
    pub(crate) first: usize,
    /// How many vectors of columns.
    pub(crate) blocks: usize,
    /// Where its elements begin.
    pub(crate) start: usize,
}

/// The elements: as f32, or as they are stored in a model, to be widened a part at a time.
#[derive(Clone, Debug)]
pub(crate) enum PanelData {
    F32(Aligned),
    F16(Aligned<u16>),
    /// `(element - zero[column]) * scale[column]`; both padded as the columns. Rounded to f16 if `half`.
    Int8 {
        elements: Aligned<i8>,
        scale: Vec<f32>,
        zero: Vec<f32>,
        half: bool,
    },
    /// `(element - zero[column]) * scale[column]`; both padded as the columns. Rounded to f16 if `half`.
    UInt8 {
        elements: Aligned<u8>,
        scale: Vec<f32>,
        zero: Vec<f32>,
        half: bool,
    },
    /// `table[tables[column]][element]`, tables of `size` entries one after the other.
    Lut {
        elements: Aligned<u8>,
        table: Vec<f32>,
        tables: Vec<u32>,
        size: usize,
    },
}

/// Of whom panels are made: for which instructions, by which threads, in which memory, if not in memory of their own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packer<'a> {
    pub(crate) isa: Isa,
    pub(crate) threads: &'a Threads,
    pub(crate) pages: Option<&'a Pages>,
}

/// What integers stand for: `(element - zero[column]) * scale[column]`, rounded to f16 if `half`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Affine<'a> {
    pub(crate) scale: &'a [f32],
    pub(crate) zero: &'a [f32],
    pub(crate) half: bool,
}

/// Where the element of row `k = tap * inner + i` and column `c` is in the source: at `c * column + i * row + tap * tap_stride`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    /// How many rows belong to one tap: the channels of a convolution's input; all rows of a plain matrix.
    pub(crate) inner: usize,
    /// From one tap to the next.
    pub(crate) tap: usize,
    /// From one row of a tap to the next.
    pub(crate) row: usize,
    /// From one column to the next.
    pub(crate) column: usize,
}

/// How wide a group may be, by what a kernel can hold in registers.
fn widest(isa: Isa) -> usize {
    match isa.0 {
        Set::Avx512 | Set::Neon => 4,
        Set::Avx2 | Set::Scalar => 2,
    }
}

/// The columns of a matrix by groups, as even as they can be.
pub(crate) fn groups(isa: Isa, k: usize, n: usize) -> Vec<Group> {
    let lanes = isa.lanes();
    let (mut left, mut groups, mut first, mut start) = (n.div_ceil(lanes), vec![], 0, 0);
    while left > 0 {
        let blocks = match (widest(isa), left) {
            // Rather two of three than one of four and a narrow one, which is slow.
            (4, 5 | 6 | 9) => 3,
            (widest, left) => left.min(widest),
        };
        groups.push(Group { first, blocks, start });
        (left, first, start) = (left - blocks, first + blocks * lanes, start + k * blocks * lanes);
    }
    groups
}

/// How many columns there are with those that fill up groups.
pub(crate) fn padded(isa: Isa, n: usize) -> usize {
    n.next_multiple_of(isa.lanes())
}

/// A vector of one number per column, zeros behind.
pub(crate) fn pad(isa: Isa, v: impl IntoIterator<Item = f32>, n: usize) -> Vec<f32> {
    let mut v: Vec<f32> = v.into_iter().take(n).collect();
    v.resize(padded(isa, n), 0.0);
    v
}

/// Puts elements in the order of the groups.
fn pack_into<T: Copy + Send + Sync>(
    (isa, threads): (Isa, &Threads),
    groups: &[Group],
    (k, n): (usize, usize),
    src: &[T],
    from: Source,
    to: &mut [T],
) {
    struct Raw<T>(*mut T);
    // SAFETY: groups are written by one thread each, and do not overlap.
    unsafe impl<T> Sync for Raw<T> {}
    impl<T> Raw<T> {
        fn at(&self, i: usize) -> *mut T {
            self.0.wrapping_add(i)
        }
    }
    let lanes = isa.lanes();
    let taps = k.checked_div(from.inner).unwrap_or(0);
    assert_eq!(taps * from.inner, k, "rows are whole taps");
    if k == 0 || n == 0 {
        return;
    }
    let last = (n - 1) * from.column + (from.inner - 1) * from.row + (taps - 1) * from.tap;
    assert!(last < src.len() && to.len() >= k * padded(isa, n), "the source is too short");
    let raw = Raw(to.as_mut_ptr());
    threads.run(groups.len(), 1, &|range| {
        for g in &groups[range] {
            let width = g.blocks * lanes;
            for tap in 0..taps {
                for i0 in (0..from.inner).step_by(16) {
                    let i1 = (i0 + 16).min(from.inner);
                    for c in 0..width.min(n - g.first) {
                        let source = (g.first + c) * from.column + tap * from.tap;
                        for i in i0..i1 {
                            let at = g.start + (tap * from.inner + i) * width + c;
                            // SAFETY: the last element was checked; `at` is inside the group, whose end is `k * padded` at most.
                            unsafe { raw.at(at).write(*src.get_unchecked(source + i * from.row)) };
                        }
                    }
                }
            }
        }
    });
}

impl Panels {
    /// Packs f32.
    pub(crate) fn f32(by: Packer<'_>, k: usize, n: usize, src: &[f32], from: Source) -> Panels {
        let groups = groups(by.isa, k, n);
        let mut data = Aligned::zeros_in(by.pages, k * padded(by.isa, n));
        pack_into((by.isa, by.threads), &groups, (k, n), src, from, &mut data);
        Panels { k, n, groups, data: PanelData::F32(data) }
    }

    /// Packs f16, which stays so.
    pub(crate) fn f16(by: Packer<'_>, k: usize, n: usize, src: &[f16], from: Source) -> Panels {
        let elements = elements(by, k, n, bytemuck::cast_slice::<f16, u16>(src), from);
        Panels { k, n, groups: groups(by.isa, k, n), data: PanelData::F16(elements) }
    }

    /// Packs integers, which stay so, with scale and zero point of each column.
    pub(crate) fn int8(
        by: Packer<'_>,
        (k, n): (usize, usize),
        src: &[i8],
        from: Source,
        Affine { scale, zero, half }: Affine<'_>,
    ) -> Panels {
        let elements = elements(by, k, n, src, from);
        let (scale, zero) = (pad(by.isa, scale.iter().copied(), n), pad(by.isa, zero.iter().copied(), n));
        Panels { k, n, groups: groups(by.isa, k, n), data: PanelData::Int8 { elements, scale, zero, half } }
    }

    /// As [`Panels::int8`], of unsigned integers.
    pub(crate) fn uint8(
        by: Packer<'_>,
        (k, n): (usize, usize),
        src: &[u8],
        from: Source,
        Affine { scale, zero, half }: Affine<'_>,
    ) -> Panels {
        let elements = elements(by, k, n, src, from);
        let (scale, zero) = (pad(by.isa, scale.iter().copied(), n), pad(by.isa, zero.iter().copied(), n));
        Panels { k, n, groups: groups(by.isa, k, n), data: PanelData::UInt8 { elements, scale, zero, half } }
    }

    /// Packs indices into tables of `size` entries, which stay so; `tables` says which table a column has.
    pub(crate) fn lut(
        by: Packer<'_>,
        (k, n): (usize, usize),
        src: &[u8],
        from: Source,
        (table, tables, size): (Vec<f32>, Vec<u32>, usize),
    ) -> Panels {
        let most = tables.iter().max().map_or(0, |t| *t as usize + 1) * size;
        assert!(
            tables.len() == n && table.len() >= most && src.iter().all(|i| usize::from(*i) < size),
            "indices into tables"
        );
        let elements = elements(by, k, n, src, from);
        Panels { k, n, groups: groups(by.isa, k, n), data: PanelData::Lut { elements, table, tables, size } }
    }

    /// Packs f32 again into the same memory: a matrix of the same size.
    pub(crate) fn repack(&mut self, isa: Isa, src: &[f32], from: Source) {
        if let PanelData::F32(data) = &mut self.data {
            pack_into((isa, &Threads::new(1)), &self.groups, (self.k, self.n), src, from, data);
        }
    }

    /// How much memory they take, in bytes.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        match &self.data {
            PanelData::F32(d) => d.len() * 4,
            PanelData::F16(d) => d.len() * 2,
            PanelData::Int8 { elements, scale, .. } => elements.len() + scale.len() * 8,
            PanelData::UInt8 { elements, scale, .. } => elements.len() + scale.len() * 8,
            PanelData::Lut { elements, table, .. } => elements.len() + table.len() * 4,
        }
    }

    /// Where an element is or would be, behind the last one too, and how many bytes one has.
    pub(crate) fn address(&self, at: usize) -> (*const u8, usize) {
        fn of<T>(elements: &[T], at: usize) -> (*const u8, usize) {
            (elements.as_ptr().wrapping_add(at).cast(), size_of::<T>())
        }
        match &self.data {
            PanelData::F32(v) => of(v, at),
            PanelData::F16(v) => of(v, at),
            PanelData::Int8 { elements, .. } => of(elements, at),
            PanelData::UInt8 { elements, .. } | PanelData::Lut { elements, .. } => of(elements, at),
        }
    }

    /// Whether rows must be widened before they are used.
    pub(crate) fn is_compressed(&self) -> bool {
        !matches!(self.data, PanelData::F32(_))
    }

    /// Rows `from..to` of a group as f32.
    pub(crate) fn widen(&self, isa: Isa, group: &Group, from: usize, to: usize, out: &mut [f32]) {
        let width = group.blocks * isa.lanes();
        let (start, count) = (group.start + from * width, (to - from) * width);
        let (range, out) = (start..start + count, &mut out[..count]);
        let columns = group.first..group.first + width;
        // SAFETY: whole vectors, for a row has whole vectors; all slices are of the length they are said to have.
        unsafe {
            match &self.data {
                PanelData::F32(d) => out.copy_from_slice(&d[range]),
                PanelData::F16(d) => halves(isa, &d[range], out),
                PanelData::Int8 { elements, scale, zero, half } => {
                    signed(isa, &elements[range], &scale[columns.clone()], &zero[columns], *half, out);
                }
                PanelData::UInt8 { elements, scale, zero, half } => {
                    unsigned(isa, &elements[range], &scale[columns.clone()], &zero[columns], *half, out);
                }
                PanelData::Lut { elements, table, tables, size } => {
                    for (row, out) in elements[range].chunks_exact(width).zip(out.chunks_exact_mut(width)) {
                        // Columns behind the last are as they were: zeros do no harm there, nor does anything else.
                        for ((index, out), t) in row.iter().zip(out).zip(&tables[group.first..]) {
                            *out = table[*t as usize * size + usize::from(*index)];
                        }
                    }
                }
            }
        }
    }
}

fn elements<T: Pod + Send + Sync>(by: Packer<'_>, k: usize, n: usize, src: &[T], from: Source) -> Aligned<T> {
    let mut data = Aligned::zeros_in(by.pages, k * padded(by.isa, n));
    pack_into((by.isa, by.threads), &groups(by.isa, k, n), (k, n), src, from, &mut data);
    data
}

#[inline(always)]
unsafe fn halves_in<S: Simd>(from: &[u16], to: &mut [f32]) {
    for at in (0..to.len()).step_by(S::LANES) {
        // SAFETY: both are of one length, which is whole vectors.
        unsafe { S::store(to.as_mut_ptr().add(at), S::load_f16(from.as_ptr().add(at))) };
    }
}

#[inline(always)]
unsafe fn signed_in<S: Simd>(from: &[i8], scale: &[f32], zero: &[f32], half: bool, to: &mut [f32]) {
    // SAFETY: `from` and `to` are whole rows of `scale.len()` elements, which is whole vectors.
    unsafe { affine::<S>(scale, zero, half, to, |at| S::load_i8(from.as_ptr().add(at))) }
}

#[inline(always)]
unsafe fn unsigned_in<S: Simd>(from: &[u8], scale: &[f32], zero: &[f32], half: bool, to: &mut [f32]) {
    // SAFETY: as above.
    unsafe { affine::<S>(scale, zero, half, to, |at| S::load_u8(from.as_ptr().add(at))) }
}

#[inline(always)]
unsafe fn affine<S: Simd>(scale: &[f32], zero: &[f32], half: bool, to: &mut [f32], element: impl Fn(usize) -> S::V) {
    let width = scale.len();
    for c in (0..width).step_by(S::LANES) {
        // SAFETY: by the conditions of the callers.
        unsafe {
            let (s, z) = (S::load(scale.as_ptr().add(c)), S::load(zero.as_ptr().add(c)));
            for at in (c..to.len()).step_by(width) {
                let v = S::mul(S::sub(element(at), z), s);
                S::store(to.as_mut_ptr().add(at), if half { S::half(v) } else { v });
            }
        }
    }
}

dispatch! { unsafe fn halves(from: &[u16], to: &mut [f32]) = super::panels::halves_in }
dispatch! { unsafe fn signed(from: &[i8], scale: &[f32], zero: &[f32], half: bool, to: &mut [f32]) = super::panels::signed_in }
dispatch! { unsafe fn unsigned(from: &[u8], scale: &[f32], zero: &[f32], half: bool, to: &mut [f32]) = super::panels::unsigned_in }
