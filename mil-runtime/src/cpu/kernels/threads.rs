//! The threads that share a kernel's work: fork and join, some microseconds apart.
//!
//! A job is split among the caller and helper threads, which spin for as long as the next job of a net may be expected and sleep after that.
//! What waits for a thread that has not begun, the caller does itself: a busy machine slows a job down no more than it has to.
//!
//! How threads hand work over is in `slot`, checked for races by `RUSTFLAGS="--cfg loom" cargo test -p mil-runtime --release --lib
//! threads::loom`.

#[cfg(all(test, loom))]
mod loom;
mod slot;
mod sync;
#[cfg(all(test, not(loom)))]
mod tests;

use std::{
    fmt,
    marker::PhantomData,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, OnceLock, PoisonError, TryLockError, Weak},
    thread::available_parallelism,
};

use super::scaled::scaled;
use slot::{Helper, Waiting};
use sync::Mutex;

/// Threads for the kernels of a model. They are started when first there is work to share, and end when this is dropped.
pub(crate) struct Threads {
    count: usize,
    team: Mutex<Team>,
}

/// Who is there besides the caller.
#[derive(Default)]
struct Team {
    helpers: Vec<Helper>,
    started: bool,
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads").field("count", &self.count).finish_non_exhaustive()
    }
}

/// The threads of the process by their number, for as long as somebody has them.
static SHARED: std::sync::Mutex<Vec<Weak<Threads>>> = std::sync::Mutex::new(Vec::new());

impl Threads {
    /// So many, the caller's included.
    pub(crate) fn new(count: usize) -> Threads {
        Threads { count: count.max(1), team: Mutex::new(Team::default()) }
    }

    /// So many, which all who ask for this number share. A job that finds them busy runs in its caller alone.
    pub(crate) fn shared(count: usize) -> Arc<Threads> {
        let mut all = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|threads| threads.strong_count() > 0);
        if let Some(threads) = all.iter().filter_map(Weak::upgrade).find(|threads| threads.count == count.max(1)) {
            return threads;
        }
        let threads = Arc::new(Threads::new(count));
        all.push(Arc::downgrade(&threads));
        threads
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Runs `job` on ranges that make up `0..tasks`, each task once, at the same time where that is worth it: a thread gets no fewer than
    /// `grain` tasks. A job must do each task alike whatever range it comes in. Within a job, and while another caller's job runs, the
    /// calling thread does all of it.
    ///
    /// A panic of the job goes on in the caller when all ranges have ended.
    pub(crate) fn run(&self, tasks: usize, grain: usize, job: &(dyn Fn(Range<usize>) + Sync)) {
        if tasks == 0 {
            return;
        }
        // Interpreted, tasks are few and small, and races are looked for.
        let parts = self.count.min(tasks / scaled(grain.max(1), 1));
        if parts < 2 {
            return job(0..tasks);
        }
        let mut team = match self.team.try_lock() {
            Ok(team) => team,
            Err(TryLockError::Poisoned(team)) => team.into_inner(),
            Err(TryLockError::WouldBlock) => return job(0..tasks),
        };
        team.start(self.count - 1);
        let helpers = &team.helpers[..team.helpers.len().min(parts - 1)];
        let part = |n| part(tasks, helpers.len() + 1, n);
        for (n, helper) in helpers.iter().enumerate() {
            // SAFETY: `job` is there until this function returns or unwinds, which it does only after `finish` of each helper; nothing in
            // between panics but the job, and that is caught.
            unsafe { helper.post(job, part(n + 1)) };
        }
        let run = |range| catch_unwind(AssertUnwindSafe(|| job(range))).err();
        let mut panic = run(part(0));
        for (n, helper) in helpers.iter().enumerate() {
            let its = if helper.take_back() { run(part(n + 1)) } else { helper.finish() };
            panic = panic.or(its);
        }
        // Others may use the threads while the panic goes on.
        drop(team);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// Whether all helpers sleep.
    #[cfg(all(test, not(loom)))]
    fn asleep(&self) -> bool {
        self.team.lock().unwrap().helpers.iter().all(Helper::asleep)
    }
}

impl Team {
    /// Has helpers started, once. Where the system has no threads to give, there are fewer.
    fn start(&mut self, count: usize) {
        if !std::mem::replace(&mut self.started, true) {
            let waiting = Waiting::of(count + 1, cores());
            self.helpers = (0..count).map_while(|n| Helper::start(n, waiting).ok()).collect();
        }
    }
}

/// How many threads this process may run at once. Asked once: the answer is in files.
fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| available_parallelism().map_or(1, usize::from))
}

/// Range `n` of `parts` about equal ones that make up `0..tasks`: the first have one more.
fn part(tasks: usize, parts: usize, n: usize) -> Range<usize> {
    let (each, more) = (tasks / parts, tasks % parts);
    let start = |n: usize| n * each + n.min(more);
    start(n)..start(n + 1)
}

/// Elements that several threads write, each its own: what a job closes over instead of `&mut [f32]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shared<'a>(*mut f32, usize, PhantomData<&'a mut [f32]>);

// SAFETY: whoever writes through the pointer vouches that no two threads do so at one place.
unsafe impl Send for Shared<'_> {}
// SAFETY: as above.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    /// These elements.
    pub(crate) fn new(elements: &'a mut [f32]) -> Shared<'a> {
        Shared(elements.as_mut_ptr(), elements.len(), PhantomData)
    }

    /// The first.
    pub(crate) fn as_mut_ptr(self) -> *mut f32 {
        self.0
    }

    /// Those from one on.
    ///
    /// # Panics
    /// If there are not so many.
    pub(crate) fn from(self, first: usize) -> Shared<'a> {
        assert!(first <= self.1);
        Shared(self.0.wrapping_add(first), self.1 - first, PhantomData)
    }

    /// How many.
    pub(crate) fn len(self) -> usize {
        self.1
    }
}
