//! How work is handed to one helper thread, and its end told.
//!
//! One byte says who may touch the slot's cell: the caller while it is `IDLE` or `PARKED`, the helper while it is `RUNNING`. From `READY`,
//! whoever changes it first takes the work: the helper to `RUNNING`, the caller back to `IDLE`.

use std::{
    any::Any,
    io,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release},
    time::{Duration, Instant},
};

use super::sync::{Arc, AtomicU8, JoinHandle, UnsafeCell, park, spawn, yield_now};

/// Nothing to do; the helper looks for work.
const IDLE: u8 = 0;
/// There is work, and nobody has begun it.
const READY: u8 = 1;
/// The helper works.
const RUNNING: u8 = 2;
/// Nothing to do; the helper sleeps, or is about to, and must be woken.
const PARKED: u8 = 3;
/// The helper shall end.
const STOP: u8 = 4;

pub(super) type Job<'a> = dyn Fn(Range<usize>) + Sync + 'a;
pub(super) type Panic = Box<dyn Any + Send>;

/// How long threads look before they sleep, or let others run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    /// A helper that looks for work.
    helper: Duration,
    /// How much of that without letting others run in between.
    alone: Duration,
    /// A caller that waits for a helper's end, in turns of a spin loop.
    caller: u32,
}

impl Waiting {
    /// For so many threads on so many cores. Between the layers of a net there are some tens of microseconds at most; where threads share
    /// cores, one that spins keeps another from working.
    pub(super) fn of(threads: usize, cores: usize) -> Waiting {
        if threads <= cores {
            Waiting { helper: Duration::from_micros(100), alone: Duration::from_micros(20), caller: 2000 }
        } else {
            Waiting { helper: Duration::from_micros(2), alone: Duration::ZERO, caller: 20 }
        }
    }
}

/// What passes between a caller and a helper; alone in its cache lines (two are fetched at a time).
#[repr(align(128))]
struct Slot {
    state: AtomicU8,
    cell: UnsafeCell<Cell>,
}

#[derive(Default)]
struct Cell {
    work: Option<(*const Job<'static>, Range<usize>)>,
    panic: Option<Panic>,
}

// SAFETY: `state` says which thread may touch the cell. What is in it may move among threads: a job is `Sync`, a panic `Send`.
unsafe impl Send for Slot {}
// SAFETY: as above.
unsafe impl Sync for Slot {}

/// A thread and its slot.
pub(super) struct Helper {
    slot: Arc<Slot>,
    thread: Option<JoinHandle<()>>,
    waiting: Waiting,
}

impl Helper {
    /// Starts number `n`. Fails if the system has no thread to give.
    pub(super) fn start(n: usize, waiting: Waiting) -> io::Result<Helper> {
        let slot = Arc::new(Slot { state: AtomicU8::new(IDLE), cell: UnsafeCell::new(Cell::default()) });
        let its = Arc::clone(&slot);
        let thread = spawn(format!("mil-{}", n + 1), move || its.serve(waiting))?;
        Ok(Helper { slot, thread: Some(thread), waiting })
    }

    /// Hands over work.
    ///
    /// # Safety
    /// The helper has none, and `job` lives until [`take_back`](Helper::take_back) has said yes or [`finish`](Helper::finish) returned.
    pub(super) unsafe fn post(&self, job: &Job<'_>, range: Range<usize>) {
        // SAFETY: only the lifetime changes, and the caller vouches for it.
        let job = unsafe { std::mem::transmute::<*const Job<'_>, *const Job<'static>>(job) };
        // SAFETY: the state is `IDLE` or `PARKED`: the cell is the caller's.
        self.slot.cell.with_mut(|cell| unsafe { (*cell).work = Some((job, range)) });
        self.set(READY);
    }

    /// Takes work back that the helper has not begun.
    pub(super) fn take_back(&self) -> bool {
        self.slot.state.compare_exchange(READY, IDLE, Relaxed, Relaxed).is_ok()
    }

    /// Waits for the end of work that the helper has begun; what it panicked with, if it did.
    pub(super) fn finish(&self) -> Option<Panic> {
        let mut turns = 0;
        while self.slot.state.load(Acquire) == RUNNING {
            if turns < self.waiting.caller && cfg!(not(loom)) {
                turns += 1;
                std::hint::spin_loop();
            } else {
                yield_now();
            }
        }
        // SAFETY: the state is `IDLE` or `PARKED`: the cell is the caller's.
        self.slot.cell.with_mut(|cell| unsafe { (*cell).panic.take() })
    }

    #[cfg(all(test, not(loom)))]
    pub(super) fn asleep(&self) -> bool {
        self.slot.state.load(Acquire) == PARKED
    }

    /// Changes the state from one without work, and wakes the helper if it sleeps.
    fn set(&self, state: u8) {
        if self.slot.state.swap(state, AcqRel) == PARKED
            && let Some(thread) = &self.thread
        {
            thread.thread().unpark();
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.set(STOP);
        if let Some(thread) = self.thread.take() {
            // It ends well: what jobs panic with is caught.
            let _ = thread.join();
        }
    }
}

impl Slot {
    /// What the helper does.
    fn serve(&self, waiting: Waiting) {
        while self.await_work(waiting) {
            // SAFETY: the state is `RUNNING`: the cell is the helper's.
            let work = self.cell.with_mut(|cell| unsafe { (*cell).work.take() });
            if let Some((job, range)) = work {
                // SAFETY: who posted the job keeps it until the state is another.
                let run = || unsafe { (*job)(range) };
                if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
                    // SAFETY: as above.
                    self.cell.with_mut(|cell| unsafe { (*cell).panic = Some(panic) });
                }
            }
            self.state.store(IDLE, Release);
        }
    }

    /// Spins, then sleeps, until there is work, and takes it: the state is `RUNNING`. False if the helper shall end.
    fn await_work(&self, waiting: Waiting) -> bool {
        let mut since = None;
        loop {
            match self.state.load(Relaxed) {
                READY if self.state.compare_exchange(READY, RUNNING, Acquire, Relaxed).is_ok() => return true,
                STOP => return false,
                _ => {}
            }
            // The clock takes as long as some turns do, and a turn as long as a look at the state.
            if cfg!(not(loom)) {
                let turn = |_| {
                    std::hint::spin_loop();
                    self.state.load(Relaxed) != IDLE
                };
                if (0..16).any(turn) {
                    continue;
                }
                let spun = since.get_or_insert_with(Instant::now).elapsed();
                if spun > waiting.alone {
                    // It may be the caller that cannot run because of this thread: where cores are busy, both may be on one.
                    yield_now();
                }
                if spun < waiting.helper {
                    continue;
                }
            }
            if self.state.compare_exchange(IDLE, PARKED, Release, Relaxed).is_ok() {
                while self.state.load(Relaxed) == PARKED {
                    park();
                }
            }
            since = None;
        }
    }
}
