//! Which buffers share memory.

use std::collections::BTreeMap;

/// What buffers with margins have in common that share memory: sizes and margins from the outermost dimension to the innermost.
pub(crate) type Geometry = (Vec<usize>, Vec<(usize, usize)>);

/// A buffer: how large it is, and from which step to which it is used.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Life {
    pub(crate) len: usize,
    /// Buffers with margins share memory with buffers of the same geometry only, so that their margins stay zero; `None` without margins.
    pub(crate) geometry: Option<Geometry>,
    pub(crate) first: usize,
    pub(crate) last: usize,
}

/// Gives each buffer a slot; no two buffers of one slot are in use at one time. Returns the slots of the buffers, and the sizes of the slots.
///
/// Buffers take the smallest free slot that is large enough, or make the largest free one larger: a simple rule that comes near the least
/// memory for nets, which are mostly chains.
pub(crate) fn slots(lives: &[Life]) -> (Vec<usize>, Vec<usize>) {
    let mut starts: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (i, life) in lives.iter().enumerate() {
        starts.entry(life.first).or_default().push(i);
    }
    let (mut slot_of, mut sizes) = (vec![0; lives.len()], vec![]);
    let mut free: Vec<usize> = vec![];
    let mut kinds: Vec<&Option<_>> = vec![];
    let mut live: Vec<usize> = vec![];
    for (step, buffers) in starts {
        let (ended, rest): (Vec<usize>, Vec<usize>) = live.into_iter().partition(|b| lives[*b].last < step);
        free.extend(ended.into_iter().map(|b| slot_of[b]));
        live = rest;
        for b in buffers {
            let life = &lives[b];
            let fits = |s: &usize| *kinds[*s] == life.geometry;
            let large = free.iter().copied().filter(fits).filter(|s| sizes[*s] >= life.len).min_by_key(|s| sizes[*s]);
            let slot =
                large.or_else(|| free.iter().copied().filter(fits).max_by_key(|s| sizes[*s])).unwrap_or_else(|| {
                    sizes.push(0);
                    kinds.push(&life.geometry);
                    sizes.len() - 1
                });
            free.retain(|s| *s != slot);
            sizes[slot] = sizes[slot].max(life.len);
            slot_of[b] = slot;
            live.push(b);
        }
    }
    (slot_of, sizes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn life(len: usize, first: usize, last: usize) -> Life {
        Life { len, geometry: None, first, last }
    }

    #[test]
    fn a_chain_needs_two() {
        let chain: Vec<Life> = (0..9).map(|i| life(100 - i, i, i + 1)).collect();
        assert_eq!(slots(&chain).1, [100, 99]);
    }

    #[test]
    fn margins_stay_among_themselves() {
        let margins = Some((vec![4, 4], vec![(1, 1), (0, 0)]));
        let lives = [
            life(24, 0, 1),
            Life { geometry: margins.clone(), ..life(24, 2, 3) },
            life(24, 4, 5),
            Life { geometry: margins, ..life(24, 6, 7) },
        ];
        assert_eq!(slots(&lives), (vec![0, 1, 0, 1], vec![24, 24]));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn nothing_is_overwritten(all in prop::collection::vec((1usize..50, 0usize..20, 0usize..6), 1..30)) {
            let lives: Vec<Life> = all.into_iter().map(|(len, first, more)| life(len, first, first + more)).collect();
            let (slot, sizes) = slots(&lives);
            for (i, a) in lives.iter().enumerate() {
                prop_assert!(sizes[slot[i]] >= a.len);
                for (j, b) in lives.iter().enumerate().skip(i + 1) {
                    prop_assert!(slot[i] != slot[j] || a.last < b.first || b.last < a.first);
                }
            }
        }
    }
}
