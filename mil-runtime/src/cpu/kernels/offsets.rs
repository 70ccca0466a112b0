//! Where the rows of a matrix begin, which need not be at equal distances.

/// Offsets, in elements, with what a kernel must know to stay inside its slices.
#[derive(Clone, Debug, Default)]
pub(crate) struct Offsets {
    at: Vec<u32>,
    max: usize,
    gap: usize,
    ascend: bool,
}

/// Some [`Offsets`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a> {
    /// The offsets.
    pub(crate) at: &'a [u32],
    /// The largest, 0 if there is none.
    pub(crate) max: usize,
    /// The smallest distance between two, or less.
    pub(crate) gap: usize,
}

impl Offsets {
    /// These; `None` if one does not fit 32 bits.
    pub(crate) fn new(at: impl IntoIterator<Item = usize>) -> Option<Offsets> {
        let at = at.into_iter().map(|o| u32::try_from(o).ok()).collect::<Option<Vec<u32>>>()?;
        let max = at.iter().max().map_or(0, |m| *m as usize);
        let ascend = at.is_sorted();
        let mut sorted = if ascend { vec![] } else { at.clone() };
        sorted.sort_unstable();
        let order = if ascend { &at } else { &sorted };
        let gap = order.windows(2).map(|w| (w[1] - w[0]) as usize).min().unwrap_or(usize::MAX);
        Some(Offsets { at, max, gap, ascend })
    }

    /// The offsets.
    pub(crate) fn at(&self) -> &[u32] {
        &self.at
    }

    /// All of them.
    pub(crate) fn rows(&self) -> Rows<'_> {
        Rows { at: &self.at, max: self.max, gap: self.gap }
    }

    /// The first `n`, of offsets that ascend.
    ///
    /// # Panics
    /// If there are not so many, or they do not ascend.
    pub(crate) fn first(&self, n: usize) -> Rows<'_> {
        let at = &self.at[..n];
        let max = at.last().map_or(0, |m| *m as usize);
        assert!(self.ascend, "offsets ascend");
        Rows { at, max, gap: self.gap }
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.at.len()
    }

    /// The largest, 0 if there is none.
    pub(crate) fn max(&self) -> usize {
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_the_largest() {
        let o = Offsets::new([3, 5, 10]).unwrap();
        assert_eq!((o.at(), o.len(), o.max(), o.rows().gap), (&[3, 5, 10][..], 3, 10, 2));
        assert_eq!((Offsets::new([9, 3, 5]).unwrap().rows().gap, Offsets::new([3, 3]).unwrap().rows().gap), (2, 0));
        assert_eq!(Offsets::new([]).unwrap().max(), 0);
        assert!(Offsets::new([1 << 32]).is_none());
        let two = o.first(2);
        assert_eq!((two.at, two.max, two.gap), (&[3, 5][..], 5, 2));
    }
}
