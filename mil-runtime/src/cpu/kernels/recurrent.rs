//! What the steps of `lstm`, `gru` and `rnn` do with each number of the state, the gates' sums being there. What it means is said in
//! `mil_core::ops::recurrent`; states stay f32 from step to step.

use std::ops::Range;

use mil_core::ops::recurrent::GateActivation;

use super::{
    math,
    simd::{Isa, Simd, dispatch},
    threads::{Shared, Threads},
};

#[cfg(test)]
mod tests;

/// Rows of numbers, one per element of the batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a> {
    /// Source the first row's first number.
    pub(crate) numbers: &'a [f32],
    /// Numbers from a row to the next.
    pub(crate) stride: usize,
}

/// Rows that are written.
#[derive(Debug)]
pub(crate) struct RowsMut<'a> {
    /// Source the first row's first number.
    pub(crate) numbers: &'a mut [f32],
    /// Numbers from a row to the next.
    pub(crate) stride: usize,
}

/// Where the states of a step go besides the state itself.
#[derive(Debug)]
pub(crate) struct Output<'a> {
    pub(crate) rows: RowsMut<'a>,
    /// Whether they are rounded to f16 there.
    pub(crate) half: bool,
}

/// The states that a step makes of those before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sizes {
    pub(crate) batch: usize,
    pub(crate) hidden: usize,
}

/// What an `lstm` does besides its products.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lstm<'a> {
    pub(crate) recurrent_activation: GateActivation,
    pub(crate) cell_activation: GateActivation,
    pub(crate) activation: GateActivation,
    /// `3 * hidden` weights of the cell, in the order of the gates.
    pub(crate) peephole: Option<&'a [f32]>,
    /// What bounds the cell; infinity if nothing does.
    pub(crate) clip: f32,
}

/// What a `gru` does besides its products.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gru {
    pub(crate) recurrent_activation: GateActivation,
    pub(crate) activation: GateActivation,
}

/// Pointers into what a step reads and writes: rows, and how far they are apart.
#[derive(Clone, Copy)]
struct Source(*const f32, usize);
// SAFETY: it is only read.
unsafe impl Sync for Source {}

#[derive(Clone, Copy)]
struct Sink<'a>(Shared<'a>, usize);

impl Source {
    /// # Safety
    /// The number is there.
    #[inline(always)]
    unsafe fn load<S: Simd>(self, row: usize, at: usize, n: usize) -> S::V {
        // SAFETY: as the caller vouches.
        unsafe { S::load_first(self.0.add(row * self.1 + at), n) }
    }
}

impl Sink<'_> {
    /// # Safety
    /// The number is there.
    #[inline(always)]
    unsafe fn load<S: Simd>(self, row: usize, at: usize, n: usize) -> S::V {
        // SAFETY: as the caller vouches.
        unsafe { S::load_first(self.0.as_mut_ptr().add(row * self.1 + at), n) }
    }

    /// # Safety
    /// The number is there, and nobody else writes it.
    #[inline(always)]
    unsafe fn store<S: Simd>(self, row: usize, at: usize, v: S::V, n: usize) {
        // SAFETY: as the caller vouches.
        unsafe { S::store_first(self.0.as_mut_ptr().add(row * self.1 + at), v, n) }
    }
}

impl Sizes {
    /// Whether rows of `gates * hidden` numbers are there.
    fn has(&self, len: usize, stride: usize, gates: usize) -> bool {
        let end = (self.batch.saturating_sub(1)).saturating_mul(stride).saturating_add(gates * self.hidden);
        self.batch == 0 || end <= len
    }

    fn source(&self, rows: Rows<'_>, gates: usize) -> Source {
        assert!(self.has(rows.numbers.len(), rows.stride, gates));
        Source(rows.numbers.as_ptr(), rows.stride)
    }

    fn sink<'a>(&self, rows: RowsMut<'a>) -> Sink<'a> {
        assert!(self.has(rows.numbers.len(), rows.stride, 1) && (rows.stride >= self.hidden || self.batch <= 1));
        Sink(Shared::new(rows.numbers), rows.stride)
    }

    fn output<'a>(&self, output: Option<Output<'a>>) -> Option<(Sink<'a>, bool)> {
        output.map(|o| (self.sink(o.rows), o.half))
    }

    /// Deals out the rows.
    fn run(&self, threads: &Threads, job: &(dyn Fn(Range<usize>) + Sync)) {
        if self.batch * self.hidden > 0 {
            threads.run(self.batch, (1 << 12) / self.hidden + 1, job);
        }
    }
}

impl Lstm<'_> {
    /// A step: `gates` are the sums of i, f, o and z; `c` and `h` are the states, contiguous.
    ///
    /// # Panics
    /// If rows do not lie in their slices, or overlap.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn step(
        &self,
        isa: Isa,
        threads: &Threads,
        sizes: Sizes,
        gates: Rows<'_>,
        c: &mut [f32],
        h: &mut [f32],
        output: Option<Output<'_>>,
    ) {
        let stride = sizes.hidden;
        assert!(self.peephole.is_none_or(|p| p.len() >= 3 * stride) && self.clip >= 0.0);
        let (gates, output) = (sizes.source(gates, 4), sizes.output(output));
        let c = sizes.sink(RowsMut { numbers: c, stride });
        let h = sizes.sink(RowsMut { numbers: h, stride });
        sizes.run(threads, &|rows| {
            // SAFETY: the rows are there, as asserted; each task has its own.
            unsafe { lstm(isa, self, stride, rows, &gates, c, h, output) };
        });
    }
}

impl Gru {
    /// What the reset gate leaves of the state: what the matrix of the output gate is multiplied by unless that is done before.
    /// `inputs` and `recurrent` are the two parts of the sums of r, o and z.
    ///
    /// # Panics
    /// If rows do not lie in their slices, or overlap.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn reset(
        &self,
        isa: Isa,
        threads: &Threads,
        sizes: Sizes,
        inputs: Rows<'_>,
        recurrent: Rows<'_>,
        h: Rows<'_>,
        kept: RowsMut<'_>,
    ) {
        let (inputs, recurrent, h) = (sizes.source(inputs, 1), sizes.source(recurrent, 1), sizes.source(h, 1));
        let kept = sizes.sink(kept);
        sizes.run(threads, &|rows| {
            // SAFETY: as above.
            unsafe { gru_reset(isa, self, sizes.hidden, rows, &inputs, &recurrent, &h, kept) };
        });
    }

    /// A step: `products` are those of the matrix of the output gate with what [`Gru::reset`] gave; without them that gate is reset
    /// after the product, which `recurrent` has. `h` is the state, contiguous.
    ///
    /// # Panics
    /// If rows do not lie in their slices, or overlap.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn step(
        &self,
        isa: Isa,
        threads: &Threads,
        sizes: Sizes,
        inputs: Rows<'_>,
        recurrent: Rows<'_>,
        products: Option<Rows<'_>>,
        h: &mut [f32],
        output: Option<Output<'_>>,
    ) {
        let (inputs, recurrent) = (sizes.source(inputs, 3), sizes.source(recurrent, 3));
        let (products, output) = (products.map(|p| sizes.source(p, 1)), sizes.output(output));
        let h = sizes.sink(RowsMut { numbers: h, stride: sizes.hidden });
        sizes.run(threads, &|rows| {
            // SAFETY: as above.
            unsafe { gru(isa, self, sizes.hidden, rows, &inputs, &recurrent, &products, h, output) };
        });
    }
}

/// A step of an `rnn`: `sums` become the state `h`, contiguous.
///
/// # Panics
/// If rows do not lie in their slices, or overlap.
#[allow(clippy::too_many_arguments)]
pub(crate) fn rnn_step(
    isa: Isa,
    threads: &Threads,
    activation: GateActivation,
    sizes: Sizes,
    sums: Rows<'_>,
    h: &mut [f32],
    output: Option<Output<'_>>,
) {
    let (sums, output) = (sizes.source(sums, 1), sizes.output(output));
    let h = sizes.sink(RowsMut { numbers: h, stride: sizes.hidden });
    sizes.run(threads, &|rows| {
        // SAFETY: as above.
        unsafe { rnn(isa, activation, sizes.hidden, rows, &sums, h, output) };
    });
}

/// # Safety
/// `S` is of this machine.
#[inline(always)]
unsafe fn act<S: Simd>(activation: GateActivation, x: S::V) -> S::V {
    // SAFETY: as the caller vouches. `min` and `max` give their second argument if that is NaN.
    unsafe {
        match activation {
            GateActivation::HardSigmoid => {
                let v = S::mul_add(x, S::splat(0.2), S::splat(0.5));
                S::min(S::splat(1.0), S::max(S::splat(0.0), v))
            }
            GateActivation::Linear => x,
            GateActivation::Relu => S::max(S::splat(0.0), x),
            GateActivation::ScaledTanh | GateActivation::Tanh => math::tanh::<S>(x),
            GateActivation::Sigmoid => math::sigmoid::<S>(x),
        }
    }
}

/// Writes states to their second place.
///
/// # Safety
/// They are there, and nobody else writes them.
#[inline(always)]
unsafe fn put<S: Simd>(output: Option<(Sink<'_>, bool)>, row: usize, at: usize, v: S::V, n: usize) {
    if let Some((to, half)) = output {
        // SAFETY: as the caller vouches.
        unsafe { to.store::<S>(row, at, if half { S::half(v) } else { v }, n) };
    }
}

dispatch! {
    /// # Safety
    /// The rows are there.
    unsafe fn lstm(
        op: &Lstm<'_>, hidden: usize, rows: Range<usize>, gates: &Source, c: Sink<'_>, h: Sink<'_>, output: Option<(Sink<'_>, bool)>,
    ) = self::lstm_rows
}
dispatch! {
    /// # Safety
    /// The rows are there.
    unsafe fn gru_reset(
        op: &Gru, hidden: usize, rows: Range<usize>, inputs: &Source, recurrent: &Source, h: &Source, kept: Sink<'_>,
    ) = self::gru_reset_rows
}
dispatch! {
    /// # Safety
    /// The rows are there.
    unsafe fn gru(
        op: &Gru, hidden: usize, rows: Range<usize>, inputs: &Source, recurrent: &Source, products: &Option<Source>, h: Sink<'_>,
        output: Option<(Sink<'_>, bool)>,
    ) = self::gru_rows
}
dispatch! {
    /// # Safety
    /// The rows are there.
    unsafe fn rnn(
        activation: GateActivation, hidden: usize, rows: Range<usize>, sums: &Source, h: Sink<'_>, output: Option<(Sink<'_>, bool)>,
    ) = self::rnn_rows
}

#[inline(always)]
unsafe fn lstm_rows<S: Simd>(
    op: &Lstm<'_>,
    hidden: usize,
    rows: Range<usize>,
    gates: &Source,
    c: Sink<'_>,
    h: Sink<'_>,
    output: Option<(Sink<'_>, bool)>,
) {
    let peephole = op.peephole.map(<[f32]>::as_ptr);
    for row in rows {
        for at in (0..hidden).step_by(S::LANES) {
            let n = S::LANES.min(hidden - at);
            // SAFETY: the caller vouches for the rows.
            unsafe {
                let before = c.load::<S>(row, at, n);
                let i = gate::<S>(op, gates, peephole, before, [row, 0, hidden, at, n]);
                let f = gate::<S>(op, gates, peephole, before, [row, 1, hidden, at, n]);
                let z = act::<S>(op.cell_activation, gates.load::<S>(row, 3 * hidden + at, n));
                let cell = S::mul_add(f, before, S::mul(i, z));
                let cell = S::min(S::splat(op.clip), S::max(S::splat(-op.clip), cell));
                c.store::<S>(row, at, cell, n);
                let o = gate::<S>(op, gates, peephole, cell, [row, 2, hidden, at, n]);
                let state = S::mul(o, act::<S>(op.activation, cell));
                h.store::<S>(row, at, state, n);
                put::<S>(output, row, at, state, n);
            }
        }
    }
}

/// Gate `g` of an `lstm`: of its sum with what the cell adds to it.
///
/// # Safety
/// As [`lstm_rows`].
#[inline(always)]
unsafe fn gate<S: Simd>(
    op: &Lstm<'_>,
    gates: &Source,
    peephole: Option<*const f32>,
    cell: S::V,
    [row, g, hidden, at, n]: [usize; 5],
) -> S::V {
    // SAFETY: as the caller vouches.
    unsafe {
        let mut sum = gates.load::<S>(row, g * hidden + at, n);
        if let Some(weights) = peephole {
            sum = S::mul_add(S::load_first(weights.add(g * hidden + at), n), cell, sum);
        }
        act::<S>(op.recurrent_activation, sum)
    }
}

#[inline(always)]
unsafe fn gru_reset_rows<S: Simd>(
    op: &Gru,
    hidden: usize,
    rows: Range<usize>,
    inputs: &Source,
    recurrent: &Source,
    h: &Source,
    kept: Sink<'_>,
) {
    for row in rows {
        for at in (0..hidden).step_by(S::LANES) {
            let n = S::LANES.min(hidden - at);
            // SAFETY: the caller vouches for the rows.
            unsafe {
                let sum = S::add(inputs.load::<S>(row, at, n), recurrent.load::<S>(row, at, n));
                let v = S::mul(act::<S>(op.recurrent_activation, sum), h.load::<S>(row, at, n));
                kept.store::<S>(row, at, v, n);
            }
        }
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn gru_rows<S: Simd>(
    op: &Gru,
    hidden: usize,
    rows: Range<usize>,
    inputs: &Source,
    recurrent: &Source,
    products: &Option<Source>,
    h: Sink<'_>,
    output: Option<(Sink<'_>, bool)>,
) {
    for row in rows {
        for at in (0..hidden).step_by(S::LANES) {
            let n = S::LANES.min(hidden - at);
            // SAFETY: the caller vouches for the rows.
            unsafe {
                let product = match products {
                    Some(products) => products.load::<S>(row, at, n),
                    None => {
                        let sum = S::add(inputs.load::<S>(row, at, n), recurrent.load::<S>(row, at, n));
                        S::mul(act::<S>(op.recurrent_activation, sum), recurrent.load::<S>(row, hidden + at, n))
                    }
                };
                let o = act::<S>(op.activation, S::add(inputs.load::<S>(row, hidden + at, n), product));
                let last = 2 * hidden + at;
                let sum = S::add(inputs.load::<S>(row, last, n), recurrent.load::<S>(row, last, n));
                let z = act::<S>(op.recurrent_activation, sum);
                let state = S::mul_add(S::sub(S::splat(1.0), z), o, S::mul(z, h.load::<S>(row, at, n)));
                h.store::<S>(row, at, state, n);
                put::<S>(output, row, at, state, n);
            }
        }
    }
}

#[inline(always)]
unsafe fn rnn_rows<S: Simd>(
    activation: GateActivation,
    hidden: usize,
    rows: Range<usize>,
    sums: &Source,
    h: Sink<'_>,
    output: Option<(Sink<'_>, bool)>,
) {
    for row in rows {
        for at in (0..hidden).step_by(S::LANES) {
            let n = S::LANES.min(hidden - at);
            // SAFETY: the caller vouches for the rows.
            unsafe {
                let state = act::<S>(activation, sums.load::<S>(row, at, n));
                h.store::<S>(row, at, state, n);
                put::<S>(output, row, at, state, n);
            }
        }
    }
}
