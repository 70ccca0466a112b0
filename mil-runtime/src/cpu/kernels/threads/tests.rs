//! Many jobs, from many threads at once.

use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use super::{Shared, Threads, part};
use crate::cpu::kernels::scaled::scaled;

/// Each task adds one to its element.
fn count(threads: &Threads, tasks: usize, grain: usize) {
    let mut done = vec![0f32; tasks];
    let shared = Shared::new(&mut done);
    threads.run(tasks, grain, &|range| {
        assert!(range.len() >= scaled(grain.min(tasks), 1));
        for at in range {
            // SAFETY: the ranges make up `0..tasks`, each task once.
            unsafe { *shared.as_mut_ptr().add(at) += 1.0 };
        }
    });
    assert!(done.iter().all(|n| *n == 1.0));
}

#[test]
fn parts_make_up_the_whole() {
    for (tasks, parts) in [(1, 1), (7, 3), (8, 4), (usize::MAX, 7)] {
        let all: Vec<_> = (0..parts).map(|n| part(tasks, parts, n)).collect();
        assert_eq!((all[0].start, all[parts - 1].end), (0, tasks));
        assert!(all.windows(2).all(|w| w[0].end == w[1].start && w[0].len() - w[1].len() <= 1));
    }
}

#[test]
fn each_task_is_done_once() {
    let rounds = scaled(100, 2);
    for threads in [1, 2, 3, 5] {
        let threads = Threads::new(threads);
        for round in 0..rounds {
            for tasks in [0, 1, 2, 3, 7, 64] {
                count(&threads, tasks, 1 + round % 3);
            }
        }
    }
}

#[test]
fn many_callers_share_one_pool() {
    let threads = Threads::new(3);
    let rounds = scaled(500, 3);
    thread::scope(|scope| {
        for caller in 0..4 {
            let threads = &threads;
            scope.spawn(move || {
                for round in 0..rounds {
                    count(threads, 1 + (round * 7 + caller) % 50, 1);
                    if round % 100 == caller {
                        thread::sleep(Duration::from_micros(300));
                    }
                }
            });
        }
    });
}

#[test]
fn threads_work_at_the_same_time() {
    let threads = Threads::new(2);
    // Neither range ends before the other has begun.
    let barrier = Barrier::new(2);
    for _ in 0..5 {
        threads.run(2, 1, &|range| {
            assert_eq!(range.len(), 1);
            barrier.wait();
        });
    }
}

#[test]
fn a_job_within_a_job_runs_in_its_thread() {
    let threads = Threads::new(3);
    let all = AtomicUsize::new(0);
    threads.run(3, 1, &|range| {
        let id = thread::current().id();
        for _ in range {
            threads.run(10, 1, &|inner| {
                assert_eq!((thread::current().id(), &inner), (id, &(0..10)));
                all.fetch_add(inner.len(), Relaxed);
            });
        }
    });
    assert_eq!(all.into_inner(), 30);
}

#[test]
fn panics_go_on_in_the_caller_when_all_have_ended() {
    let threads = Threads::new(3);
    for bad in 0..3 {
        let ended = AtomicUsize::new(0);
        let result = catch_unwind(AssertUnwindSafe(|| {
            threads.run(3, 1, &|range| {
                for task in range {
                    if task == bad {
                        // No message: it is expected.
                        std::panic::resume_unwind(Box::new(task));
                    }
                    ended.fetch_add(1, Relaxed);
                }
            });
        }));
        assert_eq!(result.unwrap_err().downcast_ref(), Some(&bad));
        assert_eq!(ended.into_inner(), 2);
        count(&threads, 10, 1);
    }
}

struct Ends(Arc<AtomicUsize>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

thread_local! {
    static ENDS: RefCell<Option<Ends>> = const { RefCell::new(None) };
}

#[test]
fn threads_start_when_needed_sleep_when_idle_and_end_with_the_pool() {
    let threads = Threads::new(4);
    threads.run(scaled(4, 1), 4, &|_| {});
    assert!(threads.team.lock().unwrap().helpers.is_empty(), "one range needs no thread");

    let (ended, barrier) = (Arc::new(AtomicUsize::new(0)), Barrier::new(4));
    let caller = thread::current().id();
    threads.run(4, 1, &|_| {
        barrier.wait();
        if thread::current().id() != caller {
            ENDS.with(|ends| *ends.borrow_mut() = Some(Ends(Arc::clone(&ended))));
        }
    });
    let since = Instant::now();
    while !threads.asleep() {
        assert!(since.elapsed() < Duration::from_secs(20), "idle threads sleep");
        thread::sleep(Duration::from_millis(1));
    }
    count(&threads, 100, 1);
    assert_eq!(ended.load(Relaxed), 0);
    drop(threads);
    assert_eq!(ended.load(Relaxed), 3);
}

#[test]
fn models_share_threads_while_one_lives() {
    // Numbers that no other test asks for.
    let (a, b, c) = (Threads::shared(29), Threads::shared(29), Threads::shared(31));
    assert!(Arc::ptr_eq(&a, &b) && !Arc::ptr_eq(&a, &c));
    assert_eq!((a.count(), c.count(), Threads::shared(0).count()), (29, 31, 1));
    let weak = Arc::downgrade(&a);
    drop((a, b));
    assert!(weak.upgrade().is_none());
    assert_eq!(Threads::shared(29).count(), 29);
}

/// Microseconds from fork to join, at intervals like those between a net's layers:
/// `cargo test -p mil-runtime --release --lib threads::tests::latency -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn latency() {
    let threads = Threads::new(2);
    for pause in [0, 1, 10, 50, 90, 300] {
        let (mut all, helped) = (vec![], AtomicUsize::new(0));
        let caller = thread::current().id();
        for _ in 0..2000 {
            let since = Instant::now();
            while since.elapsed() < Duration::from_micros(pause) {}
            let since = Instant::now();
            threads.run(2, 1, &|_| {
                // Some work, that the helper is not late for.
                (0..10).for_each(|_| std::hint::spin_loop());
                if thread::current().id() != caller {
                    helped.fetch_add(1, Relaxed);
                }
            });
            all.push(since.elapsed().as_nanos());
        }
        all.sort_unstable();
        let helped = helped.into_inner();
        eprintln!("pause {pause} us: median {} ns, 90 % {} ns, helped {helped} of 2000", all[1000], all[1800]);
    }
    let since = Instant::now();
    (0..1000).for_each(|_| (0..10).for_each(|_| std::hint::spin_loop()));
    eprintln!("the work of one part: {} ns", since.elapsed().as_nanos() / 1000);
}
