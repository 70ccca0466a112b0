//! All orders in which threads may run: no race, no lost wake-up, no job that is used after its end.

use std::ops::Range;

use loom::{
    cell::UnsafeCell,
    model::Builder,
    sync::Arc,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
};

use super::Threads;

fn check(preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
    let mut model = Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(f);
}

/// Elements that a job writes, each thread its own.
struct Cells(Vec<UnsafeCell<usize>>);

// SAFETY: loom checks it.
unsafe impl Sync for Cells {}

impl Cells {
    fn add(&self, range: Range<usize>) {
        for at in range {
            // SAFETY: loom checks it.
            self.0[at].with_mut(|cell| unsafe { *cell += 1 });
        }
    }
}

/// The job borrows from this frame, and what it wrote is read after `run` without more ado.
fn job(threads: &Threads, tasks: usize) {
    let cells = Cells((0..tasks).map(|_| UnsafeCell::new(0)).collect());
    threads.run(tasks, 1, &|range| cells.add(range));
    // SAFETY: loom checks it.
    assert!(cells.0.iter().all(|cell| cell.with(|cell| unsafe { *cell }) == 1));
}

#[test]
fn jobs_follow_one_another() {
    check(3, || {
        let threads = Threads::new(2);
        job(&threads, 2);
        job(&threads, 2);
        // Drop ends a helper that looks, sleeps or is just going to.
    });
}

#[test]
fn two_helpers() {
    check(2, || job(&Threads::new(3), 3));
}

#[test]
fn two_callers() {
    check(2, || {
        let threads = Arc::new(Threads::new(2));
        let other = {
            let threads = Arc::clone(&threads);
            thread::spawn(move || job(&threads, 2))
        };
        job(&threads, 2);
        other.join().unwrap();
    });
}

#[test]
fn panics_are_handed_over() {
    check(2, || {
        let threads = Threads::new(2);
        let ran = AtomicUsize::new(0);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            threads.run(2, 1, &|range| {
                ran.fetch_add(1, Relaxed);
                if range.start == 1 {
                    std::panic::resume_unwind(Box::new(1usize));
                }
            });
        }));
        assert_eq!(result.unwrap_err().downcast_ref(), Some(&1usize));
        assert_eq!(ran.load(Relaxed), 2);
        job(&threads, 2);
    });
}
