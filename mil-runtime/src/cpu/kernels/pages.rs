//! Memory for much that is used together: parts of large blocks, one behind the other.
//!
//! On Linux the blocks are on huge pages where the system has some: weights and tensors of a net are then a few dozen pages instead of tens
//! of thousands, and their addresses need not be looked up all the time. Weights that lie in the order in which they are used are also
//! brought nearer in that order. Elsewhere, and for little, parts are plain allocations.

use std::sync::{Arc, Mutex, PoisonError};

/// Up to so many bytes are plain allocations: a huge page would be mostly empty.
const LITTLE: usize = 1 << 20;
/// How many bytes a block has; what is not used of it is no memory, only addresses. What needs more than a part of it has a block of its own.
const BLOCK: usize = 64 << 20;

/// Gives parts of blocks. A block lives as long as one of its parts.
#[derive(Debug, Default)]
pub(crate) struct Pages(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// How many bytes were given without a block.
    plain: usize,
    /// The block of which parts are given, and how many bytes are.
    block: Option<(Arc<Block>, usize)>,
}

/// Some bytes of a block: zeros at first, aligned to 64 bytes, nobody else's.
#[derive(Debug)]
pub(crate) struct Part {
    block: Arc<Block>,
    start: usize,
}

impl Pages {
    /// For parts of so many bytes together.
    pub(crate) fn of(bytes: usize) -> Pages {
        let block = if bytes > LITTLE { Block::new(bytes).map(|block| (Arc::new(block), 0)) } else { None };
        Pages(Mutex::new(State { plain: 0, block }))
    }

    /// So many bytes; `None` if they shall be a plain allocation.
    pub(crate) fn part(&self, len: usize) -> Option<Part> {
        let len = len.checked_next_multiple_of(64).filter(|len| *len > 0)?;
        // What is guarded is whole at any time.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((block, used)) = &mut state.block
            && len <= block.len() - *used
        {
            let start = *used;
            *used += len;
            return Some(Part { block: Arc::clone(block), start });
        }
        if state.block.is_none() && state.plain.saturating_add(len) <= LITTLE {
            state.plain += len;
            return None;
        }
        let own = len > BLOCK / 8;
        let block = Arc::new(Block::new(if own { len } else { BLOCK })?);
        if !own {
            state.block = Some((Arc::clone(&block), len));
        }
        Some(Part { block, start: 0 })
    }
}

impl Part {
    /// Where it begins. All of it may be read and written by whoever has the part.
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.block.at().wrapping_add(self.start)
    }
}

#[cfg(all(target_os = "linux", not(miri)))]
mod block {
    use memmap2::{Advice, MmapMut};

    /// How large pages may be.
    const HUGE: usize = 2 << 20;

    /// Memory from the system, in pages as large as there are.
    #[derive(Debug)]
    pub(super) struct Block {
        /// Who gives it back.
        _map: MmapMut,
        at: *mut u8,
        len: usize,
    }

    // SAFETY: memory is nobody's own; parts of it, which do not overlap, are what is used of it.
    unsafe impl Send for Block {}
    // SAFETY: as above.
    unsafe impl Sync for Block {}

    impl Block {
        /// At least so many zeros. `None` if the system has none.
        pub(super) fn new(len: usize) -> Option<Block> {
            let len = len.checked_next_multiple_of(HUGE)?;
            // One page more, so that there is a first that begins where a huge one may.
            let mut map = MmapMut::map_anon(len.checked_add(HUGE)?).ok()?;
            // A system without huge pages has others.
            let _ = map.advise(Advice::HugePage);
            let first = map.as_ptr().align_offset(HUGE);
            let at = map.get_mut(first..first.checked_add(len)?)?.as_mut_ptr();
            Some(Block { _map: map, at, len })
        }

        pub(super) fn at(&self) -> *mut u8 {
            self.at
        }

        pub(super) fn len(&self) -> usize {
            self.len
        }
    }
}

#[cfg(not(all(target_os = "linux", not(miri))))]
mod block {
    /// There is none.
    #[derive(Debug)]
    pub(super) enum Block {}

    impl Block {
        pub(super) fn new(_: usize) -> Option<Block> {
            None
        }

        pub(super) fn at(&self) -> *mut u8 {
            match *self {}
        }

        pub(super) fn len(&self) -> usize {
            match *self {}
        }
    }
}

use block::Block;

#[cfg(all(test, target_os = "linux", not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_overlap() {
        let pages = Pages::default();
        let lens = [LITTLE / 2, 100, LITTLE, 1, 64, BLOCK / 2, BLOCK / 2, 65];
        let parts: Vec<Option<Part>> = lens.iter().map(|len| pages.part(*len)).collect();
        assert_eq!(
            parts.iter().map(Option::is_none).collect::<Vec<_>>(),
            [true, true, false, false, false, false, false, false]
        );
        let parts: Vec<Part> = parts.into_iter().flatten().collect();
        for (a, len) in parts.iter().zip(&lens[2..]) {
            let (at, end) = (a.as_ptr() as usize, a.as_ptr() as usize + len);
            assert_eq!(at % 64, 0);
            let inside = |b: &&Part| (at..end).contains(&(b.as_ptr() as usize));
            assert_eq!(parts.iter().filter(inside).count(), 1, "a part begins inside another");
        }
        // They follow on each other, from where a huge page may begin; what does not fit is elsewhere.
        assert_eq!(parts[0].as_ptr() as usize % (2 << 20), 0);
        assert_eq!(parts[1].as_ptr() as usize, parts[0].as_ptr() as usize + LITTLE);
        assert_eq!(parts[3].as_ptr() as usize, parts[2].as_ptr() as usize + 64);
        assert_eq!(parts[5].as_ptr() as usize, parts[3].as_ptr() as usize + BLOCK / 2);
    }

    #[test]
    fn no_part_where_there_is_no_memory() {
        assert!(Pages::default().part(usize::MAX).is_none());
        assert!(Pages::default().part(usize::MAX / 2).is_none());
        assert!(Pages::default().part(0).is_none());
    }

    #[test]
    fn as_much_as_was_said() {
        assert!(Pages::of(100).part(100).is_none());
        let pages = Pages::of(4 << 20);
        let (a, b) = (pages.part(64).unwrap(), pages.part((4 << 20) - 64).unwrap());
        assert_eq!(a.as_ptr().wrapping_add(64), b.as_ptr());
    }
}
