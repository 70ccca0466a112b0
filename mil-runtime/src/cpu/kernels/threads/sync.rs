//! What threads work together by: the standard library's, or loom's, which tries all orders in which they may run.

#[cfg(not(loom))]
mod chosen {
    pub(in super::super) use std::sync::{Arc, Mutex, atomic::AtomicU8};
    pub(in super::super) use std::thread::{JoinHandle, park, yield_now};

    /// A cell that is reached as loom's is.
    pub(in super::super) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(in super::super) fn new(x: T) -> UnsafeCell<T> {
            UnsafeCell(std::cell::UnsafeCell::new(x))
        }

        pub(in super::super) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }

    /// A thread of this name.
    pub(in super::super) fn spawn(name: String, f: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name(name).spawn(f)
    }
}

#[cfg(loom)]
mod chosen {
    pub(in super::super) use loom::cell::UnsafeCell;
    pub(in super::super) use loom::sync::{Arc, Mutex, atomic::AtomicU8};
    pub(in super::super) use loom::thread::{JoinHandle, park, yield_now};

    pub(in super::super) fn spawn(name: String, f: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
        loom::thread::Builder::new().name(name).spawn(f)
    }
}

pub(super) use chosen::*;
